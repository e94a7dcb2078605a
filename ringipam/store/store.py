"""The durable state of one node in SQLite: loads it whole, commits changes to it. Decides nothing about them.

What `commit` has returned from is on the disk. What failed is never tried again from memory: a failed sync may have
lost pages that the kernel counts as written (safety.md S14). `reopen` then reads what really is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ringipam.core.durable import Change, Stored
from ringipam.errors import StoreError
from ringipam.store import schema
from ringipam.store.directory import Directory, begin_anew
from ringipam.store.rows import Row, read_all
from ringipam.store.transaction import write

BUSY_S = 2.0
"""How long to wait for somebody who writes to the database with a shell."""
CHECKPOINT_PAGES = 1_000
"""The log is folded into the database when it has so many pages of 4 KiB: see benchmarks/commit.py."""

REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_BUSY": "another program has it locked",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_PERM": "access is denied",
    "SQLITE_IOERR": "input/output error",
}
"""By the first two words of SQLite's name for the error."""
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")


class Store:
    """The database of a data directory, held by this process alone.

    Its methods may be called from any thread, one at a time.
    """

    def __init__(self, directory: Directory, family: int) -> None:
        self._directory = directory
        self._family = family
        self._db: sqlite3.Connection | None = None
        self._examined: Stored | None = None
        """What was read when the database was opened, until it is asked for or changed."""

    @classmethod
    def open(cls, directory: Path, family: int) -> Store:
        """Lock the directory and open its database, or make both; raises StoreError, having changed no database."""
        if sqlite3.sqlite_version_info < schema.SQLITE_MIN:
            needed = ".".join(map(str, schema.SQLITE_MIN))
            raise StoreError(f"SQLite {needed} or newer is needed, this Python has {sqlite3.sqlite_version}")
        held = Directory.hold(directory)
        store = cls(held, family)
        try:
            store._open()
        except BaseException:
            held.release()
            raise
        return store

    def load(self) -> Stored:
        """Everything that is durable; raises StoreError if that is not what ringipam wrote."""
        db, self._examined, examined = self._connection(), None, self._examined
        if examined is not None:
            return examined
        try:
            return self._read(db)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._failed(error) from None

    def commit(self, changes: Sequence[Change]) -> None:
        """Make `changes` durable, all or none, in their order; they are on the disk when it returns.

        Raises StoreError, after which the store can only be reopened.
        """
        db, self._examined = self._connection(), None
        try:
            db.execute("BEGIN IMMEDIATE")
            write(db, changes, self._family)
            db.execute("COMMIT")
        except BaseException as error:
            self._disconnect()  # which rolls back; nobody may use this connection again
            if isinstance(error, (sqlite3.Error, ValueError, OverflowError)):
                raise self._failed(error) from None
            raise

    def reopen(self) -> None:
        """Open the database anew, as after a restart; raises StoreError if it is not well."""
        self._disconnect()
        self._open()

    def close(self) -> None:
        """Fold the log into the database and let go of the directory."""
        self._disconnect()
        self._directory.release()

    # ── opening ──────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        try:
            self._directory.prepare()
            self._examine()
            self._db = connect(self._directory.database, "rw")
            self._make_ready(self._db)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            self._disconnect()
            raise self._failed(error) from None
        except StoreError:
            self._disconnect()
            raise

    def _examine(self) -> None:
        """Look the database over without a change to it: one that is refused stays as it was found.

        A connection that may write would, when it is closed, fold the log into whatever it found.
        """
        with closing(connect(self._directory.database, "ro")) as db:
            db.execute("PRAGMA cell_size_check = ON")
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise self._damaged(verdict)
            try:
                schema.check(db, self._family, new=not self._directory.initialised)
            except StoreError as error:
                raise StoreError(f"cannot use {self._directory.database}: {error.message}") from None
            if what := schema.damage(db):
                raise self._damaged(what)
            if schema.version(db) == schema.VERSION:
                self._examined = self._read(db)

    def _read(self, db: sqlite3.Connection) -> Stored:
        stored, faults = read_all(lambda table: _rows(db, table), self._family)
        if faults:
            more = f", and {len(faults) - 1} more" if faults[1:] else ""
            raise self._damaged(f"{faults[0]}{more}; `ringipam check` names all")
        return stored

    def _make_ready(self, db: sqlite3.Connection) -> None:
        """Bring the tables up to date, or make them, and make all that can be read durable."""
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(f"cannot use {self._directory.database}: its file system cannot hold a write-ahead log")
        db.execute("PRAGMA synchronous = FULL")  # every commit is synced before it returns
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        schema.ready(db)
        schema.migrate(db, self._family)
        self._fold(db)
        if not self._directory.initialised:
            self._directory.mark()

    def _fold(self, db: sqlite3.Connection) -> None:
        """Fold the log into the database and sync that.

        A process that was killed, or whose sync failed, leaves a log that reads well and may not be on the disk.
        What is loaded from here on is acted upon as durable, so it must be.
        """
        if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise StoreError(f"cannot use {self._directory.database}: another program is reading it; close that first")

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(f"{self._directory.database} is closed after a failure")
        return self._db

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = self._examined = None

    # ── failures ─────────────────────────────────────────────────────────────────────────────────

    def _failed(self, error: Exception) -> StoreError:
        name: str = getattr(error, "sqlite_errorname", "")
        short = "_".join(name.split("_")[:2])
        undecodable = not name and isinstance(error, (sqlite3.OperationalError, UnicodeDecodeError))
        if short in DAMAGED or undecodable:  # bytes where ringipam wrote text
            return self._damaged(str(error))
        reason = REASONS.get(short) or getattr(error, "strerror", None) or str(error)
        detail = f" ({name})" if name else ""
        return StoreError(f"cannot use {self._directory.database}: {reason.lower()}{detail}")

    def _damaged(self, what: str) -> StoreError:
        shown = f"{' '.join(what.split()):.300}"  # SQLite quotes what it could not read, on several lines
        return StoreError(f"{self._directory.database} is damaged ({shown}): {begin_anew(self._directory.path)}")


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection of `mode` `ro` or `rw`; neither makes a database where there is none."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _rows(db: sqlite3.Connection, table: str) -> Iterator[Row]:
    return db.execute(f"SELECT * FROM {table}")
