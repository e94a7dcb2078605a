"""Addresses in doubt: a peer tells the owners which of theirs it leases, and operators resolve by hand.

Also brings leases home that were carried over from a former self: their addresses are claimed from whoever owns them.
"""

from __future__ import annotations

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.durable import BeginAnew, Conflict, DropConflict, DropLease, PutConflict
from ringipam.core.events import Rebuild, Rejoin, Resolve
from ringipam.core.links import Links
from ringipam.core.routing import Router
from ringipam.core.search import FOR_NOW, Searches, Seeker
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State, check_ranges
from ringipam.errors import FencedError, NotFoundError, NotReadyError, RequestError
from ringipam.messages import Denial, Dispute, Disputed, Standing
from ringipam.ring.intervals import Intervals

TELL_MS = 5_000
TOLD_MAX = 2_000
LISTED_MAX = 4_000
"""So many ranges in doubt are listed, and a few more: a hostile member could dispute every address there is."""
CARRIED_MS = 1_000
CARRIED_MAX = 8
"""Addresses of carried leases that are claimed at the same time."""
AGAIN_MS = 5_000
"""After a refusal a carried address is claimed again: its owner may have been waiting for an operator."""
REMIND_MS = 10_000
"""An owner is told again, lest a conflict resolved too early lets it issue what is leased elsewhere: sooner than the
address has rested."""


