"""The rules of a removal (safety.md S1, S2, S4, S8 to S10, S23), each with the message or moment that would break it.

In all of them X is dead. A, B and C are members, A before this peer and Z behind it in the order of ids.
"""

from __future__ import annotations

import pytest
from solo import ME, Solo, ip, request

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.durable import DropPledge, DropRound, PutRound, PutTokens, Round, Suspensions
from ringipam.core.events import Allocate, Effect, Forget, Leases, Persist, RemovePeers, Send, Show
from ringipam.errors import FencedError, RequestError, RequestTimeoutError
from ringipam.messages import (
    AskRemoval,
    Body,
    Denied,
    DenyRemoval,
    Depart,
    Farewell,
    Health,
    Member,
    Members,
    Point,
    PromiseRemoval,
    QueryRound,
    Recall,
    RoundOver,
    Rumour,
    Standing,
)

A = "a.00000000aaaa"
B = "b.00000000bbbb"
X = "x.00000000000f"
Z = "z.00000000000e"

LEFT_AND_REMOVED = ((A, Standing.LEFT), (X, Standing.REMOVED))
ALL = Range(ip("10.0.0.0"), ip("10.0.0.16"))
HALF = Range(ip("10.0.0.8"), ip("10.0.0.16"))


def entry(where: Range, owner: str, writer: str, version: int = 1, epoch: int = 0) -> Segment:
    return Segment(*where, Claim(epoch, version, owner, writer))


def told(solo: Solo, *segments: Segment, by: str = A) -> None:
    """`by` spreads news of the ring."""
    solo.hear(by, Rumour(solo.peer._state.rng.bits64(), segments, ()))


def member(*peers: str) -> Solo:
    """A member of a ring that X owned all of, linked to these."""
    solo = Solo("10.0.0.0/28", init="observer")
    for peer in peers or (A, B):
        solo.meet(peer, cluster="thering")
    told(solo, entry(ALL, X, X), by=(peers or (A,))[0])
    dead(solo, X, by=(peers or (A,))[0])
    return solo


def dead(solo: Solo, *peers: str, by: str = A) -> None:
    solo.hear(by, Members(tuple(Member(peer, f"{peer}:6783", 9, Health.DEAD, 0) for peer in peers), ()))


def asking(epoch: int, *targets: str, ranges: tuple[Range, ...] = (ALL,), force: bool = False) -> AskRemoval:
    return AskRemoval(epoch, targets or (X,), force, ALL.start, ALL.end, ranges, b"")


def records(effects: list[Effect]) -> list[object]:
    return [change for effect in effects if isinstance(effect, Persist) for change in effect.changes]


def only(answers: list[Body], kind: type) -> Body:
    """The one answer of that kind."""
    found = [answer for answer in answers if isinstance(answer, kind)]
    assert len(found) == 1, answers
    return found[0]


def promise(solo: Solo, coordinator: str = A, epoch: int = 1, *targets: str) -> PromiseRemoval:
    answer = only(solo.hear(coordinator, asking(epoch, *targets)), PromiseRemoval)
    assert isinstance(answer, PromiseRemoval)
    return answer


def denial(solo: Solo, coordinator: str, epoch: int, *targets: str) -> DenyRemoval:
    answer = only(solo.hear(coordinator, asking(epoch, *targets)), DenyRemoval)
    assert isinstance(answer, DenyRemoval)
    return answer


# ── S1, S2: suspension ───────────────────────────────────────────────────────────────────────────


def test_s1_what_a_dead_peer_granted_and_was_learned_after_the_promise_is_not_possessed_nor_after_a_restart() -> None:
    solo = member()
    promise(solo)

    told(solo, entry(HALF, ME, X, 2))

    assert solo.peer.possessed() == []
    solo.restart()
    assert solo.peer.possessed() == []
    waiting = solo.ask(Allocate("c1", None, 5_000))
    solo.wait(6_000)
    assert solo.stored.leases == {}
    assert waiting in solo.answers


