"""A host that leaves gives all its ranges to heirs, and goes when they have them durably (docs/design.md, "Leaving
and removal"; safety.md S11). Both sides live here."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from ringipam.address import Range
from ringipam.claim import Segment
from ringipam.core.allocator import Allocator
from ringipam.core.donor import Donor
from ringipam.core.events import Leave
from ringipam.core.removal import Removals
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State
from ringipam.errors import FencedError, NotReadyError, PeerError, RequestError, RequestTimeoutError, RingIpamError
from ringipam.messages import Depart, Farewell, Standing
from ringipam.ring.shares import bequest

ASK_MS = 500
SEGMENTS_MAX = 10_000
GIFTS_MAX = 256
"""Ranges handed over in one step, so that no step makes a large message."""
LEASES_NAMED = 5
LEFT = "this host has left the ring: `ringipam rejoin` brings it back as a new peer"


@dataclass(slots=True)
class _Going:
    """What the others have said to a leaver."""

    first: int
    """What a peer must have answered to which nothing was given; no process begins where a former one ended, whose
    answers may still be on their way."""
    number: int
    """Rises whenever something was given to somebody."""
    needed: dict[str, int] = field(default_factory=dict)
    """Which number a peer must have answered; `first` if it is not here."""
    answered: dict[str, int] = field(default_factory=dict)
    willing: dict[str, bool] = field(default_factory=dict)
    ask_ms: int = 0
    heirs: dict[str, int] = field(default_factory=dict)
    """How many addresses each was given."""


class Leaving:
    def __init__(self, state: State, router: Router, allocator: Allocator, donor: Donor, removals: Removals) -> None:
        self._state = state
        self._router = router
        self._allocator = allocator
        self._donor = donor
        self._removals = removals
        self._going: _Going | None = None
        self._requests: dict[int, tuple[int, int]] = {}  # request → (due, its time-out)

    def start(self) -> None:
        """Go on where a restart has interrupted it."""
        if self._state.members.me.standing is Standing.LEAVING:
            self._going = self._setting_out()

    # ── the leaver ───────────────────────────────────────────────────────────────────────────────

    def ask(self, request: int, verb: Leave) -> None:
        state = self._state
        problem = self._problem(verb)
        if problem is not None:
            state.reply(request, problem)
            return
        self._requests[request] = state.now + verb.timeout_ms, verb.timeout_ms
        if self._going is None:
            for lease in list(state.leases):
                self._allocator.free(lease)
            state.come_to(Standing.LEAVING)
            state.log("warning", "leaving the ring: all ranges go to heirs")
            self._going = self._setting_out()
        self._advance()

    def _setting_out(self) -> _Going:
        first = (self._state.boot << 32) + 1
        return _Going(first, first)

    def _problem(self, verb: Leave) -> RingIpamError | None:
        state = self._state
        if state.members.me.standing is Standing.LEFT:
            return RequestError(LEFT)
        if state.fenced:
            return FencedError(f"this host owns nothing that it could give away: {state.fenced}")
        if state.ring is None:
            return NotReadyError("there is no ring yet to leave")
        if not state.members.others():
            return RequestError("no other host could take over: this one is alone in its ring")
        if self._removals.coordinating:
            return RequestError("a removal is under way here: wait until it is over")
        if state.conflicts:
            return RequestError("addresses are in doubt here: see `ringipam conflicts`, resolve them first")
        leases = list(state.leases)
        if leases and not verb.drop_leases and self._going is None:
            named = ", ".join(f"{lease.id} ({lease.address})" for lease in leases[:LEASES_NAMED])
            more = f" and {len(leases) - LEASES_NAMED} more" if len(leases) > LEASES_NAMED else ""
            return RequestError(
                f"{len(leases)} leases are held here: {named}{more}; stop those containers and release them, or"
                " --drop-leases if they are gone already"
            )
        return None

    def cancel(self, request: int) -> None:
        self._requests.pop(request, None)

    @property
    def deadline(self) -> int:
        due = min((due for due, _ in self._requests.values()), default=NEVER)
        return min(due, self._going.ask_ms) if self._going else due

    def tick(self) -> None:
        state = self._state
        for request, (due, timeout_ms) in list(self._requests.items()):
            if due <= state.now:
                del self._requests[request]
                state.reply(
                    request,
                    RequestTimeoutError(
                        f"not left within {timeout_ms / 1000:g} s, it goes on: waiting for {self.waiting_for()}"
                    ),
                )
        self._advance()

    def waiting_for(self) -> str:
        """What is missing, for `status` and errors."""
        state, going = self._state, self._going
        if going is None:
            return ""
        missing = []
        for peer in self._missing(going):
            away_s = state.members.away_s(peer, state.now)
            far = "" if state.members.reachable(peer) else f" (unreachable for {away_s} s: remove it if it is dead)"
            missing.append(f"{name_of(peer)}{far}")
        if missing:
            return f"the consent of {', '.join(missing)}"
        if self._removals.pledges.bound or state.suspended.size:
            return "the end of a removal"
        if state.conflicts:
            return "what is in doubt to be resolved: see `ringipam conflicts`"
        return "a host that can take the ranges" if self._owned() else "the disk"

    def _missing(self, going: _Going) -> list[str]:
        return [
            peer
            for peer in self._state.members.others()
            if going.answered.get(peer, 0) < going.needed.get(peer, going.first)
        ]

    def _owned(self) -> list[Range]:
        ring = self._state.ring
        assert ring is not None
        return ring.ranges_of(self._state.me)

    def _advance(self) -> None:
        going = self._going
        if going is None:
            return
        # Whoever has not promised may have a grant on its way here: nothing is given away before all have.
        if not self._missing(going):
            self._bequeath(going)
            # Who is bound to a removal has shown its view, and must be there until that is over.
            if not self._missing(going) and not self._owned() and not self._removals.pledges.bound:
                self._gone(going)
                return
        if self._state.now >= going.ask_ms:
            self._press(going)

    def _press(self, going: _Going) -> None:
        state = self._state
        going.ask_ms = state.now + ASK_MS
        gifts = self._gifts()
        for peer in self._missing(going):
            number, given = going.needed.get(peer, going.first), tuple(gifts.get(peer, ())[:SEGMENTS_MAX])
            self._router.send(peer, Depart(number, state.members.me, given))

    def _gifts(self) -> dict[str, list[Segment]]:
        """All that this peer ever gave to whom, as far as the ring shows: also what a restart has made it forget."""
        state = self._state
        assert state.ring is not None
        found: dict[str, list[Segment]] = {}
        for segment in state.ring.segments():
            if segment.claim.writer == state.me:
                found.setdefault(segment.claim.owner, []).append(segment)
        return found

    def _bequeath(self, going: _Going) -> None:
        """Give everything to heirs, so that shares stay even and ranges whole."""
        state = self._state
        assert state.ring is not None
        owned = state.possessed()
        owners = state.ring.owners()
        heirs = {
            peer: owners.get(peer, 0)
            for peer in state.members.others()
            if going.willing.get(peer) and state.members.reachable(peer)
        }
        if not owned or not heirs:
            return
        for piece, heir in islice(bequest(owned, heirs, self._neighbours), GIFTS_MAX):
            if self._donor.eligible(heir):
                self._donor.give(heir, 0, piece)
                going.heirs[heir] = going.heirs.get(heir, 0) + piece.size
                going.number += 1
                going.needed[heir] = going.number
        going.ask_ms = state.now  # what was given must be confirmed

    def _neighbours(self, piece: Range) -> tuple[str, str]:
        """Who owns what lies before and behind a range, or ""."""
        state = self._state
        assert state.ring is not None
        before = state.ring.at(piece.start - 1).owner if piece.start > state.extent.start else ""
        after = state.ring.at(piece.end).owner if piece.end < state.extent.end else ""
        return before, after

    def said(self, peer: str, farewell: Farewell) -> None:
        """One more knows that this peer leaves, durably, and shows what it thinks this peer owns."""
        state, going = self._state, self._going
        state.check(farewell.segments)
        if going is None or peer not in state.members or state.members.gone(peer):
            return
        state.learn_names(farewell.members, peer)
        state.join(farewell.segments, peer)
        going.answered[peer] = max(farewell.number, going.answered.get(peer, 0))
        going.willing[peer] = farewell.willing
        self._advance()

    def _gone(self, going: _Going) -> None:
        state = self._state
        self._going = None
        state.come_to(Standing.LEFT)
        state.fence(LEFT)
        for peer in state.members.others():
            self._router.send(peer, Depart(going.number, state.members.me, ()))
        heirs: dict[str, object] = {name_of(peer): size for peer, size in sorted(going.heirs.items())}
        for request in self._requests:
            state.reply(request, {"heirs": heirs})
        self._requests.clear()

    # ── the others ───────────────────────────────────────────────────────────────────────────────

    def departed(self, leaver: str, depart: Depart) -> None:
        """Grant it nothing from now on, durably, and say what it owns as seen here; the answer follows the record."""
        state = self._state
        member = depart.member
        if member.peer != leaver or member.standing not in (Standing.LEAVING, Standing.LEFT):
            raise PeerError(f"{leaver} takes leave as {member.peer}, {member.standing.name.lower()}")
        state.check(depart.gifts)
        if any(claim.owner != state.me or claim.writer != leaver for _, _, claim in depart.gifts):
            raise PeerError(f"{leaver} bequeathed what is not its own to give")
        state.learn([member], leaver)
        state.join(depart.gifts, leaver)
        if member.standing is not Standing.LEAVING:
            return
        if self._removals.coordinating or state.fences(leaver):
            return  # a removal under way counts on its view, or it has been promised to be fenced off: it must wait
        assert state.ring is not None
        seen = [segment for segment in state.ring.segments() if segment.claim.owner == leaver]
        willing = not state.hold and state.members.me.standing is Standing.MEMBER
        members = tuple(peer for peer in state.members.others() if peer != leaver)
        self._router.send(leaver, Farewell(depart.number, tuple(seen[:SEGMENTS_MAX]), willing, members))
