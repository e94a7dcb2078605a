"""Links between hosts: delay, loss, duplication, reordering, cuts in either direction.

A link stands for a TCP connection: a cut is noticed 1 to 3 seconds later as `LinkDown` on both ends. The core must
also stand what TCP would not do to it (loss, copies, disorder), so those can be switched on besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringipam.codec import decode, encode
from ringipam.core.events import DialFailed, Event, LinkDown, LinkUp, Received
from ringipam.core.rng import Rng
from ringipam.messages import Envelope, Message
from sim.loop import Loop

CUT_NOTICED_MS = (1_000, 3_000)
CALM_DELAY_MS = (1, 10)
DIAL_TIMEOUT_MS = 1_500

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


@dataclass(slots=True)
class Weather:
    """How bad the network is; chances are per mille."""

    delay_ms: tuple[int, int] = CALM_DELAY_MS
    loss: int = 0
    copies: int = 0
    disorder: int = 0


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
        self._drop_next: list[type] = []
        self.weather = Weather()
        self.on_send: OnSend | None = None
        self.bytes = 0
        self.messages = 0

    # ── cuts ─────────────────────────────────────────────────────────────────────────────────────

    def cut(self, source: str, target: str) -> None:
        """Nothing passes from `source` to `target` any more; cuts of one direction add up."""
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1
        for link, end in list(self._ends.items()):
            if (end.host, end.other_host) in ((source, target), (target, source)):
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
        self.weather = Weather()

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts or (target, source) in self._cuts

    def slow(self, source: str, target: str, delay_ms: int) -> None:
        """Messages from `source` to `target` take that much longer; 0 ends it."""
        if delay_ms:
            self._slow[source, target] = delay_ms
        else:
            self._slow.pop((source, target), None)

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
        if not self._life(target):
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
        for link, end in list(self._ends.items()):
            if end.host == host:
                del self._ends[link]
                self._loop.after(self._rng.between(1, CUT_NOTICED_MS[1]), self._close_other, end.other_link)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────

    def send(self, link: int, message: Message) -> None:
        end = self._ends.get(link)
        if end is None:
            return
        self.messages += 1
        if self._codec:
            payload = encode(message)
            self.bytes += len(payload) + 4
            message = decode(payload)
        if self._lost(end, message):
            if self.on_send is not None:
                self.on_send(end.host, end.other_host, message, self._loop.now, None)
            return
        rng = self._rng
        for _ in range(2 if rng.chance(self.weather.copies) else 1):
            arrival = self._loop.now + self._delay(end.host, end.other_host)
            if rng.chance(self.weather.disorder):
                arrival += rng.below(200)
            else:
                arrival = end.last_arrival = max(arrival, end.last_arrival)
            self._loop.at(arrival, self._arrive, end.other_link, message)
            if self.on_send is not None:
                self.on_send(end.host, end.other_host, message, self._loop.now, arrival)

    def _lost(self, end: _End, message: Message) -> bool:
        if (end.host, end.other_host) in self._cuts or self._rng.chance(self.weather.loss):
            return True
        if self._drop_next and isinstance(message, Envelope) and type(message.body) in self._drop_next:
            self._drop_next.remove(type(message.body))
            return True
        return False

    def _arrive(self, link: int, message: Message) -> None:
        end = self._ends.get(link)
        if end is not None and (end.other_host, end.host) not in self._cuts:
            self._deliver(end.host, Received(link, message))

    def _delay(self, source: str, target: str) -> int:
        return self._rng.between(*self.weather.delay_ms) + self._slow.get((source, target), 0)
