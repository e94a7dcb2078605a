"""The rules of safety.md that allocation and gossip stand on, each with the message or moment that would break it."""

from __future__ import annotations

from dataclasses import fields, replace

from solo import ME, Solo, claim, granted, ip, request

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.events import (
    Allocate,
    Asked,
    Cancelled,
    Forget,
    Leased,
    LeaseList,
    Leases,
    Persist,
    Prime,
    Received,
    Release,
    Reply,
    Send,
    Show,
)
from ringipam.core.outbox import Outbox
from ringipam.core.peer import _BEFORE_THE_RING
from ringipam.core.search import known_of
from ringipam.errors import InUseError, NoSpaceError, NotFoundError
from ringipam.messages import (
    Accept,
    Accepted,
    Ballot,
    Body,
    Denial,
    Denied,
    Digest,
    Envelope,
    Founding,
    Grant,
    Health,
    Introduce,
    Introduced,
    LeaseQuery,
    Member,
    Prepare,
    Promise,
    Rejected,
    Rest,
    Rumour,
    SpaceRequest,
    Terms,
)

B = "b.00000000bbbb"
C = "c.00000000cccc"


# ── S2, S3 are laws of the ring: tests/ring ──────────────────────────────────────────────────────


def test_s2_only_a_possessor_grants_a_range_under_conflict_is_granted_to_nobody() -> None:
    solo = Solo("10.0.0.0/28")
    solo.meet(B)
    all_of_it = Segment(ip("10.0.0.0"), ip("10.0.0.16"), Claim(0, 9, ME, C))  # written by C over our range

    solo.hear(B, Rumour(7, (all_of_it,), ()))
    answers = solo.hear(B, request(1, solo))

    assert [type(answer) for answer in answers] == [Denied]
    assert list(solo.stored.conflicts) == [(ip("10.0.0.0"), ip("10.0.0.16"))]


# ── S4 ───────────────────────────────────────────────────────────────────────────────────────────


def test_s4_a_newcomers_first_grant_waits_until_a_second_member_holds_it_durably() -> None:
    solo = Solo()
    solo.meet(B)
    solo.meet(C)

    assert solo.hear(C, request(1, solo)) == []
    introductions = [body for body in solo.sent_to(B) if isinstance(body, Introduce)]
    assert [introduction.member.peer for introduction in introductions] == [C]
    solo.hear(B, Introduced(C))

    assert granted(solo.sent_to(C)).number == 1


def test_s4_a_newcomer_is_denied_while_no_other_member_can_be_reached() -> None:
    solo = Solo()
    solo.meet(B)
    solo.meet(C)
    solo.hear(C, Rumour(1, (), (Member(B, "", 5, Health.DEAD, 0),)))

    answers = solo.hear(C, request(1, solo))

    assert [answer.reason for answer in answers if isinstance(answer, Denied)] == [Denial.NO_WITNESS]


def test_s4_where_there_is_no_second_member_the_newcomer_is_served() -> None:
    solo = Solo()
    solo.meet(B)

    assert granted(solo.hear(B, request(1, solo))).segments


def test_s4_a_member_is_durable_before_its_introduction_is_confirmed() -> None:
    solo = Solo()
    solo.meet(B)

    solo.hear(B, Introduce(Member(C, "c:6783", 1, Health.ALIVE, 0)))

    kinds = [type(effect) for effect in solo.effects]
    assert kinds.index(Persist) < kinds.index(Send)
    assert solo.stored.members[C].address == "c:6783"


def test_s4_forgetting_and_death_leave_a_member_in_the_durable_list() -> None:
    solo = Solo()
    solo.meet(B)
    solo.hear(B, Rumour(1, (), (Member(C, "c:6783", 5, Health.DEAD, 0),)))

    assert solo.answer(Forget("b")) is None
    solo.restart()

    assert sorted(solo.stored.members) == [B, C]


# ── S5 ───────────────────────────────────────────────────────────────────────────────────────────

CONSENSUS = Terms("consensus", 3, ())


