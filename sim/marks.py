"""Situations that a good campaign must have been in: an oracle that was never in danger proves nothing.

The idea is FoundationDB's CODE_PROBE and Antithesis' "sometimes" assertions; but these name what happened, not where in
the code. Faults have marks of their own, `fault NAME`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ringipam.core.durable import (
    BeginAnew,
    Change,
    DropLease,
    DropRound,
    PutConflict,
    PutLease,
    PutMember,
    PutMeta,
    PutRound,
    PutTokens,
    Suspensions,
)
from ringipam.core.events import (
    Allocate,
    Answer,
    Cancelled,
    ClaimAddress,
    Close,
    Effect,
    Event,
    Leased,
    LeaseList,
    Persist,
    Received,
    Release,
    Reply,
    Send,
)
from ringipam.errors import InUseError, NoSpaceError, NotFoundError, NotReadyError, RequestTimeoutError
from ringipam.messages import (
    Accept,
    Body,
    Compare,
    Denial,
    Denied,
    Envelope,
    Grant,
    Health,
    Hello,
    Introduce,
    Introduced,
    LeaseQuery,
    Nudge,
    PingRequest,
    Promise,
    Ranges,
    Refused,
    Rejected,
    Rumour,
    SpaceRequest,
    Standing,
)
from ringipam.ring.space import Rows
from sim.checkers.base import Checker
from sim.faults import KINDS

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host

MANY_TOKENS = 40

ANSWERED = {
    NoSpaceError: "no space was left",
    RequestTimeoutError: "a request ran out of time",
    NotReadyError: "there was no ring in time",
    InUseError: "a claimed address was in use",
    NotFoundError: "a release found nothing to free",
}
DENIED = {
    Denial.NO_SPACE: "asked a peer for space and was denied: none free",
    Denial.IN_USE: "asked a peer for an address and was denied: in use",
    Denial.NOT_OWNER: "asked a peer for an address and was denied: not the owner",
    Denial.NO_WITNESS: "asked a peer for space and was denied: no witness for a newcomer",
    Denial.FENCED: "asked a peer for space and was denied: one of the two is fenced off",
    Denial.NOT_YET: "asked a peer for space and was denied: still learning what it owns",
}
SENT: dict[type, str] = {
    SpaceRequest: "asked a peer for space",
    Introduce: "a newcomer's request waited for a witness",
    Nudge: "a host that may not propose asked for a ring",
    Accept: "a ballot won its promises",
    Compare: "anti-entropy found a difference",
    PingRequest: "a silent member was probed through others",
    LeaseQuery: "another host's leases were asked for",
}
RECEIVED: dict[type, str] = {
    Introduced: "a witness vouched for a newcomer",
    Rejected: "a ballot was rejected",
}
SITUATIONS = (
    *ANSWERED.values(),
    *DENIED.values(),
    *SENT.values(),
    *RECEIVED.values(),
    "allocated from own space at once",
    "allocated after asking others",
    "allocated while cut off from all others",
    "the same lease was told again",
    "claimed an address of one's own",
    "claimed an address of another host",
    "claimed again what was held",
    "a lease was released",
    "a late release named a lease that was gone",
    "a caller left before the answer",
    "a crash left a request without an answer",
    "the last address of a subnet was issued",
    "an address moved from one host to another",
    "asked for space ahead of need",
    "a grant came that was waited for",
    "a grant came to a later process than had asked for it",
    "a grant came by relay",
    "a grant came twice",
    "a grant carried resting addresses",
    "a host gave its last free address",
    "a fragment went back to its neighbour",
    "a donor was asked again with a request it had answered",
    "what was granted came by gossip, the grant was lost",
    "a host coalesced its tokens",
    "a message was relayed for others",
    "a rumour was no news",
    "old ranges changed nothing",
    "a delta split a token",
    "a delta merged tokens",
    f"a ring had more than {MANY_TOKENS} tokens",
    "a member was suspected",
    "a member was believed dead",
    "a member refuted its suspicion",
    "an earlier value was taken over by a later ballot",
    "an elector came back with its promise",
    "a ring was adopted from a greeting",
    "a ring was formed by this host",
    "a foreign ring was refused",
    "another address range was refused",
    "two links to one peer were settled",
    "several records shared one commit",
    "a crash undid a commit under way",
    "a crash let a commit under way come true",
    "a failed commit was found on disk",
    "a host came back with leases",
    "a host came back with addresses at rest",
    "a host came back to another ring than it left",
    "addresses had rested long enough",
    "most hosts were down at once",
    "all hosts were down at once",
    "rings differed when faults ended",
    "requests waited when faults ended",
    "a host was suspended from a range",
    "a removal was done",
    "a removal was given up",
    "a host fenced itself off",
    "a conflict was recorded",
    "a fenced host began anew",
    "a disk went back",
    "a leaver went on after a restart",
    "a member came back bound to a removal",
    "a crash fell between a grant's record and its sending",
    "a link's queue overflowed",
    "an old copy of a message came much later",
    "a damaged frame was refused",
    "a what-if crash was recovered from",
)


def expected(faults: str) -> list[str]:
    """Every mark that a campaign with these faults should reach."""
    if faults in ("swarm", "all"):
        return [*SITUATIONS, *(f"fault {kind}" for kind in KINDS)]
    return [f"fault {kind}" for kind in KINDS if kind in faults.split(",")]


class Marks(Checker):
    """No property: it only looks where the run has been."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._mark = world.mark
        self._last_holder: dict[int, str] = {}
        self._suspected: dict[str, None] = {}
        self._handlers: dict[type, Callable[[Host, Any, Any, list[Effect]], None]] = {
            Grant: self._granted,
            Denied: self._denied,
            SpaceRequest: self._asked_for_space,
            Rumour: self._told,
            Ranges: self._ranges,
            Promise: self._promised,
        }

    # ── steps ────────────────────────────────────────────────────────────────────────────────────

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        if host.stranger:
            return
        if type(event) is Received:
            message = event.message
            if type(message) is Envelope:
                kind = type(message.body)
                if kind in RECEIVED:
                    self._mark(RECEIVED[kind])
                elif kind in self._handlers and message.target in ("", host.settings.peer):
                    self._handlers[kind](host, message, message.body, effects)
            elif type(message) is Hello and effects and type(effects[0]) is Persist:
                self._adopted(effects[0])
        elif type(event) is Cancelled:
            self._mark("a caller left before the answer")
        for effect in effects:
            if type(effect) is Send:
                self._sent(host, effect)
            elif type(effect) is Close and "link to this peer stands" in effect.reason:
                self._mark("two links to one peer were settled")

    def _adopted(self, record: Persist) -> None:
        if any(type(change) is PutMeta and change.key == "cluster" for change in record.changes):
            self._mark("a ring was adopted from a greeting")

    def _sent(self, host: Host, send: Send) -> None:
        message = send.message
        if type(message) is Refused:
            other = "another ring" in message.reason
            self._mark("a foreign ring was refused" if other else "another address range was refused")
        if type(message) is not Envelope:
            return
        body = message.body
        kind = type(body)
        if kind in SENT:
            self._mark(SENT[kind])
        if message.origin not in ("", host.settings.peer):
            self._mark("a message was relayed for others")
        elif kind is SpaceRequest and not body.urgent:  # type: ignore[union-attr]
            self._mark("asked for space ahead of need")
        elif kind is Grant:
            self._grants(host, body)  # type: ignore[arg-type]

    def _grants(self, host: Host, grant: Grant) -> None:
        assert host.peer is not None
        if grant.rests:
            self._mark("a grant carried resting addresses")
        if not grant.number:
            self._mark("a fragment went back to its neighbour")
        elif not host.peer.free_in(self.world.universe.range, 1):
            self._mark("a host gave its last free address")

    def _granted(self, host: Host, envelope: Envelope, grant: Grant, effects: list[Effect]) -> None:
        if envelope.serial:
            self._mark("a grant came by relay")
        if not effects or type(effects[0]) is not Persist:
            self._mark("a grant came twice")
        elif grant.number >> 32 not in (0, int(host.disk.durable.meta.get("boots", "0"))):
            self._mark("a grant came to a later process than had asked for it")
        elif any(type(effect) is Reply for effect in effects):
            self._mark("a grant came that was waited for")

    def _denied(self, host: Host, envelope: Envelope, denied: Denied, effects: list[Effect]) -> None:
        self._mark(DENIED[denied.reason])

    def _asked_for_space(self, host: Host, envelope: Envelope, request: SpaceRequest, effects: list[Effect]) -> None:
        if not effects:
            self._mark("a donor was asked again with a request it had answered")

    def _told(self, host: Host, envelope: Envelope, rumour: Rumour, effects: list[Effect]) -> None:
        if not effects:
            self._mark("a rumour was no news")
        for member in rumour.members:
            if member.health is Health.SUSPECT:
                self._mark("a member was suspected")
                self._suspected[member.peer] = None
            elif member.health is Health.DEAD:
                self._mark("a member was believed dead")
            elif member.peer in self._suspected:
                self._mark("a member refuted its suspicion")
                del self._suspected[member.peer]

    def _ranges(self, host: Host, envelope: Envelope, ranges: Ranges, effects: list[Effect]) -> None:
        if not any(type(effect) is Persist for effect in effects):
            self._mark("old ranges changed nothing")

    def _promised(self, host: Host, envelope: Envelope, promise: Promise, effects: list[Effect]) -> None:
        if promise.accepted is not None and any(
            type(e) is Send and type(e.message) is Envelope and type(e.message.body) is Accept for e in effects
        ):
            self._mark("an earlier value was taken over by a later ballot")

    # ── changes ──────────────────────────────────────────────────────────────────────────────────

    def changed(  # noqa: C901  # a line or two for each kind of change
        self, host: Host, event: Event | None, effects: list[Effect], changes: tuple[Change, ...]
    ) -> None:
        if host.stranger:
            return
        for change in changes:
            match change:
                case PutTokens():
                    self._ring_changed(host, event, change)
                case PutLease(lease):
                    address = int(lease.address)
                    if self._last_holder.get(address, host.name) != host.name:
                        self._mark("an address moved from one host to another")
                    self._last_holder[address] = host.name
                case PutMeta("cluster", _) if type(event) is not Received or type(event.message) is Envelope:
                    self._mark("a ring was formed by this host")
                case Suspensions(_, put) if put:
                    self._mark("a host was suspended from a range")
                case PutRound(_, round_) if round_.done:
                    self._mark("a removal was done")
                case DropRound():
                    self._mark("a removal was given up")
                case PutMeta("fenced", _):
                    self._mark("a host fenced itself off")
                case PutConflict():
                    self._mark("a conflict was recorded")
                case BeginAnew():
                    self._mark("a fenced host began anew")
                case Rows(dropped, put) if dropped and not put and event is not None and len(changes) == 1:
                    self._mark("addresses had rested long enough")
                case _:
                    pass

    def _ring_changed(self, host: Host, event: Event | None, change: PutTokens) -> None:
        assert host.peer is not None
        assert host.peer.ring is not None
        me = host.settings.peer
        if len(host.peer.ring) > MANY_TOKENS:
            self._mark(f"a ring had more than {MANY_TOKENS} tokens")
        if type(event) is Received and type(event.message) is Envelope:
            body: Body = event.message.body
            if len(change.put) > 1 and not change.removed:
                self._mark("a delta split a token")
            if change.removed:
                self._mark("a delta merged tokens")
            gained = any(c.owner == me and c.writer != me and c.version > 1 for _, c in change.put)
            if gained and type(body) in (Rumour, Ranges, Denied):
                self._mark("what was granted came by gossip, the grant was lost")
        elif change.removed and all(c.owner == me and c.writer == me for _, c in change.put):
            self._mark("a host coalesced its tokens")

    # ── commits, crashes, restarts ───────────────────────────────────────────────────────────────

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        if sum(1 for change in changes if type(change) in (PutLease, DropLease, PutMember, PutConflict)) > 2:
            self._mark("several records shared one commit")

    def crashed(self, host: Host) -> None:
        outcome = host.disk.crash_outcome
        if outcome:
            self._mark(outcome)
        up = sum(1 for other in self.world.hosts.values() if other.up)
        if not up:
            self._mark("all hosts were down at once")
        if 2 * up < len(self.world.hosts):
            self._mark("most hosts were down at once")
        if host.left_waiting:
            self._mark("a crash left a request without an answer")

    def restarted(self, host: Host) -> None:
        if host.stranger:
            return
        durable = host.disk.durable
        if durable.leases:
            self._mark("a host came back with leases")
        if durable.quarantine:
            self._mark("a host came back with addresses at rest")
        if host.standing is Standing.LEAVING:
            self._mark("a leaver went on after a restart")
        if durable.pledges:
            self._mark("a member came back bound to a removal")
        if durable.acceptor is not None and not durable.meta.get("cluster"):
            self._mark("an elector came back with its promise")
        peers = [other.peer for other in self.world.members() if other.peer is not None and other is not host]
        if durable.tokens and any(p.ring is not None and dict(p.ring.tokens()) != durable.tokens for p in peers):
            self._mark("a host came back to another ring than it left")

    # ── requests ─────────────────────────────────────────────────────────────────────────────────

    def answered(self, request: Request) -> None:
        answer: Answer = request.answer
        if type(answer) in ANSWERED:
            self._mark(ANSWERED[type(answer)])  # type: ignore[index]
        verb = request.verb
        if isinstance(verb, Release):
            if isinstance(answer, LeaseList):
                self._mark("a lease was released")
            elif verb.lease is not None:
                self._mark("a late release named a lease that was gone")
        elif isinstance(answer, Leased) and isinstance(verb, ClaimAddress):
            self._claimed(request, answer)
        elif isinstance(answer, Leased) and isinstance(verb, Allocate):
            self._allocated(request, answer)

    def _claimed(self, request: Request, answer: Leased) -> None:
        if not answer.new:
            self._mark("claimed again what was held")
        elif request.waited:
            self._mark("claimed an address of another host")
        else:
            self._mark("claimed an address of one's own")

    def _allocated(self, request: Request, answer: Leased) -> None:
        host = self.world.hosts[request.host]
        if not answer.new:
            self._mark("the same lease was told again")
            return
        self._mark("allocated after asking others" if request.waited else "allocated from own space at once")
        if host.peer is not None:
            if not host.peer.queues()["links"] and len(self.world.hosts) > 1:
                self._mark("allocated while cut off from all others")
            verb = request.verb
            subnet = (verb.subnet if isinstance(verb, Allocate) else None) or self.world.universe
            if not any(o.peer is not None and o.peer.free_in(subnet.issuable, 1) for o in self.world.hosts.values()):
                self._mark("the last address of a subnet was issued")

    def healed(self) -> None:
        if not self.world.converged:
            self._mark("rings differed when faults ended")
        if self.world.open_requests:
            self._mark("requests waited when faults ended")
