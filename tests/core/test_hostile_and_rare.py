"""Rare histories and hostile messages that a rule must also stand: each was once a defect of the core."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solo import ME, Solo, ip, request

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.events import (
    Allocate,
    DialFailed,
    Forget,
    LeaseList,
    Leases,
    LinkDown,
    Prime,
    Received,
    Release,
    Show,
)
from ringipam.errors import NoSpaceError, PeerError
from ringipam.messages import (
    Ack,
    Compare,
    Denial,
    Denied,
    Envelope,
    Grant,
    Health,
    Hello,
    Introduced,
    LeasePage,
    LeaseQuery,
    Member,
    Members,
    Ping,
    Print,
    Ranges,
    Rumour,
    SpaceRequest,
)

B = "b.00000000bbbb"
C = "c.00000000cccc"
HUGE = 1 << 62


def warnings(solo: Solo) -> list[str]:
    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    return status["warnings"]


def test_a_donor_that_is_still_learning_the_ring_does_not_deny_for_good() -> None:
    solo = Solo(init="observer")
    solo.meet(B, cluster="thering")

    answers = solo.hear(B, request(1, solo))

    assert [answer.reason for answer in answers if isinstance(answer, Denied)] == [Denial.NOT_YET]


def test_s17_a_donor_that_has_not_heard_of_its_own_grant_yet_is_asked_again() -> None:
    solo = Solo("10.0.0.0/28", init="observer")
    solo.meet(B, cluster="thering")
    solo.hear(B, Rumour(1, (Segment(ip("10.0.0.0"), ip("10.0.0.16"), Claim(0, 4, B, C)),), ()))
    waiting = solo.ask(Allocate("c1", None, 5_000))
    first = next(body for body in solo.sent_to(B) if isinstance(body, SpaceRequest))

    solo.hear(B, Denied(first.number, Denial.NO_SPACE, "", (), 0))
    assert waiting not in solo.answers
    solo.wait(500)

    second = [body for body in solo.sent_to(B) if isinstance(body, SpaceRequest)]
    assert second, "it owns sixteen, by what we know, and none by what it knows"


def test_one_link_cannot_speak_for_two_peers() -> None:
    solo = Solo()
    solo.meet(B)
    imposture = Hello(1, 1, C, "10.0.0.0/24", solo.peer.cluster, "c:6783", 1, False, 1)

    with pytest.raises(PeerError, match="now says it is"):
        solo.step(Received(1, imposture))
    solo.step(LinkDown(1, "closed"))
    solo.wait(5_000)


def test_a_member_record_beyond_all_reason_cannot_silence_its_victim() -> None:
    solo = Solo()
    solo.meet(B)

    solo.hear(B, Rumour(1, (), (Member(ME, "", HUGE, Health.DEAD, 0),)))
    solo.sent.clear()
    solo.wait(10_000)

    told = [member for _, body in solo.sent if isinstance(body, Rumour | Members) for member in body.members]
    assert all(member.incarnation < HUGE for member in told)


@pytest.mark.parametrize("claim_", [Claim(HUGE, 1, B, B), Claim(0, HUGE, B, B)])
def test_a_version_beyond_all_reason_is_refused_and_changes_nothing(claim_: Claim) -> None:
    solo = Solo()
    solo.meet(B)
    ring = solo.peer.ring
    assert ring is not None
    before = ring.tokens()

    with pytest.raises(PeerError):
        solo.hear(B, Rumour(1, (Segment(ip("10.0.0.0"), ip("10.0.0.9"), claim_),), ()))

    assert ring.tokens() == before


@pytest.mark.parametrize(
    "ranges",
    [
        ((ip("10.0.0.0"), ip("10.0.0.9")), (ip("10.0.0.4"), ip("10.0.0.12"))),
        ((ip("10.0.0.8"), ip("10.0.0.9")), (ip("10.0.0.0"), ip("10.0.0.1"))),
        ((ip("9.0.0.0"), ip("11.0.0.0")),),
    ],
    ids=["overlapping", "out of order", "outside"],
)
def test_ranges_that_would_cost_more_than_they_say_are_refused(ranges: tuple[tuple[int, int], ...]) -> None:
    solo = Solo()
    solo.meet(B)

    with pytest.raises(PeerError):
        solo.hear(B, Ranges(tuple(Segment(start, end, Claim(0, 2, B, B)) for start, end in ranges), True))
    with pytest.raises(PeerError):
        solo.hear(B, Compare(b"salt", tuple(Print(start, end, b"12345678") for start, end in ranges)))


def test_s16_a_copy_of_a_denied_request_is_not_granted_later() -> None:
    solo = Solo("10.0.0.0/30")
    solo.meet(B)
    solo.allocate("one")
    solo.allocate("two")
    solo.hear(B, request(7, solo))
    solo.answer(Release("one"))

    assert solo.hear(B, request(7, solo)) == []


def test_s4_a_newcomer_cannot_vouch_for_itself() -> None:
    solo = Solo()
    solo.meet(B)
    solo.meet(C)
    solo.hear(C, request(1, solo))

    solo.hear(C, Introduced(C))

    assert not any(isinstance(body, Grant) for body in solo.sent_to(C))


def test_s5_forgetting_the_listed_peers_does_not_make_a_ring_of_one() -> None:
    solo = Solo(init=None, dial=("b:1", "c:1"))
    solo.ask(Forget("b:1"))
    solo.ask(Forget("c:1"))
    solo.ask(Prime(20_000))

    solo.wait(10_000)

    assert not solo.peer.cluster


def test_s20_a_grant_that_comes_by_gossip_before_all_else_rests_too() -> None:
    solo = Solo("10.0.0.0/28", init="observer")
    solo.meet(B, cluster="thering")

    solo.hear(B, Rumour(1, (Segment(ip("10.0.0.0"), ip("10.0.0.8"), Claim(0, 7, ME, B)),), ()))

    assert {(start, end) for start, (end, _) in solo.stored.quarantine.items()} == {(ip("10.0.0.0"), ip("10.0.0.8"))}


def test_an_address_excluded_while_it_rests_is_not_issued_after_a_restart() -> None:
    solo = Solo("10.0.0.0/30")
    first = solo.allocate("c1")
    solo.answer(Release("c1"))
    solo.settings = replace(solo.settings, excluded=(Range(int(first.address), int(first.address) + 1),))
    solo.restart()

    solo.allocate("c2")
    number = solo.ask(Allocate("c3", None, 1_000))

    assert isinstance(solo.answers[number], NoSpaceError)


def test_probes_go_on_however_many_members_are_dead() -> None:
    solo = Solo()
    solo.meet(B)
    dead = tuple(Member(f"d{n}.{n:012x}", f"d{n}:1", 3, Health.DEAD, 0) for n in range(100))
    solo.hear(B, Rumour(1, (), dead))
    solo.sent.clear()

    for _ in range(10):
        solo.wait(1_000)
        for ping in [body for body in solo.sent_to(B) if isinstance(body, Ping)][-1:]:
            solo.step(Received(1, Envelope(solo.mark(), Ack(ping.sequence))))

    assert sum(isinstance(body, Ping) for body in solo.sent_to(B)) >= 8


def test_a_cluster_wide_lookup_of_one_id_shows_that_id_only() -> None:
    solo = Solo()
    solo.meet(B)
    lease = solo.allocate("c1")
    number = solo.ask(Leases("c1", cluster=True))
    query = next(body for body in solo.sent_to(B) if isinstance(body, LeaseQuery))
    theirs = [replace(lease, lease=f"L{n}", id=holder, host="b") for n, holder in enumerate(("c1", "c2"))]

    solo.hear(B, LeasePage(query.number, tuple(theirs), False))

    assert solo.answers[number] == LeaseList((lease, theirs[0]))


def test_a_host_that_came_by_itself_is_not_warned_of_as_unreachable() -> None:
    solo = Solo(dial=(f"{B}:6783",))
    solo.step(DialFailed(f"{B}:6783", "no route to host"))
    assert warnings(solo) == [f"cannot reach {B}:6783: no route to host"]

    solo.meet(B)

    assert warnings(solo) == []


def test_many_dead_members_do_not_keep_a_live_one_from_being_dialled() -> None:
    solo = Solo()
    solo.meet(B)
    dead = tuple(Member(f"d{n}.{n:012x}", f"d{n}:1", 3, Health.DEAD, 0) for n in range(60))
    solo.hear(B, Rumour(1, (), dead))
    solo.hear(B, Rumour(2, (), (Member(C, "c:6783", 1, Health.ALIVE, 0),)))

    seen: set[str] = set()
    for _ in range(300):
        solo.wait(200)
        dialled, solo.dialled = solo.dialled, []
        seen.update(dialled)
        for address in dialled:
            solo.step(DialFailed(address, "refused"))

    assert "c:6783" in seen
