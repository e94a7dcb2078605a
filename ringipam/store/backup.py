"""A copy of the database in one file, also while a daemon writes to it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from ringipam.errors import StoreError
from ringipam.store import schema
from ringipam.store.directory import DATABASE, ranges, sync_directory
from ringipam.store.store import connect


def back_up_all(directory: Path, file: Path) -> list[Path]:
    """Copy the database of the data directory into `file` and, where there is a second range, its own beside it.

    The files made: both or none. Raises StoreError as `back_up` does.
    """
    found = [(source, _beside(file, source, directory)) for _, source in ranges(directory)]
    for _, copy in found:
        _refuse_to_overwrite(copy)
    made: list[Path] = []
    try:
        for source, copy in found:
            back_up(source, copy)
            made.append(copy)
    except StoreError:
        for copy in made:
            copy.unlink()
        raise
    return made


def _beside(file: Path, source: Path, directory: Path) -> Path:
    return file if source == directory else file.with_name(f"{file.name}.{source.name}")


def _refuse_to_overwrite(file: Path) -> None:
    if os.path.lexists(file):
        raise StoreError(f"{file} is there already, and is left as it is: name another file")


def back_up(directory: Path, file: Path) -> None:
    """Copy the database of the data directory into `file`, as of one commit; durable when it returns.

    `file` is for its owner alone, and is there whole or not at all. Raises StoreError if it is there already, if there
    is no database of ringipam in `directory`, or if it cannot be read or written.
    """
    database = directory / DATABASE
    _refuse_to_overwrite(file)
    if not database.exists():
        raise StoreError(f"there is no database {database}: name its directory with --data-dir")
    try:
        with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=f".{file.name}.") as name:
            copy = Path(name) / file.name
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            _copy(database, copy)
            os.link(copy, file)  # unlike a renaming, never takes the place of a file
        sync_directory(file.absolute().parent)
    except FileExistsError:
        raise StoreError(f"{file} is there already, and is left as it is: name another file") from None
    except OSError as error:
        raise StoreError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from None


def _copy(database: Path, copy: Path) -> None:
    try:
        with closing(connect(database, "ro")) as source, closing(connect(copy, "rw")) as target:
            if schema.family(source) is None:
                raise StoreError(f"{database} is not a database of ringipam")
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, with no log beside it
            if (verdict := target.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise StoreError(f"{database} is damaged ({verdict}): see `ringipam check`")
    except sqlite3.Error as error:
        raise StoreError(f"cannot copy {database}: {error}") from None
    with copy.open("rb") as written:
        os.fsync(written.fileno())