def test_s1_a_suspension_is_in_the_record_of_the_ring_change_that_made_it() -> None:
    solo = member()
    promise(solo)

    told(solo, entry(HALF, ME, X, 2))

    kinds = [{type(change) for change in effect.changes} for effect in solo.effects if isinstance(effect, Persist)]
    assert [kind >= {PutTokens, Suspensions} for kind in kinds] == [True]
    assert solo.stored.suspended == dict([HALF])


def test_s1_a_promise_outlives_a_restart() -> None:
    solo = member()
    promise(solo)
    solo.restart()
    solo.meet(A)
    solo.meet(B)

    assert denial(solo, B, 2).coordinator == A


def test_s1_what_was_learned_before_the_promise_is_possessed_and_shown() -> None:
    solo = member()
    told(solo, entry(HALF, ME, X, 2))

    said = promise(solo)

    assert said.possessed == (HALF,)
    assert solo.peer.possessed() == [HALF]


def test_s2_what_is_suspended_is_neither_granted_nor_restamped() -> None:
    """A restamp would make this peer the writer, and with it the possessor."""
    solo = member()
    told(solo, entry(Range(ALL.start, ALL.start + 4), ME, A, 2), entry(HALF, B, A, 2))
    promise(solo)
    late = Range(ALL.start + 4, ALL.start + 8)
    told(solo, entry(late, ME, X, 3))

    answers = solo.hear(B, request(1, solo, exact="10.0.0.5"))
    solo.wait(30_000)

    assert [type(answer) for answer in answers] == [Denied]
    assert solo.peer.ring is not None
    assert list(solo.peer.ring.segments(*late)) == [entry(late, ME, X, 3)]


# ── S9: the member ───────────────────────────────────────────────────────────────────────────────


def test_s9_a_member_is_bound_to_one_round_at_a_time_and_says_whose() -> None:
    solo = member()
    promise(solo, A)

    assert denial(solo, B, 2).coordinator == A


def test_s9_a_promise_is_durable_before_it_is_sent() -> None:
    solo = member()

    solo.hear(A, asking(1))

    kinds = [type(effect) for effect in solo.effects]
    assert kinds.index(Persist) < kinds.index(Send)
    assert solo.stored.pledges[A].epoch == 1


def test_s9_the_same_round_asked_again_is_promised_again() -> None:
    solo = member()

    assert promise(solo) == promise(solo)


def test_s9_the_same_round_is_not_promised_again_once_a_takeover_above_it_was_seen() -> None:
    solo = member()
    promise(solo)
    told(solo, entry(ALL, B, B, 5, epoch=7))

    assert denial(solo, A, 1).seen == 7


def test_s9_an_epoch_is_promised_only_above_all_that_were_promised_or_seen_and_that_is_durable() -> None:
    solo = member()
    promise(solo, A, 5)
    solo.hear(A, RoundOver(5, False, (), ()))
    solo.restart()
    solo.meet(B)

    assert denial(solo, B, 5).seen == 5
    assert promise(solo, B, 6).epoch == 6


def test_s9_of_an_aborted_round_members_are_unbound_and_possess_what_they_were_given() -> None:
    solo = member()
    promise(solo)
    told(solo, entry(HALF, ME, X, 2))

    solo.hear(A, RoundOver(1, False, (), ()))

    assert solo.peer.possessed() == [HALF]
    assert solo.stored.pledges == {}
    assert solo.stored.suspended == {}
    assert promise(solo, B, 2).epoch == 2


def test_s9_members_are_unbound_in_the_record_in_which_they_join_the_takeover() -> None:
    solo = member()
    promise(solo)
    told(solo, entry(HALF, ME, X, 2))

    solo.hear(A, RoundOver(1, True, (X,), (entry(ALL, A, A, 3, epoch=1),)))

    kinds = [{type(change) for change in effect.changes} for effect in solo.effects if isinstance(effect, Persist)]
    assert [kind >= {PutTokens, DropPledge} for kind in kinds] == [True]
    assert solo.peer.possessed() == []
    assert solo.stored.members[X].standing is Standing.REMOVED
    assert solo.stored.conflicts == {}, "nobody has lost what it possessed"


