"""Histories the simulator found, each reduced to the messages that matter.

The seeds belong to the simulator of their day; what they showed is kept here, where no draw can change it.
"""

from __future__ import annotations

from solo import ME, Solo, ip

from ringipam.claim import Claim, Segment
from ringipam.core.events import Allocate, Close, DeadlinePassed, Leased, LinkUp, Received, RemovePeers
from ringipam.messages import AskRemoval, Denial, Denied, Envelope, Grant, Hello, Ping, Rumour, SpaceRequest

B = "b.00000000bbbb"
C = "c.00000000cccc"


def hello(solo: Solo, peer: str, cluster: str) -> Hello:
    return Hello(1, 1, peer, solo.universe, cluster, f"{peer}:6783", 1, False, 1)


def test_seed_131_a_link_whose_greeting_was_lost_is_closed_so_that_another_can_stand() -> None:
    solo = Solo()
    solo.step(LinkUp(1, "b:1", "192.0.2.1"))
    closed = []

    for _ in range(20):
        solo.now += 500
        closed += [effect.link for effect in solo.step(DeadlinePassed()) if isinstance(effect, Close)]

    assert closed[:1] == [1]


def test_seed_136_what_comes_over_a_greeted_link_counts_though_another_is_used_for_answers() -> None:
    solo = Solo()
    solo.meet(B)
    solo.step(LinkUp(2, "", "192.0.2.1"))
    solo.step(Received(2, hello(solo, B, solo.peer.cluster)))

    for link in (1, 2):
        solo.sent.clear()
        ping = Envelope(solo.mark(), Ping(link))
        solo.step(Received(link, ping))
        assert len(solo.sent_to(B)) == 1


def test_seed_217_a_peer_that_missed_our_second_greeting_is_told_again_that_there_is_a_ring() -> None:
    solo = Solo()
    solo.meet(B, cluster="")
    greetings = 0

    for _ in range(10):
        solo.now += 500
        effects = solo.step(DeadlinePassed())
        greetings += sum(1 for effect in effects if isinstance(getattr(effect, "message", None), Hello))

    assert greetings >= 3


def test_seed_2204_a_former_self_whose_address_another_answers_at_is_soon_believed_dead() -> None:
    solo = Solo()
    solo.meet(B)
    old, new = "h.000000000001", "h.000000000002"
    for link, peer in enumerate((old, new), 7):
        solo.step(LinkUp(link, "h:6783", "192.0.2.1"))
        greeting = Hello(1, 1, peer, solo.universe, solo.peer.cluster, "h:6783", 1, False, 1)
        solo.step(Received(link, greeting))
        if peer == old:
            solo.restart()  # what is durable says nothing of its health
            solo.meet(B)

    removal = solo.ask(RemovePeers((old,), 30_000))
    for _ in range(80):
        solo.now += 250
        solo.step(DeadlinePassed())

    assert "is alive" not in str(solo.answers.get(removal))
    assert any(isinstance(body, AskRemoval) for body in solo.sent_to(B))


def test_seed_17_a_denial_tells_who_was_granted_the_range_so_that_the_search_goes_on() -> None:
    donor = Solo("10.0.0.0/30")
    donor.meet(B)
    for number in (1, 2):
        donor.hear(B, SpaceRequest(number, ip("10.0.0.1"), ip("10.0.0.3"), 1, False, True, 1_000))

    denied = donor.hear(B, SpaceRequest(3, ip("10.0.0.1"), ip("10.0.0.3"), 1, False, True, 1_000))[0]

    assert isinstance(denied, Denied)
    assert denied.reason is Denial.NO_SPACE
    assert {segment.claim.owner for segment in denied.segments} == {B}

    asker = Solo("10.0.0.0/30", init="observer")
    asker.meet(C, cluster="thering")
    asker.hear(C, Rumour(1, (Segment(ip("10.0.0.0"), ip("10.0.0.4"), Claim(0, 1, C, C)),), ()))
    asker.meet(B)
    waiting = asker.ask(Allocate("c1", None, 5_000))
    asked = next(body for body in asker.sent_to(C) if isinstance(body, SpaceRequest))
    moved = Segment(ip("10.0.0.1"), ip("10.0.0.3"), Claim(0, 2, B, C))
    asker.sent.clear()
    asker.hear(C, Denied(asked.number, Denial.NO_SPACE, "", (moved,), 2))
    assert waiting not in asker.answers, "B may have space"
    second = next(body for body in asker.sent_to(B) if isinstance(body, SpaceRequest))

    asker.hear(B, Grant(second.number, (Segment(ip("10.0.0.2"), ip("10.0.0.3"), Claim(0, 3, ME, B)),), ()))

    answer = asker.answers[waiting]
    assert isinstance(answer, Leased)
    assert str(answer.lease.address) == "10.0.0.2"
