"""`ringipam launch` with real sockets and a real data directory: it serves, or says one line and leaves what was there.

FUZZ_EXAMPLES is how many configurations are tried; then they are others at every run.
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from config_target import SETTINGS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node import rows

from ringipam.cli import main
from ringipam.config import Config
from ringipam.store.directory import DATABASE

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
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
    "peers": ("127.0.0.1:1", "[::1]:1", "127.0.0.1:0", ":1", "a..b:1"),
    "data_dir": ("data", "data", "data", "fresh", "deep/fresh", "secret", "secret/data", "caf\udce9", "x" * 300),
    "socket": ("s", "deep/s", "caf\udce9.sock", "secret", "folder", "x" * 200, "secret/s"),
}
GOOD = {"iprange": RANGE, "name": "h1", "listen": "127.0.0.1:0", "data_dir": "data", "socket": "s"}
ANYTHING = ("secret", "folder", "nothing", "1", "0660", "text", "")
"""For settings that are not in the pool."""
PATHS = {field.name for field in fields(Config) if "Path" in str(field.type)}
FLAGS = {field.name for field in fields(Config) if field.type == "bool"}


def launch(directory: Path, chosen: dict[str, str]) -> int:
    """The exit status of a daemon that is asked to stop as soon as it is ready."""
    arguments = []
    for name, value in chosen.items():
        shown = str(directory / value) if name in PATHS else value
        flag = f"--{name.replace('_', '-')}"
        arguments += [shown] if name == "peers" else [flag] if name in FLAGS else [f"{flag}={shown}"]
    with patch("ringipam.daemon.notify", stop_when_ready):
        return main(["launch", *sorted(arguments)])


def stop_when_ready(*said: str) -> None:
    if "READY=1" in said:
        os.kill(os.getpid(), signal.SIGTERM)


def kept(directory: Path) -> dict[str, list[Any]]:
    """What no launch that fails may touch; it may have met whom it was told to dial, and it was a start."""
    found = rows(directory / "data" / DATABASE)
    del found["peers"]
    found["meta"] = [row for row in found["meta"] if row[0] not in ("boots", "commit")]
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


changes = st.sampled_from([(name, value) for name in SETTINGS for value in POOL.get(name, ANYTHING)])
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
        complaint = [line for line in said.splitlines() if " INFO " not in line and " WARNING " not in line]
        assert len(complaint) == 1, said
        assert complaint[0].startswith("ringipam: "), said
        assert kept(directory) == kept(before)
    if status == 2:
        assert sorted(path.name for path in directory.iterdir()) == there
    shutil.rmtree(directory)
