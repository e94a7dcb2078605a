"""The checksum that every row carries, so that a value that was damaged and still reads well is noticed."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import Any

import msgpack

SQL_NAME = "row_sum"
"""The function of SQL that gives `row_sum(table, value, …)`, for statements that make rows out of rows."""

_pack = msgpack.Packer().pack


def row_sum(table: str, values: tuple[Any, ...]) -> int:
    """64 bits over a row's values, in their order, and the table it stands in; an integer as SQLite has them.

    The values are those of SQLite: texts, integers and None. Raises ValueError or OverflowError on what it could
    not keep.
    """
    digest = _begun(table).copy()
    digest.update(_pack(values))
    return int.from_bytes(digest.digest(), "big", signed=True)


def sql_row_sum(table: str, *values: str | int | None) -> int:
    return row_sum(table, values)


@cache
def _begun(table: str) -> blake2b:
    return blake2b(digest_size=8, person=table.encode())