def test_s5_an_acceptors_promise_and_vote_are_durable_before_they_are_sent() -> None:
    solo = Solo(init="consensus=3")
    solo.meet(B)
    ballot = Ballot(4, B)

    assert solo.hear(B, Prepare(ballot, CONSENSUS)) == [Promise(ballot, None, None)]
    assert [type(effect) for effect in solo.effects] == [Persist, Send]
    value = Founding("thering", (B, ME))
    assert solo.hear(B, Accept(ballot, CONSENSUS, value)) == [Accepted(ballot)]
    assert [type(effect) for effect in solo.effects] == [Persist, Send]
    solo.restart()
    solo.meet(C)

    assert solo.hear(C, Prepare(Ballot(3, C), CONSENSUS)) == [Rejected(Ballot(3, C), ballot, "")]
    assert solo.hear(C, Prepare(Ballot(5, C), CONSENSUS)) == [Promise(Ballot(5, C), ballot, value)]


def test_s5_a_value_that_may_have_been_chosen_is_proposed_again() -> None:
    solo = Solo(init="consensus=3")
    solo.meet(B)
    solo.ask(Prime(5_000))
    solo.wait(1)
    prepare = next(body for body in solo.sent_to(B) if isinstance(body, Prepare))

    solo.hear(B, Promise(prepare.ballot, Ballot(0, C), Founding("older", (B, C))))
    solo.sent.clear()
    solo.wait(600)

    accept = next(body for body in solo.sent_to(B) if isinstance(body, Accept))
    assert accept.value == Founding("older", (B, C))


def test_s5_a_ballot_on_other_terms_is_refused_and_shown() -> None:
    solo = Solo(init="consensus=3")
    solo.meet(B)
    ballot = Ballot(4, B)

    answers = solo.hear(B, Prepare(ballot, Terms("consensus", 1, ())))

    assert answers == [Rejected(ballot, None, "me was launched for --init consensus=3, not --init consensus=1")]
    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert status["warnings"] == ["b holds an election of --init consensus=1, not --init consensus=3"]


def test_s5_by_default_a_ring_is_formed_only_when_every_listed_peer_has_accepted() -> None:
    solo = Solo(init=None, dial=("b:1", "c:1"))
    solo.ask(Prime(60_000))
    for peer, address in ((B, "b:1"), (C, "c:1")):
        solo.wait(3_000)
        assert not any(isinstance(body, Prepare) for _, body in solo.sent), "not before all are met"
        solo.meet(peer, cluster="", dialled=address)
    solo.wait(3_000)
    prepare = next(body for _, body in reversed(solo.sent) if isinstance(body, Prepare))
    assert prepare.terms == Terms("listed", 3, tuple(sorted((ME, B, C))))

    solo.hear(B, Promise(prepare.ballot, None, None))
    solo.hear(C, Promise(prepare.ballot, None, None))
    solo.hear(B, Accepted(prepare.ballot))
    assert not solo.peer.cluster, "C has not accepted yet"
    solo.hear(C, Accepted(prepare.ballot))

    assert solo.peer.cluster


def test_s5_without_any_peer_listed_a_ring_of_one_begins_at_once() -> None:
    assert Solo(init=None).peer.cluster


def test_s5_an_observer_never_votes() -> None:
    solo = Solo(init="observer")
    solo.meet(B)

    answers = solo.hear(B, Prepare(Ballot(1, B), CONSENSUS))

    assert [type(answer) for answer in answers] == [Rejected]
    assert solo.stored.acceptor is None


# ── S6 ───────────────────────────────────────────────────────────────────────────────────────────


def test_s6_a_message_of_another_cluster_or_universe_is_not_for_us_however_it_came() -> None:
    solo = Solo()
    solo.meet(B)
    ring = solo.peer.ring
    assert ring is not None
    before = ring.tokens()
    theirs = Rumour(3, (Segment(ip("10.0.0.0"), ip("10.0.1.0"), Claim(5, 5, C, C)),), ())

    solo.hear(B, theirs, cluster="another")
    solo.hear(B, theirs, universe="10.0.0.0/8")

    assert ring.tokens() == before


def test_s6_what_was_relayed_is_of_this_ring_or_of_none() -> None:
    solo = Solo()
    solo.meet(B)
    ring = solo.peer.ring
    assert ring is not None
    before = ring.tokens()
    theirs = Rumour(3, (Segment(ip("10.0.0.0"), ip("10.0.1.0"), Claim(5, 5, C, C)),), ())

    solo.step(Received(1, Envelope(solo.mark("another"), theirs, C, ME, 7, 3)))

    assert ring.tokens() == before
    solo.step(Received(1, Envelope(solo.mark(), theirs, C, ME, 8, 3)))
    assert ring.tokens() != before, "the same message of its own ring is taken"


