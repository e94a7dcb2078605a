"""How answers are shown: JSON for programs, aligned columns and round figures for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def print_json(data: object) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def parts(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """An answer of one range as it is, one of two by family; each with what its lines begin with."""
    if "ipv6" not in answer:
        return [("", answer)]
    return [("IPv4: ", answer), ("IPv6: ", answer["ipv6"])]


def print_title(title: str) -> None:
    """A line for what `parts` tells apart; none where there is one range."""
    if title:
        print(title.strip())


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers stand to the right."""
    table = [list(row) for row in rows]
    shown = [[str(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(titles, *shown, strict=True)]
    right = [bool(table) and all(isinstance(row[at], int) for row in table) for at in range(len(titles))]
    for row in [list(titles), *shown]:
        cells = (
            cell.rjust(width) if on_right else cell.ljust(width)
            for cell, width, on_right in zip(row, widths, right, strict=True)
        )
        print("  ".join(cells).rstrip())


def size_text(size: int) -> str:
    """A number of addresses: exact while that is readable, else its order of magnitude."""
    if size < 10_000_000:
        return f"{size:,}"
    if size & (size - 1) == 0:
        return f"2^{size.bit_length() - 1}"
    return f"{size:.1e}".replace("e+", "e")


def count_text(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def age_text(seconds: float) -> str:
    """How long ago, in the largest unit that fits."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
