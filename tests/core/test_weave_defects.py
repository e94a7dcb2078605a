"""What went wrong in the allocator this one learns from, each history played against ours (D1 to D9).

D2 to D5 as laws of the join are in tests/ring; here is what a peer with leases makes of such messages, and what
removals do that two operators ask for at once, or that strike a host which is alive (D1, D6, D7).
"""

from __future__ import annotations

import pytest
from solo import ME, Solo, claim, ip

from ringipam.claim import Claim, Segment
from ringipam.core.durable import DropLease, PutTokens
from ringipam.core.events import Allocate, Leased, LeaseList, Leases, Prime, RemovePeers, Show
from ringipam.errors import FencedError, RequestError
from ringipam.messages import Grant, Health, Member, Rumour, SpaceRequest
from sim.cluster import Request, World

B = "b.00000000bbbb"


def segment(first: str, size: int, version: int, owner: str, writer: str) -> Segment:
    return Segment(ip(first), ip(first) + size, Claim(0, version, owner, writer))


def conflicts(solo: Solo) -> list[dict[str, object]]:
    answer = solo.answer(Show.CONFLICTS)
    assert isinstance(answer, dict)
    found = answer["conflicts"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("held", "incoming"),
    [
        ("10.0.0.200", (segment("10.0.0.0", 128, 9, ME, ME), segment("10.0.0.128", 128, 5, B, B))),  # D3
        ("10.0.0.5", (segment("10.0.0.0", 128, 5, B, B), segment("10.0.0.128", 128, 9, ME, ME))),  # D4
        ("10.0.0.200", (segment("10.0.0.128", 128, 5, B, B),)),  # D5
        ("10.0.0.200", (segment("10.0.0.128", 117, 5, B, B), segment("10.0.0.245", 11, 9, ME, ME))),  # D5, later token
    ],
    ids=["D3", "D4", "D5", "D5-with-a-later-token"],
)
def test_a_range_with_a_live_lease_is_never_given_away_in_silence(held: str, incoming: tuple[Segment, ...]) -> None:
    solo = Solo("10.0.0.0/24")
    solo.meet(B)
    lease = solo.answer(claim("a1", held))
    assert isinstance(lease, Leased)

    solo.hear(B, Rumour(1, incoming, ()))

    shown = conflicts(solo)
    assert any(entry["leases"] == [lease.lease.as_json()] for entry in shown)
    assert any(B in str(entry["peers"]) for entry in shown)
    assert solo.answer(Leases("a1")) == LeaseList((lease.lease,)), "its holder keeps it"
    for number in range(256):
        solo.ask(Allocate(f"c{number}", None, 1_000))
    taken = {int(lease.address) for lease in solo.stored.leases.values()} - {ip(held)}
    for entry in shown:
        in_doubt = range(ip(str(entry["first"])), ip(str(entry["last"])) + 1)
        assert not taken & set(in_doubt), "addresses in doubt are issued to nobody"


def test_a_conflict_is_remembered_over_a_restart() -> None:
    solo = Solo("10.0.0.0/24")
    solo.meet(B)
    solo.hear(B, Rumour(1, (segment("10.0.0.0", 16, 5, B, B),), ()))

    solo.restart()

    assert [entry["first"] for entry in conflicts(solo)] == ["10.0.0.0"]
    assert solo.allocate("c1").address.packed[-1] == 16


def test_an_older_claim_over_our_range_changes_nothing() -> None:
    solo = Solo("10.0.0.0/24")
    solo.meet(B)

    solo.hear(B, Rumour(1, (segment("10.0.0.128", 128, 0, B, B),), ()))

    assert conflicts(solo) == []


def test_d8_a_lease_outside_what_the_stored_ring_gives_us_is_reported_not_forgotten() -> None:
    solo = Solo("10.0.0.0/24")
    lease = solo.allocate("c1")
    moved = Claim(0, 7, B, ME)
    solo.stored.apply(PutTokens((), ((ip("10.0.0.0"), moved),)))

    solo.restart()

    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert status["warnings"] == [
        "1 addresses that are leased here belong to others by the ring: they are asked for, and until then in doubt:"
        " see `ringipam conflicts`"
    ]
    assert [(entry["first"], entry["peers"]) for entry in conflicts(solo)] == [(str(lease.address), [ME, B])]
    assert solo.answer(Leases("c1")) == LeaseList((lease,))


