"""The data directory: one process at a time, and whether what once was in it still is. Knows nothing of SQL."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ringipam.config import IPV6_DIR
from ringipam.errors import StoreError

DATABASE = "ringipam.db"
LOG = f"{DATABASE}-wal"
LOCK = "lock"
MARKER = "initialised"

MARKER_TEXT = """\
This directory held a database of ringipam, ringipam.db. Should that file be gone, the node has lost its memory of which
addresses it has issued, and must not begin again under its old identity: move the whole directory away instead.
"""


def begin_anew(directory: Path) -> str:
    """What an operator does about a database that cannot be used."""
    return (
        f"nothing was changed; to begin anew as a new peer, move {directory} away, start again, and run"
        " `ringipam remove-peer` for the old one"
    )


def ranges(path: Path) -> list[tuple[str, Path]]:
    """Where the state of each range lies that is kept in the data directory `path`: there, and, of a second one, below.

    Each with what a line about it begins with.
    """
    second = path / IPV6_DIR
    return [("IPv4: ", path), ("IPv6: ", second)] if second.is_dir() else [("", path)]


class Directory:
    """A data directory that this process holds until `release`, or until it ends."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.database = path / DATABASE
        self._marker = path / MARKER
        self._lock = lock

    @classmethod
    def hold(cls, path: Path) -> Directory:
        """Make the directory if need be and lock it; raises StoreError if that cannot be or another process has it."""
        try:
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=True)
                sync_directory(path.parent)
            return cls(path, _locked(path))
        except OSError as error:
            raise StoreError(
                f"cannot use the data directory {path}: {(error.strerror or str(error)).lower()}"
            ) from None

    @classmethod
    def borrow(cls, path: Path) -> Directory:
        """Lock a directory that is there already, without a change to it, for a look at it while no daemon has it.

        Raises StoreError if it is not there or another process has it.
        """
        try:
            if not path.is_dir():
                raise StoreError(f"there is no data directory {path}: name it with --data-dir")
            there = (path / LOCK).exists()
            return cls(path, _locked(path, os.O_RDONLY) if there else os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise StoreError(
                f"cannot use the data directory {path}: {(error.strerror or str(error)).lower()}"
            ) from None

    def release(self) -> None:
        os.close(self._lock)

    def prepare(self) -> None:
        """See that the database is there, or make an empty file for it where none ever was.

        Raises StoreError if a database has been there. SQLite would take its place with an empty one, and would
        delete the log of an empty one, without a word.
        """
        size = self.database.stat().st_size if self.database.exists() else None
        if size:
            return
        log = self.path / LOG
        if self._marker.exists() or (log.exists() and log.stat().st_size):
            what = "is gone" if size is None else "is empty"
            raise StoreError(f"{self.database} {what}, though it was in use: {begin_anew(self.path)}")
        if size is None:
            os.close(os.open(self.database, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))

    @property
    def initialised(self) -> bool:
        """Whether the database has ever been ready for use."""
        return self._marker.exists()

    def mark(self) -> None:
        """Remember, durably, that there is a database now. Nothing may be acknowledged before."""
        sync_directory(self.path)
        marker = os.open(self._marker, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(marker, MARKER_TEXT.encode())
            os.fsync(marker)
        finally:
            os.close(marker)
        sync_directory(self.path)


def sync_directory(path: Path) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(path: Path, mode: int = os.O_CREAT | os.O_RDWR) -> int:
    """A descriptor that holds the lock and lets go with the process. The file stays: removing it would race."""
    lock = os.open(path / LOCK, mode | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise StoreError(f"the data directory {path} is in use by {who}: stop it, or give another --data-dir") from None
    except OSError:
        os.close(lock)
        raise
    if mode & os.O_RDWR:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
