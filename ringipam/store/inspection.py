"""A stored state looked over while no daemon has it: everything that is wrong with it, and nothing is changed."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ringipam.core.durable import Recorded, Stored
from ringipam.errors import StoreError
from ringipam.store import schema
from ringipam.store.directory import DATABASE, LOG, Directory
from ringipam.store.invariants import Breach, breaches, notes
from ringipam.store.rows import Fault, Row, read_all, read_history
from ringipam.store.store import connect

COMPLAINTS_MAX = 20


@dataclass(slots=True)
class Inspection:
    """What was found; `sound` if nothing is wrong."""

    family: int = 4
    stored: Stored = field(default_factory=Stored)
    """As far as it can be read."""
    history: list[Recorded] = field(default_factory=list)
    """The audit log, as far as it can be read."""
    unusable: str = ""
    """Why nothing could be read at all."""
    pages: list[str] = field(default_factory=list)
    """What SQLite says of the file."""
    rows: list[Fault] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is not wrong, and worth knowing."""

    @property
    def faults(self) -> list[str]:
        """One line each."""
        found = [self.unusable] if self.unusable else []
        found += [f"file: {line}" for line in self.pages]
        found += map(str, self.rows)
        found += [f"state: {breach.what}" for breach in self.breaches]
        return [" ".join(line.split()) for line in found]

    @property
    def sound(self) -> bool:
        return not self.faults


def inspect(path: Path) -> Inspection:
    """Look over the data directory `path`. Raises StoreError if it is not there, a daemon has it, or another
    version of ringipam wrote it.

    Works on a copy in the directory for temporary files: SQLite makes files beside a database that it only reads, and
    what is damaged is not to be touched, or may be on a disk that is read-only.
    """
    directory = Directory.borrow(path)
    try:
        return look_over(path)
    finally:
        directory.release()


def look_over(path: Path) -> Inspection:
    """As `inspect`, for who has the directory."""
    try:
        with tempfile.TemporaryDirectory(prefix="ringipam-") as name:
            for file in (DATABASE, LOG):
                if (path / file).exists():
                    shutil.copyfile(path / file, Path(name) / file)
            return _inspected(Path(name) / DATABASE)
    except OSError as error:
        raise StoreError(f"cannot read {path / DATABASE}: {(error.strerror or str(error)).lower()}") from None


def _inspected(database: Path) -> Inspection:
    if not database.exists() or not database.stat().st_size:
        return Inspection(unusable=f"the database {'is empty' if database.exists() else 'is gone'}")
    with closing(connect(database, "ro")) as db:
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")  # what is no text has no fitting checksum either
        try:
            found = _opened(db)
        except sqlite3.Error as error:
            return Inspection(unusable=f"the database cannot be read: {error}")
        if not found.unusable:
            _read(db, found)
    return found


def _opened(db: sqlite3.Connection) -> Inspection:
    """What can be said before a row is read."""
    family, version = schema.family(db), schema.version(db)
    if family is None or version < 1:
        return Inspection(unusable="the database is not one of ringipam")
    if version != schema.VERSION:
        advice = "use that one" if version > schema.VERSION else "start the daemon once, which brings it up to date"
        age = "a newer" if version > schema.VERSION else "an older"
        raise StoreError(f"{age} ringipam wrote the database (schema {version}, not {schema.VERSION}): {advice}")
    return Inspection(family)


def _read(db: sqlite3.Connection, found: Inspection) -> None:
    try:
        db.execute("PRAGMA cell_size_check = ON")
        what = schema.damage(db)
        verdicts = [what] if what else []
        verdicts += [row[0] for row in db.execute(f"PRAGMA integrity_check({COMPLAINTS_MAX})")]
    except sqlite3.Error as error:
        verdicts = [str(error)]
    found.pages = [line for verdict in verdicts for line in verdict.splitlines() if line != "ok"]
    unread: list[Fault] = []

    def table(name: str) -> Iterator[Row]:
        return readable(db, name, unread)

    found.stored, found.rows = read_all(table, found.family)
    found.history, spoilt = read_history(table, found.family)
    found.rows += [*spoilt, *unread]
    if not found.rows:
        found.breaches = breaches(found.stored, found.family)
    found.notes = notes(found.stored)


def readable(db: sqlite3.Connection, table: str, unread: list[Fault]) -> Iterator[Row]:
    """The rows of `table` from its beginning to where it breaks off, and from its end back to there."""
    seen: set[Row] = set()
    for order in ("ASC", "DESC"):
        try:
            for row in db.execute(f"SELECT * FROM {table} ORDER BY 1 {order}"):
                if row not in seen:
                    seen.add(row)
                    yield row
            if order == "ASC":
                return
        except sqlite3.Error as error:
            if order == "ASC":
                unread.append(Fault(table, None, f"it cannot be read as a whole: {error}"))
