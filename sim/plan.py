"""What makes a run, and what comes of it: plain values that travel between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sim.faults import Fault
from sim.workload import Ask


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that makes a run; equal plans give equal runs."""

    seed: int
    hosts: int = 5
    seconds: int = 80
    faults: str = "swarm"
    only: tuple[Fault, ...] | None = None
    """These faults instead of the drawn ones."""
    asks: tuple[Ask, ...] | None = None
    """These requests instead of the drawn ones."""
    without: tuple[str, ...] = ()
    """Hosts that are left out."""
    mutant: str = ""
    """The broken variant of the core that it runs on; see sim/mutants."""

    @property
    def faulty_ms(self) -> int:
        """How long faults strike; what they last on, they last at most 12 s more."""
        return self.seconds * 500


@dataclass(frozen=True, slots=True)
class Result:
    plan: Plan
    digest: str
    events: int
    messages: int
    requests: int
    answered: int
    violation: str | None
    """`CHECKER: at N ms: what`, or None."""
    details: str = ""
    """A traceback, where the core raised."""
    marks: Mapping[str, int] = field(default_factory=dict)
    """Which situations were reached, how often."""
    converged_ms: int | None = None
    """From the last fault to equal rings."""
    expected_ms: int = 0
    """In what time 99 % of all runs must be there."""

    @property
    def checker(self) -> str:
        """Which property was broken, or "" """
        return (self.violation or "").partition(":")[0]
