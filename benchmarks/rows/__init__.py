"""What is measured, a row at a time: each names its contenders, who then take turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contender import Contender
from benchmarks.scale import Scale
from benchmarks.setting import Setting


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    title: str
    contenders: Callable[[Setting], list[Contender]]
    rounds: Callable[[Scale], int] = lambda scale: scale.rounds
    turn_s: Callable[[Scale], float] = lambda scale: scale.turn_s
    short: bool = True
    """Turns are short: everybody has one first that does not count, and each follows upon a look at the floor."""
