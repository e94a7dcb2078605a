"""The report measures what it says it does, draws it, and goes on where it was broken off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringipam.core.rng import Rng
from sim.__main__ import main
from sim.checkers.possession import NoAddressPossessedTwice, NoAddressPossessedTwiceAmongMany
from sim.exchange import exchange, ring_of, with_news
from sim.load import Load, Pace
from sim.predict import light_checkers, percentiles, predict, universe
from sim.standing import standing
from sim.traffic import Traffic


def test_a_system_that_stands_begins_with_one_ring_of_equal_shares() -> None:
    world = standing(1, 5, "10.0.0.0/24")

    assert world.converged
    (host, *_) = world.hosts.values()
    assert host.peer is not None
    assert host.peer.ring is not None
    assert sorted(host.peer.ring.owners().values()) == [51, 51, 51, 51, 52]


def test_work_keeps_its_pace() -> None:
    world = standing(1, 4, "10.0.0.0/24")
    load = Load(world, Pace(10, 50))

    load.fill(50)
    world.run_for(3_000)
    assert len(load.running) == 50
    load.count_anew()
    world.run_for(60_000)

    assert 500 < load.tally.starts < 700
    assert 45 <= len(load.running) <= 51
    assert len(load.tally.answers_ms) == load.tally.starts - load.tally.lost


def test_a_host_that_takes_most_of_the_work_gets_space_of_others_and_the_change_is_counted() -> None:
    world = standing(1, 4, "10.0.0.0/24")
    load, traffic = Load(world, Pace(10, 150)), Traffic(world)

    load.fill(50)
    world.run_for(60_000)

    counts = traffic.counts
    assert counts.ring_news > 0
    assert counts.payload["space"] > 0
    assert counts.payload["news"] > sum(counts.arrivals.values()) * 20
    assert all(arrivals <= 6 for arrivals in counts.arrivals.values()), "three others, and few of them told twice"


def test_sampled_sizes_are_about_the_true_ones() -> None:
    sums = []
    for every in (1, 10):
        world = standing(1, 10, "10.0.0.0/24")
        traffic = Traffic(world, every)
        Load(world, Pace(10, 150)).fill(50)
        world.run_for(20_000)
        sums.append(traffic.counts.total)

    assert abs(sums[0] - sums[1]) < sums[0] // 5


def test_a_prediction_measures_every_figure() -> None:
    found = predict(5, 5)

    assert found.starts > 30
    assert found.answer_ms["p50"] <= found.answer_ms["p95"] <= found.answer_ms["most"]
    assert found.rest_bytes_s > 0
    assert len(found.change_ms) == 5
    assert found.heal_ms is not None
    assert found.tokens_after >= 5


def test_a_prediction_is_one_run() -> None:
    one, two = predict(3, 3).as_json(), predict(3, 3).as_json()

    for real in ("wall_s", "work_wall_s", "memory_mib"):
        del one[real], two[real]
    assert one == two


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles(list(range(1, 101))) == {"p50": 50, "p95": 95, "p99": 99, "most": 100}
    assert percentiles([7]) == {"p50": 7, "p95": 7, "p99": 7, "most": 7}
    assert percentiles([]) == {}


@pytest.mark.parametrize(("hosts", "range_"), [(3, "10.32.0.0/19"), (300, "10.32.0.0/18"), (1000, "10.32.0.0/17")])
def test_the_range_grows_with_the_hosts(hosts: int, range_: str) -> None:
    assert universe(hosts) == range_


# ── an exchange ───────────────────────────────────────────────────────────────────────────────────


def test_agreeing_rings_say_one_message_of_64_bytes_at_most() -> None:
    ring, again = ring_of(1_000, Rng(1)), ring_of(1_000, Rng(1))

    (size,) = exchange(ring, again, bytes(8))

    assert size <= 64


@pytest.mark.parametrize("seed", range(5))
def test_rings_that_differ_in_one_range_agree_within_a_kilobyte(seed: int) -> None:
    rng = Rng(seed)
    ring = ring_of(10_000, rng)
    newer = with_news(ring, rng)
    assert newer != ring

    assert sum(exchange(newer, ring, rng.bits64().to_bytes(8))) <= 1_000
    assert newer == ring


# ── the checker of possession for many hosts ──────────────────────────────────────────────────────


class _Both(NoAddressPossessedTwice):
    """Follows everything, and says what it knows."""

    def views(self) -> tuple[object, object]:
        return self._memory, {name: self._disk[name] for name in self._disk}


class _Few(NoAddressPossessedTwiceAmongMany):
    def views(self) -> tuple[object, object]:
        return self._memory, {name: self._disk[name] for name in self._disk}


@pytest.mark.parametrize("seed", range(4))
def test_looking_at_what_concerns_a_host_only_comes_to_the_same_views(seed: int) -> None:
    world = standing(seed, 6, "10.0.0.0/24", checkers=lambda world: [_Both(world), _Few(world)])
    load = Load(world, Pace(20, 180, shift_ms=5_000))

    load.fill(60)
    world.run_for(15_000)
    world.crash("h2")
    world.run_for(5_000)
    world.restart("h2")
    world.run_for(10_000)

    both, few = world.checkers[:2]
    assert isinstance(both, _Both)
    assert isinstance(few, _Few)
    assert both.views() == few.views()


def test_light_checkers_are_on() -> None:
    world = standing(1, 2, "10.0.0.0/24", checkers=light_checkers)

    assert [type(checker) for checker in world.checkers].count(NoAddressPossessedTwiceAmongMany) == 1


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def test_a_quick_report_measures_draws_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "log", tmp_path / "img"

    assert main(["report", "--quick", "--log", str(log), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    lines = log.read_text()
    assert main(["report", "--quick", "--log", str(log), "--out", str(out)]) == 0
    table = capsys.readouterr().out

    assert [each["hosts"] for each in found["predictions"]] == [3, 10]
    assert found["exchange_at_rest_bytes"] <= 64
    assert not any(row["violation"] for row in found["matrix"])
    assert log.read_text() == lines, "nothing was measured again"
    assert "| hosts | 3 | 10 |" in table
    drawn = sorted(path.name for path in out.iterdir())
    assert drawn == sorted(f"report-{what}.svg" for what in ("answers", "bytes", "change", "convergence", "ring"))
    assert all("<svg" in (out / name).read_text() for name in drawn)


def test_what_is_no_log_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    log.write_text("no log\n")

    assert main(["report", "--quick", "--log", str(log)]) == 2
    assert "not the log" in capsys.readouterr().err


def test_one_host_is_no_system() -> None:
    with pytest.raises(SystemExit) as refused:
        main(["report", "--hosts", "1"])

    assert refused.value.code == 2