def test_s9_the_end_of_another_round_unbinds_nobody() -> None:
    solo = member()
    promise(solo, A, 5)

    solo.hear(A, RoundOver(4, False, (), ()))
    solo.hear(B, RoundOver(5, False, (), ()))

    assert list(solo.stored.pledges) == [A]


def test_s9_who_is_bound_asks_again_and_again_what_became_of_the_round() -> None:
    solo = member()
    promise(solo, A, 5)
    solo.sent.clear()

    solo.wait(10_000)

    assert solo.sent_to(A).count(QueryRound(5)) >= 3


def test_s9_a_coordinator_that_is_to_be_removed_itself_binds_nobody() -> None:
    solo = member()
    promise(solo, A, 5)
    solo.lose(A)

    assert promise(solo, B, 6, X, A).epoch == 6
    solo.hear(B, RoundOver(6, True, (X, A), ()))
    assert solo.stored.pledges == {}


def test_nothing_is_promised_about_a_target_to_which_a_link_stands() -> None:
    """Weave removes live peers without a word (D6, D7)."""
    solo = member()
    solo.meet(X)

    assert "alive" in denial(solo, A, 1).reason
    assert only(solo.hear(A, asking(1, force=True)), PromiseRemoval)


# ── S4, S8, S9: the coordinator ──────────────────────────────────────────────────────────────────


def coordinator(*peers: str) -> tuple[Solo, int]:
    """A member that was told to remove X and has asked these."""
    solo = member(*(peers or (B,)))
    solo.sent.clear()
    return solo, solo.ask(RemovePeers((X,), 20_000))


def answered(solo: Solo, peer: str, *segments: Segment, possessed: tuple[Range, ...] = (), epoch: int = 1) -> None:
    """`peer` promises and shows this view."""
    view = segments or (entry(ALL, X, X),)
    solo.hear(peer, PromiseRemoval(epoch, ALL.end, (ALL,), view, possessed, ()))


def test_a_dead_owners_ranges_are_taken_over_once_every_member_has_answered() -> None:
    solo, number = coordinator(A, B)

    answered(solo, A)
    assert number not in solo.answers
    assert solo.peer.possessed() == []
    answered(solo, B)

    assert solo.answers[number] == {"removed": [X], "taken": 16, "without": [], "also": []}
    assert solo.peer.possessed() == [ALL]
    assert solo.peer.ring is not None
    assert solo.peer.ring.tokens() == [(ALL.start, Claim(1, 2, ME, ME))]


def test_a_host_that_is_gone_is_forgotten_by_the_views_and_by_nobody_else() -> None:
    solo, _ = coordinator(A)
    answered(solo, A)

    solo.answer(Forget("x"))
    solo.restart()

    shown = solo.answer(Show.PEERS)
    assert isinstance(shown, dict)
    assert "x" not in [peer["name"] for peer in shown["peers"]]
    assert solo.stored.members[X].standing is Standing.REMOVED


def test_a_view_too_large_for_one_round_is_taken_over_in_several_whoever_possesses_the_first_part() -> None:
    """A possesses what X once wrote all over the lower half, X owns every other piece of the upper one."""
    solo = Solo("10.0.0.0/16", init="observer")
    solo.meet(A, cluster="thering")
    start, end = solo.settings.universe.range
    pieces = [Range(at, at + 8) for at in range(start, end, 8)]
    lower, upper = pieces[:4096], pieces[4096:]
    told(solo, *(entry(piece, A, X, 2 + at % 2) for at, piece in enumerate(lower)))
    told(solo, *(entry(piece, *((X, X) if at % 2 else (A, A))) for at, piece in enumerate(upper)))
    dead(solo, X)
    number = solo.ask(RemovePeers((X,), 60_000))
    for _ in range(20):
        solo.wait(600)
        for ask in [body for body in solo.sent_to(A) if isinstance(body, AskRemoval)][-1:]:
            possessed = tuple(piece for piece in ask.ranges if piece.end <= upper[0].start)
            solo.hear(A, PromiseRemoval(ask.epoch, ask.until, ask.ranges, (), possessed, ()))

    assert len([done for done in solo.stored.rounds.values() if done.done]) == 4
    assert solo.answers[number] == {"removed": [X], "taken": 2048 * 8, "without": [], "also": []}


