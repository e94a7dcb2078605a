"""Hosts come one by one, some see only one other, and two systems never become one (W2, W7, W15)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import Lab, assert_no_address_twice, rings_equal, until

pytestmark = pytest.mark.root


def test_a_host_alone_works_without_peers(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(1)
    host = lab.hosts[0]
    host.launch()

    assert host.cli("allocate", "c1").strip() == "10.32.0.1/12"
    assert host.cli("allocate", "c1").strip() == "10.32.0.1/12"
    assert host.cli("lookup", "c1").strip() == "10.32.0.1/12"
    assert host.fails("lookup", "c9") == (1, "")
    assert host.fails("release", "c9") == (1, "ringipam: no addresses for c9")
    assert host.stop() == 0


def test_a_fourth_host_joins_later_as_an_observer_and_allocates(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(4)
    *founders, fourth = lab.hosts
    for host in founders:
        host.launch("--init", "consensus=3", *(o.endpoint for o in founders if o is not host))
    founders[0].cli("allocate", "c1")

    fourth.launch("--init", "observer", founders[0].endpoint)
    fourth.cli("allocate", "c4", "--timeout", "20")

    assert assert_no_address_twice(lab.hosts) == 2
    until("all rings are equal", lambda: rings_equal(lab.hosts))


def test_hosts_are_added_one_by_one_with_nothing_but_one_address_of_the_system(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(3)
    first, second, third = lab.hosts
    first.launch()
    first.cli("allocate", "c1")

    second.launch(first.endpoint)
    second.cli("allocate", "c2", "--timeout", "20")
    third.launch(second.endpoint)
    third.cli("allocate", "c3", "--timeout", "20")

    assert assert_no_address_twice(lab.hosts) == 3
    until("all rings are equal", lambda: rings_equal(lab.hosts))


def test_a_host_linked_to_one_other_only_still_gets_space_from_the_far_one(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(3, "10.32.0.0/28")
    far, middle, near = lab.hosts
    near.ignore(far)
    far.ignore(near)
    far.launch("--init", "alone")
    middle.launch("--init", "observer", far.endpoint)
    until("the middle one has joined", lambda: middle.json("status")["state"] == "ready")
    near.launch("--init", "observer", middle.endpoint)
    until("the near one has joined", lambda: near.json("status")["state"] == "ready")

    near.cli("allocate", "c1", "--timeout", "20")

    assert near.json("status")["leases"] == 1
    linked = {peer["name"]: peer["linked"] for peer in near.json("peers")["peers"]}
    assert linked == {"h1": False, "h2": True}
    until("all rings are equal", lambda: rings_equal(lab.hosts))


def test_two_rings_seeded_apart_refuse_each_other_and_both_still_serve(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    one, two = lab.hosts
    for host in lab.hosts:
        host.launch("--init", "alone")
        host.cli("allocate", "before")

    two.cli("connect", one.endpoint)

    for host, other in ((one, two), (two, one)):
        until(f"{host.name} says so", lambda host=host: host.json("status")["state"] == "refusing")
        status = host.json("status")
        assert "another ring" in status["reason"]
        assert other.name in status["reason"]
        assert "ringipam rejoin" in status["reason"]
        assert host.http("GET", "/readyz")[0] == 200
        assert host.cli("allocate", "after").strip() == "10.32.0.2/12"
        assert len(host.json("list")["leases"]) == 2


def test_a_refused_host_joins_once_its_operator_has_done_what_status_says(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    one, two = lab.hosts
    for host in lab.hosts:
        host.launch("--init", "alone")
    two.cli("connect", one.endpoint)
    until("both refuse", lambda: all(host.json("status")["state"] == "refusing" for host in lab.hosts))

    two.stop()
    two.data.rename(two.directory / "moved-away")
    two.launch(one.endpoint)

    assert two.cli("allocate", "c1", "--timeout", "20").strip()
    until("both are ready", lambda: all(host.json("status")["state"] == "ready" for host in lab.hosts))
    until("the rings are equal", lambda: rings_equal(lab.hosts))


def test_another_range_is_refused_and_both_still_serve(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    one, two = lab.hosts
    one.launch()
    lab.iprange = "10.96.0.0/12"
    two.launch("--init", "alone", one.endpoint)

    for host, address in ((one, "10.32.0.1/12"), (two, "10.96.0.1/12")):
        until(f"{host.name} says so", lambda host=host: host.json("status")["state"] == "refusing")
        assert "launch both with the same --iprange" in host.json("status")["reason"]
        assert host.cli("allocate", "c1").strip() == address
        assert len(host.json("list")["leases"]) == 1
