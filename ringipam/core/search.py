"""Finds space elsewhere for requests that cannot be met here: which donor to ask, in what order, and when to stop.

A donor counts as exhausted *for a request* only if it was asked after that request came; and whoever gains
part of the range meanwhile is asked anew (safety.md S17). So an error for lack of space is true.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ringipam.address import Range
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State
from ringipam.messages import Denial, Denied, SpaceRequest
from ringipam.ring.fingerprint import fingerprint
from ringipam.ring.ring import Ring

PREFETCH_REST_MS = 10_000
"""After a denied prefetch; nobody waits for it."""


@dataclass(slots=True, eq=False)
class Seeker:
    """One user's request, as far as a search is concerned."""

    joined: int
    """The search's request counter when it came: only answers to later requests count for it."""
    refused: dict[str, Denied] = field(default_factory=dict)


@dataclass(slots=True)
class _Asking:
    donor: str
    number: int
    due_ms: int


@dataclass(slots=True)
class Search:
    """One range somebody wants space in."""

    wanted: Range
    exact: bool
    want: int
    seekers: list[Seeker] = field(default_factory=list)
    asking: _Asking | None = None
    again_ms: dict[str, int] = field(default_factory=dict)
    """Donors that were silent, and when to try them again."""
    resting_until_ms: int = 0
    """For a prefetch: not before this."""


class _Owners(NamedTuple):
    """Who owns a range."""

    others: dict[str, int]
    """Besides this peer, and how much of it."""
    complete: bool
    """Whether an owner is known for all of it."""


class Key(NamedTuple):
    """What tells searches apart."""

    wanted: Range
    exact: bool
    urgent: bool


FOR_NOW = (Denial.NO_WITNESS, Denial.NOT_YET)
"""Refusals that may soon be otherwise: the donor is asked again."""


def known_of(ring: Ring, wanted: Range, number: int) -> bytes:
    """What stands in request `number` for what `ring` says of the wanted range."""
    return fingerprint(ring, *wanted, number.to_bytes(8, "big"))


