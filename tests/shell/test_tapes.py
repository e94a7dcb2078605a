"""One recorded life, led again by the other driver: the same effects, order, commits and disk.

The simulator's lives, with all its faults, are led again by the runtime's driver on a real database; those of the real
shell, with garbage and all, by the simulator's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from copy import copy, deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import world
from histories import run as run_in_the_shell
from tapes import Began, Ended, Entry, Happened, Seen, Started, Tape, TapedOutbox, TapedPeer, as_changes, taping
from trio.testing import MockClock, wait_all_tasks_blocked

import sim.host
from ringipam.core.durable import Change, Stored
from ringipam.core.events import Answer, Asked, Cancelled, Close, Dial, Reply, Send
from ringipam.errors import PeerError, RingIpamError, StoreError
from ringipam.messages import Message
from ringipam.runtime import driver as driver_module
from ringipam.runtime.clock import Clock
from ringipam.runtime.driver import Driver
from ringipam.store.store import Store
from sim.cluster import Request, World
from sim.run import Plan
from sim.run import run as run_in_the_simulator

SIMULATED = (14, 16, 17, 18)
REAL = (2, 5, 7, 9)
SECONDS = 16
FAULTS = "crash,crash-mid-effects,split,isolate,pair,flap,loss,copies,disorder,power-loss,disk-fails,disk-slow,pause"


class TapeClock(Clock):
    """Shows the time that the tape says."""

    def __init__(self) -> None:
        self.ms = 0

    def now(self) -> int:
        return self.ms

    def trio_time(self, at_ms: int) -> float:
        return float("inf")


class InTheRuntime:
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
            self._driver = Driver(peer, self, self._clock, self, iter(self._numbers.popleft, None))

    def dial(self, address: str) -> None:
        self.carried.append(Dial(address))

    def send(self, link: int, message: Message) -> None:
        self.carried.append(Send(link, message))

    def close(self, link: int, reason: str) -> None:
        self.carried.append(Close(link, reason))

    def commit_here(self, changes: tuple[Change, ...]) -> bool:
        return False  # the tape says when a commit ends

    def submit(self, changes: tuple[Change, ...], done: object) -> None:
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
                await wait_all_tasks_blocked()
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


class InTheSimulator:
    """The simulator's host, its network, its disk and its events in the hands of a tape."""

    unreadable = False

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.carried: list[Send | Dial | Close] = []
        self._durable = deepcopy(tape.stored)
        self._commit: tuple[tuple[Change, ...], Callable[[bool], None]] | None = None
        name = tape.settings.name
        self._world = World(hosts=[name], universe=str(tape.settings.universe), start=False, checked=False)
        self._world.network = self  # type: ignore[assignment]  # what a host asks of a network
        self._host = self._world.hosts[name]
        self._host.settings = tape.settings
        self.durable = tape.stored
        self._host.disk = self  # type: ignore[assignment]  # what a host asks of a disk

    @property
    def entries(self) -> list[Entry]:
        return self._entries

    @property
    def answers(self) -> dict[int, Answer]:
        return {number: request.answer for number, request in self._world.requests.items()}

    def other_end(self, link: int) -> str:
        return self._host.name  # whoever it is does not lie

    def dial(self, source: str, address: str) -> None:
        self.carried.append(Dial(address))

    def send(self, link: int, message: Message) -> None:
        self.carried.append(Send(link, message))

    def close(self, link: int, reason: str) -> None:
        self.carried.append(Close(link, reason))

    def host_gone(self, host: str) -> None:
        """The life is over."""

    def read(self) -> Stored:
        return deepcopy(self._durable)

    def commit(self, changes: tuple[Change, ...], done: Callable[[bool], None]) -> None:
        assert self._commit is None, "one commit at a time"
        self._commit = changes, done

    def run(self) -> None:
        tape = self.tape
        with taping((sim.host, "Peer"), (sim.host, "Outbox"), lambda *_: self._peer()) as tapes:
            for entry in tape.inputs:
                self._feed(entry)
        self._entries = tapes[0].entries

    def _peer(self) -> TapedPeer:
        return TapedPeer(self.tape.settings, self.read(), copy(self.tape.rng), self.tape.began_ms)

    def _feed(self, entry: Entry) -> None:
        match entry:
            case Started(now):
                self._world.loop.now = now
                self._host.start()
            case Ended(well):
                assert self._commit is not None
                changes, done = self._commit
                self._commit = None
                for change in changes if well else ():
                    self._durable.apply(change)
                done(well)
            case Happened(event, now):
                self._world.loop.now = now
                if isinstance(event, Asked):
                    self._world.requests[event.request] = Request(event.request, self._host.name, event.verb, now, 0)
                with suppress(PeerError):
                    self._host.deliver(event)


def check(replay: InTheRuntime | InTheSimulator) -> None:
    tape = replay.tape
    assert [plain(entry) for entry in replay.entries] == [plain(entry) for entry in tape.entries]
    assert replay.carried == effects(tape, Send, Dial, Close)
    replies = effects(tape, Reply)
    assert [comparable(replay.answers[r.request]) for r in replies] == [comparable(r.answer) for r in replies]


def met(tapes: list[Tape]) -> dict[str, bool]:
    """The situations in which drivers could differ."""
    entries = [entry for tape in tapes for entry in tape.entries]
    happened = [entry for entry in entries if isinstance(entry, Happened)]
    return {
        "a commit failed": Ended(False) in entries,
        "a caller left": any(isinstance(entry.event, Cancelled) for entry in happened),
        "a message was refused": any(entry.refused for entry in happened),
        "something happened during a commit": any(
            isinstance(one, Began) and isinstance(two, Happened) for one, two in pairwise(entries)
        ),
    }


def test_the_runtime_leads_the_simulators_lives_again(tmp_path: Path) -> None:
    lives: list[Tape] = []
    for seed in SIMULATED:
        with taping((sim.host, "Peer"), (sim.host, "Outbox")) as tapes:
            result = run_in_the_simulator(Plan(seed, hosts=3, seconds=SECONDS, faults=FAULTS))
        assert result.violation is None
        lives += tapes

    for number, tape in enumerate(lives):
        replay = InTheRuntime(tape, tmp_path / str(number))
        trio.run(replay.run, clock=MockClock())
        check(replay)

    never = [what for what, was in met(lives).items() if not was]
    assert never == ["a message was refused"], "correct peers have no message refused"


class WatchedAndTaped(TapedPeer, world.WatchedPeer):
    """As the real shell runs it, and on tape."""


def test_the_simulator_leads_the_runtimes_lives_again() -> None:
    lives: list[Tape] = []
    for seed in REAL:
        with taping((world, "WatchedPeer"), (driver_module, "Outbox"), WatchedAndTaped) as tapes:
            run_in_the_shell(seed)
        lives += tapes

    for tape in lives:
        replay = InTheSimulator(tape)
        replay.run()
        check(replay)

    assert all(met(lives).values()), met(lives)


def effects(tape: Tape, *kinds: type) -> list[Any]:
    return [entry.effect for entry in tape.entries if isinstance(entry, Seen) and isinstance(entry.effect, kinds)]


def plain(entry: Entry) -> object:
    """As a value: exceptions are equal to themselves alone."""
    if isinstance(entry, Seen) and isinstance(entry.effect, Reply):
        return entry.effect.request, comparable(entry.effect.answer)
    return entry


def comparable(answer: Answer) -> object:
    return (type(answer), answer.message, answer.details) if isinstance(answer, RingIpamError) else answer
