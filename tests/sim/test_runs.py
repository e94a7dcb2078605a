"""A slice of seeds passes; the command line says how a run went."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.__main__ import main
from sim.run import Plan, run


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_seeds_of_the_standard_swarm_pass(block: int) -> None:
    failed = [
        f"seed {result.plan.seed}: {result.violation}\n{result.details}"
        for result in (run(Plan(seed)) for seed in range(block * 10, block * 10 + 10))
        if result.violation
    ]

    assert not failed, "\n".join(failed)


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
