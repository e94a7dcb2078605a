"""One request about a container after another, whoever makes it; those about different containers do not wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    @asynccontextmanager
    async def of(self, container: str) -> AsyncIterator[None]:
        """The block runs while no other block of this container does. Who finds nobody there does not wait at all."""
        lock = self._locks.get(container)
        if lock is None:
            lock = self._locks[container] = trio.Lock()
            lock.acquire_nowait()
        else:
            await lock.acquire()
        try:
            yield
        finally:
            lock.release()  # to the next in line, if there is one
            if not lock.locked():
                del self._locks[container]
