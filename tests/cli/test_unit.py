"""The unit file that `ringipam unit` prints."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import Run

from ringipam.cli import main
from ringipam.cli.unit import TEMPLATE


class Unit(configparser.ConfigParser):
    optionxform = staticmethod(str)  # type: ignore[assignment]


def read(text: str) -> Unit:
    unit = Unit(strict=False, interpolation=None)
    unit.read_string(text)
    return unit


def test_the_unit_starts_this_installation(run: Run) -> None:
    done = run("unit")

    assert done.status == 0
    command = read(done.out)["Service"]["ExecStart"].split()
    assert command[:4] == [sys.executable, "-m", "ringipam", "launch"]


def test_a_script_is_started_by_its_own_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "ringipam"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])

    assert main(["unit"]) == 0

    assert f"\nExecStart={script} launch --config " in capsys.readouterr().out


def test_what_the_daemon_says_is_what_the_unit_expects() -> None:
    service = read(TEMPLATE.read_text())["Service"]

    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["RestartPreventExitStatus"] == "2", "the exit status of wrong usage, docs/cli.md"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ringipam.service"
    path.write_text(run("unit").out)

    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
