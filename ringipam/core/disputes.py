"""Addresses in doubt: a fenced peer tells the owners which of theirs it leases, and operators resolve by hand.

Also brings leases home that were carried over from a former self: their addresses are claimed from whoever owns them.
"""

from __future__ import annotations

from ringipam.address import Range, to_address
from ringipam.claim import Claim, Segment
from ringipam.core.durable import BeginAnew, DropConflict, DropLease, PutConflict
from ringipam.core.events import Rebuild, Rejoin, Resolve
from ringipam.core.links import Links
from ringipam.core.routing import Router
from ringipam.core.search import Searches, Seeker
from ringipam.core.settings import NEVER
from ringipam.core.state import State
from ringipam.errors import NotFoundError, RequestError
from ringipam.messages import Denial, Dispute, Disputed

TELL_MS = 5_000
TOLD_MAX = 2_000
CONFLICTS_MAX = 4_000
"""So many ranges in doubt are listed, and a few more: a hostile member could otherwise dispute without end."""
CARRIED_MS = 1_000
CARRIED_MAX = 8
"""Addresses of carried leases that are claimed at the same time."""


class Disputes:
    def __init__(self, state: State, links: Links, router: Router, searches: Searches) -> None:
        self._state = state
        self._links = links
        self._router = router
        self._searches = searches
        self._number = state.boot << 32
        self._told: dict[str, tuple[int, tuple[Range, ...]]] = {}
        self._acknowledged: dict[str, tuple[Range, ...]] = {}
        self._due_ms = state.now
        self._seekers: dict[int, Seeker] = {}
        self._carried_ms = state.now

    @property
    def deadline(self) -> int:
        state = self._state
        if state.ring is None or not len(state.leases):
            return NEVER
        if state.fenced:
            return self._due_ms
        return self._carried_ms if state.orphans or self._seekers else NEVER

    def tick(self) -> None:
        state = self._state
        if state.ring is None:
            return
        if state.fenced and state.now >= self._due_ms:
            self._due_ms = state.now + TELL_MS
            self._tell()
        if not state.fenced and state.now >= self._carried_ms:
            self._carried_ms = state.now + CARRIED_MS
            self._bring_home()

    # ── a fenced peer tells the owners ───────────────────────────────────────────────────────────

    def _tell(self) -> None:
        """Whoever owns by the ring what is leased here must not issue it."""
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
            if self._acknowledged.get(owner) != ranges:
                self._number += 1
                self._told[owner] = self._number, ranges
                self._router.send(owner, Dispute(self._number, ranges))

    def acknowledged(self, owner: str, message: Disputed) -> None:
        number, ranges = self._told.get(owner, (0, ()))
        if number == message.number:
            self._acknowledged[owner] = ranges

    def raised(self, holder: str, dispute: Dispute) -> None:
        """Issue nothing where somebody else holds leases; that is durable before it is acknowledged."""
        state = self._state
        assert state.ring is not None
        if len(state.conflicts) >= CONFLICTS_MAX:
            state.warn("disputes", f"{holder} disputes more addresses than can be listed: the others are not")
            return
        for start, end in dispute.ranges[:TOLD_MAX]:
            for piece in state.ring.ranges_of(state.me, start, end):
                state.dispute(*piece, (state.me, holder), holder)
        self._router.send(holder, Disputed(dispute.number))

    # ── operators ────────────────────────────────────────────────────────────────────────────────

    def resolve(self, request: int, verb: Resolve) -> None:
        """An operator says that nobody else uses these addresses."""
        state = self._state
        found = [c for c in state.conflicts.values() if c.start < verb.end and verb.start < c.end]
        if not found:
            state.reply(request, NotFoundError("nothing is in doubt there: see `ringipam conflicts`"))
            return
        for conflict in found:
            del state.conflicts[conflict.start, conflict.end]
            state.change(DropConflict(conflict.start, conflict.end))
            for start, end in ((conflict.start, verb.start), (verb.end, conflict.end)):
                if start < end:
                    state.conflicts[start, end] = conflict._replace(start=start, end=end)
                    state.change(PutConflict(state.conflicts[start, end]))
        start = max(verb.start, min(conflict.start for conflict in found))
        end = min(verb.end, max(conflict.end for conflict in found))
        if verb.take:
            self._take(start, end)
        state.regain(start, end)
        state.gained = True
        state.log("warning", f"the conflict over {state.describe(start, end)} was resolved by hand")
        state.reply(request, {"resolved": [state.universe.text(start), state.universe.text(end - 1)]})

    def _take(self, start: int, end: int) -> None:
        """By an operator's word, own it, whoever the ring says does: an epoch of its own beats whatever was written."""
        state = self._state
        assert state.ring is not None
        state.raise_epoch(state.epoch + 1)
        taken = [
            Segment(lo, hi, Claim(state.epoch, claim.version + 1, state.me, state.me))
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
            if used or address not in state.orphans:
                del self._seekers[address]
                self._searches.stop(Range(address, address + 1), seeker, exact=True)
        for address in state.orphans:
            if len(self._seekers) >= CARRIED_MAX:
                return
            doubted = any(c.start <= address < c.end for c in state.conflicts.values())
            if address not in self._seekers and not doubted:
                self._seekers[address] = self._searches.seek(Range(address, address + 1), 1, exact=True)

    def warnings(self) -> list[str]:
        """Leases that are not at home yet."""
        state = self._state
        return [
            f"{to_address(state.universe.family, address)} is leased to {lease.id} here, but the ring gives it to"
            f" {state.ring.at(address).owner or 'nobody'}: it is asked for, until then it is in doubt"
            for address, lease in state.orphans.items()
            if state.ring is not None and not state.entitled(address, address + 1)
        ]
