"""Finds the leases whose holder is gone, by a list of those who are there; the one place where that rule stands."""

from __future__ import annotations

from collections.abc import Iterable

from ringipam.core.events import Reconcile
from ringipam.lease import VIA, Lease, is_listed


def orphaned(leases: Iterable[Lease], verb: Reconcile, now_ms: int) -> list[Lease]:
    """The leases that `verb` gives up; O(number of leases).

    A list says nothing of who came after it was made, so a lease younger than `older_than_ms` stays: it may be of a
    container that is about to start. A claimed address and a block are somebody's decision, and leases that carry
    `ringipam.via` are looked after by the integration that made them: neither is an orphan because a list lacks it.
    """
    return [
        lease
        for lease in leases
        if lease.class_ == "container"
        and VIA not in lease.labels
        and lease.labels.items() >= verb.labels.items()
        and lease.since.timestamp() * 1000 + verb.older_than_ms <= now_ms
        and not is_listed(lease.id, verb.live)
    ]
