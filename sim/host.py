"""One host: the production Peer behind the production Outbox, on a disk and a network that are not real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ringipam.config import Init
from ringipam.core.durable import Change
from ringipam.core.events import (
    Close,
    DeadlinePassed,
    Dial,
    Effect,
    Event,
    Log,
    Persist,
    Rebuild,
    Received,
    Reply,
    Send,
)
from ringipam.core.outbox import Outbox, Visible
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import PeerError, StoreError
from ringipam.messages import Standing
from sim.disk import Disk

if TYPE_CHECKING:
    from sim.cluster import World

REOPEN_MS = 500


class HostClock:
    """A clock that may be wrong from the start and run too fast or too slow; it never goes back in a living process."""

    def __init__(self, world_ms: int) -> None:
        self._since = self._shown = world_ms
        self._rate = 1000

    def now(self, world_ms: int) -> int:
        return self._shown + (world_ms - self._since) * self._rate // 1000

    def due(self, shown_ms: int) -> int:
        """The world's time at which this clock has come to `shown_ms`."""
        return self._since - (self._shown - shown_ms) * 1000 // self._rate

    def set(self, world_ms: int, *, step_ms: int = 0, rate: int = 1000) -> None:
        """Step it, and let it gain `rate` ms in 1,000 from now on."""
        self._shown = self.now(world_ms) + step_ms
        self._since = world_ms
        self._rate = rate


