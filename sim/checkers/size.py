"""When all has been quiet for a while the ring is small again: tokens grow with hosts and leases only (W13)."""

from __future__ import annotations

from itertools import pairwise

from ringipam.ring.ring import Ring
from sim.checkers.base import Checker

ROOMY = 4096
"""A host that has little to spare gives nothing back; a small range has few tokens in any case."""
HOST_TOKENS_MAX = 6
LEASE_TOKENS_MAX = 2
"""For each host and for each lease; measured: mostly below 60 for 5 hosts and 35 leases, once 76."""


class RingStaysSmall(Checker):
    def finished(self) -> None:
        if not self.world.rested or self.world.universe.size < ROOMY:
            return
        members = [host.peer for host in self.world.members() if host.peer is not None]
        leases = sum(len(peer.leases) for peer in members)
        limit = HOST_TOKENS_MAX * len(self.world.hosts) + LEASE_TOKENS_MAX * leases
        for peer in members:
            if peer.ring is not None and _tokens(peer.ring) > limit:
                self.fail(f"a ring of {_tokens(peer.ring)} tokens for {len(members)} hosts and {leases} leases")


def _tokens(ring: Ring) -> int:
    """Neighbours of one owner and two epochs count as one: their owner may not make them so."""
    claims = [claim for _, claim in ring.tokens()]
    apart = sum(1 for one, two in pairwise(claims) if one.owner == two.owner and one.epoch != two.epoch)
    return len(claims) - apart