class Searches:
    """All searches under way, one for each range wanted; at most one request out for each."""

    def __init__(self, state: State, router: Router) -> None:
        self._state = state
        self._router = router
        self._searches: dict[Key, Search] = {}
        self._counter = 0
        self._owners: dict[Range, _Owners] = {}
        self._owners_at = -1

    def seek(self, wanted: Range, want: int, *, exact: bool) -> Seeker:
        """Begin to look for space on behalf of a request, until `stop`."""
        search = self._searches.setdefault(Key(wanted, exact, urgent=True), Search(wanted, exact, want))
        search.want = max(search.want, want)
        seeker = Seeker(self._counter)
        search.seekers.append(seeker)
        self._advance(search)
        return seeker

    def stop(self, wanted: Range, seeker: Seeker, *, exact: bool) -> None:
        search = self._searches[Key(wanted, exact, urgent=True)]
        search.seekers.remove(seeker)
        if not search.seekers:
            del self._searches[Key(wanted, exact, urgent=True)]

    def prefetch(self, wanted: Range, want: int) -> None:
        """Ask for space nobody waits for yet, once, unless a donor denied it a moment ago."""
        key = Key(wanted, exact=False, urgent=False)
        search = self._searches.setdefault(key, Search(wanted, False, want))
        search.want = want
        if search.asking is None and self._state.now >= search.resting_until_ms:
            donor = self._choose(search, [peer for peer in self.owners(wanted) if self._state.members.reachable(peer)])
            if donor is None:
                search.resting_until_ms = self._state.now + PREFETCH_REST_MS
            else:
                self._ask(search, donor)

    # ── donors ───────────────────────────────────────────────────────────────────────────────────

    def owners(self, wanted: Range) -> dict[str, int]:
        """Who else owns how much of a range."""
        return self._look(wanted).others

    def _look(self, wanted: Range) -> _Owners:
        """Remembered until the ring changes: every event asks, few change it."""
        state = self._state
        assert state.ring is not None
        if self._owners_at != state.ring_changes:
            self._owners_at = state.ring_changes
            self._owners.clear()
        found = self._owners.get(wanted)
        if found is None:
            owners = state.ring.owners(*wanted)
            owned = sum(owners.values())
            owners.pop(state.me, None)
            found = self._owners[wanted] = _Owners(owners, complete=owned == wanted.size)
        return found

    def complete(self, wanted: Range) -> bool:
        """Whether this peer has heard of an owner for every part of a range."""
        return self._look(wanted).complete

    def open_donors(self, wanted: Range, seeker: Seeker) -> list[str]:
        """Reachable owners that have not refused this request for good."""
        return [
            peer
            for peer in self.owners(wanted)
            if self._state.members.reachable(peer)
            and (peer not in seeker.refused or seeker.refused[peer].reason in FOR_NOW)
        ]

    def _choose(self, search: Search, candidates: list[str]) -> str | None:
        """Weighted by what each reported free, so that the asking spreads as the space does."""
        state = self._state
        owners = self.owners(search.wanted)
        weights = []
        for peer in candidates:
            member = state.members.get(peer)
            weights.append(1 + min(member.free if member else 0, owners.get(peer, 0)))
        drawn = state.rng.below(sum(weights)) if weights else 0
        for peer, weight in zip(candidates, weights, strict=True):
            if drawn < weight:
                return peer
            drawn -= weight
        return None

    def _advance(self, search: Search) -> None:
        """Ask the next donor that some request still hopes for."""
        if search.asking is not None or self._state.ring is None:
            return
        hoped = {peer: None for seeker in search.seekers for peer in self.open_donors(search.wanted, seeker)}
        donor = self._choose(search, [peer for peer in hoped if search.again_ms.get(peer, 0) <= self._state.now])
        if donor is not None:
            self._ask(search, donor)

    def _ask(self, search: Search, donor: str) -> None:
        state = self._state
        self._counter += 1
        # The start of the process stands in the upper half: numbers rise over restarts too (S16).
        number = (state.boot << 32) + self._counter
        patience = state.settings.donor_ms
        search.asking = _Asking(donor, number, state.now + patience)
        urgent = bool(search.seekers)
        start, end = search.wanted
        assert state.ring is not None
        known = known_of(state.ring, search.wanted, number)
        self._router.send(donor, SpaceRequest(number, start, end, search.want, search.exact, urgent, patience, known))

    # ── answers ──────────────────────────────────────────────────────────────────────────────────

    def _answered(self, number: int) -> tuple[Key, Search] | None:
        for key, search in self._searches.items():
            if search.asking is not None and search.asking.number == number:
                return key, search
        return None

    def granted(self, number: int) -> None:
        """The space itself came in by the join; a seeker that is content has left by `stop`."""
        found = self._answered(number)
        if found is not None:
            key, search = found
            search.asking = None
            if not key.urgent:
                del self._searches[key]

    def denied(self, sender: str, denied: Denied) -> None:
        found = self._answered(denied.number)
        if found is None:
            return
        _, search = found
        if search.asking is None or search.asking.donor != sender:
            return
        search.asking = None
        search.resting_until_ms = self._state.now + PREFETCH_REST_MS
        if denied.reason in (Denial.NO_SPACE, Denial.NOT_OWNER):
            # It owns more than it knows of: the grant, or the news of it, is still on its way there.
            behind = self.owners(search.wanted).get(sender, 0) > denied.owned
            denied = replace(denied, reason=Denial.NOT_YET) if behind else denied
        number = denied.number & 0xFFFFFFFF
        for seeker in search.seekers:
            if seeker.joined < number:
                seeker.refused[sender] = denied
        if denied.reason in FOR_NOW:
            search.again_ms[sender] = self._state.now + self._state.settings.donor_ms // 4

    def moved(self, pieces: Iterable[tuple[Range, str]]) -> None:
        """The ring changed: who gained part of a wanted range may have space there now (S17)."""
        for piece, owner in pieces:
            for search in self._searches.values():
                if piece.intersect(search.wanted):
                    search.again_ms.pop(owner, None)
                    for seeker in search.seekers:
                        seeker.refused.pop(owner, None)

    @property
    def under_way(self) -> int:
        return len(self._searches)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        due = NEVER
        for search in self._searches.values():
            if search.asking is not None:
                due = min(due, search.asking.due_ms)
            elif search.seekers:
                due = min([due, *(again for again in search.again_ms.values() if again > self._state.now)])
            else:
                due = min(due, search.resting_until_ms)
        return due

    def tick(self) -> None:
        state = self._state
        if not self._searches:
            return
        for key, search in list(self._searches.items()):
            asking = search.asking
            if asking is not None and (asking.due_ms <= state.now or not state.members.reachable(asking.donor)):
                search.asking = None
                search.again_ms[asking.donor] = state.now + state.settings.donor_ms
                search.resting_until_ms = state.now + PREFETCH_REST_MS
                self._router.unanswered(asking.donor)
            if key.urgent:
                self._advance(search)
            elif search.asking is None and search.resting_until_ms <= state.now:
                del self._searches[key]

    def waiting_for(self, wanted: Range, *, exact: bool) -> str:
        """Whom a search has asked just now, for `status`."""
        search = self._searches.get(Key(wanted, exact, urgent=True))
        if search is None or search.asking is None:
            return "a donor to become reachable"
        return f"an answer of {name_of(search.asking.donor)}"
