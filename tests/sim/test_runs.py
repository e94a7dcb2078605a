"""A slice of seeds passes; the command line says how a run went."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.__main__ import main

SLICE = "0..499"


@pytest.mark.slow
def test_a_slice_of_the_standard_campaign_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On all cores; `make campaign` runs many more. Failing runs are left where the message says."""
    status = main(["campaign", "--seeds", SLICE, "--failures", str(tmp_path), "--json"])

    *failures, last = capsys.readouterr().out.splitlines()
    summary = json.loads(last)
    assert status == 0, "\n".join(failures)
    assert summary["seeds"] == 500
    assert summary["twice"] == 25
    assert summary["late"] <= 5, "99 % converge in the time that push-pull gossip takes"
    assert len(summary["unreached"]) <= 3, summary["unreached"]


def test_run_prints_the_digest_last_and_traces_every_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace"

    assert main(["run", "--seed", "3", "--seconds", "10", "--faults", "none", "--trace", str(trace)]) == 0

    assert capsys.readouterr().out.splitlines()[-1].startswith("digest: ")
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    assert {"ms", "host", "event"} <= lines[0].keys()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["run", "--seed", "x"],
        ["run", "--seed", "1", "--nodes", "0"],
        ["run", "--seed", "1", "--faults", "volcano"],
        ["campaign", "--seeds", "9..1"],
        ["campaign", "--seeds", "7"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    assert exit_.value.code == 2
    assert capsys.readouterr().err
