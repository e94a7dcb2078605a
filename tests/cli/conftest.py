"""The command line against a daemon with leases in memory (see tests/server/asking.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "server"))

from asking import Book, daemon_at
from running import Done, Run

from ringipam.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def run(*arguments: str) -> Done:
        status = main(arguments)
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Book]:
    """What the daemon holds that the commands talk to."""
    monkeypatch.setenv("RINGIPAM_SOCKET", str(tmp_path / "s"))
    with daemon_at(tmp_path / "s") as served:
        yield served