def test_s6_a_peer_without_a_ring_relays_nothing() -> None:
    solo = Solo(init="consensus=3")
    solo.meet(B, cluster="")
    solo.meet(C, cluster="")
    passing = Envelope(solo.mark(), LeaseQuery(1, ""), B, C, 77, 5)

    solo.sent.clear()
    solo.step(Received(1, passing))

    assert solo.sent == []


def test_s6_a_peer_of_a_foreign_ring_is_refused_and_its_adoption_is_durable_before_it_is_told() -> None:
    newcomer = Solo(init="observer")

    effects = newcomer.meet(B, cluster="first")

    kinds = [type(effect) for effect in effects]
    assert kinds[0] is Persist
    assert newcomer.stored.meta["cluster"] == "first"
    newcomer.meet(C, cluster="second")
    status = newcomer.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert status["state"] == "refusing"
    assert "another ring" in str(status["reason"])
    assert newcomer.peer.cluster == "first"


# ── S7 ───────────────────────────────────────────────────────────────────────────────────────────


def test_s7_a_claim_by_the_same_id_succeeds_for_a_lease_on_this_host_only() -> None:
    solo = Solo()
    solo.meet(B)
    lease = solo.allocate("web")
    assert solo.answer(claim("web", str(lease.address))) == Leased(lease, new=False)

    answers = solo.hear(B, request(1, solo, exact=str(lease.address)))

    assert [(a.reason, a.holder) for a in answers if isinstance(a, Denied)] == [(Denial.IN_USE, "web")]


def test_s7_a_claim_of_an_address_in_use_elsewhere_names_holder_and_host() -> None:
    solo = Solo("10.0.0.0/28")
    solo.meet(B)
    solo.hear(B, request(1, solo, exact="10.0.0.5"))

    number = solo.ask(claim("web", "10.0.0.5", 28))
    asked = next(body for body in solo.sent_to(B) if isinstance(body, SpaceRequest))
    solo.hear(B, Denied(asked.number, Denial.IN_USE, "web", (), 1))

    answer = solo.answers[number]
    assert isinstance(answer, InUseError)
    assert answer.message == "10.0.0.5 is in use by web on b"
    assert answer.details["holder"] == {"id": "web", "host": "b"}


# ── S14 is the drivers' rule: tests/runtime and the simulator; S15 ───────────────────────────────


def test_s15_what_is_read_is_seen_only_after_what_it_tells_of_is_durable() -> None:
    solo = Solo()
    outbox = Outbox()

    outbox.push(solo.peer.step(Asked(1, Allocate("c1", None, 1_000)), solo.now))
    outbox.push(solo.peer.step(Asked(2, Leases("c1")), solo.now))

    assert outbox.visible() == []
    assert outbox.commit()
    assert outbox.visible() == []
    outbox.committed()
    seen = outbox.visible()
    assert [effect.request for effect in seen if isinstance(effect, Reply)] == [1, 2]


def test_s14_after_a_failed_commit_nothing_queued_behind_it_is_ever_seen() -> None:
    solo = Solo()
    outbox = Outbox()
    outbox.push(solo.peer.step(Asked(1, Allocate("c1", None, 1_000)), solo.now))
    assert outbox.commit()
    outbox.push(solo.peer.step(Asked(2, Allocate("c2", None, 1_000)), solo.now))

    outbox.failed()

    assert outbox.visible() == []
    assert outbox.commit() == ()


def test_a_group_commit_takes_all_that_waits_and_only_one_is_under_way() -> None:
    solo = Solo()
    outbox = Outbox()
    for number in (1, 2, 3):
        outbox.push(solo.peer.step(Asked(number, Allocate(f"c{number}", None, 1_000)), solo.now))
        if number == 1:
            assert outbox.commit()
    assert outbox.commit() == (), "one is under way"

    outbox.committed()

    assert [effect.request for effect in outbox.visible() if isinstance(effect, Reply)] == [1]
    assert outbox.commit()
    outbox.committed()
    assert [effect.request for effect in outbox.visible() if isinstance(effect, Reply)] == [2, 3]


# ── S16, S17 ─────────────────────────────────────────────────────────────────────────────────────


def test_s16_a_repeated_or_late_space_request_is_not_answered_again_even_after_a_restart() -> None:
    solo = Solo()
    solo.meet(B)
    granted(solo.hear(B, request(7, solo)))

    assert solo.hear(B, request(7, solo)) == []
    assert solo.hear(B, request(6, solo)) == []
    solo.restart()
    solo.meet(B)
    assert solo.hear(B, request(7, solo)) == []
    assert granted(solo.hear(B, request(8, solo))).number == 8


