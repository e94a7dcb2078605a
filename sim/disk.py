"""A disk that keeps what was synced and loses what was not. A commit is all or nothing."""

from __future__ import annotations

from collections.abc import Callable

from ringipam.core.durable import Change, Stored
from ringipam.core.rng import Rng
from sim.loop import Loop


class Disk:
    """`durable` is what a restart finds."""

    def __init__(self, loop: Loop, rng: Rng) -> None:
        self._loop = loop
        self._rng = rng
        self.durable = Stored()
        self.delay_ms = (0, 3)
        self.failing = False
        self._flight: tuple[Change, ...] = ()
        self._life = 0

    def read(self) -> Stored:
        """What is durable, as a copy: nobody's memory is the disk."""
        durable = self.durable
        return Stored(
            dict(durable.meta),
            dict(durable.tokens),
            dict(durable.leases),
            dict(durable.quarantine),
            dict(durable.members),
            durable.acceptor,
            dict(durable.answered),
            dict(durable.conflicts),
        )

    def commit(self, changes: tuple[Change, ...], done: Callable[[bool], None]) -> None:
        """`done(ok)` when it is over; with `ok`, the changes are durable."""
        self._flight = changes
        self._loop.after(self._rng.between(*self.delay_ms), self._finish, self._life, changes, done)

    def _finish(self, life: int, changes: tuple[Change, ...], done: Callable[[bool], None]) -> None:
        if life != self._life:
            return
        self._flight = ()
        # A commit that was reported as failed may still be found after a restart.
        if not self.failing or self._rng.chance(250):
            self._apply(changes)
        done(not self.failing)

    def lose_power(self) -> None:
        """A commit under way was finished or it was not; nobody was told either way."""
        if self._flight and not self.failing and self._rng.chance(500):
            self._apply(self._flight)
        self._flight = ()
        self._life += 1

    def _apply(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.durable.apply(change)
