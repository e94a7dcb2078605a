"""`list --cluster`: asks every reachable member for its leases, page by page, and says whose are missing."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringipam.core.events import LeaseList, Leases
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State
from ringipam.lease import Lease
from ringipam.messages import LeasePage, LeaseQuery

PAGE = 100
"""A page of leases with the longest ids and labels still fits a frame."""
MEMBER_LEASES_MAX = 1_000_000


@dataclass(slots=True)
class _Listing:
    request: int
    id: str | None
    due_ms: int
    waiting: set[str]
    missing: list[str]
    leases: list[Lease] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Listings:
    def __init__(self, state: State, router: Router) -> None:
        self._state = state
        self._router = router
        self._open: dict[int, _Listing] = {}
        self._counter = 0

    def ask(self, request: int, verb: Leases) -> None:
        """Answer from here, or begin to gather from everywhere."""
        state = self._state
        own = state.leases.of(verb.id) if verb.id is not None else list(state.leases)
        if not verb.cluster:
            state.reply(request, LeaseList(tuple(own)))
            return
        others = state.members.others()
        reachable = [peer for peer in others if state.members.reachable(peer)]
        missing = [name_of(peer) for peer in others if not state.members.reachable(peer)]
        self._counter += 1
        listing = _Listing(request, verb.id, state.now + verb.timeout_ms, set(reachable), missing, own)
        self._open[self._counter] = listing
        for peer in reachable:
            self._router.send(peer, LeaseQuery(self._counter, ""))
        self._close_if_done(self._counter)

    def cancel(self, request: int) -> None:
        for number in [number for number, listing in self._open.items() if listing.request == request]:
            del self._open[number]

    def asked(self, sender: str, query: LeaseQuery) -> None:
        """A page of this host's leases, in the order of their numbers."""
        page = self._state.leases.page(query.after, PAGE + 1)
        self._router.send(sender, LeasePage(query.number, tuple(page[:PAGE]), len(page) > PAGE))

    def received(self, sender: str, page: LeasePage) -> None:
        listing = self._open.get(page.number)
        if listing is None or sender not in listing.waiting:
            return
        listing.leases.extend(lease for lease in page.leases if listing.id in (None, lease.id))
        listing.counts[sender] = listing.counts.get(sender, 0) + len(page.leases)
        if page.more and page.leases and listing.counts[sender] < MEMBER_LEASES_MAX:
            self._router.send(sender, LeaseQuery(page.number, page.leases[-1].lease))
            return
        listing.waiting.discard(sender)
        self._close_if_done(page.number)

    @property
    def deadline(self) -> int:
        return min([listing.due_ms for listing in self._open.values()]) if self._open else NEVER

    def tick(self) -> None:
        for number, listing in list(self._open.items()):
            gone = sorted(peer for peer in listing.waiting if not self._state.members.reachable(peer))
            if listing.due_ms <= self._state.now:
                gone = sorted(listing.waiting)
            listing.missing.extend(name_of(peer) for peer in gone)
            listing.waiting.difference_update(gone)
            self._close_if_done(number)

    def _close_if_done(self, number: int) -> None:
        listing = self._open[number]
        if not listing.waiting:
            del self._open[number]
            self._state.reply(listing.request, LeaseList(tuple(listing.leases), tuple(sorted(listing.missing))))
