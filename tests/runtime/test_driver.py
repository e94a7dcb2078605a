"""The driver with a scripted peer and a disk in the test's hands: what is seen when, and what never is."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ringipam.core.durable import Change, PutMeta
from ringipam.core.events import (
    Asked,
    Cancelled,
    Close,
    DeadlinePassed,
    Dial,
    Effect,
    Event,
    Log,
    Persist,
    Received,
    Reply,
    Send,
    Show,
)
from ringipam.core.peer import Peer
from ringipam.errors import NoSpaceError, NotReadyError, PeerError, RingIpamError, StoreError
from ringipam.messages import Message, Refused
from ringipam.runtime.clock import Clock
from ringipam.runtime.driver import Driver

STATUS: dict[str, object] = {"state": "ready"}
FACT = Persist((PutMeta("boots", "1"),))


class Script:
    """Answers each event with what the test wrote down for its kind."""

    def __init__(self) -> None:
        self.deadline: int | None = None
        self.seen: list[Event] = []
        self.answers: dict[type[Event], Callable[[Event], list[Effect]]] = {}

    def start(self, now: int) -> list[Effect]:
        return []

    def step(self, event: Event, now: int) -> list[Effect]:
        self.seen.append(event)
        return self.answers.get(type(event), lambda _: [])(event)

    def on_ask(self, *effects: Effect, answer: object = STATUS) -> None:
        """An answer that waits for `effects`."""
        self.answers[Asked] = lambda event: [
            *effects,
            Reply(cast(Asked, event).request, cast("dict[str, object]", answer)),
        ]


class World:
    """The driver, and everything around it in the test's hands."""

    def __init__(self) -> None:
        self.script = Script()
        self.commits: list[tuple[Change, ...]] = []
        self.quick = False
        """The disk commits in trio's thread if it may."""
        self.broken: StoreError | None = None
        self._done: list[Callable[[StoreError | None], None]] = []
        self.carried: list[object] = []
        self.clock = Clock()
        self.driver = Driver(cast(Peer, self.script), self, self.clock, self, count(1))

    def commit_here(self, changes: tuple[Change, ...]) -> bool:
        assert trio.lowlevel.currently_ki_protected(), "an interrupt breaks no commit off"
        if self.quick:
            self.commits.append(changes)
            if self.broken:
                raise self.broken
        return self.quick

    def submit(self, changes: tuple[Change, ...], done: Callable[[StoreError | None], None]) -> None:
        self.commits.append(changes)
        self._done.append(done)

    def disk(self, error: StoreError | None = None) -> None:
        """The oldest commit under way is over."""
        self._done.pop(0)(error)

    def dial(self, address: str) -> None:
        self.carried.append(("dial", address))

    def send(self, link: int, message: Message) -> None:
        self.carried.append(("send", link, message))

    def close(self, link: int, reason: str) -> None:
        self.carried.append(("close", link, reason))


