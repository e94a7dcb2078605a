"""The one thread that commits, so that nobody else waits for the disk. Knows nothing of trio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from ringipam.core.durable import Change
from ringipam.errors import StoreError
from ringipam.store.store import Store

T = TypeVar("T")


class Writer:
    """Runs jobs on the store one after another, in the order they were given.

    `done` is called in the writer's thread and must not raise. The thread is no daemon: what was submitted is
    carried out before the process ends.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ringipam-store", daemon=False)
        self._thread.start()

    def submit(self, changes: Sequence[Change], done: Callable[[StoreError | None], None]) -> None:
        """Commit `changes` as one transaction; `done` gets None when they are durable, or what went wrong."""
        self.run(partial(self._store.commit, changes), done)

    def run(self, function: Callable[[], T], done: Callable[[T | StoreError], None]) -> None:
        """Call `function`, such as the store's `load` or `reopen`; `done` gets what it returned, or its error."""
        self._jobs.put(partial(_carry_out, function, done))

    def stop(self) -> None:
        """Finish what was submitted and end the thread. Nothing may be submitted afterwards."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _carry_out(function: Callable[[], T], done: Callable[[T | StoreError], None]) -> None:
    outcome: T | StoreError
    try:
        outcome = function()
    except StoreError as error:
        outcome = error
    except Exception as error:  # a bug; whoever waits for the answer must learn that there is none
        outcome = StoreError(f"the store failed: {error!r}")
    done(outcome)
