"""Which containers each engine has shown while they had addresses; what is on disk outlives the daemon.

Two engines' ids look alike, so that a container is missing from an engine means something only if it was there before.
What is lost of this loses no address and frees none: the leases of containers that go unseen stay until somebody
releases them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import trio

from ringipam.integrations.watch.engine import CONTAINER_ID
from ringipam.store.directory import sync_directory

FILE = "watched.json"
SIZE_MAX = 64 << 20
SIGHTINGS_MAX = 200_000
"""Further ones are not kept; there is one for each container with an address."""
RETRY_S = 5.0

logger = logging.getLogger("ringipam")


class Sightings:
    """Sets of container ids by engine. Changes are durable some moments later, while `keep` runs."""

    def __init__(self, path: Path, seen: dict[str, set[str]] | None = None) -> None:
        self.path = path
        self._seen = seen or {}
        self._changed = trio.Event()

    @classmethod
    def load(cls, path: Path) -> Sightings:
        """What is in the file; nothing, with a word in the log, if it cannot be used."""
        try:
            with path.open("rb") as file:
                return cls(path, _read(file.read(SIZE_MAX)))
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, RecursionError) as error:
            why = getattr(error, "strerror", None) or "its content makes no sense"
            logger.warning("%s is not used: %s; containers that went away unseen keep their addresses", path, why)
            return cls(path)

    def of(self, engine: str) -> frozenset[str]:
        return frozenset(self._seen.get(engine, ()))

    def add(self, engine: str, containers: Iterable[str]) -> None:
        new = set(containers) - self._seen.get(engine, set())
        if new and sum(map(len, self._seen.values())) + len(new) <= SIGHTINGS_MAX:
            self._seen.setdefault(engine, set()).update(new)
            self._changed.set()

    def discard(self, engine: str, containers: Iterable[str]) -> None:
        old = self._seen.get(engine, set()).intersection(containers)
        if old:
            self._seen[engine] -= old
            if not self._seen[engine]:
                del self._seen[engine]
            self._changed.set()

    async def keep(self) -> NoReturn:
        """Write each change, many in one if they come fast, until cancelled; then the last of them."""
        try:
            while True:
                await self._changed.wait()
                if not await self._write():
                    await trio.sleep(RETRY_S)
        finally:
            if self._changed.is_set():
                await self._write()

    async def _write(self) -> bool:
        self._changed = trio.Event()
        text = json.dumps({"version": 1, "seen": {engine: sorted(ids) for engine, ids in sorted(self._seen.items())}})
        try:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_replace, self.path, text.encode())
        except OSError as error:
            logger.warning("cannot write %s: %s", self.path, error.strerror or error)
            self._changed.set()
            return False
        return True


def _read(text: bytes) -> dict[str, set[str]]:
    """Raises ValueError if it is not what `_write` wrote."""
    match json.loads(text):
        case {"version": 1, "seen": dict(seen)}:
            if all(isinstance(ids, list) and all(map(_is_id, ids)) for ids in seen.values()):
                return {engine: set(ids) for engine, ids in seen.items()}
        case _:
            pass
    raise ValueError(text[:60])


def _is_id(text: object) -> bool:
    return isinstance(text, str) and CONTAINER_ID.fullmatch(text) is not None


def _replace(path: Path, content: bytes) -> None:
    """The file is the old one or the new one, at every moment and after a power cut."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)