def test_s16_the_answered_number_is_in_the_record_of_the_grant() -> None:
    solo = Solo()
    solo.meet(B)

    solo.hear(B, request(7, solo))

    records = [effect for effect in solo.effects if isinstance(effect, Persist)]
    assert len(records) == 1
    assert {"PutTokens", "PutAnswered"} <= {type(change).__name__ for change in records[0].changes}


def test_s16_request_numbers_rise_over_restarts() -> None:
    def number_of_a_request(solo: Solo) -> int:
        solo.meet(B)
        solo.sent.clear()
        solo.ask(claim("x", "10.0.0.5"))
        return next(body.number for body in solo.sent_to(B) if isinstance(body, SpaceRequest))

    solo = Solo()
    solo.meet(B)
    solo.hear(B, request(1, solo, exact="10.0.0.5"))
    first = number_of_a_request(solo)
    solo.restart()

    assert number_of_a_request(solo) > first


def test_s17_the_last_address_goes_to_real_demand_and_never_to_a_prefetch() -> None:
    solo = Solo("10.0.0.0/30")
    solo.meet(B)
    solo.allocate("one")

    prefetch = solo.hear(B, request(1, solo, urgent=False))
    demand = solo.hear(B, request(2, solo, urgent=True))

    assert [answer.reason for answer in prefetch if isinstance(answer, Denied)] == [Denial.NO_SPACE]
    assert granted(demand).segments == (Segment(ip("10.0.0.2"), ip("10.0.0.3"), Claim(0, 2, B, ME)),)


def test_s17_a_donor_that_gained_space_during_the_search_is_asked_anew() -> None:
    solo = Solo("10.0.0.0/28")
    solo.meet(B)
    for number in range(1, 16):
        solo.hear(B, request(number, solo))
    waiting = solo.ask(Allocate("late", None, 60_000))
    first = next(body for body in solo.sent_to(B) if isinstance(body, SpaceRequest))
    ring = solo.peer.ring
    assert ring is not None
    moved = next(segment for segment in ring.segments() if segment.claim.owner == B)
    again = Segment(moved.start, moved.end, moved.claim._replace(version=moved.claim.version + 2, writer=B))

    solo.hear(B, Rumour(5, (again,), ()))
    solo.hear(B, Denied(first.number, Denial.NO_SPACE, "", (), 16))
    assert isinstance(solo.answers[waiting], NoSpaceError), "B refused after the last change, so the error is true"

    waiting = solo.ask(Allocate("later", None, 60_000))
    second = [body for body in solo.sent_to(B) if isinstance(body, SpaceRequest)][-1]
    assert second.number > first.number, "each request has every donor asked after it came"
    assert waiting not in solo.answers


def test_s17_a_refusal_tells_the_asker_who_has_the_space_unless_it_knows() -> None:
    solo = Solo("10.0.0.0/29")
    solo.meet(B)
    given = granted(solo.hear(B, request(1, solo)))
    while solo.peer.free_in(solo.settings.universe.issuable, at_most=1):
        solo.allocate(f"c{len(solo.answers)}")
    ring = solo.peer.ring
    assert ring is not None
    asked = request(2, solo)

    behind = solo.hear(B, asked)
    asked = replace(asked, number=3, known=known_of(ring, Range(asked.start, asked.end), 3))
    level = solo.hear(B, asked)

    assert [body.segments for body in behind if isinstance(body, Denied)] == [given.segments]
    assert [body.segments for body in level if isinstance(body, Denied)] == [()]


# ── S18 ──────────────────────────────────────────────────────────────────────────────────────────


def test_s18_space_that_comes_after_the_caller_has_gone_makes_no_lease() -> None:
    solo = Solo("10.0.0.0/30", init="observer")
    solo.meet(B, cluster="thering")
    everything = Segment(ip("10.0.0.0"), ip("10.0.0.4"), Claim(0, 1, B, B))
    solo.hear(B, Rumour(1, (everything,), ()))
    gone = solo.ask(Allocate("gone", None, 60_000))
    late = solo.ask(Allocate("late", None, 500))
    asked = next(body for body in solo.sent_to(B) if isinstance(body, SpaceRequest))

    solo.step(Cancelled(gone))
    solo.wait(600)
    given = Segment(ip("10.0.0.1"), ip("10.0.0.2"), Claim(0, 2, ME, B))
    solo.hear(B, Grant(asked.number, (given,), ()))

    assert gone not in solo.answers
    assert type(solo.answers[late]).__name__ == "RequestTimeoutError"
    assert solo.stored.leases == {}