def test_d8_ring_and_lease_change_of_one_decision_are_one_record() -> None:
    """Weave saved them apart, so a crash in between kept one without the other."""
    solo = Solo("10.0.0.0/28", init="observer")
    solo.meet(B, cluster="thering")
    solo.hear(B, Rumour(1, (segment("10.0.0.0", 16, 1, B, B),), ()))
    solo.ask(claim("web", "10.0.0.5", 28))
    asked = next(body for body in solo.sent_to(B) if isinstance(body, SpaceRequest))

    solo.hear(B, Grant(asked.number, (segment("10.0.0.5", 1, 2, ME, B),), ()))

    kinds = [type(change).__name__ for change in solo.effects[0].changes]  # type: ignore[union-attr]
    assert {"PutTokens", "PutLease"} <= set(kinds)
    assert DropLease.__name__ not in kinds


def test_d9_figures_of_free_space_are_hints_and_never_a_reason_to_reject_a_peer() -> None:
    solo = Solo("10.0.0.0/24")
    solo.meet(B)

    solo.hear(B, Rumour(1, (), (Member(B, "b:6783", 3, Health.ALIVE, 10**12),)))
    solo.hear(B, Rumour(2, (), (Member(B, "b:6783", 2, Health.ALIVE, 1),)))

    peers = solo.answer(Show.PEERS)
    assert isinstance(peers, dict)
    assert peers["peers"][0]["state"] == "alive"  # type: ignore[index]
    assert conflicts(solo) == []


@pytest.mark.parametrize("other", ["a.00000000aaaa", "z.000000000000"], ids=["ours-wins", "theirs-wins"])
def test_d1_two_owners_under_one_stamp_are_a_conflict_whichever_wins(other: str) -> None:
    solo = Solo("10.0.0.0/24")
    solo.meet(B)

    solo.hear(B, Rumour(1, (segment("10.0.0.128", 128, 1, other, other),), ()))
    solo.hear(B, Rumour(2, (segment("10.0.0.128", 128, 1, other, other),), ()))

    assert [(entry["first"], entry["peers"]) for entry in conflicts(solo)] == [("10.0.0.128", sorted([ME, other]))]
    assert all(owned.end <= ip("10.0.0.128") for owned in solo.peer.possessed())


# ── removals ─────────────────────────────────────────────────────────────────────────────────────


def ring_of(hosts: int, *, checked: bool = True) -> World:
    """A ring of h1, h2, …, each of which owns a share."""
    world = World(hosts=hosts, universe="10.0.0.0/24", checked=checked)
    world.ask("h1", Prime(60_000))
    world.run_for(5_000)
    return world


def peer_of(world: World, name: str) -> str:
    return world.hosts[name].settings.peer


def gone_for_good(world: World, name: str) -> None:
    """It never comes back, and the others have noticed."""
    world.hosts[name].wanted = False
    world.crash(name)
    world.run_for(10_000)


def cut_off(world: World, name: str) -> None:
    for other in world.hosts:
        if other != name:
            world.cut(name, other)
    world.run_for(15_000)


def back(world: World, name: str) -> None:
    for other in world.hosts:
        if other != name:
            world.mend(name, other)
    world.run_for(20_000)


def remove(world: World, at: str, *names: str, force: bool = False) -> Request:
    return world.ask(at, RemovePeers(tuple(peer_of(world, name) for name in names), 30_000, force=force))


def in_doubt(world: World, name: str) -> set[str]:
    """Every address that `conflicts` lists there."""
    request = world.ask(name, Show.CONFLICTS)
    world.run_for(100)
    assert isinstance(request.answer, dict)
    found: set[str] = set()
    for entry in request.answer["conflicts"]:
        first, last = ip(entry["first"]), ip(entry["last"])
        found |= {f"10.0.0.{number & 255}" for number in range(first, last + 1)}
    return found


def owned(world: World, name: str) -> int:
    peer = world.hosts[name].peer
    assert peer is not None
    return sum(owned.size for owned in peer.possessed())


