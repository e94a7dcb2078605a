"""Removal of hosts, dead and alive: who takes over, and what becomes of one that was not dead (S8 to S10, W8)."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import Host, Lab, assert_no_address_twice, fill, leases_of, rings_equal, until

pytestmark = pytest.mark.root

SMALL = "10.32.0.0/27"


def three(make_lab: Callable[..., Lab], iprange: str) -> Lab:
    """Three hosts, each with a lease of its own, who all see each other."""
    lab = make_lab(3, iprange)
    lab.launch_all("--init", "consensus=3")
    for host in lab.hosts:
        host.cli("allocate", f"{host.name}-c")
    until("all see each other", lambda: all(host.alive() == 2 for host in lab.hosts))
    return lab


def assert_fenced(host: Host, reason: str) -> None:
    """It serves what it holds, and issues nothing; it says why."""
    held = leases_of(host)
    for lease in held:
        assert host.cli("lookup", lease["id"]).strip() == f"{lease['address']}/{lease['prefix_len']}"
    for command in (["allocate", "new"], ["claim", "new", "10.32.0.30/27"]):
        status, why = host.fails(*command)
        assert status == 1
        assert reason in why
    assert leases_of(host) == held


def test_d1_two_operators_remove_the_owner_of_most_of_the_range_at_once_and_one_host_takes_over(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(3, "10.32.0.0/16")
    h1, h2, h3 = lab.hosts
    h3.launch("--init", "alone")
    for host in (h1, h2):
        host.launch("--init", "observer", h3.endpoint)
        host.cli("allocate", f"{host.name}-c")
    until("all see each other", lambda: all(host.alive() == 2 for host in lab.hosts))
    dead = h3.peer
    assert h1.owned(dead) > 32_768
    h3.stop(signal.SIGKILL)

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda host: json.loads(host.cli("remove-peer", "h3", "--yes", "--json")), (h1, h2)))

    assert [answer["removed"] for answer in done] == [[dead], [dead]]
    assert sorted(answer["taken"] > 32_768 for answer in done) == [False, True], "one has taken it over"
    until("the rings are equal", lambda: rings_equal([h1, h2]), 10)
    assert h1.owned(dead) == 0
    took = h1 if done[0]["taken"] > 32_768 else h2
    assert {token["writer"] for token in h1.view("ring")["tokens"] if token["epoch"] > 0} == {took.peer}
    for host in (h1, h2):
        assert host.cli("allocate", f"{host.name}-after", "--subnet", "10.32.240.0/24").startswith("10.32.240.")
    assert assert_no_address_twice([h1, h2]) == 4


def test_a_host_removed_while_it_was_cut_off_fences_itself_and_rejoins_with_its_leases(
    make_lab: Callable[..., Lab],
) -> None:
    lab = three(make_lab, SMALL)
    h1, h2, h3 = lab.hosts
    h3.cut()
    h3.cli("allocate", "h3-while-cut-off")
    kept = leases_of(h3)
    h1.cli("remove-peer", "h3", "--yes")

    h3.mend()

    until("it has fenced itself", lambda: h3.state() == "fenced")
    assert_fenced(h3, "it was removed from the ring")
    doubtful = {lease["address"] for lease in kept}
    until("the new owner knows of the leases", lambda: doubtful <= h1.in_doubt(), 15)
    assert {
        lease["address"] for conflict in h3.view("conflicts")["conflicts"] for lease in conflict["leases"]
    } == doubtful
    fill(h1)
    fill(h2)
    assert assert_no_address_twice(lab.hosts) == 30, "every address is held once, and none of the doubtful ones twice"
    h1.cli("release", "fill-0")

    former = h3.peer
    said = h3.cli("rejoin", "--yes")

    assert former in said
    assert h3.peer != former
    assert leases_of(h3) == kept
    for address in doubtful:
        # Refused until the owner knows that it is in doubt, which takes seconds.
        taken = ("conflicts", "resolve", address, "--take", "--yes")
        until(f"{address} is h3's", lambda taken=taken: h3.fails(*taken)[0] == 0)
        h1.cli("conflicts", "resolve", address, "--yes")
    until("the leases are at home", lambda: not h1.in_doubt() and not h3.in_doubt())
    assert h3.state() == "ready"
    assert h3.cli("allocate", "h3-after", "--timeout", "10").strip()
    assert assert_no_address_twice(lab.hosts) == 30
    until("the rings are equal", lambda: rings_equal(lab.hosts), 10)


def test_d6_d7_a_live_host_is_removed_by_force_only_and_learns_of_it(make_lab: Callable[..., Lab]) -> None:
    lab = three(make_lab, SMALL)
    h1, h2, h3 = lab.hosts
    h2.cli("release", "h2-c")  # it is idle, h3 is busy
    held = leases_of(h3)

    status, why = h1.fails("remove-peer", "h2", "h3", "--yes", "--timeout", "2")

    assert status == 1
    assert "is alive: run `ringipam leave` there" in why
    assert [host.state() for host in lab.hosts] == ["ready"] * 3

    for host in (h2, h3):
        h1.cli("remove-peer", host.name, "--yes", "--force")
    for host in (h2, h3):
        until(f"{host.name} has fenced itself", lambda host=host: host.state() == "fenced")
        assert_fenced(host, "it was removed from the ring")

    assert leases_of(h3) == held
    until("the busy host's lease is in doubt", lambda: h1.in_doubt() == {held[0]["address"]}, 15)
    assert not any(conflict["leases"] for conflict in h2.view("conflicts")["conflicts"])
    fill(h1)
    assert assert_no_address_twice(lab.hosts) == 30
    h1.cli("release", "fill-0")
    h2.cli("rejoin", "--yes")
    assert h2.cli("allocate", "h2-again", "--timeout", "10").strip(), "the idle one is back at once"
    h3.cli("release", held[0]["id"])
    h1.cli("conflicts", "resolve", held[0]["address"], "--yes")
    assert h1.cli("claim", "mine", f"{held[0]['address']}/27").strip(), "nobody else used it any more"
