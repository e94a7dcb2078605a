"""The tables, and how a database of an older version becomes one of this. Knows no values.

The tables are for reading with the sqlite3 shell too: addresses are text, ranges are named by their first and last
address, `since` of a lease is RFC 3339, columns that end in `_ms` are milliseconds since 1970, lists and labels are
JSON. Every row ends with its checksum, `sum`; the table `sums` says of each table how many rows it has and what their
checksums come to (exclusive or), so that a row that was lost is noticed. Triggers keep that, in the transaction that
changes the rows.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache

from ringipam.errors import StoreError
from ringipam.store.checksum import SQL_NAME, sql_row_sum

SQLITE_MIN = (3, 37, 0)
"""The first with STRICT tables."""

APPLICATION_IDS = {4: 0x52495034, 6: 0x52495036}
"""By family: "RIP4" and "RIP6" in the database's header, where `file` and others look for whose it is."""

_SUM = "(total | {0}) - (total & {0})"
"""SQLite has no exclusive or; this is one, and never overflows."""


def _summed(table: str) -> tuple[str, ...]:
    """What keeps the sums of `table`."""
    added, gone = _SUM.format("NEW.sum"), _SUM.format("OLD.sum")
    return (
        f"INSERT INTO sums VALUES ('{table}', 0, 0)",
        f"""CREATE TRIGGER {table}_row_added AFTER INSERT ON {table} BEGIN
            UPDATE sums SET rows = rows + 1, total = {added} WHERE name = '{table}'; END""",
        f"""CREATE TRIGGER {table}_row_gone AFTER DELETE ON {table} BEGIN
            UPDATE sums SET rows = rows - 1, total = {gone} WHERE name = '{table}'; END""",
    )


def _new(table: str, columns: str, key: str = "WITHOUT ROWID") -> tuple[str, ...]:
    ending = f"STRICT, {key}" if key else "STRICT"
    return f"CREATE TABLE {table} ({columns}) {ending}", *_summed(table)


def _again(table: str, old: str, columns: str, key: str = "WITHOUT ROWID") -> tuple[str, ...]:
    """Make `table` anew, with sums; `old` are the values of its rows in terms of the columns it had."""
    return (
        f"ALTER TABLE {table} RENAME TO old_{table}",
        *_new(table, columns, key),
        f"INSERT INTO {table} SELECT {old}, {SQL_NAME}('{table}', {old}) FROM old_{table}",
        f"DROP TABLE old_{table}",
    )


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
    (
        """CREATE TABLE sums (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, total INTEGER NOT NULL)
            STRICT, WITHOUT ROWID""",
        *_again("meta", "key, value", "key TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL"),
        *_again(
            "tokens",
            "first, epoch, version, owner, writer",
            """first TEXT PRIMARY KEY, epoch INTEGER NOT NULL, version INTEGER NOT NULL, owner TEXT NOT NULL,
            writer TEXT NOT NULL, sum INTEGER NOT NULL""",
        ),
        *_again(
            "leases",
            "lease, id, address, prefix_len, subnet, class, host, since, labels",
            """lease TEXT PRIMARY KEY, id TEXT NOT NULL, address TEXT NOT NULL, prefix_len INTEGER NOT NULL,
            subnet TEXT NOT NULL, class TEXT NOT NULL, host TEXT NOT NULL, since TEXT NOT NULL, labels TEXT NOT NULL,
            sum INTEGER NOT NULL""",
        ),
        *_again(
            "peers",
            "peer, address, 'member'",
            "peer TEXT PRIMARY KEY, address TEXT NOT NULL, standing TEXT NOT NULL, sum INTEGER NOT NULL",
        ),
        *_again(
            "paxos",
            "the_only, promised_round, promised_proposer, accepted_round, accepted_proposer, cluster, members",
            """the_only INTEGER PRIMARY KEY CHECK (the_only = 1), promised_round INTEGER NOT NULL,
            promised_proposer TEXT NOT NULL, accepted_round INTEGER, accepted_proposer TEXT, cluster TEXT,
            members TEXT, sum INTEGER NOT NULL""",
            key="",
        ),
        *_again("answered", "asker, number", "asker TEXT PRIMARY KEY, number INTEGER NOT NULL, sum INTEGER NOT NULL"),
        *_again(
            "quarantine",
            "first, last, until_ms",
            "first TEXT PRIMARY KEY, last TEXT NOT NULL, until_ms INTEGER NOT NULL, sum INTEGER NOT NULL",
        ),
        *_again(
            "conflicts",
            "first, last, peers, since_ms, source",
            """first TEXT NOT NULL, last TEXT NOT NULL, peers TEXT NOT NULL, since_ms INTEGER NOT NULL,
            source TEXT NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (first, last)""",
        ),
        *_new("boots", "nonce TEXT PRIMARY KEY, first INTEGER NOT NULL, sum INTEGER NOT NULL"),
        *_new("published", "number INTEGER PRIMARY KEY, head INTEGER NOT NULL, sum INTEGER NOT NULL", key=""),
        *_new(
            "points",
            """peer TEXT PRIMARY KEY, nonce TEXT NOT NULL, number INTEGER NOT NULL, head INTEGER NOT NULL,
            sum INTEGER NOT NULL""",
        ),
        *_new(
            "pledges",
            "coordinator TEXT PRIMARY KEY, epoch INTEGER NOT NULL, targets TEXT NOT NULL, sum INTEGER NOT NULL",
        ),
        *_new(
            "rounds",
            """epoch INTEGER PRIMARY KEY, targets TEXT NOT NULL, done INTEGER NOT NULL, taken TEXT NOT NULL,
            sum INTEGER NOT NULL""",
            key="",
        ),
        *_new("suspended", "first TEXT PRIMARY KEY, last TEXT NOT NULL, sum INTEGER NOT NULL"),
        *_new(
            "history",
            """number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
            was TEXT NOT NULL, epoch INTEGER NOT NULL, version INTEGER NOT NULL, owner TEXT NOT NULL,
            writer TEXT NOT NULL, source TEXT NOT NULL, sum INTEGER NOT NULL""",
            key="",
        ),
    ),
)
"""`MIGRATIONS[n]` makes version n + 1 of version n. Only ever appended to."""

