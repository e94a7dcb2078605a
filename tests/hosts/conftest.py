"""Fixtures that make real hosts out of network namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab import Lab

MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """`make_lab(hosts, iprange)`: so many hosts on one switch, gone when the test ends."""
    with ExitStack() as stack:
        yield lambda hosts, iprange="10.32.0.0/12": stack.enter_context(Lab(tmp_path, hosts, iprange))
