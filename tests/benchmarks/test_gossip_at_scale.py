"""What gossip costs is measured on real daemons, and on simulated hosts with the same core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import hosts, spread
from benchmarks.hosts import Change, Measured, Newcomer, Rest
from benchmarks.oldring import Place, found
from benchmarks.spread import Found, Spread, Told
from ringipam.store.invariants import breaches
from ringipam.store.store import Store
from sim.mesh import mesh

ROOT = Path(__file__).parent.parent.parent


def printed(*command: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_real_hosts_are_measured_at_rest_in_change_and_as_newcomers() -> None:
    answer = printed("benchmarks.hosts", "--hosts", "3", "--tokens", "20", "500", "--seconds", "2", "--changes", "2")

    large, short, long = answer["rings"]
    assert (large["hosts"], large["newcomer"]) == (3, None)
    assert (short["tokens"], long["tokens"]) == (20, 500)
    assert all(ring["links"] == ring["hosts"] - 1 for ring in (large, short, long))
    assert all(ring["rest"]["bytes_s"] > 0 and ring["rest"]["resident_mib"] > 0 for ring in (large, short, long))
    assert long["newcomer"]["bytes_in"] > short["newcomer"]["bytes_in"]


def test_a_change_that_a_simulated_host_makes_is_followed_to_the_last_one() -> None:
    system = Spread(12, 40).complete(changes=2)

    assert len(system.told) == 2
    assert all(0 < told.half_rounds <= told.most_rounds <= told.all_rounds for told in system.told)
    assert system.rest_bytes_s > 0
    assert system.change_messages > 1, "everybody was told"
    assert system.whole_lists


def test_where_hosts_know_only_their_links_a_change_reaches_all_and_lists_stay_short() -> None:
    world = mesh(1, 120, 120, whole_lists=False, links=8)
    world.run_for(10_000)

    peers = [host.peer for host in world.hosts.values() if host.peer is not None]
    known = [len(host.disk.durable.members) for host in world.hosts.values()]

    assert len(peers) == 120
    assert world.converged
    assert max(known) < 40
    assert min(peer.queues()["links"] for peer in peers) >= 8


def test_hosts_that_have_long_been_one_ring_find_it_on_sound_disks(tmp_path: Path) -> None:
    places = {name: Place(tmp_path / name, f"192.0.2.{number}:6783") for number, name in enumerate(("a", "b", "c"), 1)}

    found("10.0.0.0/8", places, tokens=50)

    rings = []
    for name, place in places.items():
        store = Store.open(place.data, 4)
        stored = store.load()
        store.close()
        assert breaches(stored, 4) == []
        assert {peer.partition(".")[0] for peer in stored.members} >= places.keys() - {name}
        rings.append((stored.meta["cluster"], stored.tokens))
    assert rings[0] == rings[1] == rings[2]
    assert len(rings[0][1]) == 50


def test_bars_of_simulated_hosts_compare_the_slowest_change_and_the_longest_ring() -> None:
    told = [Told(1.0, 3.0, 4.0), Told(1.0, 3.0, 7.0)]
    short = Found(64, 100, True, rest_bytes_s=100.0, told=told, change_bytes=400.0)
    long = Found(64, 9_000, True, rest_bytes_s=150.0, told=told, change_bytes=400.0)

    verdicts = {name: (value, bar) for name, value, bar in spread.verdicts([long, short])}

    assert verdicts["64 hosts, 100 tokens: rounds until all know, slowest"] == (7.0, 12.0)
    assert verdicts["64 hosts, 9,000 tokens ÷ 100: bytes at rest"] == (1.5, 1.1)
    assert verdicts["64 hosts, 9,000 tokens ÷ 100: bytes of a change"] == (1.0, 1.1)
    assert "| 64 hosts, 9,000 tokens ÷ 100: bytes at rest | 1.50 | ≤ 1.10 | not reached |" in spread.lines(
        [long, short]
    )


def test_bars_of_real_hosts_count_a_change_by_hosts_reached() -> None:
    quiet, change = Rest(10.0, 800.0, 0.3, 0.4, 50.0), Change(6.0, 700.0, 4.0)
    newcomer = Newcomer(1.0, 2.0, 3.0, 20_000, 9_000, 0.5, 0.1)
    short = Measured(5, 100, 4.0, quiet, change, newcomer)
    long = Measured(5, 100_000, 4.0, Rest(10.0, 880.0, 0.3, 0.4, 90.0), change, newcomer)

    verdicts = {name: value for name, value, _ in hosts.verdicts([short, long])}

    assert verdicts["5 hosts, 100 tokens: bytes of a change for each host reached"] == 875.0
    assert verdicts["5 hosts, 100,000 tokens ÷ 100: bytes at rest"] == pytest.approx(1.1)
    assert any(
        line.startswith("| 100,000 | 1.00 s | 2.00 s | 3.00 s | 20,000 B") for line in hosts.lines([short, long])
    )
