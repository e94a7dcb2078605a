"""One host: the production Peer behind the production Outbox, any state of which can be kept and taken up again.

Knows nothing of the others: what happens to a host depends on its own state alone, so that each (state, event) is
worked out once, however many states of the world it occurs in.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from ringipam.address import Cidr, Range
from ringipam.claim import Claim, Segment
from ringipam.core.durable import Change, PutLease, Stored
from ringipam.core.events import (
    Asked,
    Cancelled,
    Close,
    DeadlinePassed,
    Effect,
    Leased,
    LinkDown,
    LinkUp,
    Persist,
    Received,
    Release,
    RemovePeers,
    Reply,
    Send,
)
from ringipam.core.outbox import Outbox
from ringipam.core.peer import Peer
from ringipam.core.settings import Settings
from ringipam.core.state import State
from ringipam.errors import RingIpamError
from ringipam.lease import Lease
from ringipam.messages import Envelope, Grant, Health, Hello, Member, Message, Rumour
from sim.cluster import START_MS
from sim.disk import copied
from sim.explore.canonical import digest
from sim.explore.chance import Chance
from sim.explore.worlds import PATIENCE_MS, Ask, GoAway, LetGo, RemoveDead


class Broken(Exception):  # noqa: N818  the word of the field
    """A property does not hold."""


class Packet(NamedTuple):
    """A message on its way."""

    sender: int
    receiver: int
    message: Message


@dataclass(frozen=True, slots=True)
class Deliver:
    number: int
    packet: Packet = field(compare=False)


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit under way is durable."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The clock moves on by so much, and the peer is woken if anything is due."""

    ms: int


@dataclass(frozen=True, slots=True)
class Say:
    """A user asks this, as the host's request number `nth`."""

    nth: int
    ask: Ask = field(compare=False)
    dead: tuple[str, ...] = ()
    """Whom it is about, if it is a removal."""


@dataclass(frozen=True, slots=True)
class Crash:
    """A crash and a start; `finished`: the commit under way is found on the disk, though nobody was told."""

    finished: bool


@dataclass(frozen=True, slots=True)
class Relink:
    """The link to another host is gone, if there was one, and a new one stands."""

    other: int


@dataclass(frozen=True, slots=True)
class Mourn:
    """Another host is known to be dead: the link to it is gone, and probes have found out."""

    other: int
    peer: str


@dataclass(frozen=True, slots=True)
class Die:
    """The end of it."""


Happening = Deliver | Commit | Wait | Say | Crash | Relink | Mourn | Die


