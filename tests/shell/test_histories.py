"""The real shell under drawn histories: nothing is possessed, leased or told twice, it heals, and it ends cleanly."""

from __future__ import annotations

import traceback
from collections import Counter
from functools import cache

import pytest
import trio
from histories import Result, run

SEEDS = 300
SEEDS_A_TEST = 20

MARKS = (
    "1 directions were cut",
    "2 directions were cut",
    "a commit failed after it was written",
    "a commit failed before it was written",
    "a commit that was reported as failed was found",
    "a connection was reset",
    "a connection was reset inside of a frame",
    "a link ended: malformed message",
    "a link ended: timed out",
    "a node was cancelled",
    "a node was shut down",
    "a peer's message was refused",
    "a process was killed",
    "a reader stopped reading",
    "a range was granted",
    "a stranger came",
    "a stranger was turned away",
    "answered: InUseError",
    "answered: Leased",
    "answered: NoSpaceError",
    "answered: NotReadyError",
    "answered: RequestTimeoutError",
    "answered: StoreError",
    "committed at once",
    "garbage came over a connection",
    "killed after a commit was written",
    "killed before a commit was written",
    "request cancelled",
    "request lost",
)
"""What must have happened at least once, or the rest proves nothing about it."""


@cache
def outcome(seed: int) -> Result | str:
    """What came of a seed, or why it failed."""
    try:
        return run(seed)
    except Exception:
        return traceback.format_exc()


def test_trio_can_still_be_made_deterministic() -> None:
    """These names are private; if trio has changed them, `world.simulated` must be changed with them."""
    assert isinstance(trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert callable(trio._core._run._r.seed)


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_seeds_pass(first: int) -> None:
    failed = [
        f"seed {seed} (PYTHONPATH=. python tests/shell/histories.py {seed}):\n{why}"
        for seed in range(first, first + SEEDS_A_TEST)
        if isinstance(why := outcome(seed), str)
    ]

    assert not failed, "\n".join(failed)


def test_every_fault_struck_and_every_answer_was_given() -> None:
    marks: Counter[str] = Counter()
    for seed in range(SEEDS):
        result = outcome(seed)
        if isinstance(result, Result):
            marks.update(result.marks)

    assert [mark for mark in MARKS if not marks[mark]] == []
