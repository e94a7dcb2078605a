"""A host leaves: its ranges go to heirs, also when it is killed half-way; and it may come back (S11)."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
from lab import Lab, assert_no_address_twice, leases_of, rings_equal, until

pytestmark = pytest.mark.root


def test_a_host_leaves_when_its_leases_are_gone_and_may_come_back(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    h1, h2 = lab.hosts
    lab.launch_all("--init", "consensus=2")
    for host in lab.hosts:
        host.cli("allocate", f"{host.name}-c")
    former, owned = h2.peer, h2.owned(h2.peer)
    assert owned > 0

    status, why = h2.fails("leave", "--yes")

    assert status == 1
    assert why.startswith("ringipam: 1 leases are held here: h2-c (")
    assert (h2.state(), h2.owned(former)) == ("ready", owned), "a refusal changes nothing"

    done = json.loads(h2.cli("leave", "--drop-leases", "--yes", "--json"))

    assert done == {"heirs": {"h1": owned}}
    assert (h1.owned(former), h1.owned(h1.peer)) == (0, 1 << 20)
    assert leases_of(h2) == []
    status, why = h2.fails("allocate", "h2-again")
    assert status == 1
    assert "this host has left the ring" in why
    assert "left" in h1.cli("peers")

    h2.cli("rejoin", "--yes")

    assert h2.cli("allocate", "h2-again", "--timeout", "10").strip()
    assert h2.peer != former
    until("the rings are equal", lambda: rings_equal(lab.hosts), 10)
    assert assert_no_address_twice(lab.hosts) == 2


def test_a_leaver_that_is_killed_half_way_goes_on_after_its_restart(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(3)
    h1, h2, h3 = lab.hosts
    options = ("--init", "consensus=3")
    lab.launch_all(*options)
    for host in lab.hosts:
        host.cli("allocate", f"{host.name}-c")
    until("all see each other", lambda: all(host.alive() == 2 for host in lab.hosts))
    leaver = h2.peer
    h2.cli("release", "h2-c")
    h3.cut()  # so that it cannot be done

    status, why = h2.fails("leave", "--yes", "--timeout", "1")
    assert status == 1
    assert "it goes on: waiting for the consent of h3" in why
    h2.stop(signal.SIGKILL)
    h2.launch(*options, *lab.peers_of(h2))

    waiting = "leaving the ring, waiting for the consent of h3 ("
    until("only h3 is missing", lambda: str(h2.view("status")["reason"]).startswith(waiting))
    assert h2.owned(leaver) > 0, "nothing is given away before everybody agreed"

    h3.mend()
    until("it has left", lambda: "has left the ring" in str(h2.view("status")["reason"]), 30)
    until("the others have it all", lambda: h1.owned(leaver) == h3.owned(leaver) == 0, 10)
    until("the rings are equal", lambda: rings_equal([h1, h3]), 10)
    for host in (h1, h3):
        assert host.cli("allocate", f"{host.name}-after").strip()
    assert assert_no_address_twice(lab.hosts) == 4
