"""Links between hosts: delay, loss, duplication, reordering, cuts in either direction.

A link stands for a TCP connection: a cut is noticed 1 to 3 seconds later as `LinkDown` on both ends. The core must
also stand what TCP would not do to it (loss, copies, disorder), so those can be switched on besides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringipam.codec import decode, encode
from ringipam.core.events import DialFailed, Event, LinkDown, LinkUp, Received
from ringipam.core.rng import Rng
from ringipam.errors import PeerError
from ringipam.messages import Envelope, Message
from sim.loop import Loop

CUT_NOTICED_MS = (1_000, 3_000)
HALF_OPEN_MS = (10_000, 20_000)
CALM_DELAY_MS = (1, 10)
DIAL_TIMEOUT_MS = 1_500
TAIL_MS = 3_000
STALE_MS = (500, 15_000)

Deliver = Callable[[str, Event], None]
OnSend = Callable[[str, str, Message, int, int | None], None]
"""Source, target, message, sent at, arrives at; the last is None for a message that is lost."""


@dataclass(slots=True)
class _End:
    """One end of a link, and where its messages go."""

    host: str
    other_host: str
    other_link: int
    last_arrival: int = 0
    in_flight: int = 0


@dataclass(slots=True)
class Weather:
    """How bad the network is; chances are per mille of all messages."""

    delay_ms: tuple[int, int] = CALM_DELAY_MS
    loss: int = 0
    copies: int = 0
    disorder: int = 0
    tail: int = 0
    """Held up for up to `TAIL_MS`, and all behind it on the link."""
    stale: int = 0
    """Delivered once more, much later."""
    corrupt: int = 0
    """Damaged on the way: the receiver cannot read it and closes the link."""
    queue: int = 0
    """Messages a link holds; more are lost. 0: no limit."""
    half_open: bool = False
    """The end of a crashed host's links is noticed by keep-alives only."""
    refused_dials: int = 0


