"""A member that lies crashes and exhausts nobody, is named, and costs at most the addresses that it lied about."""

from __future__ import annotations

import pytest

from ringipam.core.events import Allocate, Leased, RemovePeers, Show
from ringipam.ring.intervals import Intervals
from sim.checkers import Checker
from sim.checkers.leases import NoAddressLeasedTwice
from sim.checkers.possession import NoAddressPossessedTwice
from sim.checkers.synced import DiskHoldsWhatMemoryDoes
from sim.cluster import World
from sim.liar import LIES, Liar

LYING_MS = 6_000


def lied_to(kind: str, seed: int) -> tuple[World, Liar, dict[str, Intervals]]:
    """Three hosts at work, a liar among them for a while; and what each possessed before."""
    world = World(seed, hosts=3, universe="10.32.0.0/12", checked=False)
    for name in world.hosts:
        world.ask(name, Allocate("first", None, 10_000))
    world.run_for(8_000)
    before = {}
    for host in world.members():
        assert host.peer is not None
        before[host.name] = Intervals()
        for start, end in host.peer.possessed():
            before[host.name].add(start, end)
    liar = Liar(world, world.hosts["h1"], (kind,))
    world.hosts["liar"] = liar
    for checker in CHECKERS(world):
        world.watch(checker)
        for host in world.members():
            checker.restarted(host)
    liar.start()
    for number in range(20):
        world.loop.after(number * LYING_MS // 20, world.ask, "h2", Allocate(f"c{number}", None, 5_000))
    world.run_for(LYING_MS)
    return world, liar, before


def CHECKERS(world: World) -> list[Checker]:  # noqa: N802
    return [kind(world) for kind in (NoAddressLeasedTwice, NoAddressPossessedTwice, DiskHoldsWhatMemoryDoes)]


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_costs_at_most_what_it_was_about(kind: str) -> None:
    world, liar, before = lied_to(kind, seed=7)

    assert world.marks[f"a member lied: {kind}"] > 20
    lied = Intervals()
    for start, end in liar.claimed:
        lied.add(start, end)
    for host in world.members():
        assert host.peer is not None
        assert not host.fenced, host.fenced
        kept = Intervals()
        for start, end in host.peer.possessed():
            kept.add(start, end)
        for start, end in before[host.name]:
            lost = end - start - kept.count(start, end)
            assert lost <= lied.count(start, end), f"{host.name} lost {lost} of {start}-{end}"


@pytest.mark.parametrize("kind", LIES)
def test_after_a_liar_was_found_out_and_removed_everything_goes_on(kind: str) -> None:
    world, liar, _ = lied_to(kind, seed=8)
    liar.crash()
    world.run_for(15_000)

    removal = world.ask("h1", RemovePeers((liar.settings.peer,), 30_000))
    world.run_for(31_000)
    served = [world.ask(name, Allocate("afterwards", None, 10_000)) for name in ("h1", "h2", "h3")]
    world.run_for(12_000)

    assert isinstance(removal.answer, dict), removal.answer
    assert all(isinstance(request.answer, Leased) for request in served), [request.answer for request in served]


def test_who_lied_about_others_ranges_is_named() -> None:
    world, liar, _ = lied_to("others' ranges", seed=9)

    shown = [world.ask(name, Show.CONFLICTS) for name in world.hosts if name != "liar"]
    world.run_for(100)

    advice = str([request.answer for request in shown])
    assert liar.settings.peer in advice
