"""Gives space away: grants to peers that ask, ranges returned to the neighbour around them, tokens coalesced.

Everything here writes the ring, and only ever over addresses this peer possesses (safety.md S2).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.core.durable import PutAnswered
from ringipam.core.routing import Router
from ringipam.core.search import known_of
from ringipam.core.state import State
from ringipam.messages import Denial, Denied, Grant, Introduce, Introduced, Rest, SpaceRequest, Standing
from ringipam.ring.intervals import difference

WITNESSES = 3
"""How many members are asked to vouch for a newcomer; one answer is enough."""
SEGMENTS_TOLD_MAX = 256
EXACT_SHARE = 4
"""Of what is free here at most this part is given as one block that was asked for by its addresses."""
RETURNED_SIZE_MAX = 8
"""Free fragments up to this size go back to the neighbour that surrounds them."""
RESERVE = 32
"""What this peer keeps free for itself before it returns anything."""
IDLE_ROUNDS = 30
"""Rounds of housekeeping that a fragment must lie idle: five minutes, so that space asked for ahead of need stays."""
MERGED_SIZE_MAX = 32
MERGED_ROUNDS = 180
"""Free fragments up to this size that nobody surrounds go to the larger neighbour after half an hour."""
HOUSEKEEPING_MAX = 64
"""Ring writes of one kind in one round of housekeeping, so that no round makes a large message."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A newcomer's request, waiting for one of the members asked to be its witness."""

    request: SpaceRequest
    asked: tuple[str, ...]
    expires_ms: int