class Disputes:
    def __init__(self, state: State, links: Links, router: Router, searches: Searches) -> None:
        self._state = state
        self._links = links
        self._router = router
        self._searches = searches
        self._number = state.boot << 32
        self._told: dict[str, tuple[int, tuple[Range, ...]]] = {}
        self._acknowledged: dict[str, tuple[int, tuple[Range, ...]]] = {}
        self._due_ms = state.now
        self._begun_ms = state.now
        self._seekers: dict[int, Seeker] = {}
        self._again_ms: dict[int, int] = {}
        self._carried_ms = state.now

    @property
    def deadline(self) -> int:
        state = self._state
        if state.ring is None or not len(state.leases):
            return NEVER
        due = self._due_ms if state.fenced or state.conflicts or state.orphans else NEVER
        if not state.fenced and (state.orphans or self._seekers):
            due = min(due, self._carried_ms)
        return due

    def tick(self) -> None:
        state = self._state
        if state.ring is None:
            return
        if (state.fenced or state.conflicts or state.orphans) and state.now >= self._due_ms:
            self._due_ms = state.now + TELL_MS
            self._tell()
        if not state.fenced and state.now >= self._carried_ms:
            self._carried_ms = state.now + CARRIED_MS
            self._bring_home()

    # ── who holds leases in another's range tells the owner ──────────────────────────────────────

    def _tell(self) -> None:
        """Whoever owns by the ring what is leased here must not issue it.

        Without a mistake there is no such lease. Carried ones (below) are claimed from the owner besides, and the doubt
        ends with the grant.
        """
        state = self._state
        assert state.ring is not None
        wanted: dict[str, list[Range]] = {}
        for lease in sorted(state.leases, key=lambda lease: int(lease.address)):
            address = int(lease.address)
            if state.inside(lease.address.version, address):
                owner = state.ring.at(address).owner
                if owner and owner != state.me and not state.members.gone(owner):
                    wanted.setdefault(owner, []).append(Range(address, address + 1))
        for owner, found in wanted.items():
            ranges = tuple(found[:TOLD_MAX])
            told_ms, known = self._acknowledged.get(owner, (0, ()))
            if known != ranges or told_ms + REMIND_MS <= state.now:
                self._number += 1
                self._told[owner] = self._number, ranges
                self._router.send(owner, Dispute(self._number, ranges))

    def acknowledged(self, owner: str, message: Disputed) -> None:
        number, ranges = self._told.get(owner, (0, ()))
        if number == message.number:
            self._acknowledged[owner] = self._state.now, ranges

    def raised(self, holder: str, dispute: Dispute) -> None:
        """Issue nothing where somebody else holds leases; that is durable before it is acknowledged."""
        state = self._state
        assert state.ring is not None
        check_ranges(dispute.ranges, state.extent)
        for start, end in dispute.ranges[:TOLD_MAX]:
            for piece in state.ring.ranges_of(state.me, start, end):
                if len(state.conflicts) >= LISTED_MAX:
                    state.warn("disputes", f"{holder} disputes more addresses than can be listed: the others are not")
                    return
                state.dispute(*piece, (state.me, holder), holder)
        self._router.send(holder, Disputed(dispute.number))

    # ── operators ────────────────────────────────────────────────────────────────────────────────

    def resolve(self, request: int, verb: Resolve) -> None:
        """An operator says that nobody else uses these addresses."""
        state = self._state
        elsewhere = state.foreign(verb.family)
        if elsewhere is not None:
            state.reply(request, elsewhere)
            return
        within = Range(verb.start, verb.end)
        found = [conflict for conflict in state.conflicts.values() if within.intersect(Range(*conflict[:2]))]
        carried = self.carried() if verb.take else []
        doubtful = Intervals()
        for conflict in (*found, *carried):
            if (piece := within.intersect(Range(*conflict[:2]))) is not None:
                doubtful.add(*piece)
        if not doubtful.size:
            state.reply(request, NotFoundError("nothing is in doubt there: see `ringipam conflicts`"))
            return
        if verb.take and (problem := self._take_problem(doubtful)) is not None:
            state.reply(request, problem)
            return
        for conflict in found:
            del state.conflicts[conflict.start, conflict.end]
            state.doubtful.discard(max(conflict.start, verb.start), min(conflict.end, verb.end))
            state.change(DropConflict(conflict.start, conflict.end))
            for start, end in ((conflict.start, verb.start), (verb.end, conflict.end)):
                if start < end:
                    state.conflicts[start, end] = conflict._replace(start=start, end=end)
                    state.change(PutConflict(state.conflicts[start, end]))
        if verb.take:
            self._take(doubtful)
        for start, end in doubtful:
            state.regain(start, end)
        state.gained = True
        start, end = min(start for start, _ in doubtful), max(end for _, end in doubtful)
        state.log("warning", f"the conflict over {state.describe(start, end)} was resolved by hand")
        state.reply(request, {"resolved": [state.universe.text(start), state.universe.text(end - 1)]})

    def _take_problem(self, doubtful: Intervals) -> NotReadyError | FencedError | None:
        """Why these cannot be taken over just now: somebody else may be about to issue them."""
        state = self._state
        assert state.ring is not None
        if state.hold or state.members.me.standing is not Standing.MEMBER:
            return FencedError(f"this host cannot own anything: {state.hold or 'it is leaving'}")
        if state.pledges:
            return NotReadyError("a removal is under way, to which this host is bound: take it when that is over")
        for address in sorted(state.orphans):
            owner = state.ring.at(address).owner
            told = self._acknowledged.get(owner, (0, ()))[1]
            alive = owner != state.me and state.members.reachable(owner)
            if alive and address in doubtful and Range(address, address + 1) not in told:
                text = f"{name_of(owner)} owns it and has not been told yet that it is in doubt: try again"
                return NotReadyError(text)
        return None

    def _take(self, doubtful: Intervals) -> None:
        """By an operator's word, own it, whoever the ring says does: an epoch of its own beats whatever was written."""
        state = self._state
        assert state.ring is not None
        state.raise_epoch(state.epoch + 1)
        taken = [
            Segment(lo, hi, Claim(state.epoch, claim.version + 1, state.me, state.me))
            for start, end in doubtful
            for lo, hi, claim in state.ring.segments(start, end)
            if claim.owner != state.me
        ]
        state.join(taken, state.me)

    # ── a new identity ───────────────────────────────────────────────────────────────────────────

    def rejoin(self, request: int, verb: Rejoin) -> None:
        """Become a new peer in one record; leases are carried over, and their addresses claimed anew."""
        state = self._state
        if not state.fenced and not self._links.refusals:
            state.reply(
                request,
                RequestError("this host is a member in good standing, as `ringipam status` shows: no need to rejoin"),
            )
            return
        peer = f"{state.settings.name}.{state.rng.bits64() >> 16:012x}"
        leases = [lease.as_json() for lease in state.leases]
        plan: dict[str, object] = {
            "from": state.me,
            "to": None if verb.dry_run else peer,
            "leases": leases,
            "becomes": "dropped"
            if verb.drop_leases
            else "kept: each address is claimed anew from whoever owns it now;"
            " what somebody else uses meanwhile is listed by `ringipam conflicts`",
            "next": f"ringipam remove-peer {state.me}",
        }
        if not verb.dry_run:
            if verb.drop_leases:
                for lease in list(state.leases):
                    state.leases.remove(lease)
                    state.change(DropLease(lease.lease))
            state.change(BeginAnew(peer))
            state.log("warning", f"{state.me} begins anew as {peer}")
        state.reply(request, plan)
        if not verb.dry_run:
            state.emit(Rebuild())

    # ── carried leases ───────────────────────────────────────────────────────────────────────────

    def _bring_home(self) -> None:
        """Claim the addresses of leases that lie outside what this peer possesses, a few at a time."""
        state = self._state
        state.orphans = {
            int(lease.address): lease
            for lease in state.orphans.values()
            if lease.lease in state.leases.by_number and not state.entitled(int(lease.address), int(lease.address) + 1)
        }
        for address, seeker in list(self._seekers.items()):
            used = [peer for peer, denied in seeker.refused.items() if denied.reason is Denial.IN_USE]
            if used and address in state.orphans:
                state.dispute(address, address + 1, (state.me, *used), used[0])
            final = any(denied.reason not in FOR_NOW for denied in seeker.refused.values())
            if final or address not in state.orphans:
                self._again_ms[address] = state.now + AGAIN_MS
                del self._seekers[address]
                self._searches.stop(Range(address, address + 1), seeker, exact=True)
        self._again_ms = {address: due for address, due in self._again_ms.items() if due > state.now}
        for address in state.orphans:
            if len(self._seekers) >= CARRIED_MAX:
                return
            if not (address in self._seekers or address in self._again_ms or address in state.doubtful):
                self._seekers[address] = self._searches.seek(Range(address, address + 1), 1, exact=True)

    def carried(self) -> list[Conflict]:
        """Leases that are not at home yet, as conflicts with whoever owns their addresses; on nobody's record."""
        state = self._state
        if state.ring is None:
            return []
        return [
            Conflict(address, address + 1, (state.me, owner), self._begun_ms, owner)
            for address in sorted(state.orphans)
            if (owner := state.ring.at(address).owner or state.me)
            and not state.entitled(address, address + 1)
            and address not in state.doubtful
        ]
