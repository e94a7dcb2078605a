"""One seed is one run, bit for bit: in every process, under every hash seed and Python, alone and in a campaign."""

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
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
NEEDS = ("msgpack", "sortedcontainers")
SEEDS = (4, 12, 31)


def digest_in_a_process(seed: int, *, python: str = sys.executable, hash_seed: str = "0") -> str:
    done = subprocess.run(
        [python, "-m", "sim", "run", "--seed", str(seed), "--seconds", "20"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def version_of(python: Path) -> str:
    """Empty if it does not run: pyenv leaves such programs on the path."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def other_pythons() -> dict[str, Path]:
    """The supported versions besides this one that are on this machine."""
    places = [Path(place) / f"python{v}" for place in os.environ.get("PATH", "").split(":") for v in SUPPORTED]
    places += sorted(Path.home().glob(".pyenv/versions/*/bin/python"))
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    found: dict[str, Path] = {}
    for place in places:
        if place.exists() and "shims" not in place.parts:
            version = version_of(place)
            if version in SUPPORTED and version != mine:
                found.setdefault(version, place)
    return found


PYTHONS = other_pythons()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_gives_the_same_digest_in_every_process_whatever_its_hash_seed(seed: int) -> None:
    digests = {digest_in_a_process(seed, hash_seed=hash_seed) for hash_seed in ("0", "1", "4711")}

    assert digests == {f"digest: {run(Plan(seed, seconds=20)).digest}"}


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_a_seed_gives_the_same_digest_on_every_supported_python(version: str, tmp_path: Path) -> None:
    subprocess.run([PYTHONS[version], "-m", "venv", tmp_path], check=True, capture_output=True)
    python = str(tmp_path / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDS], check=True, capture_output=True)

    for seed in SEEDS:
        assert digest_in_a_process(seed, python=python) == f"digest: {run(Plan(seed, seconds=20)).digest}"


def test_a_seed_gives_the_same_digest_inside_a_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"

    assert main(["campaign", "--seeds", "3..5", "--jobs", "2", "--seconds", "20", "--log", str(log)]) == 0

    lines = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    assert {line["seed"]: line["digest"] for line in lines} == {
        seed: run(Plan(seed, seconds=20)).digest for seed in (3, 4, 5)
    }


def test_different_seeds_are_different_runs() -> None:
    assert len({run(Plan(seed, seconds=10)).digest for seed in range(5)}) == 5