# ── S20 ──────────────────────────────────────────────────────────────────────────────────────────


def test_s20_a_freed_address_rests_over_a_restart_while_others_are_free() -> None:
    solo = Solo("10.0.0.0/28")
    first = solo.allocate("c1")
    solo.answer(Release("c1"))
    solo.restart()

    assert solo.allocate("c2").address != first.address
    solo.wait(31_000)
    assert solo.allocate("c3").address == first.address


def test_s20_resting_is_never_the_reason_for_a_refusal() -> None:
    solo = Solo("10.0.0.0/30")
    first, second = solo.allocate("c1"), solo.allocate("c2")
    solo.answer(Release("c1"))
    solo.wait(1_000)
    solo.answer(Release("c2"))

    assert solo.allocate("c3").address == first.address, "the one that has rested longest"
    assert solo.allocate("c4").address == second.address


def test_s20_what_is_left_of_a_rest_travels_with_the_grant_and_is_kept_by_the_new_owner() -> None:
    donor = Solo("10.0.0.0/30")
    donor.meet(B)
    donor.allocate("c1")
    donor.allocate("c2")
    donor.answer(Release("c1"))
    donor.wait(10_000)

    grant = granted(donor.hear(B, request(1, donor)))

    assert grant.rests == (Rest(ip("10.0.0.1"), ip("10.0.0.2"), 20_000),)

    asker = Solo("10.0.0.0/28", init="observer")
    asker.meet(B, cluster="thering")
    asker.hear(B, Rumour(1, (Segment(ip("10.0.0.0"), ip("10.0.0.16"), Claim(0, 1, B, B)),), ()))
    given = Segment(ip("10.0.0.4"), ip("10.0.0.8"), Claim(0, 2, ME, B))
    asker.hear(B, Grant(0, (given,), (Rest(ip("10.0.0.4"), ip("10.0.0.5"), 20_000),)))
    asker.restart()
    assert str(asker.allocate("x").address) == "10.0.0.5"


def test_s20_a_range_whose_grant_was_lost_and_that_came_by_gossip_rests_in_full() -> None:
    asker = Solo("10.0.0.0/28", init="observer")
    asker.meet(B, cluster="thering")
    asker.hear(B, Rumour(1, (Segment(ip("10.0.0.0"), ip("10.0.0.16"), Claim(0, 1, B, B)),), ()))
    asker.hear(B, Rumour(2, (Segment(ip("10.0.0.4"), ip("10.0.0.8"), Claim(0, 2, ME, B)),), ()))
    asker.hear(B, Grant(0, (Segment(ip("10.0.0.8"), ip("10.0.0.12"), Claim(0, 2, ME, B)),), ()))

    assert str(asker.allocate("x").address) == "10.0.0.8"


# ── S21, S22 ─────────────────────────────────────────────────────────────────────────────────────


def test_s21_every_exchange_has_a_salt_of_its_own() -> None:
    solo = Solo()
    solo.meet(B)
    solo.sent.clear()

    solo.wait(20_000)

    salts = [body.salt for body in solo.sent_to(B) if isinstance(body, Digest)]
    assert len(salts) > 5
    assert len(set(salts)) == len(salts)


def test_s22_a_late_retry_of_a_release_does_not_free_the_next_holders_address() -> None:
    solo = Solo("10.0.0.0/30")
    first = solo.allocate("web")
    solo.allocate("other")
    assert isinstance(solo.answer(Release("web", lease=first.lease)), LeaseList)
    second = solo.allocate("web")
    assert second.address == first.address

    late = solo.answer(Release("web", lease=first.lease))

    assert isinstance(late, NotFoundError)
    assert solo.peer.leases[second.lease] == second


# ── every message has somebody who takes it ──────────────────────────────────────────────────────


def test_every_kind_of_message_has_a_handler() -> None:
    kinds = set(Body.__args__)  # type: ignore[attr-defined]

    assert set(Solo().peer._handlers) == kinds
    assert kinds >= _BEFORE_THE_RING
    assert all(fields(kind) is not None for kind in kinds)