@dataclass(slots=True)
class Node:
    """A host at one moment. Who asked what and was told what is part of it: the disk must bear it out."""

    peer: Peer
    chance: Chance
    now: int
    stored: Stored
    outbox: Outbox = field(default_factory=Outbox)
    writing: tuple[Change, ...] = ()
    """The commit under way."""
    links: dict[int, int] = field(default_factory=dict)
    """Place of another host → number of the link to it."""
    links_made: int = 0
    told: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The leases that the users of each id were told of, in order."""
    owed: dict[str, str] = field(default_factory=dict)
    """Leases told of and not let go since → id."""
    let_go: tuple[str, ...] = ()
    """Leases whose release this process was asked for: told of or not, they may be there or not."""
    open: tuple[int, ...] = ()
    """Requests that the peer has not made up its mind about."""
    gone: tuple[str, ...] = ()
    """Ids whose callers went away before there was an answer."""
    granted: tuple[tuple[str, int], ...] = ()
    """Requests that were granted: (asker, number)."""


class View(NamedTuple):
    """What a host believes to have."""

    cluster: str
    owned: list[Range]
    leased: dict[int, str]
    """Address → id."""


class Facts(NamedTuple):
    """What it takes to judge a state of a host against those of others."""

    memory: View
    disk: View
    """What a restart in this moment would find."""
    members: frozenset[str]
    """Whom the disk knows."""
    gone: frozenset[str] = frozenset()
    """Who has left or was removed, as far as it knows."""
    ring: tuple[Segment, ...] = ()
    bound: frozenset[str] = frozenset()
    """Whom it has promised a removal that is not over."""
    asked: bool = False
    """Somebody waits for an answer."""


class Local(NamedTuple):
    """A state of one host."""

    place: int
    image: bytes
    facts: Facts
    writing: bool


class Outcome(NamedTuple):
    """What an event led to: the next state (its number) and what was sent, or what was broken."""

    local: int
    sent: tuple[int, ...]
    broken: str = ""


class Hosts:
    """Every state that any host was seen in, by number, and what follows from each; packets by number too."""

    def __init__(self, settings: list[Settings], *, quick_disks: bool = False) -> None:
        self._settings = settings
        self._quick_disks = quick_disks
        self._shared = _Shared()
        self._numbers: dict[tuple[int, bytes], int] = {}
        self.outcomes: dict[tuple[int, Happening], tuple[Outcome, ...]] = {}
        self._packets: dict[Packet, int] = {}
        self.locals: list[Local] = []
        self.packets: list[Packet] = []

    def begin(self, place: int, stored: Stored) -> int:
        """A host that starts for the first time, on this disk; the number of its state."""
        chance = Chance(place)
        node = Node(Peer(self._settings[place], stored, chance, START_MS), chance, START_MS, stored)
        _Driver(node, place, [], self._settings[place]).restart()
        return self._number(place, node)

    def dead(self, place: int, gone: frozenset[str] = frozenset()) -> int:
        """The state of a host that is no more; `gone` is itself, if it had left before."""
        nothing = View("", [], {})
        number = self._numbers.setdefault((place, b"left" if gone else b""), len(self.locals))
        if number == len(self.locals):
            self.locals.append(Local(place, b"", Facts(nothing, nothing, frozenset(), gone), writing=False))
        return number

    def after(self, local: int, happening: Happening) -> tuple[Outcome, ...]:
        """Each outcome that `happening` can have there; none if it is not possible."""
        key = (local, happening)
        found = self.outcomes.get(key)
        if found is None:
            found = self.outcomes[key] = self.work_out(local, self.locals[local].image, happening)
        return found

    def work_out(self, local: int, image: bytes, happening: Happening) -> tuple[Outcome, ...]:
        """As `after`, of this image of the state."""
        place = self.locals[local].place
        outcomes: list[Outcome] = []
        if isinstance(happening, Die):
            left = self.locals[local].facts.gone & {self._settings[place].peer}
            return (Outcome(self.dead(place, left), ()),)
        if not image:
            return ()
        for high in (False, True):
            node = self._shared.load(image)
            node.chance.high, node.chance.asked = high, False
            sent: list[Packet] = []
            try:
                driver = _Driver(node, place, sent, self._settings[place])
                if not driver.happens(happening):
                    return ()
                if self._quick_disks:
                    driver.sync()
                outcome = Outcome(self._number(place, node), self._numbered(sent))
            except Broken as error:
                outcome = Outcome(local, (), str(error))
            except Exception as error:
                outcome = Outcome(local, (), f"exception: {type(error).__name__}: {error}")
            if outcome not in outcomes:
                outcomes.append(outcome)
            if not node.chance.asked:
                break
        return tuple(outcomes)

    def _number(self, place: int, node: Node) -> int:
        _ = node.peer.deadline  # the peer remembers it once it was asked: whether it was shall be no difference
        key = place, digest(node, node.now)
        number = self._numbers.get(key)
        if number is None:
            facts = _facts(node, self._settings[place])
            number = self._numbers[key] = len(self.locals)
            self.locals.append(Local(place, self._shared.dump(node), facts, bool(node.writing)))
        return number

    def _numbered(self, sent: list[Packet]) -> tuple[int, ...]:
        numbers = []
        for packet in sent:
            if packet not in self._packets:
                self._packets[packet] = len(self.packets)
                self.packets.append(packet)
            numbers.append(self._packets[packet])
        return tuple(numbers)


class _Driver:
    """Carries out what happens to a node, as both other drivers do, and watches what comes of it."""

    def __init__(self, node: Node, place: int, sent: list[Packet], settings: Settings) -> None:
        self._node = node
        self._place = place
        self._sent = sent
        self._settings = settings

    def happens(self, happening: Happening) -> bool:
        """Whether it could."""
        node = self._node
        match happening:
            case Deliver(_, packet):
                if packet.sender not in node.links:
                    return False
                self._take(node.peer.step(Received(node.links[packet.sender], packet.message), node.now))
            case Commit():
                self._write()
                node.outbox.committed()
                self._advance()
            case Wait(ms):
                return self._wait(ms)
            case Say(nth, ask, dead):
                return self._ask(nth, ask, dead)
            case Crash(finished):
                if finished:
                    self._write()
                self.restart()
            case Relink(other):
                self._relink(other)
            case Mourn(other, peer):
                self._mourn(other, peer)
            case Die():
                raise AssertionError("nothing is left that it could happen to")
        self._look()
        return True

    def restart(self) -> None:
        """From what is durable; it is up and says so, once the number of this start is durable."""
        node = self._node
        node.writing = ()
        node.outbox = Outbox()
        node.open = ()
        node.let_go = ()
        node.links.clear()
        node.stored = copied(node.stored)
        node.peer = Peer(self._settings, copied(node.stored), node.chance, node.now)
        self._take(node.peer.start(node.now))
        self.sync()

    def sync(self) -> None:
        """Until nothing waits for the disk."""
        while self._node.writing:
            self._write()
            self._node.outbox.committed()
            self._advance()
        self._look()

    def _wait(self, ms: int) -> bool:
        node = self._node
        node.now += ms
        if node.peer.deadline is None or node.peer.deadline > node.now:
            return False
        self._take(node.peer.step(DeadlinePassed(), node.now))
        self._look()
        return True

    def _ask(self, nth: int, ask: Ask, dead: tuple[str, ...]) -> bool:
        node = self._node
        match ask:
            case LetGo(holder, answer):
                given = node.told.get(holder, ())
                if answer >= len(given):
                    return False
                node.owed.pop(given[answer], None)
                node.let_go = (*node.let_go, given[answer])
                self._take(node.peer.step(Asked(nth, Release(holder, lease=given[answer])), node.now))
            case GoAway(holder, request):
                if request not in node.open:
                    return False
                node.gone = (*node.gone, holder)
                node.open = tuple(number for number in node.open if number != request)
                self._take(node.peer.step(Cancelled(request), node.now))
            case _:
                verb = RemovePeers(dead, PATIENCE_MS) if isinstance(ask, RemoveDead) else ask
                node.open = (*node.open, nth)
                self._take(node.peer.step(Asked(nth, verb), node.now))
        self._look()
        return True

    def _relink(self, other: int) -> None:
        node = self._node
        old = node.links.pop(other, None)
        if old is not None:
            self._take(node.peer.step(LinkDown(old, "connection reset"), node.now))
        node.links_made += 1
        node.links[other] = node.links_made
        self._take(node.peer.step(LinkUp(node.links_made, "", f"192.0.2.{other + 1}"), node.now))

    def _mourn(self, other: int, peer: str) -> None:
        node = self._node
        link = node.links.pop(other, None)
        if link is not None:
            self._take(node.peer.step(LinkDown(link, "connection reset"), node.now))
        members = node.peer._state.members
        known = members.get(peer)
        if known is not None:
            members.merge(known._replace(health=Health.DEAD), node.now)

    def _write(self) -> None:
        node = self._node
        for change in node.writing:
            node.stored.apply(change)
        node.writing = ()

    def _take(self, effects: list[Effect]) -> None:
        node = self._node
        for effect in effects:
            match effect:
                case Reply(request):
                    node.open = tuple(number for number in node.open if number != request)
                case Persist(changes):
                    for change in changes:
                        if isinstance(change, PutLease) and change.lease.id in node.gone:
                            raise Broken(f"{change.lease.id} got a lease after its caller had gone")
                case _:
                    pass
        node.outbox.push(effects)
        self._advance()

    def _advance(self) -> None:
        node = self._node
        for effect in node.outbox.visible():
            match effect:
                case Send(link, message):
                    self._send(link, message)
                case Reply(_, Leased(lease, _)):
                    self._told(lease)
                case Close(link, reason):
                    self._close(link, reason)
                case _:
                    pass
        if not node.writing:
            node.writing = node.outbox.commit()

    def _send(self, link: int, message: Message) -> None:
        node = self._node
        for other, number in node.links.items():
            if number == link:
                self._sent.append(Packet(self._place, other, message))
        if isinstance(message, Envelope) and isinstance(message.body, Grant) and message.body.number:
            asker, number = message.body.segments[0].claim.owner, message.body.number
            if message.origin in ("", self._settings.peer):
                if (asker, number) in node.granted:
                    raise Broken(f"request {number & 0xFFFF} of {asker} was granted twice")
                node.granted = (*node.granted, (asker, number))

    def _told(self, lease: Lease) -> None:
        node = self._node
        if lease.lease not in node.stored.leases:
            raise Broken(f"{lease.id} was told of {lease.address} before that was durable")
        for number, holder in node.owed.items():
            other = node.stored.leases[number]
            chosen = "static" not in (lease.class_, other.class_)
            if holder == lease.id and number != lease.lease and chosen and other.subnet == lease.subnet:
                raise Broken(f"{lease.id} was told of {lease.address} and of {other.address}")
        if lease.lease not in node.let_go:
            node.owed[lease.lease] = lease.id
        given = node.told.get(lease.id, ())
        if lease.lease not in given:
            node.told[lease.id] = (*given, lease.lease)

    def _close(self, link: int, reason: str) -> None:
        node = self._node
        for other, number in list(node.links.items()):
            if number == link:
                del node.links[other]
                self._take(node.peer.step(LinkDown(link, reason), node.now))

    def _look(self) -> None:
        """What one host alone must keep to."""
        node = self._node
        for number, holder in node.owed.items():
            if number not in node.stored.leases:
                raise Broken(f"the lease {number} confirmed to {holder} is not durable")
        if node.stored.conflicts:
            raise Broken("a conflict was recorded among correct peers")
        if not node.writing:
            if node.peer.cluster != node.stored.meta.get("cluster", ""):
                raise Broken("memory and disk differ in the cluster, and nothing is being written")
            if node.peer.ring is not None and dict(node.peer.ring.tokens()) != node.stored.tokens:
                raise Broken("memory and disk differ in the ring, and nothing is being written")
            if dict(node.peer.leases) != node.stored.leases:
                raise Broken("memory and disk differ in leases, and nothing is being written")


def _facts(node: Node, settings: Settings) -> Facts:
    """On disk is what a restart in this moment would make of it."""
    reborn = State(settings, copied(node.stored), Chance(0), node.now)
    peer = node.peer
    return Facts(
        View(peer.cluster, peer.possessed(), _leased(peer.leases)),
        View(reborn.cluster, reborn.possessed(), _leased(node.stored.leases)),
        frozenset(node.stored.members),
        frozenset(member.peer for member in peer._state.members.all() if member.standing.gone),
        tuple(peer.ring.segments()) if peer.ring is not None else (),
        frozenset(peer._state.pledges),
        bool(node.open),
    )


def _leased(leases: Mapping[str, Lease]) -> dict[int, str]:
    return {int(lease.address): lease.id for lease in leases.values()}


_Recipe = tuple[Callable[..., Any], tuple[Any, ...]] | tuple[Callable[..., Any], tuple[Any, ...], Any]
"""What makes the value again: a function, its arguments, and the state to give to what it returns."""


class _Shared:
    """Images of nodes: pickles in which values that never change stand by number.

    So do classes and functions, as those of a planted bug need not be found under any name.
    """

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._values: list[object] = []

    def dump(self, node: Node) -> bytes:
        file = io.BytesIO()
        pickler = pickle.Pickler(file, 5)
        pickler.persistent_id = self._number  # type: ignore[method-assign]
        pickler.dispatch_table = _REDUCED
        pickler.dump(node)
        return file.getvalue()

    def load(self, image: bytes) -> Node:
        unpickler = pickle.Unpickler(io.BytesIO(image))
        unpickler.persistent_load = self._values.__getitem__  # type: ignore[method-assign]
        node = unpickler.load()
        assert isinstance(node, Node)
        node.peer._handlers = node.peer._table()
        return node

    def _number(self, value: object) -> int | None:
        kind = type(value)
        if kind not in _SHARED and not isinstance(value, type | RingIpamError):
            return None
        key = kind, value  # as a named tuple equals every other of the same content
        if key not in self._numbers:
            self._numbers[key] = len(self._values)
            self._values.append(value)
        return self._numbers[key]


def _peer(peer: Peer) -> _Recipe:
    """Without the table of who takes which message, which is made anew."""
    return object.__new__, (type(peer),), {name: part for name, part in vars(peer).items() if name != "_handlers"}


def _method(method: MethodType) -> _Recipe:
    return MethodType, (method.__func__, method.__self__)


_REDUCED: dict[type, Callable[[Any], Any]] = {Peer: _peer, MethodType: _method}
_SHARED = frozenset((Settings, Cidr, Claim, Lease, Hello, Envelope, Rumour, Member, FunctionType))