def test_s4_members_that_only_another_member_knows_must_answer_too() -> None:
    """X granted to Z, of which this coordinator never heard."""
    solo, number = coordinator(B)
    late = entry(HALF, Z, X, 2)

    solo.hear(B, PromiseRemoval(1, ALL.end, (ALL,), (entry(ALL, X, X),), (), (Z,)))
    assert number not in solo.answers
    solo.meet(Z)
    solo.wait(600)
    assert any(isinstance(body, AskRemoval) for body in solo.sent_to(Z))
    answered(solo, Z, entry(Range(ALL.start, HALF.start), X, X), late, possessed=(HALF,))
    answered(solo, B)

    assert solo.peer.possessed() == [Range(ALL.start, HALF.start)]


def test_s4_a_member_shows_its_list_of_members_unless_it_is_the_coordinators() -> None:
    solo = member(A, B, Z)

    assert set(promise(solo).members) >= {A, B, Z}


def test_s8_what_a_dead_peer_granted_to_one_that_does_not_possess_it_is_taken_over_too() -> None:
    """It learned of the grant after its promise: it never will possess it, and nobody else would."""
    solo, number = coordinator(A, B)

    answered(solo, B, entry(Range(ALL.start, HALF.start), X, X), entry(HALF, B, X, 2))
    assert number not in solo.answers, "A was not asked about what X wrote"
    answered(solo, A)

    assert solo.peer.possessed() == [ALL]
    assert number in solo.answers


def test_s8_what_a_dead_peer_granted_to_one_that_possesses_it_stays_there() -> None:
    solo, number = coordinator(A, B)

    answered(solo, B, entry(Range(ALL.start, HALF.start), X, X), entry(HALF, B, X, 2), possessed=(HALF,))
    answered(solo, A)

    assert number in solo.answers
    assert solo.peer.possessed() == [Range(ALL.start, HALF.start)]


def test_s8_everybody_is_asked_about_what_one_member_shows() -> None:
    solo = member(A, B)
    told(solo, entry(ALL, A, A, 2))  # as far as known here, X owns nothing
    solo.sent.clear()
    solo.ask(RemovePeers((X,), 20_000))
    first = only(solo.sent_to(A), AskRemoval)
    assert isinstance(first, AskRemoval)
    assert first.ranges == ()
    solo.sent.clear()

    solo.hear(B, PromiseRemoval(1, ALL.end, (), (entry(HALF, X, A, 3),), (), ()))

    again = [body for body in solo.sent_to(A) if isinstance(body, AskRemoval)]
    assert [body.ranges for body in again][-1:] == [(HALF,)]


def test_s9_what_was_done_is_durable_before_it_is_announced_with_takeover_and_tombstone_in_one_record() -> None:
    solo, _ = coordinator(B)

    answered(solo, B)

    done = [
        effect
        for effect in solo.effects
        if isinstance(effect, Persist) and any(isinstance(change, PutRound) for change in effect.changes)
    ]
    assert len(done) == 1
    assert PutRound(1, Round((X,), True, (ALL,))) in done[0].changes
    assert PutTokens in {type(change) for change in done[0].changes}
    assert solo.effects.index(done[0]) == 0
    assert solo.sent_to(B)[-1] == RoundOver(1, True, (X,), (entry(ALL, ME, ME, 2, epoch=1),))
    assert solo.stored.members[X].standing is Standing.REMOVED


