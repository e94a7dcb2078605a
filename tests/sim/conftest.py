"""A core that is broken on purpose, until the end of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sim.mutants import applied

Planting = Callable[[str], None]


@pytest.fixture
def plant() -> Iterator[Planting]:
    """Switches on a mutant by name, also for the processes that are forked meanwhile."""
    with ExitStack() as until_the_end:
        yield lambda name: until_the_end.enter_context(applied(name))
