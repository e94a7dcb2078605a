"""One recorded life, led again by the other driver: the same effects, order, commits and disk.

The simulator's lives, with all its faults, are led again by the runtime's driver on a real database.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import trio
from tapes import Ended, Entry, Happened, Seen, Started, Tape, TapedOutbox, TapedPeer, as_changes, taping
from trio.testing import MockClock, wait_all_tasks_blocked

import sim.host
from ringipam.core.durable import Change
from ringipam.core.events import Answer, Asked, Cancelled, Close, Dial, Reply, Send
from ringipam.errors import PeerError, RingIpamError, StoreError
from ringipam.messages import Message
from ringipam.runtime import driver as driver_module
from ringipam.runtime.clock import Clock
from ringipam.runtime.driver import Driver
from ringipam.store.store import Store
from sim.run import Plan
from sim.run import run as run_in_the_simulator

SEEDS = (1, 2, 5, 8)
SECONDS = 16


class TapeClock(Clock):
    """Shows the time that the tape says."""

    def __init__(self) -> None:
        self.ms = 0

    def now(self) -> int:
        return self.ms

    def trio_time(self, at_ms: int) -> float:
        return float("inf")


class Replay:
    """The runtime's driver with a real store, its clock, its disk and its events in the hands of a tape."""

    def __init__(self, tape: Tape, directory: Path) -> None:
        self.tape = tape
        self.carried: list[Send | Dial | Close] = []
        self.answers: dict[int, Answer] = {}
        self._clock = TapeClock()
        self._store = Store.open(directory, tape.settings.universe.family)
        self._store.commit(as_changes(tape.stored))
        self._expected = self._store.load()
        assert self._expected == tape.stored
        self._commit: tuple[tuple[Change, ...], object] | None = None
        self._numbers: deque[int] = deque()
        self._scopes: dict[int, trio.CancelScope] = {}
        peer = TapedPeer(tape.settings, self._store.load(), copy(tape.rng), tape.began_ms)
        self.entries = peer.tape.entries
        outbox = TapedOutbox()
        outbox.entries = self.entries
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(driver_module, "Outbox", lambda: outbox)
            self._driver = Driver(peer, self._submit, self._clock, self, iter(self._numbers.popleft, None))

    def dial(self, address: str) -> None:
        self.carried.append(Dial(address))

    def send(self, link: int, message: Message) -> None:
        self.carried.append(Send(link, message))

    def close(self, link: int, reason: str) -> None:
        self.carried.append(Close(link, reason))

    def _submit(self, changes: tuple[Change, ...], done: object) -> None:
        assert self._commit is None, "one commit at a time"
        self._commit = changes, done

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for entry in self.tape.inputs:
                await self._feed(entry, nursery)
            await wait_all_tasks_blocked()
            self.entries = list(self.entries)  # without what the cancelled callers do
            nursery.cancel_scope.cancel()
        self._store.close()

    async def _feed(self, entry: Entry, nursery: trio.Nursery) -> None:
        match entry:
            case Started(now):
                self._clock.ms = now
                self._driver.start()
            case Ended(well):
                self._end_commit(well)
            case Happened(Asked(number, verb), now):
                self._clock.ms = now
                self._numbers.append(number)
                nursery.start_soon(self._ask, number, verb)
                await wait_all_tasks_blocked()
            case Happened(Cancelled(number), now):
                self._clock.ms = now
                self._scopes[number].cancel()
            case Happened(event, now):
                self._clock.ms = now
                with suppress(PeerError):
                    self._driver.happened(event)

    async def _ask(self, number: int, verb: object) -> None:
        with trio.CancelScope() as self._scopes[number]:
            try:
                self.answers[number] = await self._driver.ask(verb)
            except RingIpamError as error:
                self.answers[number] = error

    def _end_commit(self, well: bool) -> None:
        assert self._commit is not None
        changes, done = self._commit
        self._commit = None
        if not well:
            done(StoreError("no space left on device"))
            return
        self._store.commit(changes)
        for change in changes:
            self._expected.apply(change)
        assert self._store.load() == self._expected, "the database holds what the commits add up to"
        done(None)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_runtime_leads_the_simulators_lives_again(seed: int, tmp_path: Path) -> None:
    with taping(sim.host) as tapes:
        result = run_in_the_simulator(Plan(seed, hosts=3, seconds=SECONDS))
    assert result.violation is None
    assert len(tapes) >= 3

    for number, tape in enumerate(tapes):
        replay = Replay(tape, tmp_path / str(number))
        trio.run(replay.run, clock=MockClock())

        assert [plain(entry) for entry in replay.entries] == [plain(entry) for entry in tape.entries]
        assert replay.carried == effects(tape, Send, Dial, Close)
        replies = effects(tape, Reply)
        assert [comparable(replay.answers[r.request]) for r in replies] == [comparable(r.answer) for r in replies]


def effects(tape: Tape, *kinds: type) -> list[Any]:
    return [entry.effect for entry in tape.entries if isinstance(entry, Seen) and isinstance(entry.effect, kinds)]


def plain(entry: Entry) -> object:
    """As a value: exceptions are equal to themselves alone."""
    if isinstance(entry, Seen) and isinstance(entry.effect, Reply):
        return entry.effect.request, comparable(entry.effect.answer)
    return entry


def comparable(answer: Answer) -> object:
    return (type(answer), answer.message, answer.details) if isinstance(answer, RingIpamError) else answer
