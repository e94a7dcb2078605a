"""Removal of dead peers: a coordinator asks every live member for a promise and its view, then takes over what is left.

What a member does about it is in ringipam.core.pledges. The rules are those of docs/design.md, "Leaving and removal",
and safety.md S1 and S8 to S10; they were explored state by state on models, and are explored over this code by
`python -m sim explore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.durable import DropRound, Pledge, PutRound, Round, Stored
from ringipam.core.events import RemovePeers
from ringipam.core.naming import resolved
from ringipam.core.pledges import TOLD_MAX, WINDOW_MAX, Pledges
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import EPOCH_JUMP_MAX, State, check_ranges
from ringipam.errors import FencedError, NotReadyError, PeerError, RequestError, RequestTimeoutError, RingIpamError
from ringipam.messages import (
    AskRemoval,
    DenyRemoval,
    PromiseRemoval,
    QueryRound,
    RoundOver,
    Standing,
)
from ringipam.ring.intervals import Intervals

ASK_MS = 500
"""Between two times that a member is asked."""
PAUSE_MS = 2_000
"""A coordinator that gave way to another waits so long, and a random part more."""
ALIVE_WAIT_MS = 6_000
"""It takes so long to notice that a host was stopped; one that still seems to be alive then is not removed."""
FORCE_WAIT_MS = 3_000
"""How long a forced removal waits for those that seem to be reachable."""


@dataclass(slots=True)
class _Wish:
    """An operator's request."""

    request: int
    targets: tuple[str, ...]
    force: bool
    timeout_ms: int
    due_ms: int
    since: int
    """From which address on it is still to be done."""
    alive_ms: int
    """A target that still seems to be alive then ends it."""
    again: bool
    """They are gone already, and a round is due all the same: somebody was not heard (safety.md S10), or the last round
    did not reach to the end."""
    taken: int = 0
    without: tuple[str, ...] = ()


@dataclass(slots=True)
class _View:
    """What one member has answered."""

    covered: Intervals = field(default_factory=Intervals)
    """Where its view is known."""
    possessed: Intervals = field(default_factory=Intervals)
    leased: tuple[Range, ...] = ()
    """What it leases of others' ranges."""


@dataclass(slots=True)
class _Open:
    """The round that this peer coordinates just now."""

    epoch: int
    targets: tuple[str, ...]
    force: bool
    since: int
    until: int
    began_ms: int
    departures: int
    """How many members had gone when it began: one that goes meanwhile takes its view with it."""
    ask_ms: int
    wanted: tuple[Range, ...] = ()
    """What it was known to be about when the members were asked last."""
    views: dict[str, _View] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)


