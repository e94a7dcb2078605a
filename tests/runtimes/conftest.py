"""Fixtures that make whole machines, each with what a container runtime needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "hosts"))

from lab import Lab
from machine import Machine, missing, powered

MakeMachines = Callable[..., list[Machine]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test names the programs it needs: `@pytest.mark.needs("podman", "cni:bridge")`."""
    for item in items:
        for marker in item.iter_markers("needs"):
            if lacking := missing(*marker.args):
                item.add_marker(pytest.mark.skip(reason=f"needs {lacking}"))


@pytest.fixture
def make_machines(tmp_path: Path) -> Iterator[MakeMachines]:
    """`make_machines(count, iprange)`: machines on one switch, switched on; gone when the test ends."""
    with ExitStack() as stack:

        def make(count: int, iprange: str = "10.32.0.0/24") -> list[Machine]:
            machines = Lab(tmp_path, count, iprange, Machine)
            lab = stack.enter_context(machines)
            stack.enter_context(powered(lab.hosts))
            return lab.hosts

        yield make
