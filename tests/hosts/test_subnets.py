"""Several subnets inside the range, and what is said when one of them is full or out of reach (W7, W8, W16)."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_interface, ip_network

import pytest
from lab import Lab, assert_no_address_twice, until

pytestmark = pytest.mark.root


def three(make_lab: Callable[..., Lab], iprange: str = "10.32.0.0/16") -> Lab:
    lab = make_lab(3, iprange)
    lab.launch_all("--init", "consensus=3")
    for host in lab.hosts:
        host.cli("prime")
    return lab


def owner_of(lab: Lab, first: str) -> str:
    """The name of the host whose share begins at `first`."""
    return next(t["owner"].partition(".")[0] for t in lab.hosts[0].json("ring")["tokens"] if t["first"] == first)


def test_every_host_allocates_in_every_subnet_and_addresses_carry_its_length(make_lab: Callable[..., Lab]) -> None:
    lab = three(make_lab)

    for host in lab.hosts:
        for subnet in ("10.32.5.0/24", "10.32.200.64/26"):
            issued = ip_interface(host.cli("allocate", host.name, "--subnet", subnet, "--timeout", "10").strip())
            assert issued.network == ip_network(subnet)
        assert len(host.cli("lookup", host.name).split()) == 2

    assert assert_no_address_twice(lab.hosts) == 6


def test_a_launched_default_subnet_is_where_addresses_come_from(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(1, "10.32.0.0/16")
    host = lab.hosts[0]
    host.launch("--subnet", "10.32.7.0/24")

    assert host.cli("allocate", "c1").strip() == "10.32.7.1/24"
    assert host.cli("allocate", "c1", "--subnet", "10.32.0.0/16").strip() == "10.32.0.1/16"
    assert host.http("GET", "/ipinfo/defaultsubnet") == (200, "10.32.7.0/24")


def test_a_subnet_that_cannot_be_is_refused(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(1, "10.32.0.0/16")
    host = lab.hosts[0]
    host.launch()

    assert host.fails("allocate", "c1", "--subnet", "10.32.2.3/30")[0] == 2
    assert host.fails("allocate", "c1", "--subnet", "10.32.2.2/31")[0] == 2
    assert host.fails("allocate", "c1", "--subnet", "10.33.0.0/24") == (
        1,
        "ringipam: the subnet 10.33.0.0/24 does not lie inside 10.32.0.0/16",
    )
    assert host.json("list")["leases"] == []


def test_an_exhausted_subnet_names_its_holders_in_time_and_others_go_on(
    make_lab: Callable[..., Lab],
) -> None:
    lab = three(make_lab)
    subnet = "10.32.5.0/29"
    for number in range(6):
        lab.hosts[number % 3].cli("allocate", f"c{number}", "--subnet", subnet, "--timeout", "10")

    for host in lab.hosts:
        status, message = host.fails("allocate", "one-too-many", "--subnet", subnet, "--timeout", "10")

        assert status == 1
        assert message.startswith(f"ringipam: no free address in {subnet}: ")
        assert sum(int(owned) for owned in re.findall(r"h\d owns (\d+) \(none free\)", message)) == 6
        assert host.cli("allocate", "elsewhere", "--subnet", "10.32.6.0/24", "--timeout", "10")
    assert assert_no_address_twice(lab.hosts) == 9


def test_the_owner_of_a_subnet_that_cannot_be_reached_is_named_within_the_timeout(make_lab: Callable[..., Lab]) -> None:
    lab = three(make_lab)
    by_name = {host.name: host for host in lab.hosts}
    gone = by_name.pop(owner_of(lab, "10.32.0.0"))
    gone.cut()
    for host in by_name.values():
        until("it is known to be gone", lambda host=host: host.json("status")["peers"]["alive"] == 1, 30)

        status, message = host.fails("allocate", "c1", "--subnet", "10.32.5.0/24", "--timeout", "5")

        assert status == 1
        assert re.search(rf"no free address in 10.32.5.0/24.*: {gone.name} owns 254 \(unreachable for \d+ s\)", message)
        assert host.cli("allocate", "c1").strip(), "what it owns itself it goes on issuing"
    assert gone.cli("allocate", "c1", "--subnet", "10.32.5.0/24").strip() == "10.32.5.1/24"

    gone.mend()
    until("all see each other", lambda: all(host.json("status")["peers"]["alive"] == 2 for host in lab.hosts), 10)

    for host in by_name.values():
        assert host.cli("allocate", "c2", "--subnet", "10.32.5.0/24", "--timeout", "20").strip()
    assert assert_no_address_twice(lab.hosts) == 5


@pytest.mark.parametrize(("subnet", "last"), [("10.32.5.0/28", 14), ("10.32.5.0/30", 2)])
def test_the_last_free_address_of_a_subnet_goes_to_whoever_asks(
    make_lab: Callable[..., Lab], subnet: str, last: int
) -> None:
    lab = three(make_lab)
    for number in range(last - 1):
        lab.hosts[0].cli("allocate", f"c{number}", "--subnet", subnet, "--timeout", "10")

    assert lab.hosts[2].cli("allocate", "last", "--subnet", subnet, "--timeout", "10").strip()

    assert assert_no_address_twice(lab.hosts) == last
    lab.hosts[2].cli("release", "last")
    assert lab.hosts[1].cli("allocate", "next", "--subnet", subnet, "--timeout", "10").strip()
