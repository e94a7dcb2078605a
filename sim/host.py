"""One host: the production Peer behind the production Outbox, on a disk and a network that are not real."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringipam.core.durable import Change
from ringipam.core.events import Close, DeadlinePassed, Dial, Effect, Event, Log, Persist, Reply, Send
from ringipam.core.outbox import Outbox, Visible
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import StoreError
from sim.disk import Disk

if TYPE_CHECKING:
    from sim.cluster import World

REOPEN_MS = 500


class Host:
    """Crashes at any effect, restarts from what is durable, pauses, has a clock of its own."""

    def __init__(self, world: World, settings: Settings, rng: Rng, clock_offset: int) -> None:
        self.world = world
        self.settings = settings
        self.name = settings.name
        self.disk = Disk(world.loop, rng.fork())
        self.clock_offset = clock_offset
        self.up = False
        self.peer: Peer | None = None
        self.crash_in: int | None = None
        """Crash after so many more effects."""
        self.paused_until = 0
        self._rng = rng
        self._outbox = Outbox()
        self._life = 0
        self._alarm = 0
        self._backlog: list[Event] = []

    def start(self) -> None:
        assert not self.up
        self.up = True
        self._life += 1
        self._alarm = 0
        self._outbox = Outbox()
        self._backlog = []
        self.peer = Peer(self.settings, self.disk.read(), self._rng.fork(), self._now())
        self.world.restarted(self)
        self._take(None, self.peer.start(self._now()))

    def crash(self) -> None:
        """Everything that was not synced is gone."""
        if not self.up:
            return
        self.up = False
        self.peer = None
        self.crash_in = None
        self._life += 1
        self.disk.lose_power()
        self.world.crashed(self)

    @property
    def life(self) -> int:
        """Which process of this host runs; 0 while none does."""
        return self._life if self.up else 0

    def _now(self) -> int:
        return self.world.loop.now + self.clock_offset

    def deliver(self, event: Event) -> None:
        if not self.up:
            return
        if self.paused_until > self.world.loop.now or self._backlog:
            if not self._backlog:
                self.world.loop.at(self.paused_until, self._resume, self._life)
            self._backlog.append(event)
            return
        assert self.peer is not None
        self._take(event, self.peer.step(event, self._now()))

    def _resume(self, life: int) -> None:
        """What arrived during a pause comes in at its end, in order."""
        if life != self._life:
            return
        if self.paused_until > self.world.loop.now:
            self.world.loop.at(self.paused_until, self._resume, life)
            return
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            if life == self._life:
                self.deliver(event)

    def _take(self, event: Event | None, effects: list[Effect]) -> None:
        self.world.stepped(self, event, effects)
        self._outbox.push(effects)
        self._advance(self._life)

    def _advance(self, life: int) -> None:
        for effect in self._outbox.visible():
            if self.crash_in is not None:
                self.crash_in -= 1
                if self.crash_in < 0:
                    self.crash()
            if life != self._life:
                return
            self._carry_out(effect)
        changes = self._outbox.commit()
        if changes:
            self.disk.commit(changes, lambda ok: self._committed(life, changes, ok))
        self._set_alarm()

    def _committed(self, life: int, changes: tuple[Change, ...], ok: bool) -> None:
        if life != self._life:
            return
        if self.paused_until > self.world.loop.now:
            self.world.loop.at(self.paused_until, self._committed, life, changes, ok)
        elif ok:
            self._outbox.committed()
            self.world.committed(self, changes)
            self._advance(life)
        else:
            self._rebuild()

    def _rebuild(self) -> None:
        """A commit failed: nothing of memory may be used any more (safety.md S14)."""
        self._outbox.failed()
        self.up = False
        self.peer = None
        self._life += 1
        self.world.crashed(self, StoreError("no space left on device"))
        self.world.loop.after(REOPEN_MS, self._reopen, self._life)

    def _reopen(self, life: int) -> None:
        if life != self._life or self.up:
            return
        if self.disk.failing:
            self.world.loop.after(REOPEN_MS, self._reopen, life)
        else:
            self.start()

    def _carry_out(self, effect: Visible) -> None:
        network = self.world.network
        match effect:
            case Send(link, message):
                network.send(link, message)
            case Reply(request, answer):
                self.world.answered(self, request, answer)
            case Close(link, reason):
                network.close(link, reason)
            case Dial(address):
                network.dial(self.name, address)
            case Log(level, text):
                self.world.log(self, level, text)

    def _set_alarm(self) -> None:
        assert self.peer is not None
        deadline = self.peer.deadline
        if deadline is None:
            return
        due = max(deadline - self.clock_offset, self.world.loop.now + 1)
        if self._alarm <= self.world.loop.now or due < self._alarm:
            self._alarm = due
            self.world.loop.at(due, self._ring, self._life, due)

    def _ring(self, life: int, due: int) -> None:
        if life == self._life and due == self._alarm:
            self._alarm = 0
            self.deliver(DeadlinePassed())


def persisted(effects: list[Effect]) -> tuple[Change, ...]:
    """The changes a step asked for, wherever among its effects they stand."""
    if not effects:
        return ()
    return tuple(change for effect in effects if isinstance(effect, Persist) for change in effect.changes)
