"""The checksum that every row carries, so that a value that was damaged and still reads well is noticed."""

from __future__ import annotations

from hashlib import blake2b

import msgpack

SQL_NAME = "row_sum"
"""Under this name the database knows `row_sum`, for statements that make rows out of rows."""

_pack = msgpack.Packer().pack


def row_sum(table: str, *values: str | int | None) -> int:
    """64 bits over a row's values, in their order, and the table it stands in; an integer as SQLite has them.

    Raises ValueError or OverflowError on what SQLite could not keep either.
    """
    digest = blake2b(_pack(values), digest_size=8, person=table.encode())
    return int.from_bytes(digest.digest(), "big", signed=True)
