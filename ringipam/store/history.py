"""The audit log, read beside whoever writes it: who gave which range to whom."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

from ringipam.address import to_address
from ringipam.core.durable import Recorded
from ringipam.errors import OutOfRangeError, StoreError
from ringipam.store import schema
from ringipam.store.checksum import row_sum
from ringipam.store.directory import DATABASE
from ringipam.store.rows import recorded
from ringipam.store.store import connect


def history(directory: Path, family: int, address: int) -> dict[str, object]:
    """What is recorded of the ranges that contained `address`, oldest first, as every surface shows it.

    May be called from any thread, while a daemon runs or not. Raises StoreError if there is nothing to read or what
    there is is damaged, and OutOfRangeError for an address of the other family.
    """
    database = directory / DATABASE
    if not database.exists():
        raise StoreError(f"there is no database {database}: name its directory with --data-dir")
    text = str(to_address(family, address))
    try:
        with closing(connect(database, "ro")) as db:
            here = schema.family(db)
            if here is None or schema.version(db) != schema.VERSION:
                raise StoreError(f"{database} is not a database of this version of ringipam")
            if here != family:
                raise OutOfRangeError(f"the range here is IPv{here}, and {text} is not in it")
            lines = _lines(db, family, address)
    except (sqlite3.Error, ValueError, TypeError, OSError) as error:
        raise StoreError(f"cannot read the audit log in {database}: {error}") from None
    return {"address": text, "history": [_as_json(line, family) for line in lines]}


def _as_json(line: Recorded, family: int) -> dict[str, object]:
    return {
        "at_ms": line.at_ms,
        "first": str(to_address(family, line.start)),
        "last": str(to_address(family, line.end - 1)),
        "before": line.before,
        "owner": line.claim.owner,
        "epoch": line.claim.epoch,
        "version": line.claim.version,
        "writer": line.claim.writer,
        "source": line.source,
    }


def _lines(db: sqlite3.Connection, family: int, address: int) -> list[Recorded]:
    """Those of all lines that hold the address; comparing packed addresses takes a tenth of reading each line."""
    kind, wanted = (AF_INET, address.to_bytes(4, "big")) if family == 4 else (AF_INET6, address.to_bytes(16, "big"))
    found: list[Recorded] = []
    for row in db.execute("SELECT * FROM history ORDER BY number"):
        if inet_pton(kind, row[2]) <= wanted <= inet_pton(kind, row[3]):
            if row_sum("history", row[:-1]) != row[-1]:
                raise ValueError(f"line {row[0]} is damaged; see `ringipam check`")
            found.append(recorded(family, row[:-1]))
    return found
