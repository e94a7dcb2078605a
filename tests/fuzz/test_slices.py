"""Every fuzzing target, for a moment: its seeds, whatever a campaign found, and a few thousand fixed variants."""

from __future__ import annotations

import random
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TARGETS = {"codec": 4_000, "peer": 500, "http": 500, "cni": 500, "config": 800}
"""How many variants each is given here; `make fuzz` goes on."""
FOUND = Path(__file__).parent / "found"


def stands(target: Any, inputs: Iterable[bytes]) -> None:
    for data in inputs:
        try:
            target.check(data)
        except BaseException as error:
            error.add_note(f"the input: {data!r}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_stands_its_seeds_and_their_variants(name: str) -> None:
    target = import_module(f"{name}_target")
    seeds = list(target.seeds())

    stands(target, seeds)
    stands(target, (target.mutate(random.Random(seed).choice(seeds), seed) for seed in range(TARGETS[name])))


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    stands(import_module(f"{path.parent.name}_target"), [path.read_bytes()])