class Donor:
    def __init__(self, state: State, router: Router) -> None:
        self._state = state
        self._router = router
        self._witnessed: set[str] = set()
        self._held: dict[str, _Held] = {}
        self._idle_rounds: dict[tuple[Range, int], int] = {}  # a fragment and its patience → rounds it lay idle
        self._due_ms = state.now + state.settings.housekeeping_ms
        self._tidy: tuple[int, int, int, str] | None = None
        """In which state there was nothing to coalesce: a long ring is not looked through again without need."""
        self._small: list[Range] = []
        """The small ranges of this peer."""
        self._small_at = -1
        """In the ring that had changed so often."""

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def asked(self, asker: str, request: SpaceRequest) -> None:
        """Answer a request once; a copy or a latecomer of an earlier one is not answered again (S16)."""
        state = self._state
        if state.ring is None or request.number <= state.answered.get(asker, 0):
            return
        if not state.extent.covers(Range(request.start, request.end)):
            return
        if state.hold or not self.eligible(asker):
            self._deny(asker, request, Denial.NOT_YET if state.unconfirmed else Denial.FENCED)
            return
        if not self._vouched(asker):
            self._find_witness(asker, request)
            return
        if request.exact:
            self._give_exactly(asker, request)
        else:
            self._give_some(asker, request)

    def _give_exactly(self, asker: str, request: SpaceRequest) -> None:
        """A claimed address, or a block; so large a one that this peer would be short of space it does not get."""
        state = self._state
        wanted = Range(request.start, request.end)
        if wanted.size > 1 and wanted.size * EXACT_SHARE > state.space.size:
            self._deny(asker, request, Denial.NOT_OWNER)
            return
        held = next(iter(state.leases_within(*wanted)), None) or next(
            (lease for _, lease in state.leases.blocks_within(*wanted)), None
        )
        if held is not None:
            self._deny(asker, request, Denial.IN_USE, held.id)
            return
        state.settle(request.start, request.end, asker)
        if not state.owns(request.start, request.end):
            self._deny(asker, request, Denial.NOT_OWNER)
            return
        self.give(asker, request.number, wanted)

    def _give_some(self, asker: str, request: SpaceRequest) -> None:
        state = self._state
        pieces = [Range(request.start, request.end)]
        if blocks := state.leases.blocked(*pieces[0]):
            pieces = difference(pieces, blocks)  # a block is not given away in parts
        want = max(1, request.want)
        found = [state.space.donation(*piece, want, request.urgent) for piece in pieces]
        best = max((block for block in found if block is not None), key=lambda block: block.size, default=None)
        if best is None:
            self._deny(asker, request, Denial.NO_SPACE)
        else:
            self.give(asker, request.number, best)

    def eligible(self, peer: str) -> bool:
        """Whether anything may be granted to `peer`: not to one who is fenced off, and not to a leaver (S9, S11)."""
        return not self._state.fences(peer) and self._state.members.standing(peer) is Standing.MEMBER

    def give(self, asker: str, number: int, block: Range) -> None:
        """Grant a block; 0 is the number of one that nobody asked for.

        Ownership, the answered number and what rests there change in one record, then the grant is sent.
        """
        state = self._state
        assert state.ring is not None
        assert state.owns(block.start, block.end)
        assert self.eligible(asker)
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
        """Say no, and what was granted of the range: the asker may not have heard who has it now (S17).

        A copy of this request is not answered again either, so that nobody is granted what it no longer wants (S16).
        """
        state = self._state
        assert state.ring is not None
        owners = state.ring.owners(request.start, request.end)
        if reason in (Denial.NO_SPACE, Denial.NOT_OWNER) and sum(owners.values()) < request.end - request.start:
            reason = Denial.NOT_YET
        if asker in state.members:
            state.answered[asker] = request.number
        told: tuple[Segment, ...] = ()
        if request.known != known_of(state.ring, Range(request.start, request.end), request.number):
            granted = (
                segment
                for segment in state.ring.segments(request.start, request.end)
                if segment.claim.version > 1 and segment.claim.owner != state.me
            )
            told = tuple(islice(granted, SEGMENTS_TOLD_MAX))
        self._router.send(asker, Denied(request.number, reason, holder, told, owners.get(state.me, 0)))

    # ── newcomers (S4) ───────────────────────────────────────────────────────────────────────────

    def _vouched(self, asker: str) -> bool:
        """Whether somebody besides this peer knows the asker durably, if there is somebody.

        Else a removal after this peer's death would not ask the asker, and its space be taken over.
        """
        state = self._state
        if asker in self._witnessed:
            return True
        assert state.ring is not None
        if asker in state.ring.owners():
            self._witnessed.add(asker)  # whoever has the ring knows its owners
            return True
        return not self._others(asker)

    def _others(self, asker: str) -> list[str]:
        return [peer for peer in self._state.members.others() if peer != asker]

    def _find_witness(self, asker: str, request: SpaceRequest) -> None:
        state = self._state
        member = state.members.get(asker)
        others = [peer for peer in state.rng.shuffled(self._others(asker)) if state.members.reachable(peer)]
        if member is None or not others:
            self._deny(asker, request, Denial.NO_WITNESS)
            return
        self._held[asker] = _Held(request, tuple(others[:WITNESSES]), state.now + request.valid_ms)
        for peer in others[:WITNESSES]:
            self._router.send(peer, Introduce(member))

    def introduced(self, witness: str, message: Introduced) -> None:
        """A second member holds the newcomer durably; only one that was asked counts."""
        held = self._held.get(message.peer)
        if held is None or witness not in held.asked:
            return
        del self._held[message.peer]
        self._witnessed.add(message.peer)
        if self._state.now < held.expires_ms:
            self.asked(message.peer, held.request)

    @property
    def held(self) -> int:
        """How many requests of newcomers wait for a witness."""
        return len(self._held)

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        return self._due_ms

    def tick(self) -> None:
        state = self._state
        if state.now < self._due_ms:
            return
        self._due_ms = state.now + state.settings.housekeeping_ms
        self._held = {asker: held for asker, held in self._held.items() if held.expires_ms > state.now}
        if state.ring is None:
            return
        self._return_fragments()
        looked_at = (state.ring_changes, state.doubtful.size, state.suspended.size, state.hold)
        if looked_at == self._tidy:
            return
        runs = [run for mine in state.possessed() for run in state.ring.coalescible(state.me, *mine)]
        if runs:
            state.join(runs[:HOUSEKEEPING_MAX], state.me)
        else:
            self._tidy = looked_at

    def _return_fragments(self) -> None:
        """Small free ranges go to a neighbour, so that the ring shrinks again after churn."""
        state = self._state
        assert state.ring is not None
        if self._small_at != state.ring_changes:
            self._small_at = state.ring_changes
            self._small = [mine for mine in state.ring.ranges_of(state.me) if mine.size <= MERGED_SIZE_MAX]
        idle, due = {}, []
        for fragment in self._small:
            home = self._surrounded_by(fragment) if fragment.size <= RETURNED_SIZE_MAX else ""
            patience = IDLE_ROUNDS if home else MERGED_ROUNDS
            home = home or self._larger_beside(fragment)
            if home and self._spare(fragment):
                rounds = idle[fragment, patience] = self._idle_rounds.get((fragment, patience), 0) + 1
                if rounds >= patience:
                    due.append((fragment, home))
        self._idle_rounds = idle
        for fragment, home in due[:HOUSEKEEPING_MAX]:
            if self._spare(fragment):  # what went before it may have been what there was to spare
                self.give(home, 0, fragment)

    def _surrounded_by(self, fragment: Range) -> str:
        """The reachable peer that owns what lies before and behind a range of ours, or ""."""
        state = self._state
        assert state.ring is not None
        universe = state.extent
        if fragment.start == universe.start or fragment.end == universe.end:
            return ""
        before, after = state.ring.at(fragment.start - 1).owner, state.ring.at(fragment.end).owner
        fit = before == after and state.members.reachable(before) and self.eligible(before)
        return before if fit else ""

    def _larger_beside(self, fragment: Range) -> str:
        """The reachable peer whose range beside one of ours is the larger one, and larger than ours; or "".

        Each gift makes one range of two, so there is an end to it, whatever others give away meanwhile.
        """
        state = self._state
        assert state.ring is not None
        beside = [state.ring.around(at) for at in (fragment.start - 1, fragment.end) if at in state.extent]
        for lo, hi in sorted(beside, key=lambda each: each.size, reverse=True):
            owner = state.ring.at(lo).owner
            if hi - lo > fragment.size and state.members.reachable(owner) and self.eligible(owner):
                return owner
        return ""

    def _spare(self, fragment: Range) -> bool:
        """Whether all of it is free, and enough is left without it."""
        state = self._state
        enough = RESERVE + fragment.size
        return (
            state.space.count_free(*fragment) == fragment.size
            and state.owns(*fragment)
            and state.space.count_free(*state.extent, at_most=enough) == enough
        )
