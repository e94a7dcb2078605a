"""Mends a stored state where nothing can be lost by it, and saves what can be read where something would be.

What a peer must remember so that no address is issued twice (its ring, its leases, what it promised) is never guessed:
a peer that has lost any of it begins anew under another name, as one who has lost its disk.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from ringipam.core.durable import Change
from ringipam.errors import StoreError
from ringipam.store import schema
from ringipam.store.directory import DATABASE, LOG, MARKER, Directory, sync_directory
from ringipam.store.inspection import Inspection, look_over
from ringipam.store.rows import Fault
from ringipam.store.statements import COLUMNS
from ringipam.store.store import connect
from ringipam.store.transaction import write

ROUNDS_MAX = 100
"""Mending one thing may show another; it comes to an end all the same."""

Ask = Callable[[str], bool]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Mend:
    """Something that can be put right without loss."""

    what: str
    carry_out: Callable[[sqlite3.Connection], None]


def repair(path: Path, now: datetime, ask: Ask, say: Say) -> bool:
    """Copy the data directory `path` to beside it, then mend what `ask` agrees to; whether all is sound in the end.

    Raises StoreError if a daemon has the directory, or it cannot be read, copied or written.
    """
    directory = Directory.borrow(path)
    try:
        found = look_over(path)
        if found.sound:
            say("sound: there is nothing to repair")
            return True
        for fault in found.faults:
            say(fault)
        stamp = f"{now:%Y%m%dT%H%M%SZ}"
        say(f"everything as it was found is kept in {_keep(path, stamp)}")
        found = _mend(path, found, ask, say)
        if found.sound:
            say("sound: the daemon can be started")
            return True
        saved = _salvage(path, found, stamp)
        say(f"{len(found.faults)} faults remain, of which none may be mended by guessing")
        say(f"what could be read, with {len(found.stored.leases)} leases, is saved in {saved}")
        say(
            f"to go on: move {path} away, start the daemon again, which makes it a new peer, claim the leases that are"
            f" still in use, and run `ringipam remove-peer` for {found.stored.meta.get('peer', 'the old one')}"
        )
        return False
    except OSError as error:
        raise StoreError(f"cannot repair {path}: {(error.strerror or str(error)).lower()}") from None
    finally:
        directory.release()


def _keep(path: Path, stamp: str) -> Path:
    """The copy that is made before anything is touched; durable when it returns."""
    kept = path.absolute().with_name(f"{path.absolute().name}.before-repair-{stamp}")
    kept.mkdir(mode=0o700)  # fails if it is there
    for name in (DATABASE, LOG, MARKER):
        if (path / name).exists():
            _write(kept / name, (path / name).read_bytes())
    sync_directory(kept)
    sync_directory(kept.parent)
    return kept


def _salvage(path: Path, found: Inspection, stamp: str) -> Path:
    """The facts and leases that read well, in JSON beside the data directory."""
    saved = path.absolute().with_name(f"{path.absolute().name}.salvaged-{stamp}.json")
    stored = found.stored
    data = {
        "peer": stored.meta.get("peer"),
        "universe": stored.meta.get("universe"),
        "faults": found.faults,
        "leases": [lease.as_json() for _, lease in sorted(stored.leases.items())],
    }
    _write(saved, json.dumps(data, indent=2, ensure_ascii=False).encode())
    sync_directory(saved.parent)
    return saved


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# ── what can be mended ────────────────────────────────────────────────────────────────────────────


def _mend(path: Path, found: Inspection, ask: Ask, say: Say) -> Inspection:
    refused: set[str] = set()
    for _ in range(ROUNDS_MAX):
        mend = next((mend for mend in _mends(found) if mend.what not in refused), None)
        if mend is None:
            break
        refused.add(mend.what)  # what did not help is not tried again either
        if not ask(mend.what):
            continue
        try:
            with closing(connect(path / DATABASE, "rw")) as db:
                db.execute("PRAGMA synchronous = FULL")
                schema.ready(db)
                mend.carry_out(db)
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            say(f"that could not be done: {error}")
        found = look_over(path)
    return found


def _mends(found: Inspection) -> Iterator[Mend]:
    if found.unusable:
        return
    if found.pages and not found.rows:
        yield Mend("write the file anew: every row is there and well, what is damaged is between them", _write_anew)
    if any(fault.table == "history" for fault in found.rows) and not found.pages:
        numbers = [fault.row for fault in found.rows if fault.table == "history" and isinstance(fault.row, int)]
        what = f"drop {len(numbers)} damaged lines of the audit log, by which nothing is decided, and count the others"
        yield Mend(what, partial(_drop_lines, numbers))
    if not found.pages:
        yield from _sums(found.rows)
    for breach in found.breaches:
        if breach.mend:
            yield Mend(f"put right: {breach.what}", partial(_commit, found.family, breach.mend))


def _sums(faults: list[Fault]) -> Iterator[Mend]:
    """Where a checksum does not fit, a row may be an older one, or another may be lost: that is not made to fit."""
    for table in COLUMNS:
        if [fault.miscounted for fault in faults if fault.table == table] == [True]:
            yield Mend(f"count the rows of {table} anew: they are well, their sum is not", partial(_resum, table))


def _resum(table: str, db: sqlite3.Connection) -> None:
    schema.resum(db, table)


def _drop_lines(numbers: list[int], db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("DELETE FROM history WHERE number = ?", [(number,) for number in numbers])
    schema.resum(db, "history")
    db.execute("COMMIT")


def _commit(family: int, changes: tuple[Change, ...], db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    write(db, changes, family)
    db.execute("COMMIT")


def _write_anew(db: sqlite3.Connection) -> None:
    """Replace every page, in one transaction, by those of a new database with the same rows."""
    with (
        tempfile.TemporaryDirectory(prefix="ringipam-") as name,
        closing(sqlite3.connect(Path(name) / DATABASE, isolation_level=None)) as new,
    ):
        family = schema.family(db)
        assert family is not None
        schema.ready(new)
        schema.migrate(new, family)
        for table in (*COLUMNS, "history"):
            rows = db.execute(f"SELECT * FROM {table}").fetchall()
            if rows:
                new.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        new.backup(db)