class Network:
    """`deliver(host, event)` hands an event to a host; `life(host)` numbers its processes, 0 while none runs."""

    def __init__(self, loop: Loop, rng: Rng, deliver: Deliver, life: Callable[[str], int], *, codec: bool) -> None:
        self._loop = loop
        self._rng = rng
        self._deliver = deliver
        self._life = life
        self._codec = codec
        self._ends: dict[int, _End] = {}
        self._next = 0
        self._cuts: dict[tuple[str, str], int] = {}
        self._slow: dict[tuple[str, str], int] = {}
        self._clogs: dict[tuple[str, str], int] = {}
        self._selves: dict[str, int] = {}
        """How often a host became another peer."""
        self._drop_next: list[type] = []
        self.weather = Weather()
        self.unsaid: frozenset[type] = frozenset()
        """Messages with such a body get lost, and are not counted: what a world is cut short of."""
        self.bytes = 0
        self.messages = 0
        self.on_send: OnSend | None = None
        self.mark: Callable[[str], None] | None = None
        """Told what befell a message."""

    # ── cuts ─────────────────────────────────────────────────────────────────────────────────────

    def cut(self, source: str, target: str) -> None:
        """Nothing passes from `source` to `target` any more; cuts of one direction add up."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1
        for link, end in list(self._ends.items()):
            if (end.host, end.other_host) in ((source, target), (target, source)):
                self._loop.after(self._rng.between(*CUT_NOTICED_MS), self._break_if_cut, link)

    def cut_between(self, one: Sequence[str], other: Sequence[str]) -> None:
        """Nothing passes between two groups of hosts, in either direction, until all is mended."""
        pairs = {pair: None for a in one for b in other for pair in ((a, b), (b, a))}
        for pair in pairs:
            self._cuts[pair] = self._cuts.get(pair, 0) + 1
        for link, end in self._ends.items():
            if (end.host, end.other_host) in pairs:
                self._loop.after(self._rng.between(*CUT_NOTICED_MS), self._break_if_cut, link)

    def mend(self, source: str, target: str) -> None:
        left = self._cuts.get((source, target), 0) - 1
        if left > 0:
            self._cuts[source, target] = left
        else:
            self._cuts.pop((source, target), None)

    def mend_all(self) -> None:
        self._cuts.clear()
        self._slow.clear()
        self._clogs.clear()
        self.weather = Weather()

    @property
    def whole(self) -> bool:
        """Whether nobody is cut off from anybody."""
        return not self._cuts

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts or (target, source) in self._cuts

    def other_end(self, link: int) -> str:
        """Which host is at the other end, or "" if the link is no more."""
        end = self._ends.get(link)
        return end.other_host if end is not None else ""

    def linked(self, one: str, other: str) -> bool:
        """Whether a connection between two hosts stands, as far as both know."""
        return any((end.host, end.other_host) == (one, other) for end in self._ends.values())

    def slow(self, source: str, target: str, delay_ms: int) -> None:
        """Messages from `source` to `target` take that much longer; 0 ends it."""
        if delay_ms:
            self._slow[source, target] = delay_ms
        else:
            self._slow.pop((source, target), None)

    def clog(self, source: str, target: str, until: int) -> None:
        """What is sent from `source` to `target` from now on arrives after `until`, in order."""
        self._clogs[source, target] = max(until, self._clogs.get((source, target), 0))

    def reset(self, one: str, other: str) -> int:
        """Tear the connections between two hosts; what was under way is lost. How many there were."""
        torn = [link for link, end in self._ends.items() if (end.host, end.other_host) == (one, other)]
        for link in torn:
            end = self._ends.pop(link)
            back = self._ends.pop(end.other_link, None)
            self._loop.after(0, self._deliver, one, LinkDown(link, "connection reset"))
            if back is not None:
                self._loop.after(0, self._deliver, other, LinkDown(end.other_link, "connection reset"))
        return len(torn)

    def drop_next(self, kind: type) -> None:
        """The next message whose body is of this kind is lost."""
        self._drop_next.append(kind)

    def _break_if_cut(self, link: int) -> None:
        end = self._ends.get(link)
        if end is not None and self.is_cut(end.host, end.other_host):
            self.close(link, "the connection timed out")

    # ── connections ──────────────────────────────────────────────────────────────────────────────

    def dial(self, source: str, address: str) -> None:
        target = address.partition(":")[0]
        life = self._life(source)
        if not self._life(target) or self._rng.chance(self.weather.refused_dials):
            self._loop.after(self._delay(source, target), self._dial_failed, source, life, address, "refused")
        elif self.is_cut(source, target):
            self._loop.after(DIAL_TIMEOUT_MS, self._dial_failed, source, life, address, "timed out")
        else:
            self._loop.after(2 * self._delay(source, target), self._connect, source, life, target, address)

    def _dial_failed(self, source: str, life: int, address: str, reason: str) -> None:
        """The process that dialled hears of it, not one that was started since."""
        if self._life(source) == life:
            self._deliver(source, DialFailed(address, reason))

    def _connect(self, source: str, life: int, target: str, address: str) -> None:
        if self._life(source) != life:
            return
        if not self._life(target) or self.is_cut(source, target):
            self._dial_failed(source, life, address, "lost while connecting")
            return
        here, there = self._next + 1, self._next + 2
        self._next += 2
        self._ends[here] = _End(source, target, there)
        self._ends[there] = _End(target, source, here)
        self._deliver(target, LinkUp(there, "", source))
        self._deliver(source, LinkUp(here, address, target))

    def close(self, link: int, reason: str) -> None:
        """This end is closed now; the other hears of it a moment later, behind what was sent before."""
        end = self._ends.pop(link, None)
        if end is None:
            return
        self._loop.after(0, self._deliver, end.host, LinkDown(link, reason))
        delay = self._delay(end.host, end.other_host)
        if self.is_cut(end.host, end.other_host):
            delay = self._rng.between(*CUT_NOTICED_MS)
        self._loop.at(max(self._loop.now + delay, end.last_arrival), self._close_other, end.other_link)

    def _close_other(self, link: int) -> None:
        end = self._ends.pop(link, None)
        if end is not None:
            self._deliver(end.host, LinkDown(link, "the other side closed it"))

    def host_gone(self, host: str) -> None:
        """The host crashed: the others notice at once or after a while."""
        noticed = HALF_OPEN_MS if self.weather.half_open else (1, CUT_NOTICED_MS[1])
        for link, end in list(self._ends.items()):
            if end.host == host:
                del self._ends[link]
                self._loop.after(self._rng.between(*noticed), self._close_other, end.other_link)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────

    def send(self, link: int, message: Message) -> None:
        end = self._ends.get(link)
        if end is None or (self.unsaid and isinstance(message, Envelope) and type(message.body) in self.unsaid):
            return
        self.messages += 1
        if self._codec:
            payload = encode(message)
            self.bytes += len(payload) + 4
            message = decode(payload)
        weather, rng, now = self.weather, self._rng, self._loop.now
        if self._lost(end, message):
            if self.on_send is not None:
                self.on_send(end.host, end.other_host, message, now, None)
            return
        for _ in range(2 if weather.copies and rng.chance(weather.copies) else 1):
            arrival = now + self._delay(end.host, end.other_host)
            if weather.disorder and rng.chance(weather.disorder):
                arrival += rng.below(200)
            else:
                if weather.tail and rng.chance(weather.tail):
                    arrival += rng.below(TAIL_MS)
                if self._clogs:
                    arrival = max(arrival, self._clogs.get((end.host, end.other_host), 0))
                arrival = end.last_arrival = max(arrival, end.last_arrival)
            if weather.corrupt and rng.chance(weather.corrupt):
                self._loop.at(arrival, self._arrive_damaged, end.other_link, message, rng.bits64())
            else:
                end.in_flight += 1
                self._loop.at(arrival, self._arrive, end, message)
            if self.on_send is not None:
                self.on_send(end.host, end.other_host, message, now, arrival)
        if weather.stale and rng.chance(weather.stale):
            self._loop.after(rng.between(*STALE_MS), self._arrive_again, end, self._selves_of(end), message)

    def _lost(self, end: _End, message: Message) -> bool:
        weather = self.weather
        if (end.host, end.other_host) in self._cuts or (weather.loss and self._rng.chance(weather.loss)):
            return True
        if weather.queue and end.in_flight >= weather.queue:
            self._say("a link's queue overflowed")
            return True
        if self._drop_next and isinstance(message, Envelope) and type(message.body) in self._drop_next:
            self._drop_next.remove(type(message.body))
            return True
        return False

    def _arrive(self, sent_by: _End, message: Message) -> None:
        sent_by.in_flight -= 1
        link = sent_by.other_link
        end = self._ends.get(link)
        if end is not None and (end.other_host, end.host) not in self._cuts:
            self._deliver(end.host, Received(link, message))

    def renewed(self, host: str) -> None:
        """A host is somebody else from now on: what was said by its former self, or to it, is not said again."""
        self._selves[host] = self._selves.get(host, 0) + 1

    def _selves_of(self, end: _End) -> tuple[int, int]:
        return self._selves.get(end.host, 0), self._selves.get(end.other_host, 0)

    def _arrive_again(self, sent_by: _End, selves: tuple[int, int], message: Message) -> None:
        """An old copy comes over the link if that still stands, else over the one that took its place.

        A link's two ends have proved who they are, so what another self of theirs sent never comes over it.
        """
        if selves != self._selves_of(sent_by):
            return
        link = sent_by.other_link
        if link not in self._ends:
            pair = (sent_by.other_host, sent_by.host)
            link = next((n for n, end in self._ends.items() if (end.host, end.other_host) == pair), 0)
        end = self._ends.get(link)
        if end is not None and not self.is_cut(end.host, end.other_host):
            self._say("an old copy of a message came much later")
            self._deliver(end.host, Received(link, message))

    def _arrive_damaged(self, link: int, message: Message, chance: int) -> None:
        """A frame cut short or with a byte flipped. What can be read all the same, a checksum below rejects."""
        end = self._ends.get(link)
        if end is None:
            return
        payload = bytearray(encode(message))
        if chance & 1:
            del payload[chance % len(payload) :]
        else:
            payload[chance % len(payload)] ^= 1 << (chance >> 61)
        try:
            decode(bytes(payload))
        except PeerError:
            self._say("a damaged frame was refused")
        self.close(link, "a frame that cannot be read")

    def _say(self, what: str) -> None:
        if self.mark is not None:
            self.mark(what)

    def _delay(self, source: str, target: str) -> int:
        low, high = self.weather.delay_ms
        delay = low + self._rng.below(high - low + 1)
        return delay + self._slow.get((source, target), 0) if self._slow else delay
