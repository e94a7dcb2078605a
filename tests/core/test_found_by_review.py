"""Histories that were found by reading the code for them; most would have put an address in two hands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solo import ME, Solo, claim, ip, request
from test_removal import ALL, HALF, A, B, X, answered, asking, coordinator, entry, fenced, member, promise, told

from ringipam.address import Range
from ringipam.core.durable import BeginAnew, PutTokens
from ringipam.core.events import Persist, Rebuild
from ringipam.core.outbox import Outbox
from ringipam.errors import PeerError
from ringipam.messages import (
    AskRemoval,
    Dispute,
    Grant,
    Members,
    PromiseRemoval,
    QueryRound,
    Recall,
    RoundOver,
    Standing,
)


def test_s9_a_promise_is_given_up_for_a_later_round_only_when_it_is_known_what_became_of_its_own() -> None:
    """What it was told of the first round's end was lost; the targets of that one must stay fenced off."""
    solo = member()
    promise(solo, A, 1, X)

    assert solo.hear(A, asking(2, "z.00000000000e")) == [QueryRound(1)]
    told(solo, entry(HALF, ME, X, 2), by=B)

    assert solo.peer.possessed() == []
    assert solo.stored.pledges[A].targets == (X,)


def test_s8_what_is_in_doubt_stays_with_its_owner_over_a_removal() -> None:
    solo = member()
    told(solo, entry(HALF, ME, X, 2))
    doubtful = Range(HALF.start, HALF.start + 2)
    solo.hear(B, Dispute(1, (doubtful,)))
    assert solo.peer.possessed() == [Range(doubtful.end, HALF.end)]

    assert promise(solo, A, 1, X).possessed == (HALF,)


def test_what_a_rejoined_host_still_leases_is_in_doubt_where_it_is_taken_over_until_that_host_claims_it() -> None:
    solo, number = coordinator(A)
    leased = Range(HALF.start, HALF.start + 1)
    solo.hear(A, PromiseRemoval(1, ALL.end, (ALL,), (entry(ALL, X, X),), (), (), (leased,)))
    assert number in solo.answers
    assert leased.start not in [address for piece in solo.peer.possessed() for address in range(*piece)]

    answers = solo.hear(A, request(1, solo, exact="10.0.0.8"))

    assert [answer.segments[0][:2] for answer in answers if isinstance(answer, Grant)] == [leased]
    assert solo.stored.conflicts == {}


def test_s23_a_fenced_coordinator_does_not_say_that_a_round_was_aborted_which_it_may_have_forgotten() -> None:
    solo = fenced()

    assert [body for body in solo.hear(A, QueryRound(3)) if isinstance(body, RoundOver)] == []


def test_nothing_that_the_former_self_learned_lands_in_the_memory_of_the_new_one() -> None:
    outbox = Outbox()
    begin, late = BeginAnew("me.000000000001"), PutTokens((), ((ip("10.0.0.0"), claim(B, 9)),))
    outbox.push([Persist((begin,)), Rebuild()])
    outbox.push([Persist((late,))])

    assert outbox.commit() == (begin,)


@pytest.mark.parametrize("knows", [False, True])
def test_who_knows_nothing_of_a_host_does_not_confirm_its_data_while_others_can_be_asked(knows: bool) -> None:
    solo = Solo("10.0.0.0/28")
    solo.meet(A)
    solo.meet(B)
    told(solo, entry(HALF, B, B, 2))
    solo.wait(2_000)
    point = solo.peer._state.members.point
    assert point is not None
    solo.settings = replace(solo.settings, verify=True)
    solo.restart()
    solo.meet(A)
    solo.meet(B)

    solo.hear(A, Recall(None))
    assert solo.peer.possessed() == []
    solo.hear(B, Recall(point if knows else None))

    assert solo.peer.possessed() != []


def test_one_dispute_names_each_range_once_and_in_order() -> None:
    solo = member()
    told(solo, entry(HALF, ME, X, 2))

    with pytest.raises(PeerError):
        solo.hear(B, Dispute(1, (HALF, HALF)))

    assert solo.stored.conflicts == {}


def test_a_member_cannot_empty_a_removal_by_showing_nothing() -> None:
    solo, number = coordinator(A)

    with pytest.raises(PeerError):
        solo.hear(A, PromiseRemoval(1, ALL.start, (), (), (), ()))

    assert number not in solo.answers
    answered(solo, A)
    assert solo.peer.possessed() == [ALL]


def test_a_round_ends_without_a_takeover_when_a_member_goes_meanwhile() -> None:
    """What it possessed when it answered is in other hands now, whose answers are older."""
    solo, number = coordinator(A, B)
    answered(solo, A)
    gone = solo.peer._state.members.get(A)
    assert gone is not None

    solo.hear(B, Members((gone._replace(standing=Standing.LEFT),), ()))
    answered(solo, B)
    solo.wait(600)

    assert number not in solo.answers
    assert [ask.epoch for ask in solo.sent_to(B) if isinstance(ask, AskRemoval)][-1] > 1
