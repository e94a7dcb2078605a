"""The benchmarks run from end to end, say what cannot take part, and hold the figures against the right ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bars, report
from benchmarks.filling import RANGES, Filled, fragmented, fresh, make
from benchmarks.results import Point, Results, RowResult
from benchmarks.scale import SMOKE
from ringipam.store.invariants import breaches
from ringipam.store.store import Store

ROOT = Path(__file__).parent.parent.parent


def smoke(json: Path, *words: str, **environment: str) -> tuple[Results, str]:
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--json", str(json), "--plots", str(json.parent), *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Results.load(json), done.stdout


@pytest.mark.slow
def test_every_row_is_measured_and_every_bar_finds_its_figures(tmp_path: Path) -> None:
    results, printed = smoke(tmp_path / "found.json")

    verdicts = bars.judge(results, SMOKE)

    skipped = [name for row in results.rows.values() for name in row.skipped]
    unmeasured = [
        verdict.bar.name
        for verdict in verdicts
        if verdict.ratio is None and not any(name in str(verdict.bar) for name in skipped)
    ]
    assert not unmeasured
    assert {verdict.bar.figure.row for verdict in bars.judge(results, SMOKE)} <= set(results.rows)
    assert all(row.figures for row in results.rows.values())
    assert all(verdict.bar.name in printed for verdict in verdicts)
    assert {path.stem for path in tmp_path.glob("*.svg")} == {
        *("bench-callers-p50", "bench-callers-rate", "bench-leases", "bench-cni")
    }


def test_rivals_that_are_not_installed_are_named_with_the_reason(tmp_path: Path) -> None:
    results, printed = smoke(tmp_path / "found.json", "callers", "cni", PATH=str(tmp_path), CNI_PATH=str(tmp_path))

    callers, cni = results.rows["callers"], results.rows["cni"]
    assert callers.skipped == {"etcd": "etcd is not installed (apt-get install etcd-server)"}
    assert list(cni.skipped) == ["host-local"]
    assert str(tmp_path) in cni.skipped["host-local"]
    assert all("etcd" not in contender for contender in callers.figures)
    assert "skipped: etcd is not installed" in printed


def test_an_unknown_row_is_refused_with_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "colours"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    assert "there is no row colours; there are callers," in done.stderr


@pytest.mark.parametrize(
    "filled",
    [fresh(30), fresh(30, family=6), fragmented(30), Filled(RANGES[4], tokens=50)],
    ids=["fresh", "fresh IPv6", "fragmented", "tokens"],
)
def test_a_directory_that_was_filled_is_one_that_a_host_could_have_left(filled: Filled, tmp_path: Path) -> None:
    make(filled, tmp_path / "data")

    store = Store.open(tmp_path / "data", filled.family)
    stored = store.load()
    store.close()
    assert breaches(stored, filled.family) == []
    assert len(stored.leases) == filled.leases
    assert len(stored.tokens) == filled.tokens


def test_a_ratio_is_made_round_by_round_and_judged_by_its_median() -> None:
    """The machine was slow in the second round, for both: their ratio is the same."""
    figure, against = Point("leases", "ours", "allocate", "p50_ms"), Point("leases", "theirs", "allocate", "p50_ms")
    results = Results("python -m benchmarks", "smoke", rows={"leases": RowResult("allocation by leases held")})
    for ours, theirs in ((0.2, 0.1), (0.4, 0.2), (0.2, 0.1)):
        results.rows["leases"].add("ours", {"allocate": {"p50_ms": ours}})
        results.rows["leases"].add("theirs", {"allocate": {"p50_ms": theirs}})

    reached, missed = (bars.verdict(results, bars.Bar("twice as long", figure, against, limit)) for limit in (2.0, 1.9))

    assert (reached.ratio, reached.word) == (missed.ratio, "reached")
    assert missed.word == "not reached"
    assert "| twice as long | 2.00 (2.00–2.00) | 2.00 | ≤ 1.90 | not reached |" in report.lines(results, [missed])


@pytest.mark.parametrize("limit", [3.0, 5.0], ids=["only the median passes", "median and calm rounds pass"])
def test_a_bar_is_unclear_where_one_side_varied_too_much(limit: float) -> None:
    """Two of three times the floor had to wait for the processor, and what is measured did not."""
    figure, floor = Point("leases", "ours", "allocate", "p50_ms"), Point("leases", "ours", "allocate", "sync_p50_ms")
    results = Results("python -m benchmarks", "smoke", rows={"leases": RowResult("allocation by leases held")})
    for ours, sync in ((0.4, 0.1), (0.4, 4.0), (0.4, 4.0)):
        results.rows["leases"].add("ours", {"allocate": {"p50_ms": ours, "sync_p50_ms": sync}})

    found = bars.verdict(results, bars.Bar("a few times the floor", figure, floor, limit))

    assert found.ratio is not None
    assert (found.ratio.median, found.calm) == (0.1, 4.0)
    assert found.word == "unclear"


def test_results_read_from_a_file_are_those_that_were_written(tmp_path: Path) -> None:
    results = Results("python -m benchmarks cni", "quick", {"cores": "2"}, seconds=1.5)
    results.rows["cni"] = RowResult("CNI", skipped={"host-local": "not there"}, failed="no disk")
    results.rows["cni"].add("ringipam", {"ADD": {"p50_ms": 1.0}})

    results.save(tmp_path / "found.json")

    assert Results.load(tmp_path / "found.json") == results
