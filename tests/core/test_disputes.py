"""Addresses in doubt, from both sides: who holds them tells the owner, and an operator ends it (docs/design.md)."""

from __future__ import annotations

from solo import ME, Solo, ip, request
from test_hostile_and_rare import C
from test_weave_defects import B, conflicts, segment

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.durable import PutTokens
from ringipam.core.events import Allocate, Answer, Resolve, Show
from ringipam.errors import FencedError, NoSpaceError, NotFoundError, NotReadyError
from ringipam.lease import Lease
from ringipam.messages import (
    Ack,
    Denial,
    Denied,
    Dispute,
    Disputed,
    Health,
    Member,
    Ping,
    Rumour,
    SpaceRequest,
    Standing,
)


def told(solo: Solo) -> list[Dispute]:
    return [body for body in solo.sent_to(B) if isinstance(body, Dispute)]


def claimed(solo: Solo) -> list[SpaceRequest]:
    return [body for body in solo.sent_to(B) if isinstance(body, SpaceRequest) and body.exact]


def claimed_within(solo: Solo, ms: int) -> list[SpaceRequest]:
    """What B is asked for while it answers all probes."""
    found = []
    for _ in range(ms // 100):
        solo.wait(100)
        found += claimed(solo)
        pings = [body for body in solo.sent_to(B) if isinstance(body, Ping)]
        solo.sent.clear()
        for ping in pings:
            solo.hear(B, Ack(ping.sequence))
    return found


def removed_while_alive() -> tuple[Solo, Lease]:
    """A peer with one lease that learns of its own removal: B took everything over."""
    solo = Solo("10.0.0.0/28")
    lease = solo.allocate("c1")
    solo.meet(B)
    taken = Segment(ip("10.0.0.0"), ip("10.0.0.16"), Claim(1, 2, B, B))
    me = Member(ME, "", 0, Health.DEAD, 0, Standing.REMOVED)
    solo.hear(B, Rumour(1, (taken,), (me,)))
    return solo, lease


def with_carried_leases(count: int) -> tuple[Solo, list[Lease]]:
    """A peer whose leases lie where B owns everything, as after a rejoin."""
    solo = Solo("10.0.0.0/26")
    leases = [solo.allocate(f"c{number}") for number in range(count)]
    solo.stored.apply(PutTokens((), ((ip("10.0.0.0"), Claim(0, 7, B, B)),)))
    solo.restart()
    solo.meet(B)
    return solo, leases


def resolve(solo: Solo, first: str, last: str = "", *, take: bool = False) -> Answer:
    return solo.answer(Resolve(ip(first), ip(last or first) + 1, take))


def test_an_owner_is_told_again_lest_a_conflict_was_resolved_too_early() -> None:
    solo, lease = removed_while_alive()
    solo.wait(6_000)
    first = told(solo)[-1]
    assert first.ranges == (Range(int(lease.address), int(lease.address) + 1),)
    solo.hear(B, Disputed(first.number))

    solo.sent.clear()
    solo.wait(20_000)

    assert first.number < told(solo)[0].number
    assert told(solo)[0].ranges == first.ranges


def test_what_somebody_still_holds_is_in_doubt_again_before_it_has_rested() -> None:
    solo = Solo("10.0.0.0/28")
    solo.meet(B)
    held = Range(ip("10.0.0.5"), ip("10.0.0.6"))
    solo.hear(B, Dispute(1, (held,)))

    resolve(solo, "10.0.0.5")
    assert conflicts(solo) == []
    assert solo.hear(B, Dispute(2, (held,))) == [Disputed(2)]

    assert [entry["first"] for entry in conflicts(solo)] == ["10.0.0.5"]
    issued = [solo.answer(Allocate(f"c{number}", None, 1_000)) for number in range(14)]
    assert isinstance(issued[-1], NoSpaceError)
    assert "10.0.0.5" not in {str(lease.address) for lease in solo.stored.leases.values()}


def test_a_carried_lease_is_claimed_again_after_a_refusal() -> None:
    solo, _ = with_carried_leases(1)
    refused = claimed_within(solo, 1_000)[-1]
    solo.hear(B, Denied(refused.number, Denial.NOT_OWNER, "", (), 64))

    again = claimed_within(solo, 7_000)

    assert again[0].number > refused.number
    assert (again[0].start, again[0].end) == (refused.start, refused.end)


def test_refused_claims_do_not_keep_other_carried_leases_waiting() -> None:
    solo, leases = with_carried_leases(20)
    seen: set[int] = set()

    for _ in range(20):
        for asked in claimed_within(solo, 500):
            seen.add(asked.start)
            solo.hear(B, Denied(asked.number, Denial.NOT_OWNER, "", (), 64))

    assert seen == {int(lease.address) for lease in leases}


def test_carried_leases_are_listed_as_in_doubt_and_may_be_taken_by_hand() -> None:
    solo, (first, second) = with_carried_leases(2)
    assert [entry["leases"] for entry in conflicts(solo)] == [[first.as_json()], [second.as_json()]]

    assert isinstance(resolve(solo, str(first.address), take=True), NotReadyError), "its owner may be about to issue it"
    solo.wait(5_000)
    told = [body for body in solo.sent_to(B) if isinstance(body, Dispute)]
    solo.hear(B, Disputed(told[-1].number))

    assert resolve(solo, str(first.address), take=True) == {"resolved": [str(first.address)] * 2}

    assert [entry["first"] for entry in conflicts(solo)] == [str(second.address)]
    assert solo.peer.ring is not None
    assert solo.peer.ring.at(int(first.address)) == Claim(1, 8, ME, ME)
    assert solo.peer.ring.at(int(second.address)).owner == B


def test_each_owner_of_what_is_taken_at_once_must_know_of_the_doubt() -> None:
    solo, (first, second) = with_carried_leases(2)
    assert int(second.address) == int(first.address) + 1
    solo.meet(C)
    solo.hear(B, Rumour(1, (segment(str(second.address), 1, 8, C, B),), ()))
    solo.wait(5_000)
    told = {peer: body for peer, body in solo.sent if isinstance(body, Dispute)}
    solo.hear(B, Disputed(told[B].number))

    assert isinstance(resolve(solo, str(first.address), str(second.address), take=True), NotReadyError)

    solo.hear(C, Disputed(told[C].number))
    assert not isinstance(resolve(solo, str(first.address), str(second.address), take=True), NotReadyError)


def test_only_a_claim_ends_the_doubt_about_a_carried_lease() -> None:
    solo, (lease,) = with_carried_leases(1)

    assert isinstance(resolve(solo, str(lease.address)), NotFoundError)

    assert [entry["leases"] for entry in conflicts(solo)] == [[lease.as_json()]]


def test_taking_over_takes_what_is_in_doubt_and_nothing_in_between() -> None:
    solo = Solo("10.0.0.0/28")
    solo.meet(B)
    solo.hear(B, Rumour(1, (segment("10.0.0.1", 1, 9, B, B), segment("10.0.0.9", 1, 9, B, B)), ()))
    granted = solo.hear(B, request(1, solo, exact="10.0.0.5"))
    assert granted

    resolve(solo, "10.0.0.0", "10.0.0.15", take=True)

    assert solo.peer.ring is not None
    owners = {address - ip("10.0.0.0"): solo.peer.ring.at(address).owner for address in range(*solo.peer.ring.universe)}
    assert [number for number, owner in owners.items() if owner == B] == [5], "B was granted it, nobody doubts that"


def test_s23_a_fenced_peer_takes_nothing_over() -> None:
    solo, lease = removed_while_alive()
    before = solo.answer(Show.RING)

    assert isinstance(resolve(solo, str(lease.address), take=True), FencedError)

    assert solo.answer(Show.RING) == before
    assert [entry["leases"] for entry in conflicts(solo)] == [[lease.as_json()]]


def test_what_a_carried_lease_and_another_both_use_is_told_to_the_other() -> None:
    solo, (lease,) = with_carried_leases(1)
    asked = claimed_within(solo, 500)[-1]

    solo.hear(B, Denied(asked.number, Denial.IN_USE, "theirs", (), 64))
    solo.wait(7_000)

    address = int(lease.address)
    assert [entry["peers"] for entry in conflicts(solo)] == [[B, ME]]
    assert told(solo)[0].ranges == (Range(address, address + 1),)
