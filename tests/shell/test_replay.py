"""One seed is one run of the shell, in one process twice and in two processes of different hash seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from histories import run

ROOT = Path(__file__).parents[2]
SEEDS = (1, 3, 5, 9)


def digest_in_a_process(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "histories.py"), str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_run_everywhere(seed: int) -> None:
    here = {run(seed).digest, run(seed).digest}
    elsewhere = {digest_in_a_process(seed, hash_seed) for hash_seed in ("0", "4711")}

    assert len(here) == 1
    assert elsewhere == here


def test_different_seeds_give_different_runs() -> None:
    assert len({run(seed).digest for seed in SEEDS}) == len(SEEDS)
