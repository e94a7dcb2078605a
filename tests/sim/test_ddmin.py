"""What delta debugging leaves fails still, and nothing in it can be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given
from hypothesis import strategies as st

from sim.ddmin import ddmin

Parts = tuple[int, ...]

CULPRITS = st.lists(st.frozensets(st.integers(0, 29), max_size=4), min_size=1, max_size=4)
ITEMS = st.lists(st.integers(0, 29), max_size=30, unique=True)


def first_of(fails: Callable[[Parts], bool]) -> Callable[[Iterable[Parts]], int | None]:
    return lambda candidates: next((n for n, parts in enumerate(candidates) if fails(parts)), None)


@given(ITEMS, CULPRITS)
def test_what_is_left_fails_and_does_not_without_any_one_item(items: list[int], culprits: list[frozenset[int]]) -> None:
    items += sorted(culprits[0] - {*items})

    def fails(parts: Parts) -> bool:
        return any(culprit <= {*parts} for culprit in culprits)

    left = ddmin(items, first_of(fails))

    assert fails(left)
    assert not any(fails((*left[:n], *left[n + 1 :])) for n in range(len(left)))


@given(ITEMS, st.integers(0, 30))
def test_it_need_not_be_that_more_fails_too(items: list[int], count: int) -> None:
    def fails(parts: Parts) -> bool:
        return len(parts) % 3 == count % 3

    kept = items[: len(items) - (len(items) - count) % 3]

    left = ddmin(kept, first_of(fails))

    assert left == () or fails(left)
    assert not any(fails((*left[:n], *left[n + 1 :])) for n in range(len(left)))


@given(ITEMS)
def test_order_is_kept(items: list[int]) -> None:
    wanted = {*items[::2]}

    assert ddmin(items, first_of(lambda parts: wanted <= {*parts})) == tuple(items[::2])


def test_two_of_a_thousand_are_found_in_less_than_a_tenth_of_as_many_trials() -> None:
    tried = 0

    def fails(parts: Parts) -> bool:
        nonlocal tried
        tried += 1
        return {17, 803} <= {*parts}

    assert ddmin(range(1000), first_of(fails)) == (17, 803)
    assert tried < 100


def test_nothing_is_tried_of_nothing() -> None:
    assert ddmin((), first_of(lambda parts: True)) == ()
