"""The writer's thread: jobs in their order, every one answered, none lost at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import pytest

from ringipam.core.durable import PutMeta, Stored
from ringipam.errors import StoreError
from ringipam.store.store import Store
from ringipam.store.writer import QUICK_COMMITS, QUICK_S, Writer

PATIENCE_S = 10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path, 4)
    yield store
    store.close()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    writer = Writer(store)
    yield writer
    writer.stop()


def test_what_is_reported_done_is_durable(store: Store, writer: Writer) -> None:
    answers: SimpleQueue[StoreError | None] = SimpleQueue()

    writer.submit([PutMeta("peer", "host1.3f9a")], answers.put)

    assert answers.get(timeout=PATIENCE_S) is None
    assert store.load().meta == {"peer": "host1.3f9a"}


def test_jobs_are_answered_in_their_order_from_one_thread(writer: Writer) -> None:
    answers: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def done(number: int, error: StoreError | None) -> None:
        answers.put((number, threading.current_thread().name))

    for number in range(50):
        writer.submit([PutMeta("boots", str(number))], partial(done, number))

    assert [answers.get(timeout=PATIENCE_S) for _ in range(50)] == [(n, "ringipam-store") for n in range(50)]


def test_a_failed_commit_is_reported_and_a_reopened_store_goes_on(store: Store, writer: Writer) -> None:
    answers: SimpleQueue[StoreError | Stored | None] = SimpleQueue()

    writer.submit([PutMeta("peer", "host1.3f9a")], answers.put)
    writer.submit([PutMeta("peer", "\ud800")], answers.put)
    writer.submit([PutMeta("cluster", "6f1c")], answers.put)
    writer.run(store.reopen, answers.put)
    writer.run(store.load, answers.put)

    first, second, third, reopened, stored = (answers.get(timeout=PATIENCE_S) for _ in range(5))
    assert first is None
    assert isinstance(second, StoreError)
    assert isinstance(third, StoreError)
    assert reopened is None
    assert stored == Stored(meta={"peer": "host1.3f9a"})


def test_a_job_that_breaks_is_answered_and_the_next_one_is_done(writer: Writer) -> None:
    answers: SimpleQueue[StoreError | int | None] = SimpleQueue()

    writer.run(lambda: 1 // 0, answers.put)
    writer.submit([PutMeta("peer", "host1.3f9a")], answers.put)

    assert isinstance(answers.get(timeout=PATIENCE_S), StoreError)
    assert answers.get(timeout=PATIENCE_S) is None


def test_stopping_finishes_what_was_submitted(store: Store) -> None:
    writer = Writer(store)
    done: list[StoreError | None] = []

    for number in range(20):
        writer.submit([PutMeta("boots", str(number))], done.append)
    writer.stop()

    assert done == [None] * 20
    assert store.load().meta == {"boots": "19"}


# ── commits in the thread that calls ──────────────────────────────────────────────────────────────


def take(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Every commit from now on takes so long by the writer's clock."""
    ticks = count()
    monkeypatch.setattr("ringipam.store.writer.perf_counter", lambda: next(ticks) * seconds)


def commit(writer: Writer, number: int) -> None:
    """By the writer's thread; returns when it is over."""
    over = threading.Event()
    writer.submit([PutMeta("boots", str(number))], lambda _: over.set())
    assert over.wait(PATIENCE_S)


def test_a_disk_that_has_been_quick_commits_in_the_thread_that_calls(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, 0.0)
    for number in range(QUICK_COMMITS):
        assert not writer.commit_here([PutMeta("epoch", "7")]), "too little is known of the disk"
        commit(writer, number)

    assert writer.commit_here([PutMeta("epoch", "8")])

    assert store.load().meta == {"boots": str(QUICK_COMMITS - 1), "epoch": "8"}


def test_after_one_commit_that_took_long_nobody_but_the_writers_thread_waits(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, 0.0)
    for number in range(QUICK_COMMITS):
        commit(writer, number)
    take(monkeypatch, 10 * QUICK_S)
    assert writer.commit_here([PutMeta("epoch", "7")])

    take(monkeypatch, 0.0)

    assert not writer.commit_here([PutMeta("epoch", "8")])


def test_nothing_is_committed_beside_a_job_under_way(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    take(monkeypatch, 0.0)
    for number in range(QUICK_COMMITS):
        commit(writer, number)
    go_on = threading.Event()

    writer.run(lambda: go_on.wait(PATIENCE_S), lambda _: None)
    try:
        assert not writer.commit_here([PutMeta("epoch", "7")])
    finally:
        go_on.set()


def test_a_commit_in_the_thread_that_calls_raises_what_went_wrong(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(monkeypatch, 0.0)
    for number in range(QUICK_COMMITS):
        commit(writer, number)

    with pytest.raises(StoreError):
        writer.commit_here([PutMeta("peer", "\ud800")])
