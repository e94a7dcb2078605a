"""The benchmark of space runs from end to end, and what it prints is what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.space.donors import Served
from benchmarks.space.week import Week

ROOT = Path(__file__).parent.parent.parent


def space(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.space", "--smoke", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_every_part_is_measured() -> None:
    done = space("--json")

    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)
    assert [each["fragments"] for each in figures["fragments"][:-1]] == [0, 2_000, 4_000] * 2
    assert all(each["cpu_us"]["allocate"] > 0 for each in figures["fragments"][:-1])
    assert figures["fragments"][-1]["leases"] == 2_000
    assert [(each["wanted"], each["leased"]) for each in figures["donors"]] == [(12, 12)]
    assert figures["donors"][0]["requests"] >= figures["donors"][0]["grants"] > 0
    assert figures["week"][0]["starts"] > 1_000
    assert len(figures["week"][0]["tokens"]) == 2


def test_a_part_prints_its_bars() -> None:
    done = space("donors")

    assert done.returncode == 0, done.stderr[-2000:]
    assert "| ≤ 4.00 | reached |" in done.stdout
    assert "### fragments" not in done.stdout


def test_an_unknown_part_is_refused_with_those_there_are() -> None:
    done = space("colours")

    assert done.returncode == 2
    assert "there is no part colours; there are fragments, donors, week" in done.stderr


def test_requests_that_were_all_refused_count_as_if_for_one_block() -> None:
    assert Served("full", wanted=2, requests=9).per_grant == 9


def test_growth_compares_the_last_days_with_those_after_the_first() -> None:
    steady = [[40] * 4, *[[60] * 4] * 3, *[[66] * 4] * 3]

    found = Week(hosts=5, hours=168, tokens=[sample for day in steady for sample in day])

    assert found.days == 7
    assert found.growth == 1.1