def test_s9_of_two_coordinators_the_one_of_lower_priority_gives_way_durably_before_it_promises() -> None:
    solo, number = coordinator(A, B)

    said = promise(solo, A, 2)

    assert said.epoch == 2
    assert DropRound(1) in records(solo.effects)
    assert isinstance(solo.effects[0], Persist)
    assert RoundOver(1, False, (), ()) in solo.sent_to(B)
    answered(solo, B)
    assert solo.peer.possessed() == [], "nothing is ever written in an aborted round"
    assert number not in solo.answers


def test_s9_of_two_coordinators_the_one_of_higher_priority_goes_on() -> None:
    solo, number = coordinator(Z, B)

    assert denial(solo, Z, 2).coordinator == ME
    answered(solo, Z)
    answered(solo, B)

    assert number in solo.answers


def test_s9_a_coordinator_that_meets_one_bound_to_another_of_higher_priority_gives_way_and_tries_again() -> None:
    solo, number = coordinator(A, B)

    solo.hear(B, DenyRemoval(1, 0, A, ""))
    assert solo.stored.rounds == {}
    solo.sent.clear()
    solo.wait(5_000)

    epochs = {body.epoch for body in solo.sent_to(B) if isinstance(body, AskRemoval)}
    assert epochs == {2}
    assert number not in solo.answers


def test_s9_who_removes_the_same_peer_is_content_with_what_the_other_did_and_says_who_it_was() -> None:
    solo, number = coordinator(A, B)
    promise(solo, A, 2)

    solo.hear(A, RoundOver(2, True, (X,), (entry(ALL, A, A, 2, epoch=2),)))
    solo.wait(5_000)

    assert solo.answers[number] == {"removed": [X], "taken": 0, "without": [], "also": ["a"]}


def test_s9_a_restarted_coordinator_aborts_what_it_had_not_committed() -> None:
    """Else a takeover comes from answers of whoever was unbound meanwhile."""
    solo, _ = coordinator(B)

    solo.restart()
    solo.meet(B)

    assert solo.stored.rounds == {}
    assert solo.hear(B, QueryRound(1)) == [RoundOver(1, False, (), ())]
    answered(solo, B)
    assert solo.peer.possessed() == []


def test_s9_what_was_done_is_told_after_a_restart_too() -> None:
    solo, _ = coordinator(B)
    answered(solo, B)

    solo.restart()
    solo.meet(B)

    assert solo.hear(B, QueryRound(1)) == [RoundOver(1, True, (X,), (entry(ALL, ME, ME, 2, epoch=1),))]


def test_s9_a_round_that_is_under_way_is_not_called_over() -> None:
    solo, _ = coordinator(B)

    assert solo.hear(B, QueryRound(1)) == []


def test_s9_an_epoch_that_somebody_has_seen_already_is_tried_no_more() -> None:
    solo, _ = coordinator(B)
    solo.sent.clear()

    solo.hear(B, DenyRemoval(1, 4, "", ""))
    solo.wait(2_000)

    assert {body.epoch for body in solo.sent_to(B) if isinstance(body, AskRemoval)} == {5}


def test_s9_a_coordinator_whose_caller_has_gone_aborts() -> None:
    solo, number = coordinator(B)

    solo.peer._removals.cancel(number)
    solo.wait(1_000)

    assert solo.stored.rounds == {}
    assert RoundOver(1, False, (), ()) in solo.sent_to(B)


def test_members_that_do_not_answer_block_a_removal_and_are_named() -> None:
    solo, number = coordinator(A, B)
    dead(solo, B)
    answered(solo, A)

    solo.wait(21_000)

    error = solo.answers[number]
    assert isinstance(error, RequestTimeoutError)
    assert "b is unreachable" in error.message
    assert "--force" in error.message
    assert solo.peer.possessed() == []


