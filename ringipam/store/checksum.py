"""The checksum that every row carries, so that a value that was damaged and still reads well is noticed."""

from __future__ import annotations

from collections.abc import Callable
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
    return summing(table)(values)


def sql_row_sum(table: str, *values: str | int | None) -> int:
    return row_sum(table, values)


@cache
def summing(table: str) -> Callable[[tuple[Any, ...]], int]:
    """`row_sum` of one table; a start looks at every row, so nothing is done there that is the same for all."""
    begun = blake2b(digest_size=8, person=table.encode()).copy

    def summed(values: tuple[Any, ...]) -> int:
        digest = begun()
        digest.update(_pack(values))
        return int.from_bytes(digest.digest(), "big", signed=True)

    return summed