class Caller:
    """Somebody who asks, in a task of their own."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.answer: object = None
        self.error: RingIpamError | None = None

    async def ask(self, driver: Driver) -> None:
        with self.scope:
            try:
                self.answer = await driver.ask(Show.STATUS)
            except RingIpamError as error:
                self.error = error


@asynccontextmanager
async def asking(world: World, callers: int = 1) -> AsyncIterator[list[Caller]]:
    asked = [Caller() for _ in range(callers)]
    async with trio.open_nursery() as nursery:
        for caller in asked:
            nursery.start_soon(caller.ask, world.driver)
        await wait_all_tasks_blocked()
        try:
            yield asked
        except AssertionError:
            while world.commits and world.driver.failure is None:
                world.disk(StoreError("the test failed"))
            raise


async def test_an_answer_waits_for_the_disk() -> None:
    world = World()
    world.script.on_ask(FACT)

    async with asking(world) as (caller,):
        assert caller.answer is None
        world.disk()

    assert caller.answer == STATUS


async def test_an_answer_that_changes_nothing_needs_no_disk() -> None:
    world = World()
    world.script.on_ask()

    assert await world.driver.ask(Show.STATUS) == STATUS


async def test_an_answer_that_is_an_error_is_raised() -> None:
    world = World()
    world.script.on_ask(answer=NoSpaceError("none left"))

    with pytest.raises(NoSpaceError, match="none left"):
        await world.driver.ask(Show.STATUS)


async def test_all_who_ask_in_one_turn_share_a_commit() -> None:
    world = World()
    world.script.on_ask(FACT)

    async with asking(world, callers=5) as callers:
        assert [len(changes) for changes in world.commits] == [5]
        world.disk()

    assert all(caller.answer == STATUS for caller in callers)


async def test_requests_share_the_commit_that_follows_the_one_under_way() -> None:
    world = World()
    world.script.on_ask(FACT)

    async with asking(world) as (first,), asking(world, callers=4) as others:
        assert [len(changes) for changes in world.commits] == [1]
        world.disk()
        await wait_all_tasks_blocked()
        assert first.answer == STATUS
        assert not any(caller.answer for caller in others)
        assert [len(changes) for changes in world.commits] == [1, 4]
        world.disk()

    assert all(caller.answer == STATUS for caller in others)


async def test_a_lone_caller_has_its_commit_made_at_once_by_a_disk_that_is_quick() -> None:
    world = World()
    world.script.on_ask(FACT, Send(1, Refused("after it")))
    world.quick = True

    assert await world.driver.ask(Show.STATUS) == STATUS

    assert (len(world.commits), world.carried) == (1, [("send", 1, Refused("after it"))])


async def test_of_several_callers_none_makes_the_others_wait_for_a_commit_of_its_own() -> None:
    world = World()
    world.script.on_ask(FACT)
    world.quick = True

    async with asking(world, callers=2) as callers:
        assert [len(changes) for changes in world.commits] == [2]
        assert not any(caller.answer for caller in callers)
        world.disk()

    assert all(caller.answer == STATUS for caller in callers)


async def test_what_a_peer_sends_is_never_committed_while_everybody_waits() -> None:
    world = World()
    world.script.answers[Received] = lambda _: [FACT]
    world.quick = True

    world.driver.happened(Received(1, Refused("no")))

    world.disk()  # as it was handed over


async def test_nobody_who_leads_a_commit_can_be_cancelled_out_of_it() -> None:
    world = World()
    world.script.on_ask(FACT)

    async with trio.open_nursery() as nursery:
        caller = Caller()
        nursery.start_soon(caller.ask, world.driver)
        while not world.script.seen:
            await trio.lowlevel.checkpoint()
        caller.scope.cancel()
        await wait_all_tasks_blocked()
        world.disk()

    assert caller.answer == STATUS


async def test_nothing_leaves_before_what_precedes_it_is_durable() -> None:
    world = World()
    message = Refused("no")
    world.script.answers[Received] = lambda _: [
        Send(1, message), FACT, Dial("a:1"), Send(2, message), Close(2, "so")
    ]  # fmt: skip

    world.driver.happened(Received(1, message))
    assert world.carried == [("send", 1, message)]

    world.disk()
    assert world.carried[1:] == [("dial", "a:1"), ("send", 2, message), ("close", 2, "so")]


async def test_log_lines_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.script.answers[Received] = lambda _: [Log("warning", "100 % odd", "host2.77c1", "odd")]

    world.driver.happened(Received(1, Refused("no")))

    assert caplog.record_tuples == [("ringipam", logging.WARNING, "100 % odd")]
    assert (vars(caplog.records[0])["peer"], vars(caplog.records[0])["kind"]) == ("host2.77c1", "odd")


# ── callers that go away ──────────────────────────────────────────────────────────────────────────


async def test_a_caller_that_goes_away_undecided_withdraws_its_request() -> None:
    world = World()

    async with asking(world) as (caller,):
        caller.scope.cancel()

    assert caller.scope.cancelled_caught
    assert world.script.seen == [Asked(1, Show.STATUS), Cancelled(1)]


async def test_an_answer_on_its_way_through_the_disk_still_reaches_its_caller() -> None:
    world = World()
    world.script.on_ask(FACT)

    async with asking(world) as (caller,):
        caller.scope.cancel()
        world.disk()

    assert caller.answer == STATUS
    assert Cancelled(1) not in world.script.seen


async def test_a_caller_cancelled_beforehand_asks_nothing() -> None:
    world = World()

    with trio.CancelScope() as scope:
        scope.cancel()
        await world.driver.ask(Show.STATUS)

    assert world.script.seen == []


# ── the disk fails ────────────────────────────────────────────────────────────────────────────────


async def test_a_failed_commit_ends_everything_behind_it() -> None:
    world = World()
    world.script.on_ask(FACT, Send(1, Refused("never seen")))

    async with asking(world, callers=3) as callers:
        world.disk(StoreError("no space left on device"))

    assert all(isinstance(caller.error, StoreError) for caller in callers)
    assert {str(caller.error) for caller in callers} == {"no space left on device"}
    assert len({id(caller.error) for caller in callers}) == 3, "an exception belongs to one task"
    assert world.carried == []
    assert len(world.commits) == 1, "what waited behind the failed commit is not tried"
    assert world.driver.failure is not None


async def test_a_commit_that_fails_at_once_ends_everything_behind_it_too() -> None:
    world = World()
    world.script.on_ask(FACT, Send(1, Refused("never seen")))
    world.quick, world.broken = True, StoreError("no space left on device")

    with pytest.raises(StoreError, match="no space left on device"):
        await world.driver.ask(Show.STATUS)

    assert world.carried == []
    assert world.driver.failure is world.broken


async def test_after_a_failed_commit_nothing_is_taken_in() -> None:
    world = World()
    world.script.on_ask(FACT)
    async with asking(world):
        world.disk(StoreError("no space left on device"))
    steps = len(world.script.seen)

    world.driver.happened(Received(1, Refused("no")))
    with pytest.raises(StoreError, match="no space left on device"):
        await world.driver.ask(Show.STATUS)

    assert len(world.script.seen) == steps


async def test_a_bug_in_the_core_goes_the_way_of_a_failed_commit(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.script.on_ask(FACT)

    def bug(_: Event) -> list[Effect]:
        raise AssertionError("two owners")

    async with asking(world) as (caller,):
        world.script.answers[Received] = bug
        world.driver.happened(Received(1, Refused("no")))
        world.disk()  # the commit under way ends when the life is over already

    assert isinstance(caller.error, StoreError)
    assert world.driver.failure is not None
    assert "two owners" in caplog.text


async def test_what_a_peer_may_not_say_is_the_links_business_not_the_nodes() -> None:
    world = World()

    def refuse(_: Event) -> list[Effect]:
        raise PeerError("no such range")

    world.script.answers[Received] = refuse
    with pytest.raises(PeerError, match="no such range"):
        world.driver.happened(Received(1, Refused("no")))

    assert world.driver.failure is None


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


async def test_at_the_end_what_is_decided_becomes_durable_and_the_rest_is_refused() -> None:
    world = World()
    world.script.on_ask(FACT)

    async with asking(world) as (first,), asking(world) as (second,):
        world.script.answers.clear()
        async with asking(world) as (waiting,), trio.open_nursery() as nursery:
            nursery.start_soon(world.driver.finish)
            await wait_all_tasks_blocked()
            world.disk()
            await wait_all_tasks_blocked()
            world.disk()

    assert first.answer == second.answer == STATUS
    assert isinstance(waiting.error, NotReadyError)


async def test_time_is_kept_no_longer_once_the_end_has_begun() -> None:
    """Else a deadline that has passed keeps a processor busy for as long as the last commit takes."""
    world = World()
    world.script.on_ask(FACT)
    done = False

    async def keep_time() -> None:
        nonlocal done
        await world.driver.keep_time()
        done = True

    async with asking(world), trio.open_nursery() as nursery:
        nursery.start_soon(world.driver.finish)
        world.script.deadline = world.clock.now()
        nursery.start_soon(keep_time)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        stopped = done
        world.disk()
        nursery.cancel_scope.cancel()

    assert stopped


# ── time ──────────────────────────────────────────────────────────────────────────────────────────


async def test_the_peer_is_woken_at_its_deadline_never_early(autojump_clock: MockClock) -> None:
    world = World()
    start = world.clock.now()
    world.script.deadline = start + 5_000
    woken: list[int] = []

    def wake(_: Event) -> list[Effect]:
        woken.append(world.clock.now() - start)
        world.script.deadline = start + 7_000 if len(woken) == 1 else None
        return []

    world.script.answers[DeadlinePassed] = wake
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.driver.keep_time)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    assert [round(ms, -2) for ms in woken] == [5_000, 7_000]
    assert all(late >= due for late, due in zip(woken, (5_000, 7_000), strict=True))


async def test_an_event_can_bring_the_deadline_forward(autojump_clock: MockClock) -> None:
    world = World()
    start = world.clock.now()
    world.script.deadline = start + 50_000
    woken: list[float] = []

    def wake(_: Event) -> list[Effect]:
        woken.append(trio.current_time())
        world.script.deadline = None
        return []

    def hurry(_: Event) -> list[Effect]:
        world.script.deadline = start + 1_000
        return []

    world.script.answers = {DeadlinePassed: wake, Received: hurry}
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.driver.keep_time)
        await wait_all_tasks_blocked()
        world.driver.happened(Received(1, Refused("no")))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()

    assert woken == [pytest.approx(began + 1, abs=0.01)]


async def test_under_steady_load_a_deadline_that_is_brought_forward_is_kept(autojump_clock: MockClock) -> None:
    world = World()
    world.script.on_ask(FACT)
    world.script.deadline = world.clock.now() + 10_000
    due = world.clock.now() + 300
    woken: list[int] = []

    def wake(_: Event) -> list[Effect]:
        woken.append(world.clock.now())
        world.script.deadline = None
        return []

    async def call() -> None:
        with suppress(StoreError):
            while True:
                await world.driver.ask(Show.STATUS)
                await trio.sleep(0.001)

    world.script.answers[DeadlinePassed] = wake
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.driver.keep_time)
        nursery.start_soon(call)
        await trio.sleep(0.005)
        nursery.start_soon(call)  # one's commit is under way while the other waits, all the time
        for turn in range(100):
            if turn == 10:
                world.script.deadline = due
            await trio.sleep(0.01)
            world.disk()
        world.driver._fail(StoreError("the test is over"))
        nursery.cancel_scope.cancel()

    assert woken
    assert woken[0] - due <= 10
