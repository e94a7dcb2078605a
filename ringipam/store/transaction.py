"""Writes changes in as few statements as give the same rows. Knows tables and keys, not what a change means.

Python's `sqlite3` lets other threads run during every statement and then waits for its turn, which a busy thread gives
it late: a commit of many small statements takes many times what SQLite needs for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TypeVar

from ringipam.core.durable import Change
from ringipam.store.statements import COLUMNS, DROPS, KEYS, PUTS, Row, statements, summed

T = TypeVar("T")

ROWS_IN_ONE = (64, 16, 4, 1)
"""How many rows a statement takes; few sizes, as SQLite keeps a limited number of statements ready."""


def write(db: sqlite3.Connection, changes: Iterable[Change], family: int) -> None:
    """Change the rows of `db` as `changes` say, one after another, within the transaction that is open."""
    net = _Net(db)
    for change in changes:
        for statement, rows in statements(change, family):
            if statement in PUTS:
                net.put(PUTS[statement], rows)
            elif statement in DROPS:
                net.drop(DROPS[statement], rows)
            elif rows:
                net.flush()  # it may look at any row
                db.executemany(statement, rows)
    net.flush()


class _Net:
    """What becomes of each row in the end, by table and key: its last put, or None for a row that is dropped."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._tables: dict[str, dict[object, Row | None]] = {}

    def put(self, table: str, rows: Sequence[Row]) -> None:
        self._tables.setdefault(table, {}).update((row[0], row) for row in rows)

    def drop(self, table: str, rows: Sequence[Row]) -> None:
        self._tables.setdefault(table, {}).update((row[0], None) for row in rows)

    def flush(self) -> None:
        for table, rows in self._tables.items():
            dropped = [key for key, row in rows.items() if row is None]
            put = [row for row in rows.values() if row is not None]
            for some in _portions(dropped):
                self._db.execute(_delete(table, len(some)), some)
            for some in _portions(put):
                self._db.execute(_insert(table, len(some)), [value for row in some for value in summed(table, row)])
        self._tables.clear()


def _portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    start = 0
    for size in ROWS_IN_ONE:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


@cache
def _delete(table: str, count: int) -> str:
    return f"DELETE FROM {table} WHERE {KEYS[table]} IN ({', '.join('?' * count)})"


@cache
def _insert(table: str, count: int) -> str:
    row = f"({', '.join('?' * (COLUMNS[table] + 1))})"
    return f"INSERT OR REPLACE INTO {table} VALUES {', '.join([row] * count)}"
