"""How much is measured: the standard set, a quick one, and a smoke that only shows that everything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    name: str
    rounds: int
    turn_s: float
    """How long one contender loads its server before the next has its turn."""
    settle_s: float
    """What the one before has left to be written is written then: etcd gathers for 0.1 s."""
    starts: int
    """Rounds of what starts a process anew each time."""
    callers: tuple[int, ...]
    crowd: int
    """Of those, how many where only one caller and several are compared."""
    sizes: tuple[int, ...]
    """Leases held."""
    held: int
    """Leases held where that is not what varies."""
    table_max: int
    """The longest table that rivals who rewrite theirs whole are asked to hold."""
    fragments: int
    """Leases with one free address between any two."""
    tokens: int
    steady_s: float


STANDARD = Scale(
    name="standard",
    rounds=15,
    turn_s=0.35,
    settle_s=0.15,
    starts=5,
    callers=(1, 8, 32, 128),
    crowd=32,
    sizes=(0, 1_000, 10_000, 100_000),
    held=1_000,
    table_max=10_000,
    fragments=60_000,
    tokens=100_000,
    steady_s=60.0,
)
QUICK = Scale(
    name="quick",
    rounds=3,
    turn_s=0.15,
    settle_s=0.15,
    starts=2,
    callers=(1, 32),
    crowd=32,
    sizes=(0, 100_000),
    held=1_000,
    table_max=1_000,
    fragments=10_000,
    tokens=10_000,
    steady_s=5.0,
)
SMOKE = Scale(
    name="smoke",
    rounds=1,
    turn_s=0.02,
    settle_s=0.0,
    starts=1,
    callers=(1, 4),
    crowd=4,
    sizes=(0, 50),
    held=10,
    table_max=50,
    fragments=2_000,
    tokens=50,
    steady_s=0.5,
)
