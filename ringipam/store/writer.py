"""The thread that commits, so that nobody else waits for the disk, and when it is not worth while. Knows no trio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import TypeVar

from ringipam.core.durable import Change
from ringipam.errors import StoreError
from ringipam.store.store import Store

T = TypeVar("T")

QUICK_S = 0.001
"""A commit that takes longer is one for which nobody but its own thread should wait."""
QUICK_COMMITS = 16
"""So many one after another were quick before the next is expected to be."""


class Writer:
    """Runs jobs on the store one after another, in the order they were given.

    `done` is called in the writer's thread and must not raise. The thread is no daemon: what was submitted is
    carried out before the process ends.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._given = 0
        self._done = 0
        """Jobs; each of the two is written by one thread only."""
        self._quick = 0
        """How many commits in a row have been quick."""
        self._thread = threading.Thread(target=self._work, name="ringipam-store", daemon=False)
        self._thread.start()

    def submit(self, changes: Sequence[Change], done: Callable[[StoreError | None], None]) -> None:
        """Commit `changes` as one transaction; `done` gets None when they are durable, or what went wrong."""
        self.run(partial(self._commit, changes), done)

    def commit_here(self, changes: Sequence[Change]) -> bool:
        """Commit in the thread that calls, if the store is idle and commits have been quick lately; whether it did.

        The changes are durable if it did. Raises StoreError, as `Store.commit` does.
        """
        if self._given != self._done or self._quick < QUICK_COMMITS:
            return False
        self._commit(changes)
        return True

    def run(self, function: Callable[[], T], done: Callable[[T | StoreError], None]) -> None:
        """Call `function`, such as the store's `load` or `reopen`; `done` gets what it returned, or its error."""
        self._given += 1
        self._jobs.put(partial(_carry_out, partial(self._counted, function), done))

    def stop(self) -> None:
        """Finish what was submitted and end the thread. Nothing may be submitted afterwards."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _counted(self, function: Callable[[], T]) -> T:
        try:
            return function()
        finally:
            self._done += 1

    def _commit(self, changes: Sequence[Change]) -> None:
        began = perf_counter()
        self._store.commit(changes)
        self._quick = self._quick + 1 if perf_counter() - began < QUICK_S else 0


def _carry_out(function: Callable[[], T], done: Callable[[T | StoreError], None]) -> None:
    outcome: T | StoreError
    try:
        outcome = function()
    except StoreError as error:
        outcome = error
    except Exception as error:  # a bug; whoever waits for the answer must learn that there is none
        outcome = StoreError(f"the store failed: {error!r}")
    done(outcome)
