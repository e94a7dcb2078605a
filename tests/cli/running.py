"""What a command did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Done:
    status: int
    out: str
    err: str


Run = Callable[..., Done]