def test_a_forced_removal_goes_on_without_who_cannot_be_reached_and_says_so() -> None:
    solo = member(A, B)
    told(solo, entry(HALF, B, X, 2))
    dead(solo, B)
    number = solo.ask(RemovePeers((X,), 20_000, force=True))

    answered(solo, A)

    answer = solo.answers[number]
    assert isinstance(answer, dict)
    assert answer["without"] == ["b"]
    assert solo.peer.possessed() == [Range(ALL.start, HALF.start)], "B may possess what it was granted"


def test_a_host_is_not_removed_by_itself_nor_where_nobody_knows_it() -> None:
    solo = member()

    assert isinstance(solo.answer(RemovePeers(("me",), 5_000)), RequestError)
    assert solo.answer(RemovePeers(("nobody",), 5_000)) is not None
    assert solo.stored.rounds == {}


# ── S10 ──────────────────────────────────────────────────────────────────────────────────────────


def test_s10_a_takeover_that_nobody_saw_comes_after_its_coordinator_was_removed_and_is_removed_again() -> None:
    solo = member(B)
    dead(solo, A, by=B)
    number = solo.ask(RemovePeers((X, A), 20_000))
    answered(solo, B)
    assert number in solo.answers
    told(solo, entry(HALF, A, A, 9, epoch=5), by=B)
    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert any("gone and still owns" in warning for warning in status["warnings"])  # type: ignore[union-attr]

    again = solo.ask(RemovePeers((A,), 20_000))
    solo.hear(B, PromiseRemoval(6, ALL.end, (HALF,), (entry(HALF, A, A, 9, epoch=5),), (), ()))

    assert again in solo.answers
    assert solo.peer.ring is not None
    assert solo.peer.ring.at(HALF.start) == Claim(6, 10, ME, ME)


def test_s10_the_fence_on_a_removed_peer_stays_over_rounds_and_restarts() -> None:
    solo = member(A, B)
    promise(solo)
    solo.hear(A, RoundOver(1, True, (X,), (entry(Range(ALL.start, HALF.start), A, A, 3, epoch=1),)))
    solo.restart()
    solo.meet(A)

    told(solo, entry(HALF, ME, X, 2))

    assert solo.peer.possessed() == []


def test_s10_a_round_whose_coordinator_has_gone_binds_until_its_target_is_seen_alive() -> None:
    solo = member(A, B)
    promise(solo, A, 1, X)
    told(solo, entry(ALL, ME, X, version=2), by=B)
    solo.lose(A)
    gone = Member(A, "a:6783", 9, Health.DEAD, 0, Standing.REMOVED)

    solo.hear(B, Members((gone,), ()))
    solo.wait(10_000)
    assert solo.peer.possessed() == []  # A may have taken it over, and nobody saw it

    solo.meet(X, cluster="thering")
    solo.wait(10_000)

    assert solo.peer.possessed() == [ALL]
    assert solo.stored.pledges == {}
    assert solo.stored.suspended == {}


def test_s10_a_round_whose_coordinator_and_targets_have_gone_binds_nobody() -> None:
    """It was done, its coordinator left, and what it said at the end was lost."""
    solo = member(A, B)
    promise(solo, A, 1, X)
    gone = [Member(peer, f"{peer}:6783", 9, Health.DEAD, 0, standing) for peer, standing in LEFT_AND_REMOVED]

    solo.hear(B, Members(tuple(gone), ()))
    solo.wait(5_000)

    assert solo.stored.pledges == {}
    assert solo.peer._state.fences(X)


def test_s10_nothing_is_granted_to_one_that_was_removed() -> None:
    solo = member(A, B)
    told(solo, entry(ALL, ME, A, 2))
    solo.lose(B)
    promise(solo, A, 1, B)
    solo.hear(A, RoundOver(1, True, (B,), ()))
    solo.meet(B)

    answers = solo.hear(B, request(1, solo))

    assert [type(answer) for answer in answers] == [Denied]


