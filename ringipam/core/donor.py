"""Gives space away: grants to peers that ask, ranges returned to the neighbour around them, tokens coalesced.

Everything here writes the ring, and only ever over addresses this peer possesses (safety.md S2).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from ringipam.address import Range
from ringipam.core.durable import PutAnswered
from ringipam.core.routing import Router
from ringipam.core.state import State
from ringipam.messages import Denial, Denied, Grant, Introduce, Introduced, Rest, SpaceRequest

WITNESSES = 3
"""How many members are asked to vouch for a newcomer; one answer is enough."""
SEGMENTS_TOLD_MAX = 256
EXACT_SIZE_MAX = 256
"""A claim is looked through address by address, so a peer may not name a huge range."""
RETURNED_SIZE_MAX = 8
"""Free fragments up to this size go back to the neighbour that surrounds them."""
RESERVE = 32
"""What this peer keeps free for itself before it returns anything."""
HOUSEKEEPING_MAX = 64
"""Ring writes of one kind in one round of housekeeping, so that no round makes a large message."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A newcomer's request, waiting for a witness."""

    request: SpaceRequest
    expires_ms: int


class Donor:
    def __init__(self, state: State, router: Router) -> None:
        self._state = state
        self._router = router
        self._witnessed: set[str] = set()
        self._held: dict[str, _Held] = {}
        self._due_ms = state.now + state.settings.housekeeping_ms

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def asked(self, asker: str, request: SpaceRequest) -> None:
        """Answer a request once; a copy or a latecomer of an earlier one is not answered again (S16)."""
        state = self._state
        if state.ring is None or request.number <= state.answered.get(asker, 0):
            return
        if not state.universe.range.covers(Range(request.start, request.end)):
            return
        if not self._vouched(asker):
            self._find_witness(asker, request)
            return
        if request.exact:
            self._give_exactly(asker, request)
        else:
            self._give_some(asker, request)

    def _give_exactly(self, asker: str, request: SpaceRequest) -> None:
        state = self._state
        if request.end - request.start > EXACT_SIZE_MAX or not state.owns(request.start, request.end):
            self._deny(asker, request, Denial.NOT_OWNER)
            return
        for address in range(request.start, request.end):
            lease = state.leases.at(state.universe.family, address)
            if lease is not None:
                self._deny(asker, request, Denial.IN_USE, lease.id)
                return
        self._give(asker, request.number, Range(request.start, request.end))

    def _give_some(self, asker: str, request: SpaceRequest) -> None:
        block = self._state.space.donation(request.start, request.end, max(1, request.want), request.urgent)
        if block is None:
            self._deny(asker, request, Denial.NO_SPACE)
        else:
            self._give(asker, request.number, block)

    def _give(self, asker: str, number: int, block: Range) -> None:
        """Ownership, the answered number and what rests there change in one record, then the grant is sent."""
        state = self._state
        assert state.ring is not None
        assert state.owns(block.start, block.end)
        rests = tuple(
            Rest(start, end, max(0, until - state.now))
            for start, end, until in state.space.resting(block.start, block.end)
        )
        segments = state.ring.grant(block.start, block.end, asker, state.me)
        state.join(segments, state.me)
        if number:
            state.answered[asker] = number
            state.change(PutAnswered(asker, number))
        self._router.send(asker, Grant(number, segments, rests))

    def _deny(self, asker: str, request: SpaceRequest, reason: Denial, holder: str = "") -> None:
        """Say no, and what this peer gave away of the range: the asker may not have heard who has it now (S17)."""
        state = self._state
        assert state.ring is not None
        given = (
            segment
            for segment in state.ring.segments(request.start, request.end)
            if segment.claim.owner != state.me and (request.exact or segment.claim.writer == state.me)
        )
        told = tuple(islice(given, SEGMENTS_TOLD_MAX))
        self._router.send(asker, Denied(request.number, reason, holder, told))

    # ── newcomers (S4) ───────────────────────────────────────────────────────────────────────────

    def _vouched(self, asker: str) -> bool:
        """Whether somebody besides this peer knows the asker durably, if there is somebody.

        Else a removal after this peer's death would not ask the asker, and its space be taken over.
        """
        state = self._state
        if asker in self._witnessed:
            return True
        assert state.ring is not None
        return asker in state.ring.owners() or not self._others(asker)

    def _others(self, asker: str) -> list[str]:
        return [peer for peer in self._state.members.others() if peer != asker]

    def _find_witness(self, asker: str, request: SpaceRequest) -> None:
        state = self._state
        member = state.members.get(asker)
        others = [peer for peer in state.rng.shuffled(self._others(asker)) if state.members.reachable(peer)]
        if member is None or not others:
            self._deny(asker, request, Denial.NO_WITNESS)
            return
        self._held[asker] = _Held(request, state.now + request.valid_ms)
        for peer in others[:WITNESSES]:
            self._router.send(peer, Introduce(member))

    def introduced(self, _witness: str, message: Introduced) -> None:
        """A second member holds the newcomer durably."""
        self._witnessed.add(message.peer)
        held = self._held.pop(message.peer, None)
        if held is not None and self._state.now < held.expires_ms:
            self.asked(message.peer, held.request)

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        return self._due_ms

    def tick(self) -> None:
        state = self._state
        if state.now < self._due_ms:
            return
        self._due_ms = state.now + state.settings.housekeeping_ms
        if state.ring is None:
            return
        self._return_fragments()
        runs = [run for mine in state.possessed() for run in state.ring.coalescible(state.me, *mine)]
        if runs:
            state.join(runs[:HOUSEKEEPING_MAX], state.me)

    def _return_fragments(self) -> None:
        """Small free ranges inside another's go back to it, so that the ring shrinks again after churn."""
        state = self._state
        assert state.ring is not None
        universe = state.universe.range
        returned = 0
        for start, end in state.ring.ranges_of(state.me):
            if end - start > RETURNED_SIZE_MAX or start == universe.start or end == universe.end:
                continue
            before, after = state.ring.at(start - 1).owner, state.ring.at(end).owner
            if before != after or not before or not state.members.reachable(before):
                continue
            idle = state.space.free.count(start, end) == end - start and state.owns(start, end)
            spare = state.space.free.count(*universe, at_most=RESERVE + end - start) >= RESERVE + end - start
            if idle and spare and returned < HOUSEKEEPING_MAX:
                self._give(before, 0, Range(start, end))
                returned += 1
