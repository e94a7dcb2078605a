"""After faults and churn the ring is small again: tokens grow with hosts and leases, not with what happened (W13)."""

from __future__ import annotations

from sim.checkers.base import Checker

TOKENS_EACH_MAX = 6
"""For each host and each lease. Measured over 40 seeds: up to 3.6 at the end of a run, most below 1.5."""


class RingStaysSmall(Checker):
    def finished(self) -> None:
        members = [host.peer for host in self.world.members() if host.peer is not None]
        leases = sum(len(peer.leases) for peer in members)
        limit = TOKENS_EACH_MAX * (len(self.world.hosts) + leases)
        for peer in members:
            if peer.ring is not None and len(peer.ring) > limit:
                self.fail(f"a ring of {len(peer.ring)} tokens for {len(members)} hosts and {leases} leases")