VERSION = len(MIGRATIONS)


def check(db: sqlite3.Connection, family: int, *, new: bool) -> None:
    """See whose database this is, changing nothing. Raises StoreError if it is not one that `migrate` can use.

    `new` says that the directory has never held a finished database: then it may also be blank.
    """
    application, found = _header(db, "application_id"), version(db)
    if new and not application and not found and not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return
    if application not in APPLICATION_IDS.values() or found < 1:
        raise StoreError("it is not a database of ringipam")
    if application != APPLICATION_IDS[family]:
        other = 6 if family == 4 else 4
        raise StoreError(f"it belongs to an IPv{other} universe, this one is IPv{family}: give another --data-dir")
    if found > VERSION:
        raise StoreError(
            f"a newer ringipam wrote it (schema {found}, this one knows up to {VERSION}): install that one again"
        )


def damage(db: sqlite3.Connection) -> str:
    """What of the tables' definitions is not as `migrate` made them, or "". A database that is blank has none."""
    found = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    wrong = [name for name, sql in _definitions(version(db)) if found.get(name) != sql]
    return f"the definition of {', '.join(wrong)} is not what it was" if wrong else ""


def version(db: sqlite3.Connection) -> int:
    """Which version the tables are of; 0 if there are none."""
    return _header(db, "user_version")


def family(db: sqlite3.Connection) -> int | None:
    """Of which family the addresses are; None if it is not a database of ringipam."""
    application = _header(db, "application_id")
    return next((family for family, known in APPLICATION_IDS.items() if known == application), None)


def migrate(db: sqlite3.Connection, family: int) -> None:
    """Bring a checked database to `VERSION`, a blank one too, in one transaction."""
    found = version(db)
    if found == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    _carry_out(db, MIGRATIONS[found:])
    db.execute(f"PRAGMA application_id = {APPLICATION_IDS[family]}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def ready(db: sqlite3.Connection) -> None:
    """Let a connection make changes that keep the sums: replacing a row is to count as dropping the old one."""
    db.execute("PRAGMA recursive_triggers = ON")
    db.create_function(SQL_NAME, -1, sql_row_sum, deterministic=True)


def resum(db: sqlite3.Connection, table: str) -> None:
    """Let `sums` say of `table` what its rows come to."""
    count = total = 0
    for (found,) in db.execute(f"SELECT sum FROM {table}"):
        count += 1
        total ^= found
    db.execute("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)", (table, count, total))


def _carry_out(db: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...]) -> None:
    for statements in migrations:
        for statement in statements:
            db.execute(statement)


@cache
def _definitions(version: int) -> list[tuple[str, str]]:
    """What a database of this version says of its tables."""
    with closing(sqlite3.connect(":memory:")) as db:
        ready(db)
        _carry_out(db, MIGRATIONS[:version])
        return db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()


def _header(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
