"""The matrix covers every pair, and its rows run clean."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.matrix import FACTORS, HOSTS, Row, measure, pairwise_rows, round_bits

ROWS = pairwise_rows()
SMALL = [(number, row) for number, row in enumerate(ROWS) if row["hosts"] == "<10"]
levels = st.integers(1, 5).map(lambda count: tuple(f"level {n}" for n in range(count)))
factor_tables = st.lists(levels, min_size=2, max_size=7).map(lambda found: {f"f{n}": ls for n, ls in enumerate(found)})


def pairs(rows: list[Row]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for row in rows for pair in combinations(row.items(), 2)}


def all_pairs(factors: dict[str, tuple[str, ...]]) -> set[frozenset[tuple[str, str]]]:
    couples = combinations(factors, 2)
    return {frozenset([(one, x), (two, y)]) for one, two in couples for x in factors[one] for y in factors[two]}


@given(factor_tables)
def test_every_pair_of_levels_meets_in_some_row(factors: dict[str, tuple[str, ...]]) -> None:
    rows = pairwise_rows(factors)

    assert pairs(rows) == all_pairs(factors)
    assert all(list(row) == list(factors) for row in rows)


def test_the_matrix_of_w14_is_covered_by_few_rows() -> None:
    assert pairs(ROWS) == all_pairs(dict(FACTORS))
    assert len(ROWS) <= 16, "nine are needed for three factors of three levels; all combinations are 1,944"


@given(st.integers(8, 10**6))
def test_a_range_is_the_nearest_power_of_two(size: int) -> None:
    found = 1 << round_bits(size)

    assert found * found <= 2 * size * size
    assert size * size <= 2 * found * found


@pytest.mark.parametrize(("number", "row"), SMALL)
def test_a_row_of_few_hosts_runs_without_a_violation(number: int, row: Row) -> None:
    found = measure(row, seed=1 + number)

    assert found.violation == ""
    assert found.hosts == HOSTS[row["hosts"]]
    assert found.starts > 10
    assert found.refused == 0 or row["utilisation"] == ">80 %"


@pytest.mark.slow
@pytest.mark.parametrize("number", [number for number, row in enumerate(ROWS) if row["hosts"] == "20-100"])
def test_a_row_of_more_hosts_runs_without_a_violation(number: int) -> None:
    assert measure(ROWS[number], seed=1 + number).violation == ""
