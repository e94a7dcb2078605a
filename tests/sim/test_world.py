"""The world behaves as production does where safety hangs on it: disks, processes and links."""

from __future__ import annotations

from ringipam.core.durable import PutMeta
from ringipam.core.events import Allocate, Leased, Show
from ringipam.core.rng import Rng
from ringipam.errors import NoSpaceError, RequestTimeoutError
from ringipam.messages import Grant
from sim.cluster import Request, World
from sim.disk import Disk
from sim.loop import Loop

OWNED_BY_H3 = "10.0.0.56"
"""In the third share of the universe of `formed`."""


def formed(seed: int = 7, hosts: int = 3, universe: str = "10.0.0.0/26") -> World:
    """A world whose ring exists on every host."""
    world = World(seed=seed, hosts=hosts, universe=universe, init=f"consensus={hosts}")
    world.ask("h1", Allocate("first", None, 10_000))
    assert world.run_until(lambda: world.converged, 20_000)
    return world


def answer_of(world: World, request: Request) -> object:
    assert world.run_until(lambda: not request.open, 60_000)
    return request.answer


# ── disks ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_crash_leaves_a_commit_under_way_done_or_undone_and_nobody_hears_which() -> None:
    outcomes = set()
    for seed in range(20):
        heard: list[bool] = []
        loop = Loop()
        disk = Disk(loop, Rng(seed))
        disk.delay_ms = (5, 5)
        disk.commit((PutMeta("a", "1"), PutMeta("b", "2")), heard.append)

        disk.lose_power()
        loop.run_until(100)

        assert heard == []
        outcomes.add(tuple(sorted(disk.durable.meta)))

    assert outcomes == {(), ("a", "b")}, "all of a commit or nothing, and both happen"


def test_a_failed_commit_is_reported_and_may_still_be_found_on_disk() -> None:
    found = set()
    for seed in range(40):
        heard: list[bool] = []
        loop = Loop()
        disk = Disk(loop, Rng(seed))
        disk.failing = True
        disk.commit((PutMeta("a", "1"),), heard.append)

        loop.run_until(100)

        assert heard == [False]
        found.add("a" in disk.durable.meta)

    assert found == {False, True}


def test_what_a_process_was_given_to_read_is_not_the_disk() -> None:
    disk = Disk(Loop(), Rng(1))

    disk.read().meta["peer"] = "changed in memory"

    assert disk.durable.meta == {}


def test_a_disk_that_fails_refuses_who_waits_and_the_host_goes_on_when_it_is_well_again() -> None:
    world = formed()
    world.hosts["h1"].disk.failing = True

    refused = world.ask("h1", Allocate("c1", None, 5_000))
    assert world.run_until(lambda: refused.lost, 5_000)
    world.heal()
    served = answer_of(world, world.ask("h1", Allocate("c1", None, 5_000)))

    assert isinstance(served, Leased)


# ── processes ─────────────────────────────────────────────────────────────────────────────────────


def test_a_host_can_crash_behind_a_commit_and_before_what_follows_from_it_is_seen() -> None:
    world = formed()
    world.hosts["h1"].crash_in = 0

    request = world.ask("h1", Allocate("c1", None, 5_000))
    assert world.run_until(lambda: request.lost, 5_000)
    world.restart("h1")
    again = answer_of(world, world.ask("h1", Allocate("c1", None, 5_000)))

    assert request.answered_ms is None
    assert isinstance(again, Leased)


def test_a_pause_keeps_answers_back_too() -> None:
    world = formed()
    host = world.hosts["h1"]
    host.disk.delay_ms = (10, 10)
    request = world.ask("h1", Allocate("c1", None, 5_000))
    resumes = host.paused_until = world.loop.now + 1_000

    answer_of(world, request)

    assert request.answered_ms is not None
    assert request.answered_ms >= resumes


def test_a_caller_leaves_only_while_nothing_is_decided() -> None:
    world = formed()
    world.hosts["h1"].disk.delay_ms = (10, 10)
    request = world.ask("h1", Allocate("c1", None, 5_000))

    world.cancel(request)

    assert not request.cancelled
    assert isinstance(answer_of(world, request), Leased)


# ── links ─────────────────────────────────────────────────────────────────────────────────────────


def linked(world: World, host: str) -> set[str]:
    """The hosts that `host` has a usable link to."""
    shown = world.ask(host, Show.PEERS).answer
    assert isinstance(shown, dict)
    peers = shown["peers"]
    assert isinstance(peers, list)
    return {peer["name"] for peer in peers if peer["linked"]}


def test_a_cut_breaks_links_within_seconds_and_dials_fail_until_it_is_mended() -> None:
    world = formed()

    world.cut("h1", "h2")
    world.run_for(8_000)
    during = linked(world, "h1")
    world.heal()
    world.run_for(8_000)

    assert during == {"h3"}
    assert linked(world, "h1") == {"h2", "h3"}


def test_a_process_does_not_hear_of_its_predecessors_dials() -> None:
    heard: list[object] = []
    lives = {"a": 1, "b": 1}
    world = World(hosts=0)
    world.network._deliver = lambda host, event: heard.append((host, event))
    world.network._life = lives.__getitem__

    world.network.dial("a", "b:6783")
    lives["a"] = 2
    world.run_for(5_000)

    assert heard == []


def test_the_message_named_is_lost_once() -> None:
    world = formed(universe="10.0.0.0/27")
    subnet = world.subnet("10.0.0.0/29")  # all of it belongs to one host
    others = [name for name in world.hosts if name != world.owner_of("10.0.0.1")]
    world.run_for(1_000)
    world.drop_next(Grant)

    answer = answer_of(world, world.ask(others[0], Allocate("c1", subnet, 30_000)))

    assert isinstance(answer, Leased), "the search goes on, or the grant arrives by gossip"


def test_hosts_apart_answer_in_time_and_agree_when_they_are_together_again() -> None:
    world = formed()
    for other in ("h2", "h3"):
        world.cut("h1", other)
    request = world.ask("h1", Allocate("c1", world.subnet(f"{OWNED_BY_H3}/30"), 3_000))

    answer = answer_of(world, request)
    world.heal()

    assert world.owner_of(OWNED_BY_H3) == "h3"
    assert isinstance(answer, NoSpaceError | RequestTimeoutError)
    assert request.answered_ms is not None
    assert request.answered_ms <= request.asked_ms + 3_000
    assert world.run_until(lambda: world.converged, 20_000)
    world.finish()
