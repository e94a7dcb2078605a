"""The tables, and how a database of an older version becomes one of this. Knows no values.

The tables are for reading with the sqlite3 shell too: addresses are text, ranges are named by their first and last
address, `since` of a lease is RFC 3339, columns that end in `_ms` are milliseconds since 1970, lists and labels are
JSON.
"""

from __future__ import annotations

import sqlite3

from ringipam.errors import StoreError

SQLITE_MIN = (3, 37, 0)
"""The first with STRICT tables."""

APPLICATION_IDS = {4: 0x52495034, 6: 0x52495036}
"""By family: "RIP4" and "RIP6" in the database's header, where `file` and others look for whose it is."""

# Small rows found by their key alone live in the key's own tree: a commit writes one page instead of two.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE tokens (first TEXT PRIMARY KEY, epoch INTEGER NOT NULL, version INTEGER NOT NULL,
            owner TEXT NOT NULL, writer TEXT NOT NULL) STRICT, WITHOUT ROWID""",
        """CREATE TABLE leases (lease TEXT PRIMARY KEY, id TEXT NOT NULL, address TEXT NOT NULL,
            prefix_len INTEGER NOT NULL, subnet TEXT NOT NULL, class TEXT NOT NULL, host TEXT NOT NULL,
            since TEXT NOT NULL, labels TEXT NOT NULL) STRICT, WITHOUT ROWID""",
        "CREATE TABLE peers (peer TEXT PRIMARY KEY, address TEXT NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE paxos (the_only INTEGER PRIMARY KEY CHECK (the_only = 1), promised_round INTEGER NOT NULL,
            promised_proposer TEXT NOT NULL, accepted_round INTEGER, accepted_proposer TEXT, cluster TEXT,
            members TEXT) STRICT""",
        "CREATE TABLE answered (asker TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE quarantine (first TEXT PRIMARY KEY, last TEXT NOT NULL, until_ms INTEGER NOT NULL)
            STRICT, WITHOUT ROWID""",
        """CREATE TABLE conflicts (first TEXT NOT NULL, last TEXT NOT NULL, peers TEXT NOT NULL,
            since_ms INTEGER NOT NULL, source TEXT NOT NULL, PRIMARY KEY (first, last)) STRICT, WITHOUT ROWID""",
    ),
)
"""`MIGRATIONS[n]` makes version n + 1 of version n. Only ever appended to."""

VERSION = len(MIGRATIONS)


def check(db: sqlite3.Connection, family: int, *, new: bool) -> None:
    """See whose database this is, changing nothing. Raises StoreError if it is not one that `migrate` can use.

    `new` says that the directory has never held a finished database: then it may also be blank.
    """
    application, version = _header(db, "application_id"), _header(db, "user_version")
    if new and not application and not version and not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    if application not in APPLICATION_IDS.values() or version < 1:
        raise StoreError("it is not a database of ringipam")
    if application != APPLICATION_IDS[family]:
        other = 6 if family == 4 else 4
        raise StoreError(f"it belongs to an IPv{other} universe, this one is IPv{family}: give another --data-dir")
    if version > VERSION:
        raise StoreError(
            f"a newer ringipam wrote it (schema {version}, this one knows up to {VERSION}): install that one again"
        )


def migrate(db: sqlite3.Connection, family: int) -> None:
    """Bring a checked database to `VERSION`, a blank one too, in one transaction."""
    version = _header(db, "user_version")
    if version == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_IDS[family]}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _header(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
