"""Two rings of one range that began apart: they refuse each other, and a host may change over (W2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lab import Lab, leases_of, rings_equal, until

pytestmark = pytest.mark.root


def test_rings_that_began_apart_refuse_each_other_and_a_host_changes_over_with_its_leases(
    make_lab: Callable[..., Lab],
) -> None:
    lab = make_lab(2)
    h1, h2 = lab.hosts
    for host, other in ((h1, h2), (h2, h1)):
        host.launch("--init", "alone", other.endpoint)
    h1.cli("claim", "one", "10.32.0.5/12")
    h2.cli("claim", "other", "10.32.0.5/12")
    h2.cli("claim", "free", "10.40.0.7/12")

    for host in lab.hosts:
        until("it refuses the other ring", lambda host=host: host.state() == "refusing")
        assert host.cli("allocate", f"{host.name}-serving").strip(), "both go on serving"
    former = h2.peer
    kept = leases_of(h2)
    plan = h2.json("rejoin", "--dry-run")
    assert (plan["from"], plan["to"], plan["leases"]) == (former, None, kept)
    assert h2.peer == former

    h2.cli("rejoin", "--yes")

    until("they are one ring", lambda: h1.state() == h2.state() == "ready" and rings_equal(lab.hosts))
    assert leases_of(h2) == kept
    until("10.40.0.7 is at home", lambda: h1.owned(h2.peer) >= 1)
    until("both list what both use", lambda: h1.in_doubt() == h2.in_doubt() == {"10.32.0.1", "10.32.0.5"}, 15)
    status, why = h1.fails("claim", "third", "10.40.0.7/12")
    assert (status, why) == (1, "ringipam: 10.40.0.7 is in use by free on h2")
    assert h2.cli("allocate", "h2-after", "--timeout", "10").strip()