class Host:
    """Crashes at any effect, restarts from what is durable, pauses, has a clock of its own."""

    def __init__(self, world: World, settings: Settings, rng: Rng, name: str = "") -> None:
        self.world = world
        self.settings = settings
        self.name = name or settings.name
        self.disk = Disk(world.loop, rng.fork())
        self.clock = HostClock(world.loop.now)
        self.up = False
        self.wanted = True
        """Whether the healing at the end brings it back; False for a host that is gone for good."""
        self.stranger = False
        """It is of another ring, or of none that could be joined."""
        self.lies = False
        """It is there to say what no correct peer says."""
        self.peer: Peer | None = None
        self.crash_in: int | None = None
        """Crash after so many more effects."""
        self.left_waiting = 0
        """How many requests the last crash left without an answer."""
        self.paused_until = 0
        self.lag_ms = 0
        """A slow processor: every event waits so long before it is taken in."""
        self._rng = rng
        self._outbox = Outbox()
        self._life = 0
        self._alarm = 0
        self._backlog: list[Event] = []
        self._resuming = False

    def start(self) -> None:
        """From what is durable; tried again a while later if the disk cannot be read."""
        assert not self.up
        if self.disk.unreadable:
            self.world.loop.after(REOPEN_MS, self._reopen, self._life)
            return
        self._identify()
        self.up = True
        self._life += 1
        self._alarm = 0
        self._outbox = Outbox()
        self._backlog = []
        self._resuming = False
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
        self._identify()
        self.world.crashed(self)

    def reborn(self, peer: str, init: Init) -> None:
        """The disk is lost: the host comes back empty, and as somebody else."""
        assert not self.up
        self.disk.wipe()
        self.settings = replace(self.settings, peer=peer, init=init)

    def _identify(self) -> None:
        """The disk says who one is, if its operator had it begin anew."""
        peer = self.disk.durable.meta.get("peer", self.settings.peer)
        if peer != self.settings.peer:
            self.world.renewed(self, peer)

    @property
    def has_ring(self) -> bool:
        return bool(self.disk.durable.meta.get("cluster"))

    @property
    def fenced(self) -> str:
        """Why this host issues nothing any more, durably; "" if it is not fenced off."""
        return self.disk.durable.meta.get("fenced", "")

    @property
    def standing(self) -> Standing:
        """Where it is on its way out, durably."""
        member = self.disk.durable.members.get(self.settings.peer)
        return member.standing if member else Standing.MEMBER

    @property
    def life(self) -> int:
        """Which process of this host runs; 0 while none does."""
        return self._life if self.up else 0

    @property
    def backlog(self) -> int:
        """Events that a pause or a slow processor holds up."""
        return len(self._backlog)

    def _now(self) -> int:
        return self.clock.now(self.world.loop.now)

    def deliver(self, event: Event) -> None:
        if not self.up:
            return
        now = self.world.loop.now
        if self.paused_until > now or self._backlog or self.lag_ms:
            self._backlog.append(event)
            if not self._resuming:
                self._resuming = True
                self.world.loop.at(max(self.paused_until, now + self.lag_ms), self._resume, self._life)
            return
        self._step(event)

    def _step(self, event: Event) -> None:
        world = self.world
        if world.traps:
            life = self._life
            world.pass_point("event", self, event)
            if life != self._life:
                return
        assert self.peer is not None
        try:
            effects = self.peer.step(event, self._now())
        except PeerError as error:
            self._refuse(event, error)
        else:
            self._take(event, effects)

    def _refuse(self, event: Event, error: PeerError) -> None:
        """What no correct peer says ends its link; here only those say it that are there to lie."""
        assert isinstance(event, Received)
        world = self.world
        other = world.network.other_end(event.link)
        if other and not world.hosts[other].lies:
            raise error
        world.mark("a lie was refused")
        world.log(self, "warning", f"{other}: {error}")
        world.network.close(event.link, str(error))
        self._set_alarm()

    def _resume(self, life: int) -> None:
        """What arrived during a pause comes in at its end, in order."""
        if life != self._life:
            return
        now = self.world.loop.now
        if self.paused_until > now:
            self.world.loop.at(self.paused_until, self._resume, life)
            return
        if self.lag_ms and self._backlog:
            self._step(self._backlog.pop(0))
            if life == self._life and self._backlog:
                self.world.loop.after(self.lag_ms, self._resume, life)
            else:
                self._resuming = False
            return
        self._resuming = False
        backlog, self._backlog = self._backlog, []
        for event in backlog:
            if life == self._life:
                self.deliver(event)

    def _take(self, event: Event | None, effects: list[Effect]) -> None:
        self.world.stepped(self, event, effects)
        if effects:
            self._outbox.push(effects)
            self._advance(self._life)
        else:
            self._set_alarm()

    def _advance(self, life: int) -> None:
        world = self.world
        for effect in self._outbox.visible():
            if self.crash_in is not None:
                self.crash_in -= 1
                if self.crash_in < 0:
                    self.crash()
            if world.traps and life == self._life:
                world.pass_point("effect", self, effect)
            if life != self._life:
                return
            self._carry_out(effect)
            if world.traps:
                world.pass_point("done", self, effect)
        if life != self._life:
            return
        self._commit(life)

    def _commit(self, life: int) -> None:
        world = self.world
        changes = self._outbox.commit()
        if changes:
            if world.traps:
                world.pass_point("commit", self, changes)
                if life != self._life:
                    return
            self.disk.commit(changes, lambda ok: self._committed(life, changes, ok))
            if world.traps:
                world.pass_point("committing", self, changes)
                if life != self._life:
                    return
        self._set_alarm()

    def _committed(self, life: int, changes: tuple[Change, ...], ok: bool) -> None:
        if life != self._life:
            return
        world = self.world
        if self.paused_until > world.loop.now:
            world.loop.at(self.paused_until, self._committed, life, changes, ok)
        elif ok:
            if world.traps:
                world.pass_point("durable", self, changes)
                if life != self._life:
                    return
            self._outbox.committed()
            world.committed(self, changes)
            self._advance(life)
        else:
            self._rebuild()

    def _rebuild(self) -> None:
        """A commit failed: nothing of memory may be used any more (safety.md S14)."""
        self._outbox.failed()
        self.up = False
        self.peer = None
        self._life += 1
        self._identify()
        self.world.crashed(self, StoreError("no space left on device"))
        self.world.loop.after(REOPEN_MS, self._reopen, self._life)

    def _begin_anew(self) -> None:
        """The peer has become another, and goes on from the disk."""
        self._outbox.failed()
        self.up = False
        self.peer = None
        self._life += 1
        self._identify()
        self.world.crashed(self)
        self.world.loop.after(REOPEN_MS, self._reopen, self._life)

    def _reopen(self, life: int) -> None:
        if life != self._life or self.up or not self.wanted:
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
            case Rebuild():
                self._begin_anew()

    def _set_alarm(self) -> None:
        assert self.peer is not None
        deadline = self.peer.deadline
        if deadline is None:
            return
        now = self.world.loop.now
        due = max(self.clock.due(deadline), now + 1)
        if self._alarm <= now or due < self._alarm:
            self._alarm = due
            self.world.loop.at(due, self._ring, self._life, due)

    def _ring(self, life: int, due: int) -> None:
        if life == self._life and due == self._alarm:
            self._alarm = 0
            self.deliver(DeadlinePassed())


def persisted(effects: Sequence[Effect]) -> tuple[Change, ...]:
    """The changes a step asked for, wherever among its effects they stand."""
    found: tuple[Change, ...] = ()
    for effect in effects:
        if type(effect) is Persist:
            found += effect.changes
    return found
