"""What a run leaves behind for its picture: steps, messages, lives, requests, and what each host believed and when.

It looks at everything and judges nothing. Memory is bounded: of each kind only the latest are kept.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ringipam.claim import Claim
from ringipam.core.durable import Change, DropLease, PutConflict, PutLease, PutMeta, PutTokens
from ringipam.core.events import Effect, Event, LinkUp, Received
from ringipam.lease import Lease
from ringipam.messages import Message
from ringipam.ring.intervals import Intervals
from ringipam.ring.ring import Ring
from sim.checkers.base import Checker
from sim.checkers.possession import NOTHING, Possession, durable_possession
from sim.host import persisted

if TYPE_CHECKING:
    from sim.cluster import Request, World
    from sim.host import Host

KEPT_MAX = 50_000
"""So many of each kind, the latest."""


@dataclass(slots=True)
class Step:
    """A host took in an event; None is its start."""

    at: int
    host: str
    event: Event | None
    effects: tuple[Effect, ...]


@dataclass(slots=True)
class Sent:
    at: int
    source: str
    target: str
    message: Message
    arrives: int | None
    """When the network hands it over; None if the network lost it."""
    received: int | None = None
    """When the target took it in; None if it never did."""


@dataclass(slots=True)
class Span:
    """From when to when; None while it lasts."""

    since: int
    until: int | None = None


@dataclass(slots=True)
class Life:
    """One process of a host."""

    span: Span
    pauses: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class View:
    """A host took `owner` for the owner of `[start, end)`; "" is nobody."""

    span: Span
    host: str
    start: int
    end: int
    owner: str
    down: bool
    """The host was down: this is what its disk said."""


@dataclass(slots=True)
class Held:
    span: Span
    host: str
    lease: Lease


Doubled = Literal["possess", "possess on disk", "lease"]


@dataclass(slots=True)
class Double:
    """Two hosts had one range at one time: what must never be."""

    span: Span
    start: int
    end: int
    hosts: tuple[str, str]
    how: Doubled
    """`possess on disk`: at least one of them only if it restarts, as its disk says so and its memory does not."""


class Recorder(Checker):
    """All times are milliseconds since the run began.

    Let it look before the checkers do: one that raises keeps the rest from seeing that step.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.steps: deque[Step] = deque(maxlen=KEPT_MAX)
        self.messages: deque[Sent] = deque(maxlen=KEPT_MAX)
        self.requests: deque[Request] = deque(maxlen=KEPT_MAX)
        self._past_views: deque[View] = deque(maxlen=KEPT_MAX)
        self._past_held: deque[Held] = deque(maxlen=KEPT_MAX)
        self.doubles: list[Double] = []
        self.lives: defaultdict[str, list[Life]] = defaultdict(list)
        self.links: dict[int, str] = {}
        """The host at the other end of a link."""
        self._zero = world.loop.now - world.elapsed_ms
        self._flying: defaultdict[str, list[Sent]] = defaultdict(list)
        self._columns: dict[str, tuple[list[int], list[Claim]]] = {}
        self._open_views: defaultdict[str, dict[tuple[int, int, str], View]] = defaultdict(dict)
        self._open_held: defaultdict[str, dict[str, Held]] = defaultdict(dict)
        self._open_doubles: defaultdict[tuple[str, str], dict[tuple[int, int, Doubled], Double]] = defaultdict(dict)
        self._memory: dict[str, Possession] = {}
        self._disk: dict[str, Possession] = {}
        world.network.on_send = self._sent
        for host in world.hosts.values():
            if host.up:
                self.restarted(host)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────

    def stepped(self, host: Host, event: Event | None, effects: list[Effect]) -> None:
        now = self.world.elapsed_ms
        self.steps.append(Step(now, host.name, event, tuple(effects)))
        if isinstance(event, LinkUp):
            self.links[event.link] = event.host
        elif isinstance(event, Received):
            self._receive(host.name, event.message, now)
        self._look_for_pauses()
        changes = persisted(effects)
        for change in changes:
            if isinstance(change, PutLease):
                self._hold(host.name, change.lease)
            elif isinstance(change, DropLease):
                self._let_go(host.name, change.lease)
        self._look(host, anew=any(isinstance(change, PutConflict | PutMeta) for change in changes))

    def committed(self, host: Host, changes: tuple[Change, ...]) -> None:
        if any(isinstance(change, PutTokens | PutConflict | PutMeta) for change in changes):
            self._look_at_disk(host)

    def restarted(self, host: Host) -> None:
        self.lives[host.name].append(Life(Span(self.world.elapsed_ms)))
        self._disk[host.name] = durable_possession(host)
        self._look(host, anew=True)
        assert host.peer is not None
        self._hold_just(host.name, host.peer.leases)

    def crashed(self, host: Host) -> None:
        now = self.world.elapsed_ms
        life = self.lives[host.name][-1]
        life.span.until = now
        for pause in life.pauses:
            pause.until = min(pause.until or now, now)
        self._flying[host.name].clear()
        self._columns.pop(host.name, None)
        self._memory.pop(host.name, None)
        stored = host.disk.durable
        tokens = sorted(stored.tokens.items())
        ring = Ring.from_tokens(host.settings.universe.range, tokens) if tokens else None
        self._view(host.name, ring, down=True)
        self._hold_just(host.name, stored.leases)
        self._look_at_disk(host)

    def asked(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def views(self) -> list[View]:
        """What hosts believed and believe, for longer than a moment, the oldest beginning first."""
        now = [view for views in self._open_views.values() for view in views.values()]
        return sorted([*self._past_views, *now], key=lambda view: view.span.since)

    @property
    def held(self) -> list[Held]:
        """Leases that were held and are, the oldest first."""
        now = [held for leases in self._open_held.values() for held in leases.values()]
        return sorted([*self._past_held, *now], key=lambda held: held.span.since)

    def since_begin(self, time: int) -> int:
        """A moment of the loop's clock as one of the picture's."""
        return time - self._zero

    # ── messages and pauses ──────────────────────────────────────────────────────────────────────

    def _sent(self, source: str, target: str, message: Message, at: int, arrives: int | None) -> None:
        due = None if arrives is None else self.since_begin(arrives)
        sent = Sent(self.since_begin(at), source, target, message, due)
        self.messages.append(sent)
        if due is not None:
            self._flying[target].append(sent)

    def _receive(self, host: str, message: Message, now: int) -> None:
        flying = self._flying[host]
        for place, sent in enumerate(flying):
            if sent.message is message:
                sent.received = now
                del flying[place]
                return

    def _look_for_pauses(self) -> None:
        """A pause is told to nobody; that a host takes part in nothing shows only while others do."""
        now = self.world.elapsed_ms
        for name, host in self.world.hosts.items():
            if host.up and host.paused_until > self.world.loop.now:
                until = self.since_begin(host.paused_until)
                pauses = self.lives[name][-1].pauses
                if pauses and (pauses[-1].until or 0) >= now:
                    pauses[-1].until = until
                else:
                    pauses.append(Span(now, until))

    # ── what hosts believe ───────────────────────────────────────────────────────────────────────

    def _look(self, host: Host, *, anew: bool) -> None:
        """Everything a host believes follows from its ring and, `anew`, from its cluster and conflicts."""
        assert host.peer is not None
        ring = host.peer.ring
        columns = ring.columns() if ring is not None else ([], [])
        if not anew and self._columns.get(host.name) == columns:
            return
        self._columns[host.name] = columns
        self._view(host.name, ring, down=False)
        self._memory[host.name] = (host.peer.cluster, host.peer.possessed())
        self._compare(host.name)

    def _look_at_disk(self, host: Host) -> None:
        self._disk[host.name] = durable_possession(host)
        self._compare(host.name)

    def _view(self, host: str, ring: Ring | None, *, down: bool) -> None:
        now = self.world.elapsed_ms
        before = self._open_views[host]
        runs = _runs(ring) if ring is not None else []
        after = {}
        for start, end, owner in runs:
            view = before.pop((start, end, owner), None)
            if view is None or view.down != down:
                if view is not None:
                    before[start, end, owner] = view
                view = View(Span(now), host, start, end, owner, down)
            after[start, end, owner] = view
        for view in before.values():
            view.span.until = now
            if view.span.since < now:
                self._past_views.append(view)
        self._open_views[host] = after

    def _compare(self, name: str) -> None:
        """Which ranges this host and each other hold at once, in memory or by their disks."""
        for other in self.world.hosts:
            if other == name:
                continue
            first, second = (name, other) if name < other else (other, name)
            both = _shared(self._memory.get(first, NOTHING), self._memory.get(second, NOTHING))
            found: list[tuple[int, int, Doubled]] = [(start, end, "possess") for start, end in both]
            either = _shared(self._believed(first), self._believed(second))
            for start, end in both:
                either.discard(start, end)
            found += [(start, end, "possess on disk") for start, end in either]
            self._doubled((first, second), found, ("possess", "possess on disk"))

    def _believed(self, name: str) -> Possession:
        """By memory and disk together; they can differ in the cluster only before there is one."""
        cluster, ranges = self._memory.get(name, NOTHING)
        durable_cluster, durable = self._disk.get(name, NOTHING)
        if cluster and durable_cluster and cluster != durable_cluster:
            return cluster, ranges
        if ranges == durable:
            return cluster or durable_cluster, ranges
        union = Intervals()
        for start, end in [*ranges, *durable]:
            union.add(start, end)
        return cluster or durable_cluster, list(union)

    def _doubled(
        self, hosts: tuple[str, str], found: list[tuple[int, int, Doubled]], hows: tuple[Doubled, ...]
    ) -> None:
        """From now on these two share exactly what was `found`, as far as `hows` go."""
        now = self.world.elapsed_ms
        known = self._open_doubles[hosts]
        for key in [key for key in known if key[2] in hows and key not in found]:
            known.pop(key).span.until = now
        for start, end, how in found:
            if (start, end, how) not in known:
                known[start, end, how] = Double(Span(now), start, end, hosts, how)
                self.doubles.append(known[start, end, how])

    # ── leases ───────────────────────────────────────────────────────────────────────────────────

    def _hold(self, host: str, lease: Lease) -> None:
        if lease.lease not in self._open_held[host]:
            self._open_held[host][lease.lease] = Held(Span(self.world.elapsed_ms), host, lease)
            self._compare_leases(host)

    def _let_go(self, host: str, lease: str) -> None:
        held = self._open_held[host].pop(lease, None)
        if held is not None:
            held.span.until = self.world.elapsed_ms
            self._past_held.append(held)
            self._compare_leases(host)

    def _hold_just(self, host: str, leases: Mapping[str, Lease]) -> None:
        """After a crash or a start: exactly these."""
        for lease_id in [lease_id for lease_id in self._open_held[host] if lease_id not in leases]:
            self._let_go(host, lease_id)
        for lease in leases.values():
            self._hold(host, lease)

    def _compare_leases(self, name: str) -> None:
        mine = {int(held.lease.address) for held in self._open_held[name].values()}
        for other in self.world.hosts:
            if other != name:
                theirs = [int(held.lease.address) for held in self._open_held[other].values()]
                found: list[tuple[int, int, Doubled]] = [(a, a + 1, "lease") for a in theirs if a in mine]
                self._doubled((name, other) if name < other else (other, name), found, ("lease",))


def _runs(ring: Ring) -> list[tuple[int, int, str]]:
    """The ring as ranges with their owners; neighbours of one owner make one."""
    runs: list[tuple[int, int, str]] = []
    for start, end, claim in ring.segments():
        if runs and runs[-1][2] == claim.owner:
            start = runs.pop()[0]
        runs.append((start, end, claim.owner))
    return runs


def _shared(one: Possession, other: Possession) -> Intervals:
    """What two hosts of one cluster both possess."""
    shared = Intervals()
    if not one[0] or one[0] != other[0]:
        return shared
    i = j = 0
    while i < len(one[1]) and j < len(other[1]):
        mine, theirs = one[1][i], other[1][j]
        shared.add(max(mine.start, theirs.start), min(mine.end, theirs.end))
        if mine.end < theirs.end:
            i += 1
        else:
            j += 1
    return shared
