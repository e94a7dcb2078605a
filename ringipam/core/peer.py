"""One peer: every event comes in here, goes to the part it concerns, and every effect leaves here.

`Peer.step(event, now) -> effects`; `Peer.deadline` says when it wants to be woken (docs/design.md, "One protocol
core, two drivers"). Knows nothing of sockets, disks or clocks; both the runtime and the simulator drive it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

from ringipam.address import Range
from ringipam.core.allocator import Allocator
from ringipam.core.disputes import Disputes
from ringipam.core.donor import Donor
from ringipam.core.durable import PutMeta, Stored
from ringipam.core.election import Election
from ringipam.core.events import (
    Allocate,
    AllocateBlock,
    Asked,
    Cancelled,
    ClaimAddress,
    Connect,
    DeadlinePassed,
    DialFailed,
    Effect,
    Event,
    Forget,
    LeaseList,
    Leases,
    Leave,
    LinkDown,
    LinkUp,
    NotUnderstood,
    Prime,
    Received,
    Reconcile,
    Rejoin,
    Release,
    RemovePeers,
    Resolve,
    Show,
    Verb,
    View,
)
from ringipam.core.leaving import Leaving
from ringipam.core.links import Links
from ringipam.core.listing import Listings
from ringipam.core.naming import ambiguous, matching
from ringipam.core.pledges import Pledges
from ringipam.core.reconcile import orphaned
from ringipam.core.removal import Removals
from ringipam.core.rng import Rng
from ringipam.core.routing import Router
from ringipam.core.search import Searches
from ringipam.core.settings import Settings
from ringipam.core.spreading import Spreading
from ringipam.core.state import State
from ringipam.core.views import Views
from ringipam.errors import NotFoundError, PeerError
from ringipam.lease import Lease
from ringipam.messages import (
    Accept,
    Accepted,
    Ack,
    AskRemoval,
    Body,
    Compare,
    CompareMembers,
    Denied,
    DenyRemoval,
    Depart,
    Digest,
    Dispute,
    Disputed,
    Envelope,
    Farewell,
    Grant,
    Hello,
    Introduce,
    Introduced,
    LeasePage,
    LeaseQuery,
    Members,
    Message,
    Nudge,
    Offer,
    Ping,
    PingRequest,
    Prepare,
    Promise,
    PromiseRemoval,
    QueryRound,
    Ranges,
    Recall,
    Refused,
    Rejected,
    Rival,
    RoundOver,
    Rumour,
    SpaceRequest,
    Want,
)
from ringipam.ring.ring import Ring

_BEFORE_THE_RING = frozenset((Prepare, Accept, Nudge, Promise, Accepted, Rejected))


class Peer:
    """A state machine. `now` is integer milliseconds and never decreases; `rng` is the only source of chance."""

    def __init__(self, settings: Settings, stored: Stored, rng: Rng, now: int) -> None:
        self._state = state = State(settings, stored, rng, now)
        self._links = Links(state)
        self._router = Router(state, self._links.link_to, self._links.neighbours)
        self._election = Election(state, self._links, self._router)
        self._searches = Searches(state, self._router)
        self._allocator = Allocator(state, self._election, self._searches)
        self._donor = Donor(state, self._router)
        self._spreading = Spreading(state, self._links, self._router)
        self._listings = Listings(state, self._router)
        self._pledges = Pledges(state, self._links, self._router)
        self._removals = Removals(state, self._router, self._pledges, stored)
        self._leaving = Leaving(state, self._router, self._allocator, self._donor, self._removals)
        self._disputes = Disputes(state, self._links, self._router, self._searches)
        self._views = Views(state, self._links, self._election, self._allocator, self._leaving, self._disputes)
        self._handlers = self._table()
        self._came_by = 0
        state.whence = lambda: self._links.whence(self._came_by)
        self._timed = (
            self._allocator,
            self._searches,
            self._election,
            self._links,
            self._spreading,
            self._listings,
            self._removals,
            self._leaving,
            self._disputes,
        )

    def start(self, now: int) -> list[Effect]:
        """Once, before the first event. The number of this start is durable before anything is said (S13, S16)."""
        self._state.now = now
        state = self._state
        state.change(PutMeta("boots", str(state.boot)))
        state.change(state.memory.begin())
        self._election.start()
        # With nobody to ask there is nothing to wait for.
        state.unconfirmed = state.settings.verify and bool(state.members.others() or state.settings.dial)
        self._removals.start()
        self._leaving.start()
        return self._settle()

    def step(self, event: Event, now: int) -> list[Effect]:
        """What follows from `event`, in the order it must become visible."""
        self._state.now = max(now, self._state.now)
        self._came_by = 0
        match event:
            case Received(link, message):
                self._receive(link, message)
            case NotUnderstood(link, kind):
                self._links.not_understood(link, kind)
            case Asked(request, verb):
                self._ask(request, verb)
            case DeadlinePassed():
                self._wake()
            case Cancelled(request):
                self._allocator.cancel(request)
                self._listings.cancel(request)
                self._removals.cancel(request)
                self._leaving.cancel(request)
            case LinkUp():
                self._links.up(event)
            case LinkDown(link, reason):
                peer = self._links.down(link, reason)
                if peer is not None:
                    self._router.lost(peer)
            case DialFailed(address, reason):
                self._links.dial_failed(address, reason)
            case _:
                assert_never(event)
        return self._settle()

    @property
    def deadline(self) -> int | None:
        """When `DeadlinePassed` is wanted, in ms; it may come late, never early."""
        due = self._donor.deadline
        for part in self._timed:
            due = min(due, part.deadline)
        return due

    # ── what drivers, checkers and tests may look at ─────────────────────────────────────────────

    @property
    def ring(self) -> Ring | None:
        return self._state.ring

    @property
    def cluster(self) -> str:
        """The cluster id, or "" while there is no ring."""
        return self._state.cluster

    @property
    def leases(self) -> Mapping[str, Lease]:
        return self._state.leases.by_number

    def possessed(self) -> list[Range]:
        """The ranges this peer may issue, grant and restamp (safety.md, "Possession")."""
        return self._state.possessed()

    def free_in(self, wanted: Range, at_most: int) -> int:
        """How many addresses of `wanted` this peer could issue, counted up to `at_most`."""
        return self._state.space.count(*wanted, at_most=at_most)

    def queues(self) -> dict[str, int]:
        """How long everything is that could grow with what happens to a peer."""
        return {
            "waiting requests": self._allocator.waiting,
            "searches": self._searches.under_way,
            "requests held for a witness": self._donor.held,
            **self._links.counts(),
            **self._router.counts(),
            **self._state.rumours.counts(),
        }

    # ── dispatch ─────────────────────────────────────────────────────────────────────────────────

    def _settle(self) -> list[Effect]:
        """Let what came in reach those who wait for it, then hand out the effects."""
        state = self._state
        if state.moved:
            self._searches.moved(state.moved)
            state.moved.clear()
        if state.gained:
            state.gained = False
            self._allocator.retry()
        self._searches.tick()
        return state.drain()

    def _wake(self) -> None:
        self._links.tick()
        self._election.tick()
        self._spreading.tick()
        self._searches.tick()
        self._allocator.tick()
        self._donor.tick()
        self._listings.tick()
        self._removals.tick()
        self._leaving.tick()
        self._disputes.tick()

    def _ask(self, request: int, verb: Verb) -> None:  # noqa: C901  # a line or two for each verb
        match verb:
            case Allocate() | AllocateBlock() | ClaimAddress() | Prime():
                self._allocator.ask(request, verb)
            case Release():
                self._allocator.release(request, verb)
            case Reconcile():
                self._state.reply(request, self._reconcile(verb))
            case Leases():
                self._listings.ask(request, verb)
            case Show.STATUS:
                self._state.reply(request, self._views.status())
            case Show.RING:
                self._state.reply(request, self._views.ring())
            case Show.PEERS:
                self._state.reply(request, self._views.peers())
            case Show.CONFLICTS:
                self._state.reply(request, self._views.conflicts())
            case View(what, family):
                problem = self._state.foreign(family)
                self._state.reply(request, problem) if problem else self._ask(request, what)
            case Connect(address):
                self._links.add_target(address, configured=True)
                self._links.tick()
                self._state.reply(request, None)
            case Forget(peer):
                self._state.reply(request, self._forget(peer))
            case Leave():
                self._leaving.ask(request, verb)
            case RemovePeers():
                self._removals.ask(request, verb)
            case Resolve():
                self._disputes.resolve(request, verb)
            case Rejoin():
                self._disputes.rejoin(request, verb)
            case _:
                assert_never(verb)

    def _reconcile(self, verb: Reconcile) -> LeaseList:
        """In one step: no lease that is made meanwhile takes the place of one that was looked at (safety.md S22)."""
        found = orphaned(self._state.leases, verb, self._state.now)
        if not verb.dry_run:
            for lease in found:
                self._allocator.free(lease)
        return LeaseList(tuple(found))

    def _forget(self, peer: str) -> NotFoundError | None:
        """By peer id, unique name, `name.uid-prefix`, or address."""
        state = self._state
        known = {*state.members.others(), *self._links.refusals}
        gone = [member.peer for member in state.members.all() if member.standing.gone]
        chosen = matching(known, peer) or matching(gone, peer)
        if len(chosen) > 1:
            return ambiguous(peer, chosen)
        if chosen and chosen[0] in gone:
            state.hide(chosen[0])
            return None
        if not self._links.forget(chosen[0] if chosen else peer):
            return NotFoundError(f"no peer and no address {peer} is known")
        return None

    def _receive(self, link: int, message: Message) -> None:
        match message:
            case Envelope():
                self._came_by = link
                neighbour = self._links.peer_of(link)
                if neighbour is not None and self._router.received(neighbour, message):
                    origin = message.origin or neighbour
                    if origin == neighbour:
                        self._links.confirm(neighbour)
                        if self._links.lives(link, message.body):
                            return
                    self._open(origin, message.body)
            case Hello():
                self._greeted(link, message)
            case Refused(reason):
                self._links.refused(link, reason)
            case _:
                assert_never(message)

    def _greeted(self, link: int, hello: Hello) -> None:
        state = self._state
        if not self._links.greeted(link, hello):
            return
        if hello.cluster and not state.cluster:
            self._election.adopt(hello.cluster, hello.peer)
        if hello.cluster and hello.cluster == state.cluster:
            state.meet(hello.peer, self._links.address_at(link, hello))
            if state.me < hello.peer:  # one exchange is enough for both
                self._spreading.reconcile(hello.peer)

    def _table(self) -> dict[type[Body], Callable[[str, Any], None]]:
        """Who takes which message from the peer that sent it; `_BEFORE_THE_RING` are taken without a ring too."""
        return {
            Prepare: self._election.received,
            Accept: self._election.received,
            Nudge: self._election.received,
            Promise: self._election.promised,
            Accepted: self._election.accepted,
            Rejected: self._election.rejected,
            SpaceRequest: self._donor.asked,
            Introduce: self._introduce,
            Introduced: self._donor.introduced,
            Grant: self._granted,
            Denied: self._denied,
            LeaseQuery: self._listings.asked,
            LeasePage: self._listings.received,
            Ping: self._spreading.probed,
            Ack: self._spreading.probed,
            PingRequest: self._spreading.probed,
            Offer: self._spreading.offered,
            Want: self._spreading.wanted,
            Rumour: self._spreading.told,
            Digest: self._spreading.opened,
            Compare: self._spreading.compared,
            CompareMembers: self._spreading.compared_members,
            Ranges: self._spreading.ranges,
            Members: self._spreading.members,
            Recall: self._spreading.recalled,
            Rival: self._spreading.rivalled,
            AskRemoval: self._pledges.asked,
            PromiseRemoval: self._removals.promised,
            DenyRemoval: self._removals.denied,
            QueryRound: self._removals.queried,
            RoundOver: self._pledges.over,
            Depart: self._leaving.departed,
            Farewell: self._leaving.said,
            Dispute: self._disputes.raised,
            Disputed: self._disputes.acknowledged,
        }

    def _open(self, origin: str, body: Body) -> None:
        """An envelope for this peer, of its own cluster."""
        kind = type(body)
        if self._state.ring is not None or kind in _BEFORE_THE_RING:
            self._handlers[kind](origin, body)

    def _granted(self, donor: str, grant: Grant) -> None:
        state = self._state
        state.check(grant.segments)
        if any(segment.claim.owner != state.me or segment.claim.writer != donor for segment in grant.segments):
            raise PeerError(f"{donor} sent a grant that is not its own to make")
        state.join(grant.segments, donor, grant.rests)
        state.gained = True
        self._searches.granted(grant.number)

    def _denied(self, donor: str, denied: Denied) -> None:
        state = self._state
        state.check(denied.segments)
        state.join(denied.segments, donor)
        self._searches.denied(donor, denied)
        state.gained = True

    def _introduce(self, sender: str, introduce: Introduce) -> None:
        """Hold the newcomer durably, then say so (S4): the answer follows the change out."""
        self._state.learn([introduce.member], sender)
        self._router.send(sender, Introduced(introduce.member.peer))
