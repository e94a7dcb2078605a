"""Fixtures that make whole machines, each with a daemon and what a container runtime needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "hosts"))

from machine import Machine, Site, missing

MakeSite = Callable[..., Site]

IPRANGE = "10.32.0.0/24"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test names the programs it needs: `@pytest.mark.needs("podman", "cni:bridge")`."""
    for item in items:
        for marker in item.iter_markers("needs"):
            if lacking := missing(*marker.args):
                item.add_marker(pytest.mark.skip(reason=f"needs {lacking}"))


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(machines, iprange)`: so many machines on one switch, switched on; gone when the test ends."""
    with ExitStack() as stack:
        yield lambda machines, iprange=IPRANGE: stack.enter_context(powered(tmp_path, machines, iprange))


@pytest.fixture(scope="module")
def lasting_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine for all tests of a file, of which each leaves it running, with no container and no lease."""
    with powered(tmp_path_factory.mktemp("machine"), 1, IPRANGE) as site:
        yield site.machines[0]


@contextmanager
def powered(directory: Path, machines: int, iprange: str) -> Iterator[Site]:
    with ExitStack() as stack:
        site = stack.enter_context(Site(directory, machines, iprange))
        for machine in site.machines:
            stack.callback(machine.power_off)
            machine.boot()
        yield site