class Removals:
    def __init__(self, state: State, router: Router, pledges: Pledges, stored: Stored) -> None:
        self._state = state
        self.pledges = pledges
        pledges.give_way = self._give_way
        self._router = router
        self._rounds = dict(stored.rounds)
        self._open: _Open | None = None
        self._wishes: list[_Wish] = []
        self._pause_ms = 0
        self._rivals: set[str] = set()
        self._basis_of: tuple[int, int, tuple[str, ...]] | None = None
        self._found: list[Segment] = []

    def start(self) -> None:
        """What was not committed before the restart never will be (safety.md S9)."""
        for epoch in [epoch for epoch, found in self._rounds.items() if not found.done]:
            self._drop(epoch)

    @property
    def coordinating(self) -> tuple[str, ...]:
        """Whom this peer is about to remove."""
        return self._open.targets if self._open else ()

    # ── operators ────────────────────────────────────────────────────────────────────────────────

    def ask(self, request: int, verb: RemovePeers) -> None:
        targets = self._resolve(verb)
        if isinstance(targets, RingIpamError):
            self._state.reply(request, targets)
        elif verb.dry_run:
            self._state.reply(request, self._plan(targets))
        else:
            now = self._state.now
            due, alive = now + verb.timeout_ms, now + min(verb.timeout_ms, ALIVE_WAIT_MS)
            again = all(map(self._state.members.gone, targets))
            since = self._state.extent.start
            self._wishes.append(_Wish(request, targets, verb.force, verb.timeout_ms, due, since, alive, again))
            self._advance()

    def _resolve(self, verb: RemovePeers) -> tuple[str, ...] | RingIpamError:
        state = self._state
        if state.ring is None:
            return NotReadyError("there is no ring yet, and nobody to remove")
        if state.hold:
            return FencedError(f"this host takes part in no removal: {state.hold}")
        if state.members.me.standing is not Standing.MEMBER:
            return NotReadyError("this host is leaving: run the removal on another")
        found = []
        for name in verb.peers:
            peer = resolved(state.members, name)
            if isinstance(peer, RingIpamError):
                return peer
            if peer == state.me:
                return RequestError(f"{name} is this host itself: `ringipam leave` gives its ranges to the others")
            found.append(peer)
        return tuple(dict.fromkeys(found))

    def _plan(self, targets: tuple[str, ...]) -> dict[str, object]:
        """What a removal would ask and take, as seen from here."""
        state = self._state
        assert state.ring is not None
        electorate = self._electorate(targets)
        owned = sum(s.end - s.start for s in state.ring.segments() if self.pledges.out(s.claim.owner, targets))
        return {
            "would_remove": list(targets),
            "would_take": owned,
            "must_answer": [name_of(peer) for peer in electorate],
            "unreachable": [name_of(peer) for peer in electorate if not state.members.reachable(peer)],
        }

    def cancel(self, request: int) -> None:
        self._wishes = [wish for wish in self._wishes if wish.request != request]

    # ── who is concerned ─────────────────────────────────────────────────────────────────────────

    def _electorate(self, targets: Sequence[str]) -> list[str]:
        """Who must answer: every other member, the closure of all member lists as they come in."""
        return [peer for peer in self._state.members.others() if peer not in targets]

    def _basis(self, targets: tuple[str, ...]) -> list[Segment]:
        """Where this peer's view names one who is to go, or has gone, as owner or writer.

        Remembered until the ring or the members change: every answer asks, few change it.
        """
        state = self._state
        assert state.ring is not None
        key = state.ring_changes, state.members.departures, targets
        if key != self._basis_of:
            self._basis_of = key
            self._found = [
                segment
                for segment in state.ring.segments()
                if self.pledges.out(segment.claim.owner, targets) or self.pledges.out(segment.claim.writer, targets)
            ]
        return self._found

    # ── coordinator ──────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> int:
        due = min((wish.due_ms for wish in self._wishes), default=NEVER)
        if self._open is not None:
            due = min(due, self._open.ask_ms)
        elif self._wishes:
            due = min(due, self._pause_ms)
        return min(due, self.pledges.deadline)

    def tick(self) -> None:
        state = self._state
        for wish in [wish for wish in self._wishes if wish.due_ms <= state.now]:
            self._wishes.remove(wish)
            state.reply(wish.request, self._too_late(wish))
        self.pledges.tick()
        self._advance()

    def _advance(self) -> None:
        """Take the next step that can be taken."""
        state = self._state
        if state.fenced:
            for wish in self._wishes:
                state.reply(wish.request, FencedError(f"this host takes part in no removal: {state.fenced}"))
            self._wishes.clear()
        if self._open is not None and self._open.departures != state.members.departures:
            self._abort("a member has gone meanwhile")
            self._pause_ms = state.now + state.rng.below(ASK_MS)
        if self._open is not None and not any(wish.targets == self._open.targets for wish in self._wishes):
            self._abort("nobody waits for it any more")
        if self._open is not None:
            if state.now >= self._open.ask_ms:
                self._press(self._open)
            self._conclude(self._open)
        self._satisfy()
        if self._open is None and self._wishes and state.now >= self._pause_ms:
            self._begin(self._wishes[0])

    def _satisfy(self) -> None:
        """Answer the wishes that have come true, whoever did it."""
        state = self._state
        assert state.ring is not None or not self._wishes
        for wish in list(self._wishes):
            if not wish.again and all(map(state.members.gone, wish.targets)) and not self._left_over():
                self._wishes.remove(wish)
                answer: dict[str, object] = {
                    "removed": list(wish.targets),
                    "taken": wish.taken,
                    "without": [name_of(peer) for peer in wish.without],
                    "also": sorted(map(name_of, self._rivals)),
                }
                state.reply(wish.request, answer)
        if not self._wishes:
            self._rivals.clear()

    def _left_over(self) -> bool:
        """Whether somebody who has gone still owns something, as far as is known here."""
        state = self._state
        assert state.ring is not None
        return any(map(state.members.gone, state.ring.owners()))

    def _begin(self, wish: _Wish) -> None:
        state = self._state
        bound = self.pledges.other(state.me, wish.targets)
        alive = self._alive(wish)
        if alive and state.now >= wish.alive_ms:
            self._wishes.remove(wish)
            state.reply(wish.request, self._refused(alive))
            return
        if bound or alive or state.hold:
            if bound:
                self._rivals.add(bound)
            self._pause_ms = state.now + ASK_MS
            return
        epoch = state.epoch + 1
        basis = [segment for segment in self._basis(wish.targets) if segment.end > wish.since]
        until = basis[WINDOW_MAX].start if len(basis) > WINDOW_MAX else state.extent.end
        self._open = _Open(
            epoch, wish.targets, wish.force, wish.since, until, state.now, state.members.departures, state.now
        )
        self._rounds[epoch] = Round(wish.targets, False, ())
        state.change(PutRound(epoch, self._rounds[epoch]))
        self.pledges.make(state.me, Pledge(epoch, wish.targets))
        self._press(self._open)
        self._conclude(self._open)

    def _alive(self, wish: _Wish) -> str:
        """Whom it may not remove for that; "" if nobody."""
        reachable = self._state.members.reachable
        return "" if wish.force else ", ".join(name_of(peer) for peer in wish.targets if reachable(peer))

    @staticmethod
    def _refused(alive: str) -> RequestError:
        return RequestError(
            f"{alive} is alive: run `ringipam leave` there, or stop it for good first; --force removes it all"
            " the same, and what it has leased is in doubt then"
        )

    def _press(self, open_: _Open) -> None:
        """Ask whoever has not answered for all that is to be known."""
        open_.ask_ms = self._state.now + ASK_MS
        open_.wanted = self._wanted(open_)
        for peer in self._electorate(open_.targets):
            wanted = self._unknown(open_, peer)
            if wanted or peer not in open_.views:
                self._router.send(
                    peer,
                    AskRemoval(
                        open_.epoch,
                        open_.targets,
                        open_.force,
                        open_.since,
                        open_.until,
                        tuple(wanted),
                        self.pledges.electorate(open_.targets),
                    ),
                )

    def _within(self, open_: _Open) -> list[Segment]:
        """What this round is about."""
        return [
            segment._replace(start=max(segment.start, open_.since), end=min(segment.end, open_.until))
            for segment in self._basis(open_.targets)
            if segment.start < open_.until and segment.end > open_.since
        ]

    def _wanted(self, open_: _Open) -> tuple[Range, ...]:
        """Where everybody's view must be known."""
        whole = Intervals()
        for start, end, _ in self._within(open_):
            whole.add(start, end)
        return tuple(whole)

    def _unknown(self, open_: _Open, peer: str) -> list[Range]:
        """Where the view of `peer` is wanted and not known."""
        unknown = Intervals()
        for start, end in open_.wanted:
            unknown.add(start, end)
        if peer in open_.views:
            for start, end in open_.views[peer].covered:
                unknown.discard(start, end)
        return list(unknown)

    def promised(self, member: str, promise: PromiseRemoval) -> None:
        """Take in a member's view; its members must answer too."""
        state, open_ = self._state, self._open
        state.check(promise.segments)
        for ranges in (promise.ranges, promise.possessed, promise.leased):
            check_ranges(ranges, state.extent)
        if open_ is not None and promise.epoch == open_.epoch and promise.until <= open_.since:
            raise PeerError(f"{member} promises a removal and shows nothing")
        if open_ is None or promise.epoch != open_.epoch or member not in self._electorate(open_.targets):
            return
        state.learn_names(promise.members, member)
        open_.until = min(open_.until, promise.until)
        open_.denied.pop(member, None)
        view = open_.views.setdefault(member, _View())
        for start, end in promise.ranges:
            view.covered.add(start, end)
            view.possessed.discard(start, end)
        for start, end in promise.possessed:
            view.possessed.add(start, end)
        view.leased = promise.leased
        state.join(promise.segments, member)
        if self._wanted(open_) != open_.wanted:
            self._press(open_)  # somebody showed more than was known when the others were asked
        self._advance()

    def denied(self, member: str, denial: DenyRemoval) -> None:
        state, open_ = self._state, self._open
        if open_ is None or denial.epoch != open_.epoch or member not in self._electorate(open_.targets):
            return
        if denial.coordinator:
            self._rivals.add(denial.coordinator)
            open_.denied[member] = f"is bound to the removal that {name_of(denial.coordinator)} coordinates"
            # Two rounds at once: the one with the lower priority gives way, lest both wait for ever (S9).
            if denial.coordinator < state.me and state.members.reachable(denial.coordinator):
                self._give_way(denial.coordinator)
        elif denial.reason:
            open_.denied[member] = denial.reason
        elif open_.epoch <= denial.seen <= state.epoch + EPOCH_JUMP_MAX:
            self._abort(f"{member} has seen epoch {denial.seen}")
            state.raise_epoch(denial.seen)
            self._pause_ms = state.now + state.rng.below(ASK_MS)

    def _conclude(self, open_: _Open) -> None:
        """Write the takeover, if all have answered all that must be known."""
        state = self._state
        electorate = self._electorate(open_.targets)
        missing = [peer for peer in electorate if peer not in open_.views]
        if missing:
            waited = state.now - open_.began_ms >= FORCE_WAIT_MS
            if not open_.force or any(state.members.reachable(peer) and not waited for peer in missing):
                return
        if self._wanted(open_) != open_.wanted:
            self._press(open_)
        if any(self._unknown(open_, peer) for peer in electorate if peer in open_.views):
            return
        self._take_over(open_, tuple(missing))

    def _take_over(self, open_: _Open, missing: tuple[str, ...]) -> None:
        """One record: the takeover, the tombstones, and that the round is done (safety.md S8, S9)."""
        state = self._state
        taken = [
            Segment(start, end, Claim(open_.epoch, segment.claim.version + 1, state.me, state.me))
            for segment in self._within(open_)
            for start, end in self._to_take(segment, open_)
        ]
        ranges = tuple(Range(start, end) for start, end, _ in taken)
        self._open = None
        self._rounds[open_.epoch] = Round(open_.targets, True, ranges)
        state.change(PutRound(open_.epoch, self._rounds[open_.epoch]))
        state.join(taken, state.me)
        self._doubt(open_, ranges)
        self.pledges.bury(open_.targets)
        self.pledges.end(state.me)
        size = sum(found.size for found in ranges)
        for wish in self._wishes:
            if wish.targets == open_.targets:
                wish.since = open_.until if open_.until < state.extent.end else state.extent.start
                wish.again = open_.until < state.extent.end
                wish.taken += size
                wish.without = tuple(dict.fromkeys((*wish.without, *missing)))
        names = ", ".join(open_.targets)
        state.log("warning", f"removed {names} in epoch {open_.epoch} and took over {size} addresses")
        self._announce(open_.epoch, self._electorate(()))

    def _doubt(self, open_: _Open, taken: Sequence[Range]) -> None:
        """What a member leases of it is in doubt until it has claimed that: a host that rejoined kept its leases."""
        new = Intervals()
        for start, end in taken:
            new.add(start, end)
        for member, view in open_.views.items():
            for leased in view.leased:
                for piece in new.within(*leased):
                    self._state.dispute(*piece, (self._state.me, member), member)

    def _to_take(self, segment: Segment, open_: _Open) -> list[Range]:
        """What nobody possesses any more of a range that names one who goes (safety.md S8)."""
        owner = segment.claim.owner
        left = Intervals()
        left.add(segment.start, segment.end)
        if self.pledges.out(owner, open_.targets):
            return list(left)
        if owner == self._state.me:
            held = self._state.kept(segment.start, segment.end)
        elif owner in open_.views:
            held = list(open_.views[owner].possessed)
        else:
            return []  # a forced removal did not hear from its owner, who may possess it
        for start, end in held:
            left.discard(start, end)
        return list(left)

    def _give_way(self, coordinator: str) -> None:
        """To another round, which goes first."""
        state = self._state
        self._abort(f"{coordinator} coordinates another removal")
        self._pause_ms = state.now + PAUSE_MS + state.rng.below(PAUSE_MS)
        self._rivals.add(coordinator)

    def _abort(self, reason: str) -> None:
        """Durable before it is announced, and nothing is ever written in that round (safety.md S9)."""
        assert self._open is not None
        open_, self._open = self._open, None
        self._drop(open_.epoch)
        self._state.log("info", f"gave up the removal of {', '.join(open_.targets)} in epoch {open_.epoch}: {reason}")
        self._announce(open_.epoch, self._electorate(open_.targets))

    def _announce(self, epoch: int, peers: Sequence[str]) -> None:
        for peer in peers:
            self._router.send(peer, self._outcome(epoch))

    def _drop(self, epoch: int) -> None:
        del self._rounds[epoch]
        self._state.change(DropRound(epoch))
        self.pledges.end(self._state.me)

    def _outcome(self, epoch: int) -> RoundOver:
        """What became of a round of this peer's: what is not on record as done was aborted."""
        found = self._rounds.get(epoch)
        ring = self._state.ring
        if found is None or ring is None:
            return RoundOver(epoch, False, (), ())
        segments = [segment for piece in found.taken for segment in ring.segments(*piece)]
        return RoundOver(epoch, True, found.targets, tuple(segments[:TOLD_MAX]))

    def queried(self, member: str, query: QueryRound) -> None:
        # One that is fenced may have forgotten what it did; members are free of it once it is removed (safety.md S23).
        if not self._state.hold and (self._open is None or self._open.epoch != query.epoch):
            self._router.send(member, self._outcome(query.epoch))

    def _too_late(self, wish: _Wish) -> RequestError:
        """Who stood in the way, and what would help."""
        state, open_ = self._state, self._open
        if alive := self._alive(wish):
            return self._refused(alive)
        names = ", ".join(map(name_of, wish.targets))
        found: list[str] = []
        if open_ is not None and open_.targets == wish.targets:
            for peer in self._electorate(wish.targets):
                if peer in open_.views:
                    continue
                if peer in open_.denied:
                    found.append(f"{name_of(peer)} {open_.denied[peer]}")
                elif state.members.reachable(peer):
                    found.append(f"{name_of(peer)} has not answered")
                else:
                    away_s = state.members.away_s(peer, state.now)
                    found.append(f"{name_of(peer)} is unreachable for {away_s} s")
            found.append("name those who are dead in the same command, or --force goes on without them")
        else:
            found += [f"{name_of(rival)} removes somebody too" for rival in sorted(self._rivals)]
        return RequestTimeoutError(
            f"{names} could not be removed within {wish.timeout_ms / 1000:g} s: {'; '.join(found) or 'try again'}"
        )
