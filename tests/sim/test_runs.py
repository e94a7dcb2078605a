"""One seed is one run, on any hash seed; a slice of seeds passes; the command line says how it went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.__main__ import main
from sim.run import Plan, run

ROOT = Path(__file__).parents[2]


def digest_in_a_process(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sim", "run", "--seed", str(seed), "--seconds", "20"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_a_seed_gives_the_same_digest_in_every_process_whatever_its_hash_seed() -> None:
    digests = {digest_in_a_process(4, hash_seed) for hash_seed in ("0", "1", "4711")}

    assert digests == {f"digest: {run(Plan(4, seconds=20)).digest}"}


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