def test_s10_a_removal_may_be_repeated() -> None:
    solo, number = coordinator(B)
    answered(solo, B)
    assert number in solo.answers

    again = solo.ask(RemovePeers((X,), 20_000))
    solo.hear(B, PromiseRemoval(2, ALL.end, (ALL,), (entry(ALL, ME, ME, 2, epoch=1),), (), ()))

    answer = solo.answers[again]
    assert isinstance(answer, dict)
    assert (answer["removed"], answer["taken"]) == ([X], 0)


def test_s10_what_a_member_was_granted_that_a_forced_removal_did_not_hear_is_taken_by_the_next_one() -> None:
    """B learns of the grant after the tombstone, and never possesses it: S8 for one that was cut off."""
    solo = member(A, B)
    told(solo, entry(HALF, B, X, 2))
    dead(solo, B)
    first = solo.ask(RemovePeers((X,), 20_000, force=True))
    answered(solo, A)
    assert first in solo.answers
    solo.lose(B)
    solo.meet(B)
    solo.hear(B, Members((Member(B, "b:6783", 10, Health.ALIVE, 0),), ()))

    second = solo.ask(RemovePeers((X,), 20_000))
    view = tuple(solo.peer.ring.segments()) if solo.peer.ring else ()
    for peer in (A, B):
        solo.hear(peer, PromiseRemoval(2, ALL.end, (HALF,), view, (), ()))

    answer = solo.answers[second]
    assert isinstance(answer, dict)
    assert answer["taken"] == HALF.size
    assert solo.peer.possessed() == [ALL]


# ── S23 ──────────────────────────────────────────────────────────────────────────────────────────


def fenced() -> Solo:
    """A member with a lease that has lost its memory, as A could tell."""
    solo = member(A, B)
    told(solo, entry(ALL, ME, A, 2))
    solo.allocate("web")
    solo.hear(A, Recall(Point("another", 7, 7)))
    return solo


def test_s23_a_fenced_member_promises_nothing() -> None:
    """It would vouch for a view that it may have lost."""
    solo = fenced()

    assert "takes no part" in denial(solo, A, 3).reason
    assert solo.stored.pledges == {}


def test_s23_a_fenced_member_is_no_heir() -> None:
    solo = fenced()

    leaver = Member(B, "b:6783", 5, Health.ALIVE, 0, Standing.LEAVING)
    answer = only(solo.hear(B, Depart(1, leaver, ())), Farewell)

    assert isinstance(answer, Farewell)
    assert not answer.willing


def test_s23_a_fenced_member_grants_and_issues_nothing_removes_nobody_and_goes_on_serving_over_a_restart() -> None:
    solo = fenced()
    before = solo.answer(Leases("web"))
    solo.restart()
    solo.meet(B)

    assert [type(answer) for answer in solo.hear(B, request(1, solo))] == [Denied]
    assert isinstance(solo.answer(Allocate("new", None, 5_000)), FencedError)
    assert isinstance(solo.answer(RemovePeers((X,), 5_000)), FencedError)
    assert solo.answer(Leases("web")) == before
    assert solo.peer.possessed() == []
    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert (status["state"], "rejoin" in str(status["reason"])) == ("fenced", True)


def test_s23_a_coordinator_that_is_fenced_meanwhile_takes_nothing_over() -> None:
    solo, number = coordinator(A, B)
    answered(solo, A)

    solo.hear(A, Members((Member(ME, "me:6783", 50, Health.DEAD, 0, Standing.REMOVED),), ()))
    answered(solo, B)

    assert solo.peer.ring is not None
    assert solo.peer.ring.at(ALL.start).owner == X
    assert solo.stored.rounds == {}
    assert isinstance(solo.answers[number], FencedError)


@pytest.mark.parametrize("targets", [(ME,), (ME, X)])
def test_whoever_is_a_target_does_not_promise_its_own_removal(targets: tuple[str, ...]) -> None:
    solo = member()

    assert solo.hear(A, asking(1, *targets)) == []
    assert solo.stored.pledges == {}
