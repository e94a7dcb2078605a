"""A disk that keeps what was synced and loses what was not. A commit is all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from ringipam.core.durable import Change, Stored
from ringipam.core.rng import Rng
from sim.loop import Loop

CALM_DELAY_MS = (0, 3)


class Disk:
    """`durable` is what a restart finds."""

    def __init__(self, loop: Loop, rng: Rng) -> None:
        self._loop = loop
        self._rng = rng
        self.durable = Stored()
        self.delay_ms = CALM_DELAY_MS
        self.failing = False
        self.full = False
        """With `failing`: nothing of a failed commit is ever found, as there was no room for it."""
        self.unreadable = False
        """A host cannot start from it."""
        self.stalled_until = 0
        """A sync that hangs comes back then."""
        self.crash_outcome = ""
        """What the last crash or failure did to a commit under way, in words; "" if there was none."""
        self._flight: tuple[Change, ...] = ()
        self._life = 0

    def read(self) -> Stored:
        """What is durable, as a copy: nobody's memory is the disk."""
        return copied(self.durable)

    def heal(self) -> None:
        self.failing = self.full = self.unreadable = False
        self.stalled_until = 0
        self.delay_ms = CALM_DELAY_MS

    def wipe(self) -> None:
        self.durable = Stored()

    def commit(self, changes: tuple[Change, ...], done: Callable[[bool], None]) -> None:
        """`done(ok)` when it is over; with `ok`, the changes are durable."""
        self._flight = changes
        self._loop.after(self._rng.between(*self.delay_ms), self._finish, self._life, changes, done)

    def _finish(self, life: int, changes: tuple[Change, ...], done: Callable[[bool], None]) -> None:
        if life != self._life:
            return
        if self.stalled_until > self._loop.now:
            self._loop.at(self.stalled_until, self._finish, life, changes, done)
            return
        self._flight = ()
        # A commit that was reported as failed may still be found after a restart.
        if not self.failing:
            self._apply(changes)
        elif not self.full and self._rng.chance(250):
            self.crash_outcome = "a failed commit was found on disk"
            self._apply(changes)
        done(not self.failing)

    def lose_power(self) -> None:
        """A commit under way was finished or it was not; nobody was told either way."""
        self.crash_outcome = ""
        if self._flight:
            self.crash_outcome = "a crash undid a commit under way"
            if not self.failing and self._rng.chance(500):
                self.crash_outcome = "a crash let a commit under way come true"
                self._apply(self._flight)
        self._flight = ()
        self._life += 1

    def _apply(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.durable.apply(change)


def copied(stored: Stored) -> Stored:
    """All that it holds is values, and the dictionaries they stand in."""
    found = Stored()
    for field in fields(stored):
        value = getattr(stored, field.name)
        setattr(found, field.name, dict(value) if isinstance(value, dict) else value)
    return found
