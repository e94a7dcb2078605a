"""What was measured: every figure of every round, as it is written to JSON and read again."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Spread, Turn


class Point(NamedTuple):
    """Where a figure stands."""

    row: str
    contender: str
    verb: str
    figure: str


@dataclass
class RowResult:
    title: str
    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    """By contender, verb and figure: one value a round."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Who could not take part, and why."""
    failed: str = ""
    """Why the row was broken off."""

    def add(self, contender: str, turn: Turn) -> None:
        for verb, figures in turn.items():
            held = self.figures.setdefault(contender, {}).setdefault(verb, {})
            for name, value in figures.items():
                held.setdefault(name, []).append(value)


@dataclass
class Results:
    command: str
    scale: str
    machine: dict[str, str] = field(default_factory=dict)
    rows: dict[str, RowResult] = field(default_factory=dict)
    seconds: float = 0.0

    def values(self, point: Point) -> list[float]:
        """One for each round; none if it was not measured."""
        row = self.rows.get(point.row)
        return row.figures.get(point.contender, {}).get(point.verb, {}).get(point.figure, []) if row else []

    def spread(self, point: Point) -> Spread | None:
        values = self.values(point)
        return Spread.of(values) if values else None

    def save(self, path: Path) -> None:
        """One line a row and not one a figure, so that it can be kept beside the text."""
        plain = asdict(self)
        rows = ",\n".join(f" {json.dumps(name)}: {_compact(row)}" for name, row in plain.pop("rows").items())
        path.write_text(f'{_compact(plain)[:-1]},"rows":{{\n{rows}\n}}}}\n')

    @classmethod
    def load(cls, path: Path) -> Results:
        data = json.loads(path.read_text())
        rows = {name: RowResult(**row) for name, row in data.pop("rows").items()}
        return cls(**data, rows=rows)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def machine() -> dict[str, str]:
    """What the figures depend on, and what else the machine had to do."""
    return {
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "Linux": platform.release().partition("-")[0],
        "load before": load(),
    }


def load() -> str:
    """How many processes wanted to run in the last 1, 5 and 15 minutes."""
    return "/".join(f"{average:.1f}" for average in os.getloadavg())
