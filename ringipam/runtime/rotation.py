"""What is made of files and made anew when they change, so that credentials are replaced without a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from ringipam.errors import RingIpamError
from ringipam.runtime.outside import InThread

T = TypeVar("T")

LOOK_S = 2.0
"""How often the files are looked at; a change is taken up once it has stood still between two looks."""

logger = logging.getLogger("ringipam")

Stamp = tuple[tuple[int, int, int] | None, ...]


class Rotated(Generic[T]):
    """`current` is made of `files`; what they are changed to replaces it, unless it cannot be used."""

    def __init__(self, what: str, files: Sequence[Path], make: Callable[[bool], T]) -> None:
        """`make` is told whether it makes a replacement. Raises, as `make` does, RingIpamError."""
        self._what = what
        self._files = files
        self._make = make
        self._taken = self._seen = self._stamp()  # before they are read: a change meanwhile is a change
        self.current = make(False)
        self.problem = ""
        """Why the files as they are now are not in use; empty if they are."""

    async def look(self, in_thread: InThread) -> None:
        """Take up a change that is complete: several files, or a long one, are not written at once."""
        before, self._seen = self._seen, self._stamp()
        if self._taken == self._seen or before != self._seen:
            return
        self._taken = self._seen
        try:
            self.current = await in_thread(self._make, True)
        except RingIpamError as error:
            self.problem = f"{self._what} changed and cannot be used, the former ones stay in use: {error.message}"
            logger.error("%s", self.problem)
        else:
            self.problem = ""
            logger.info("%s changed and are in use for new connections", self._what)

    def _stamp(self) -> Stamp:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