def test_d1_two_removals_of_one_peer_from_two_hosts_at_once_give_its_range_to_one_of_them() -> None:
    """In weave each made itself the owner, and both issued the same addresses."""
    world = ring_of(3)
    before = owned(world, "h1") + owned(world, "h2")
    gone_for_good(world, "h3")

    requests = [remove(world, at, "h3") for at in ("h1", "h2")]
    world.run_for(20_000)

    answers = [request.answer for request in requests]
    assert all(isinstance(answer, dict) and answer["removed"] == [peer_of(world, "h3")] for answer in answers), answers
    assert sorted(answer["taken"] for answer in answers) == [0, 256 - before]  # type: ignore[index,call-overload]
    assert owned(world, "h1") + owned(world, "h2") == 256
    rings = [world.hosts[name].peer.ring for name in ("h1", "h2")]  # type: ignore[union-attr]
    assert rings[0] == rings[1]
    assert in_doubt(world, "h1") == in_doubt(world, "h2") == set()


def test_d6_a_live_idle_peer_that_is_removed_by_force_stands_it_and_fences_itself() -> None:
    """Weave's panicked."""
    world = ring_of(3, checked=False)
    cut_off(world, "h3")

    request = remove(world, "h1", "h3", force=True)
    world.run_for(10_000)
    assert isinstance(request.answer, dict), request.answer
    back(world, "h3")

    assert world.hosts["h3"].up
    assert owned(world, "h3") == 0
    assert owned(world, "h1") + owned(world, "h2") == 256
    refused = world.ask("h3", Allocate("new", None, 5_000))
    world.run_for(1_000)
    assert isinstance(refused.answer, FencedError)
    assert in_doubt(world, "h1") == in_doubt(world, "h2") == set()


def test_d7_a_live_busy_peer_that_is_removed_by_force_goes_on_serving_and_both_sides_list_what_is_in_doubt() -> None:
    """Weave's refused to listen for ever, while another issued the same addresses."""
    world = ring_of(3, checked=False)
    cut_off(world, "h3")
    leases = [world.ask("h3", Allocate(f"c{number}", None, 5_000)) for number in range(5)]
    world.run_for(1_000)
    held = {str(request.answer.lease.address) for request in leases if isinstance(request.answer, Leased)}
    assert len(held) == 5

    request = remove(world, "h1", "h3", force=True)
    world.run_for(10_000)
    assert isinstance(request.answer, dict), request.answer
    back(world, "h3")

    refused = world.ask("h3", Allocate("one more", None, 3_000))
    world.run_for(4_000)
    assert isinstance(refused.answer, FencedError), refused.answer
    owners = in_doubt(world, "h1") | in_doubt(world, "h2")
    assert owners == held
    assert in_doubt(world, "h3") >= held
    shown = world.ask("h3", Leases())
    fresh = [world.ask(at, Allocate(f"{at}-{number}", None, 3_000)) for at in ("h1", "h2") for number in range(130)]
    world.run_for(10_000)
    assert isinstance(shown.answer, LeaseList)
    assert {str(lease.address) for lease in shown.answer.leases} == held, "what runs there is served"
    issued = {str(request.answer.lease.address) for request in fresh if isinstance(request.answer, Leased)}
    assert len(issued) == 256 - 2 - 5, "all but the network's own and what is in doubt"
    assert not issued & held


def test_d7_a_live_peer_is_not_removed_without_force() -> None:
    world = ring_of(3)

    request = remove(world, "h1", "h3")
    world.run_for(31_000)

    assert isinstance(request.answer, RequestError)
    assert "h3 is alive" in request.answer.message
    assert owned(world, "h3") > 0
    assert sum(owned(world, name) for name in world.hosts) == 256


def test_d7_a_peer_that_is_linked_to_some_member_is_not_removed_without_force() -> None:
    """Only the operator's own host has lost sight of it."""
    world = ring_of(3)
    world.cut("h1", "h3")
    world.run_for(5_000)

    request = remove(world, "h1", "h3")
    world.run_for(31_000)

    assert request.answer is not None
    assert not isinstance(request.answer, dict)
    assert sum(owned(world, name) for name in world.hosts) == 256
