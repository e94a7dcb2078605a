"""What went wrong in the allocator this one learns from, each history played against ours (D2 to D5, D8, D9).

D2 to D5 as laws of the join are in tests/ring; here is what a peer with leases makes of such messages.
"""

from __future__ import annotations

import pytest
from solo import ME, Solo, claim, ip

from ringipam.claim import Claim, Segment
from ringipam.core.durable import DropLease, PutTokens
from ringipam.core.events import Allocate, Leased, LeaseList, Leases, Show
from ringipam.messages import Grant, Health, Member, Rumour, SpaceRequest

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
        f"{lease.address} is leased to c1 here, but the ring gives it to {B}: it is asked for,"
        " until then it is in doubt"
    ]
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
