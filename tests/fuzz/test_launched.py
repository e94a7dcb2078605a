"""`ringipam launch` with real sockets and a real data directory: it serves, or says one line and leaves what was there.

FUZZ_EXAMPLES is how many configurations are tried; then they are others at every run.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from config_target import SETTINGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringipam.cli import main

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
KEPT = {"peers"}
"""Tables that a start may add to: whom it was told to dial may be met."""

RANGE = "10.32.0.0/24"
POOL: dict[str, tuple[str, ...]] = {
    "iprange": (RANGE, RANGE, RANGE, "10.32.0.0/12", "fd00::/64", "10.32.0.0/31", "junk"),
    "subnet": (RANGE, "10.32.0.0/25", "10.33.0.0/24", "fd00::/80", "10.32.0.1/25"),
    "name": ("h1", "h2", "-", "a b", "x" * 64),
    "listen": ("127.0.0.1:0", "[::1]:0", "127.0.0.1", "127.0.0.1:1", "192.0.2.1:0", "a..b:0", "0.0.0.0:0"),
    "advertise": ("h1:6783", "h1", ":1", "\udcff:1"),
    "http": ("127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:0", "127.0.0.1"),
    "init": ("alone", "observer", "consensus=2", "seed=h1", "seed=h1,h2", "seed=,"),
    "exclude": ("10.32.0.9", "10.32.0.0/28", RANGE, "fd00::1", "x"),
    "password_file": ("secret", "empty", "nothing", "folder", "binary"),
    "ca": ("secret", "nothing", "binary"),
    "cert": ("secret", "binary"),
    "key": ("secret", "folder"),
    "insecure": ("",),
    "peers": ("127.0.0.1:1", "[::1]:1", "127.0.0.1:0", ":1", "a..b:1"),
    "data_dir": ("data", "data", "data", "fresh", "deep/fresh", "secret", "secret/data", "caf\udce9", "x" * 300),
    "socket": ("s", "deep/s", "caf\udce9.sock", "secret", "folder", "x" * 200, "secret/s"),
}
GOOD = {"iprange": RANGE, "name": "h1", "listen": "127.0.0.1:0", "data_dir": "data", "socket": "s"}
PATHS = {"password_file", "ca", "cert", "key", "data_dir", "socket"}


def launch(directory: Path, chosen: dict[str, str]) -> int:
    """The exit status of a daemon that is asked to stop as soon as it is ready."""
    arguments = []
    for name, value in chosen.items():
        shown = str(directory / value) if name in PATHS else value
        flag = f"--{name.replace('_', '-')}"
        arguments += [shown] if name == "peers" else [flag] if name == "insecure" else [f"{flag}={shown}"]
    with patch("ringipam.daemon.notify", stop_when_ready):
        return main(["launch", *sorted(arguments)])


def stop_when_ready(state: str) -> None:
    if state == "READY=1":
        os.kill(os.getpid(), signal.SIGTERM)


def rows(directory: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(f"file:{directory}/data/ringipam.db?mode=ro", uri=True)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")} - KEPT
        found = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in sorted(tables)}
    found["meta"] = [(key, value) for key, value in found["meta"] if key != "boots"]
    return found


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with files of all sorts, and the data of a node that has a ring."""
    directory = tmp_path_factory.mktemp("before")
    (directory / "secret").write_text("a long password of nobody's\n")
    (directory / "empty").touch()
    (directory / "binary").write_bytes(bytes(range(256)))
    (directory / "folder").mkdir()
    assert launch(directory, {**GOOD, "init": "alone"}) == 0
    return directory


changes = st.sampled_from([(name, value) for name, values in POOL.items() for value in values])
chosen = st.builds(
    lambda changed, open_to_all: {**GOOD, **dict(changed), **({"insecure": ""} if open_to_all else {})},
    st.lists(changes, max_size=3),
    st.booleans(),
)


@given(chosen=chosen)
@settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_launch_serves_or_says_one_line_and_loses_nothing(
    before: Path, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str], chosen: dict[str, str]
) -> None:
    directory = tmp_path_factory.mktemp("launch")
    shutil.copytree(before, directory, dirs_exist_ok=True, symlinks=True)
    there = sorted(path.name for path in directory.iterdir())
    capfd.readouterr()

    status = launch(directory, chosen)

    said = capfd.readouterr().err
    assert status in (0, 1, 2)
    assert "Traceback" not in said
    if status:
        assert said.startswith("ringipam: "), said
        assert said.count("\n") == 1, said
        assert rows(directory) == rows(before)
    if status == 2:
        assert sorted(path.name for path in directory.iterdir()) == there
    shutil.rmtree(directory)


def test_every_setting_is_tried() -> None:
    assert {*POOL} == {*SETTINGS} - {"quarantine_s"}
