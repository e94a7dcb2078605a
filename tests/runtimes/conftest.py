"""Fixtures that make whole machines, each with a daemon and what a container runtime needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "hosts"))

from lab import Lab
from machine import Machine, missing

MakeLab = Callable[..., Lab]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test names the programs it needs: `@pytest.mark.needs("podman", "cni:bridge")`."""
    for item in items:
        for marker in item.iter_markers("needs"):
            if lacking := missing(*marker.args):
                item.add_marker(pytest.mark.skip(reason=f"needs {lacking}"))


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """`make_lab(machines, iprange)`: so many machines on one switch, switched on; gone when the test ends."""
    with ExitStack() as stack:

        def make(machines: int, iprange: str = "10.32.0.0/24") -> Lab:
            lab = stack.enter_context(Lab(tmp_path, machines, iprange, Machine))
            for machine in lab.hosts:
                stack.callback(machine.power_off)
                machine.boot()
            return lab

        yield make
