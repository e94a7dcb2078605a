"""Releases that the daemon could not be told of: files that the program left, each the body of a DEL.

A file is `del-…`; one that begins with a dot is not finished yet. A DEL that was left before an ADD must not release
what that ADD gets, so all there are when an ADD comes are carried out first. For the same reason a file that can
neither be carried out nor put away stands in the way of every ADD: it would come back, and be about any of them.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trio

from ringipam.errors import RingIpamError
from ringipam.integrations.cni.errors import IO_FAILURE, TRY_LATER, CniError, one_line
from ringipam.server.http import BODY_SIZE_MAX

PREFIX = "del-"
BROKEN = "broken-"
LOOK_S = 5.0
TICK_NS = 50_000_000
"""A directory that changed so lately may change again without another time of change: file systems count in ticks."""
AT_ONCE = 32
"""Releases that are made at the same time, so that they share commits."""
SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
"""What is missing here and now, and says nothing of the file."""

_log = logging.getLogger(__name__)


class Tombstones:
    """`carry_out` makes one release durable; it raises a CniError that says whether it is to be tried `later`."""

    def __init__(self, directory: Path, carry_out: Callable[[bytes], Awaitable[object]]) -> None:
        self._directory = directory
        self._carry_out = carry_out
        self._settled_ns: int | None = None
        """The directory's time of change when it was empty of tombstones; None: look again."""
        self._left: set[str] = set()
        self._problem: CniError | None = None
        self._lock = trio.Lock()

    @property
    def settled(self) -> bool:
        """There are none. One look at the directory's own entry, which the kernel has in memory."""
        if self._settled_ns is None or self._lock.locked():
            return False
        return self._changed_ns() == self._settled_ns

    async def clear(self) -> None:
        """Carry out all there are; raises CniError 5 or 11 if one could not be."""
        if self.settled:
            return
        async with self._lock:
            changed_ns = self._changed_ns()
            if self._settled_ns is None or changed_ns != self._settled_ns:
                self._settled_ns, self._problem = None, None
                await self._replay()
                at_rest = self._changed_ns() == changed_ns and time.time_ns() - changed_ns > TICK_NS
                if at_rest and self._problem is None:
                    self._settled_ns = changed_ns
            if self._problem is not None:
                raise self._problem

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        said = ""
        while True:
            try:
                await self.clear()
                said = ""
            except CniError as error:
                if error.message != said:
                    _log.warning("%s", error.message)
                said = error.message
            await trio.sleep(LOOK_S)

    def _changed_ns(self) -> int:
        try:
            return os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:
            return 0  # nobody has left anything yet
        except OSError:
            return -1

    async def _replay(self) -> None:
        try:
            names = await trio.to_thread.run_sync(_names, self._directory)
        except OSError as error:
            self._problem = CniError(
                IO_FAILURE, f"cannot read the releases left in {self._directory}: {error.strerror}", code="disk"
            )
            return
        limit = trio.CapacityLimiter(AT_ONCE)
        done: list[str] = []
        async with trio.open_nursery() as nursery:
            for name in names:
                await limit.acquire_on_behalf_of(name)
                nursery.start_soon(self._replay_one, name, done, limit)
        if done:
            await trio.to_thread.run_sync(self._remove, done)

    async def _replay_one(self, name: str, done: list[str], limit: trio.CapacityLimiter) -> None:
        try:
            await self._carry_out(await trio.to_thread.run_sync(_read, self._directory / name))
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno is not None and error.errno in SHORT:
                self._wait(name, os.strerror(error.errno), "disk")
            else:
                await trio.to_thread.run_sync(self._put_away, name, error.strerror or str(error))
        except RingIpamError as error:
            if isinstance(error, CniError) and error.later:
                self._wait(name, error.message, error.code)
            else:
                await trio.to_thread.run_sync(self._put_away, name, error.message)
        except Exception:
            _log.exception("the release left in %s failed", self._directory / name)
            await trio.to_thread.run_sync(self._put_away, name, "a defect of ringipam")
        else:
            done.append(name)
        finally:
            limit.release_on_behalf_of(name)

    def _wait(self, name: str, why: str, code: str) -> None:
        self._problem = CniError(
            TRY_LATER, f"the release left in {self._directory / name} has to wait: {why}", code=code
        )

    def _put_away(self, name: str, why: str) -> None:
        """What can never be carried out is kept for people to look at, under a name that nobody reads."""
        kept = self._directory / f"{BROKEN}{name}"
        try:
            os.rename(self._directory / name, kept)
            _sync(self._directory)
        except FileNotFoundError:
            return
        except OSError as error:
            self._stuck(name, error)
        else:
            _log.error("what is left in %s is no release, and kept as %s: %s", self._directory, kept, one_line(why))

    def _remove(self, names: list[str]) -> None:
        """For good: one that came back after a crash would release what its container has got since."""
        try:
            for name in names:
                with suppress(FileNotFoundError):
                    os.unlink(self._directory / name)
            _sync(self._directory)
        except OSError as error:
            self._stuck(names[0], error)

    def _stuck(self, name: str, error: OSError) -> None:
        self._problem = CniError(
            IO_FAILURE,
            f"cannot remove {self._directory / name}: {error.strerror}; while it is there no ADD is served",
            code="disk",
        )


def _names(directory: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.startswith(PREFIX))
    except FileNotFoundError:
        return []


def _read(path: Path) -> bytes:
    """Raises OSError, also for what is no file of a size that the program writes."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > BODY_SIZE_MAX:
            raise OSError(errno.EINVAL, f"not a file of at most {BODY_SIZE_MAX} bytes")
        return os.read(fd, BODY_SIZE_MAX)
    finally:
        os.close(fd)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
