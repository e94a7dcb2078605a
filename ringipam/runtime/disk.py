"""The store and its writer thread, as trio sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import trio

from ringipam.core.durable import Change, PutMeta, Stored
from ringipam.errors import StoreError
from ringipam.runtime.outside import Outside
from ringipam.store.history import history
from ringipam.store.store import Store
from ringipam.store.writer import Writer

T = TypeVar("T")


@asynccontextmanager
async def open_disk(directory: Path, family: int, outside: Outside) -> AsyncIterator[Disk]:
    """The node's data; raises StoreError if the directory cannot be used."""
    store = await outside.in_thread(outside.store_type.open, directory, family)
    writer = outside.writer_type(store)
    try:
        yield Disk(store, writer, directory, outside)
    finally:
        with trio.CancelScope(shield=True):
            await outside.in_thread(writer.stop)
            await outside.in_thread(store.close)


class Disk:
    """Whatever changes the store runs in the writer's thread, in the order it was asked for, but for `commit_here`."""

    def __init__(self, store: Store, writer: Writer, directory: Path, outside: Outside) -> None:
        self.durable = Stored()
        """What was last loaded, with every commit since that has succeeded: never ahead of the disk."""
        self._store = store
        self._writer = writer
        self._directory = directory
        self._outside = outside
        self._token = trio.lowlevel.current_trio_token()

    def submit(self, changes: tuple[Change, ...], done: Callable[[StoreError | None], None]) -> None:
        """Commit; `done` is called in trio's thread when the changes are durable, or with what went wrong."""

        def over(error: StoreError | None) -> None:
            if error is None:
                self._committed(changes)
            done(error)

        def finished(error: StoreError | None) -> None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(over, error)

        self._writer.submit(changes, finished)

    def commit_here(self, changes: tuple[Change, ...]) -> bool:
        """Commit in trio's thread, if that is likely to be quick; whether it did. Raises StoreError."""
        if not self._writer.commit_here(changes):
            return False
        self._committed(changes)
        return True

    async def commit(self, changes: tuple[Change, ...]) -> None:
        """Returns when the changes are durable; raises StoreError."""
        await self._run(lambda: self._store.commit(changes))
        self._committed(changes)

    async def load(self) -> Stored:
        """Everything that is durable; raises StoreError."""
        self.durable = await self._run(self._store.load)
        return self.durable

    async def history(self, family: int, address: int) -> dict[str, object]:
        """What the audit log says of an address; raises RingIpamError. Read beside the writer, which does not wait."""
        return await self._outside.in_thread(history, self._directory, family, address)

    async def recover(self) -> Stored:
        """Open the database anew and see that it can be read and written; raises StoreError if not."""
        self.durable = await self._run(self._recover)
        return self.durable

    def _recover(self) -> Stored:
        self._store.reopen()
        stored = self._store.load()
        # A full disk can still be read: write something, which changes nothing.
        self._store.commit((PutMeta("peer", stored.meta["peer"]),))
        return stored

    def _committed(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.durable.apply(change)

    async def _run(self, work: Callable[[], T]) -> T:
        """Not to be cancelled: what the disk does cannot be taken back."""
        task = trio.lowlevel.current_task()
        results: list[T | StoreError] = []

        def finished(result: T | StoreError) -> None:
            results.append(result)
            self._token.run_sync_soon(trio.lowlevel.reschedule, task)

        self._writer.run(work, finished)
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        result = results[0]
        if isinstance(result, StoreError):
            raise result
        return result
