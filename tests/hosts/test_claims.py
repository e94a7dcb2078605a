"""A specific address is claimed: here, on another host, outside the range, for nobody in particular (W4, W6)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from lab import Host, Lab, assert_no_address_twice, until

pytestmark = pytest.mark.root

REFUSED = 1


@pytest.fixture
def pair(make_lab: Callable[..., Lab]) -> tuple[Host, Host]:
    """Two hosts; h1 owns the lower half of 10.32.0.0/24 and h2 the upper."""
    lab = make_lab(2, "10.32.0.0/24")
    lab.launch_all("--init", "consensus=2")
    one, two = lab.hosts
    for host in (one, two):
        host.cli("prime")
    until("each owns its half", lambda: [host.json("status")["owned"] for host in (one, two)] == [128, 128])
    owner = {token["first"]: token["owner"].partition(".")[0] for token in one.json("ring")["tokens"]}
    return (one, two) if owner["10.32.0.0"] == "h1" else (two, one)


def test_a_free_address_is_claimed_and_claimed_again_by_the_same_id(pair: tuple[Host, Host]) -> None:
    low, _ = pair

    assert low.cli("claim", "c1", "10.32.0.5/24").strip() == "10.32.0.5/24"
    assert low.cli("claim", "c1", "10.32.0.5/24").strip() == "10.32.0.5/24"
    assert low.http("PUT", "/v1/leases/c1/10.32.0.5/24")[0] == 200
    assert low.http("PUT", "/v1/leases/c1/10.32.0.6/24")[0] == 201
    assert low.http("PUT", "/ip/c1/10.32.0.6/24") == (204, "")


def test_an_address_in_use_here_is_refused_and_its_holder_named(pair: tuple[Host, Host]) -> None:
    low, _ = pair
    low.cli("claim", "c1", "10.32.0.5/24")

    assert low.fails("claim", "c2", "10.32.0.5/24") == (
        REFUSED,
        f"ringipam: 10.32.0.5 is in use by c1 on {low.name}",
    )
    status, text = low.http("PUT", "/v1/leases/c2/10.32.0.5/24")
    assert status == 409
    assert json.loads(text)["error"]["holder"] == {"id": "c1", "host": low.name}
    assert low.http("PUT", "/ip/c2/10.32.0.5/24") == (
        400,
        f"Unable to claim: 10.32.0.5 is in use by c1 on {low.name}\n",
    )


@pytest.mark.parametrize("holder", ["c2", "c1"])
def test_an_address_held_on_another_host_is_refused_to_every_id_and_holder_and_host_are_named(
    pair: tuple[Host, Host], holder: str
) -> None:
    low, high = pair
    low.cli("claim", "c1", "10.32.0.5/24")

    assert high.fails("claim", holder, "10.32.0.5/24") == (
        REFUSED,
        f"ringipam: 10.32.0.5 is in use by c1 on {low.name}",
    )
    assert assert_no_address_twice(pair) == 1


def test_a_free_address_of_another_host_is_claimed_and_that_host_does_not_issue_it(pair: tuple[Host, Host]) -> None:
    low, high = pair

    assert high.cli("claim", "c1", "10.32.0.1/24", "--timeout", "10").strip() == "10.32.0.1/24"

    assert low.cli("allocate", "c2").strip() == "10.32.0.2/24"
    assert low.fails("claim", "c3", "10.32.0.1/24")[1] == f"ringipam: 10.32.0.1 is in use by c1 on {high.name}"


def test_an_address_of_a_host_that_cannot_be_reached_is_refused_in_time_and_that_host_named(
    pair: tuple[Host, Host],
) -> None:
    low, high = pair
    low.cut()

    status, message = high.fails("claim", "c1", "10.32.0.5/24", "--timeout", "3")

    assert status == REFUSED
    assert message.startswith(f"ringipam: 10.32.0.5 could not be claimed within 3 s: {low.name} owns it (")
    assert high.cli("claim", "c1", "10.32.0.200/24").strip() == "10.32.0.200/24"


def test_a_claim_waits_for_the_ring_and_what_it_gets_is_not_given_out(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2, "10.32.0.0/24")
    one, two = lab.hosts
    one.launch("--init", "consensus=2", two.endpoint)
    status, message = one.fails("claim", "c1", "10.32.0.1/24", "--timeout", "0.5")
    assert (status, message) == (
        REFUSED,
        "ringipam: no ring yet after 0.5 s: consensus of 2 needs 2 hosts, 1 known",
    )

    two.launch("--init", "consensus=2", one.endpoint)

    assert one.cli("claim", "c1", "10.32.0.1/24", "--timeout", "20").strip() == "10.32.0.1/24"
    for number in range(20):
        one.cli("allocate", f"one{number}")
        two.cli("allocate", f"two{number}")
    assert assert_no_address_twice(lab.hosts) == 41


def test_a_claimed_address_is_what_a_later_allocation_in_that_subnet_returns(pair: tuple[Host, Host]) -> None:
    low, _ = pair
    low.cli("claim", "c1", "10.32.0.5/24")
    low.cli("claim", "c1", "10.32.0.70/26")

    assert low.cli("allocate", "c1").strip() == "10.32.0.5/24"
    assert low.cli("allocate", "c1", "--subnet", "10.32.0.64/26").strip() == "10.32.0.70/26"
    assert low.cli("allocate", "c1", "--subnet", "10.32.0.32/27").strip() == "10.32.0.33/27"


def test_network_and_broadcast_address_are_never_allocated_but_can_be_claimed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(1, "10.32.0.0/29")
    host = lab.hosts[0]
    host.launch()

    issued = [host.cli("allocate", f"c{number}").strip() for number in range(6)]

    assert issued == [f"10.32.0.{number}/29" for number in range(1, 7)]
    assert host.fails("allocate", "c7")[0] == REFUSED
    assert host.cli("claim", "gateway", "10.32.0.0/29").strip() == "10.32.0.0/29"
    assert host.cli("claim", "broadcast", "10.32.0.7/29").strip() == "10.32.0.7/29"


def test_excluded_addresses_are_never_allocated_but_can_be_claimed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(1, "10.32.0.0/28")
    host = lab.hosts[0]
    host.launch("--exclude", "10.32.0.1", "--exclude", "10.32.0.4/30")

    assert host.cli("claim", "router", "10.32.0.1/28").strip() == "10.32.0.1/28"
    host.cli("claim", "printer", "10.32.0.5/28")
    host.cli("release", "printer")
    issued = [host.cli("allocate", f"c{number}").strip() for number in range(9)]

    assert issued == [f"10.32.0.{number}/28" for number in (2, 3, *range(8, 15))]
    assert host.fails("allocate", "one-too-many")[0] == REFUSED
    assert host.cli("claim", "printer", "10.32.0.5/28").strip() == "10.32.0.5/28"


# ── outside the range ─────────────────────────────────────────────────────────────────────────────


def test_an_address_outside_the_range_is_refused_by_the_command_line_and_version_1(pair: tuple[Host, Host]) -> None:
    low, _ = pair

    assert low.fails("claim", "c1", "192.0.2.7/24") == (
        REFUSED,
        "ringipam: the address 192.0.2.7 does not lie inside 10.32.0.0/24",
    )
    status, text = low.http("PUT", "/v1/leases/c1/192.0.2.7/24")
    assert (status, json.loads(text)["error"]["code"]) == (422, "out_of_range")
    assert low.json("status")["warnings"] == []


def test_weaves_clients_may_file_an_address_outside_the_range_which_status_warns_of(pair: tuple[Host, Host]) -> None:
    low, _ = pair

    assert low.http("PUT", "/ip/c1/192.0.2.7/24") == (204, "")
    assert low.http("PUT", "/ip/c1/192.0.2.7/24") == (204, "")

    warnings = low.json("status")["warnings"]
    assert warnings == ["192.0.2.7 was claimed for c1 outside 10.32.0.0/24: no other host was asked"]
    assert warnings[0] in low.log
    assert low.http("PUT", "/ip/c2/192.0.2.7/24") == (
        400,
        f"Unable to claim: 192.0.2.7 is in use by c1 on {low.name}\n",
    )
    assert low.http("DELETE", "/ip/c1/192.0.2.7") == (204, "")
    assert low.json("status")["warnings"] == []
    assert low.http("PUT", "/ip/c2/192.0.2.7/24") == (204, "")


# ── nobody in particular ──────────────────────────────────────────────────────────────────────────


def test_an_anonymous_claim_takes_a_free_address_and_never_that_of_a_container(pair: tuple[Host, Host]) -> None:
    low, high = pair
    low.cli("claim", "c1", "10.32.0.5/24")

    assert low.http("PUT", "/ip/_/10.32.0.6/24") == (204, "")
    assert low.http("PUT", "/ip/_/10.32.0.6/24") == (204, "")
    for host in (low, high):
        assert host.http("PUT", "/ip/_/10.32.0.5/24") == (
            400,
            f"Unable to claim: 10.32.0.5 is in use by c1 on {low.name}\n",
        )


def test_an_anonymous_address_is_in_use_for_everybody_else_until_it_is_released(pair: tuple[Host, Host]) -> None:
    low, _ = pair
    low.http("PUT", "/ip/_/10.32.0.6/24")

    assert low.http("PUT", "/ip/c1/10.32.0.6/24") == (
        400,
        f"Unable to claim: 10.32.0.6 is in use by 10.32.0.6 on {low.name}\n",
    )
    assert low.http("DELETE", "/ip/_/10.32.0.6") == (204, "")
    assert low.http("PUT", "/ip/c1/10.32.0.6/24") == (204, "")


def test_anonymous_requests_get_an_address_each_whatever_was_claimed_before(pair: tuple[Host, Host]) -> None:
    low, _ = pair
    low.http("PUT", "/ip/_/10.32.0.1/24")
    low.http("PUT", "/ip/_/192.0.2.7/24")

    first, second = low.http("POST", "/ip/_"), low.http("POST", "/ip/_")

    assert (first, second) == ((200, "10.32.0.2/24"), (200, "10.32.0.3/24"))
    assert low.http("GET", "/ip/10.32.0.2") == (200, "10.32.0.2/24")
