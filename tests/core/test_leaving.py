"""A host leaves (safety.md S11), each rule with the message or moment that would break it."""

from __future__ import annotations

import pytest
from solo import ME, Solo, claim, ip, request

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.durable import PutMember, PutTokens
from ringipam.core.events import Allocate, Cancelled, Leases, Leave, Persist, Prime, RemovePeers, Show
from ringipam.errors import FencedError, NotReadyError, RequestError, RequestTimeoutError
from ringipam.messages import (
    AskRemoval,
    Body,
    Denied,
    Depart,
    Farewell,
    Health,
    Member,
    Members,
    RoundOver,
    Rumour,
    Standing,
)
from sim.cluster import World

A = "a.00000000aaaa"
B = "b.00000000bbbb"
ALL = Range(ip("10.0.0.0"), ip("10.0.0.16"))
HALF = Range(ip("10.0.0.8"), ip("10.0.0.16"))
GO = Leave(20_000)


def entry(where: Range, owner: str, writer: str, version: int = 1, epoch: int = 0) -> Segment:
    return Segment(*where, Claim(epoch, version, owner, writer))


def owner(*peers: str) -> Solo:
    """The owner of all, linked to these."""
    solo = Solo("10.0.0.0/28")
    for peer in peers or (A, B):
        solo.meet(peer)
    solo.sent.clear()
    return solo


def departs(solo: Solo, peer: str) -> list[Depart]:
    return [body for body in solo.sent_to(peer) if isinstance(body, Depart)]


def asked(solo: Solo, peer: str) -> int:
    """The number that it must confirm now."""
    going = solo.peer._leaving._going
    assert going is not None
    return going.needed.get(peer, going.first)


def consents(solo: Solo, peer: str, *seen: Segment, willing: bool = True, number: int | None = None) -> None:
    """`peer` confirms what it was asked last, or this number, and shows what the leaver owns."""
    solo.hear(peer, Farewell(asked(solo, peer) if number is None else number, seen, willing, ()))


def standing(solo: Solo) -> Standing:
    return solo.stored.members[ME].standing


def leaving(peer: str = B, standing: Standing = Standing.LEAVING) -> Depart:
    return Depart(1, Member(peer, f"{peer}:6783", 7, Health.ALIVE, 0, standing), ())


# ── the leaver ───────────────────────────────────────────────────────────────────────────────────


def test_a_leaver_gives_all_to_its_heirs_and_goes_when_they_have_it() -> None:
    solo = owner()
    number = solo.ask(GO)

    for peer in (A, B):
        consents(solo, peer)
    given = {segment.claim.owner for segment in solo.peer.ring.segments()} if solo.peer.ring else set()
    for peer in (A, B):
        consents(solo, peer)

    assert given == {A, B}
    assert solo.answers[number] == {"heirs": {"a": 8, "b": 8}}
    assert standing(solo) is Standing.LEFT
    assert solo.peer.possessed() == []


def test_s11_a_leaver_gives_nothing_away_before_every_member_has_promised_to_grant_it_no_more() -> None:
    """A grant of whoever has not may be on its way, and reach a peer that is gone."""
    solo = owner()
    solo.ask(GO)

    consents(solo, A)
    solo.wait(5_000)

    assert solo.peer.ring is not None
    assert list(solo.peer.ring.owners()) == [ME]
    assert standing(solo) is Standing.LEAVING


def test_s11_a_grant_that_was_on_its_way_reaches_the_leaver_before_it_goes_and_is_passed_on() -> None:
    solo = member()
    solo.ask(GO)

    consents(solo, A)
    consents(solo, B, entry(HALF, ME, B, 2))

    assert solo.peer.ring is not None
    assert set(solo.peer.ring.owners()) == {A, B}
    assert solo.peer.ring.at(HALF.start).version == 3
    assert standing(solo) is Standing.LEAVING, "the heirs have not confirmed it"


def test_s11_a_leaver_is_not_gone_before_its_heirs_have_its_ranges_durably_and_says_for_whom_it_waits() -> None:
    solo = owner()
    number = solo.ask(GO)
    first = asked(solo, A)
    for peer in (A, B):
        consents(solo, peer)

    consents(solo, A, number=first)
    consents(solo, B)
    solo.wait(21_000)

    assert standing(solo) is Standing.LEAVING
    error = solo.answers[number]
    assert isinstance(error, RequestTimeoutError)
    assert "it goes on: waiting for the consent of a" in error.message
    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert "leaving the ring" in str(status["reason"])


def test_s11_what_was_given_is_told_again_until_the_heir_confirms_it_also_after_a_restart() -> None:
    solo = owner(A)
    solo.ask(GO)
    consents(solo, A)

    solo.restart()
    solo.meet(A)
    solo.sent.clear()
    solo.wait(600)

    assert departs(solo, A)[-1].gifts == (entry(ALL, A, ME, 2),)


def test_s11_leaving_is_durable_before_anybody_is_told_and_goes_on_after_a_restart() -> None:
    solo = owner(A)

    solo.ask(GO)
    assert isinstance(solo.effects[0], Persist)
    assert PutMember(ME, "me:6783", Standing.LEAVING) in solo.effects[0].changes
    solo.restart()
    solo.meet(A)
    solo.wait(600)
    consents(solo, A)
    consents(solo, A)

    assert standing(solo) is Standing.LEFT


def test_s11_the_word_of_a_former_process_confirms_nothing() -> None:
    """It came late, by a relay, and was about another gift."""
    solo = owner(A)
    solo.ask(GO)
    consents(solo, A)
    late = asked(solo, A)
    solo.restart()
    solo.meet(A)
    solo.wait(600)

    solo.hear(A, Farewell(late, (), True, ()))
    solo.hear(A, Farewell(late + 1, (), True, ()))

    assert standing(solo) is Standing.LEAVING


def test_s11_only_who_is_willing_becomes_an_heir() -> None:
    solo = owner()
    solo.ask(GO)

    consents(solo, A, willing=False)
    consents(solo, B)

    assert solo.peer.ring is not None
    assert list(solo.peer.ring.owners()) == [B]


def test_s11_with_no_heir_at_all_a_leaver_stays_and_says_so() -> None:
    solo = owner(A)
    number = solo.ask(GO)
    consents(solo, A, willing=False)

    solo.wait(21_000)

    assert isinstance(solo.answers[number], RequestTimeoutError)
    assert "a host that can take the ranges" in str(solo.answers[number])
    assert solo.peer.possessed() == [ALL]


def test_s11_members_that_only_another_member_knows_are_asked_too() -> None:
    solo = owner(A)
    solo.ask(GO)

    solo.hear(A, Farewell(asked(solo, A), (), True, (B,)))
    solo.wait(5_000)

    assert standing(solo) is Standing.LEAVING
    assert solo.peer.possessed() == [ALL]


def test_a_leaver_issues_and_grants_nothing_and_asks_for_nothing() -> None:
    solo = owner(A)
    solo.ask(GO)

    assert isinstance(solo.answer(Allocate("c1", None, 5_000)), NotReadyError)
    assert isinstance(solo.answer(RemovePeers(("a",), 5_000)), NotReadyError)


def test_whoever_waits_for_an_address_is_told_at_once_that_the_host_leaves() -> None:
    solo = owner(A)
    solo.hear(A, request(1, solo, exact="10.0.0.5"))
    waiting = solo.ask(claim("web", "10.0.0.5", 28, timeout_ms=60_000))

    solo.ask(GO)

    assert isinstance(solo.answers[waiting], NotReadyError)


def test_leases_keep_a_host_unless_they_are_dropped() -> None:
    solo = owner(A)
    lease = solo.allocate("web")

    error = solo.answer(GO)
    assert isinstance(error, RequestError)
    assert f"web ({lease.address})" in error.message
    assert ME not in solo.stored.members
    solo.ask(Leave(20_000, drop_leases=True))

    assert solo.stored.leases == {}
    assert standing(solo) is Standing.LEAVING


def test_a_host_that_is_alone_does_not_leave() -> None:
    assert isinstance(Solo().answer(GO), RequestError)


def test_s11_a_coordinator_finishes_or_aborts_before_it_leaves() -> None:
    solo = owner(A, B)
    solo.hear(A, Members((Member(B, "b:6783", 9, Health.DEAD, 0),), ()))
    solo.ask(RemovePeers(("b",), 20_000))

    assert "a removal is under way" in str(solo.answer(GO))


def test_a_host_whose_addresses_are_in_doubt_does_not_leave() -> None:
    solo = owner(A)
    solo.hear(A, Rumour(1, (entry(HALF, A, A, 9),), ()))

    assert "ringipam conflicts" in str(solo.answer(GO))


def test_a_fenced_host_has_nothing_to_give() -> None:
    solo = owner(A)
    solo.hear(A, Members((Member(ME, "me:6783", 50, Health.DEAD, 0, Standing.REMOVED),), ()))

    assert isinstance(solo.answer(GO), FencedError)


# ── the others ───────────────────────────────────────────────────────────────────────────────────


def member() -> Solo:
    """A member that owns half of a ring, linked to A and B."""
    solo = Solo("10.0.0.0/28", init="observer")
    for peer in (A, B):
        solo.meet(peer, cluster="thering")
    solo.hear(A, Rumour(1, (entry(Range(ALL.start, HALF.start), ME, ME), entry(HALF, B, B)), ()))
    solo.sent.clear()
    return solo


def farewell(answers: list[Body]) -> Farewell:
    found = [answer for answer in answers if isinstance(answer, Farewell)]
    assert len(found) == 1
    return found[0]


def test_s11_a_member_holds_durably_that_a_peer_leaves_before_it_says_so_and_shows_what_that_peer_owns() -> None:
    solo = member()

    said = farewell(solo.hear(B, leaving()))

    assert isinstance(solo.effects[0], Persist)
    assert solo.stored.members[B].standing is Standing.LEAVING
    assert said.segments == (entry(HALF, B, B),)
    assert said.willing


def test_s11_nothing_is_granted_to_a_leaver_also_not_after_a_restart() -> None:
    solo = member()
    solo.hear(B, leaving())
    assert [type(answer) for answer in solo.hear(B, request(1, solo))] == [Denied]

    solo.restart()
    solo.meet(B)

    assert [type(answer) for answer in solo.hear(B, request(2, solo))] == [Denied]


def test_s11_an_heir_has_the_gifts_in_the_record_before_its_word() -> None:
    """The grant itself was lost."""
    solo = member()
    gift = entry(HALF, ME, B, 2)
    leaver = leaving().member

    solo.hear(B, Depart(2, leaver, (gift,)))

    assert isinstance(solo.effects[0], Persist)
    assert PutTokens in {type(change) for change in solo.effects[0].changes}
    assert solo.peer.possessed() == [ALL]


def test_s11_of_two_leavers_neither_becomes_the_others_heir() -> None:
    solo = member()
    solo.ask(GO)

    assert not farewell(solo.hear(B, leaving())).willing


def test_s11_who_coordinates_a_removal_lets_nobody_leave_before_it_is_over() -> None:
    """The leaver's view counts in it, and so does what it would give to heirs."""
    solo = member()
    number = solo.ask(RemovePeers((A,), 20_000, force=True))

    assert solo.hear(B, leaving()) == []
    solo.step(Cancelled(number))
    solo.wait(600)

    assert farewell(solo.hear(B, leaving())).willing


def test_s11_who_has_promised_the_removal_of_the_leaver_consents_when_that_is_over() -> None:
    """What the leaver wrote is fenced off there."""
    solo = member()
    solo.hear(A, AskRemoval(1, (B,), True, ALL.start, ALL.end, (ALL,), b""))

    assert solo.hear(B, leaving()) == []
    solo.hear(A, RoundOver(1, False, (), ()))

    assert farewell(solo.hear(B, leaving())).willing


def test_s11_a_leaver_that_is_bound_to_a_removal_goes_when_that_is_over() -> None:
    solo = owner()
    solo.ask(GO)
    solo.hear(A, AskRemoval(1, ("x.00000000000f",), False, ALL.start, ALL.end, (), b""))
    for _ in range(3):
        for peer in (A, B):
            consents(solo, peer)

    assert solo.stored.members[ME].standing is Standing.LEAVING
    solo.hear(A, RoundOver(1, False, (), ()))
    solo.wait(600)

    assert solo.stored.members[ME].standing is Standing.LEFT


def test_whoever_has_left_is_a_member_no_more_and_is_answered_nothing() -> None:
    solo = member()

    answers = solo.hear(B, leaving(standing=Standing.LEFT))

    assert not [answer for answer in answers if isinstance(answer, Farewell)]
    assert solo.stored.members[B].standing is Standing.LEFT
    assert B not in solo.peer._state.members.others()


# ── a crash at any moment ────────────────────────────────────────────────────────────────────────


def left(world: World, name: str) -> bool:
    host = world.hosts[name]
    return host.peer is not None and host.peer._state.members.me.standing is Standing.LEFT


@pytest.mark.parametrize("who", ["h1", "h2"])
def test_s11_a_leave_that_a_crash_interrupts_anywhere_is_completed(who: str) -> None:
    """h1 leaves; it, or an heir, crashes after so many more effects, for every number until none is reached."""
    for effects in range(60):
        world = World(hosts=3, checked=False)
        world.ask("h1", Prime(60_000))
        world.run_for(5_000)
        lease = world.ask("h2", Allocate("web", None, 5_000))
        world.run_for(1_000)
        world.hosts[who].crash_in = effects
        world.ask("h1", Leave(60_000))
        world.run_for(3_000)
        crashed = not world.hosts[who].up
        world.restart(who)
        world.hosts[who].crash_in = None
        world.run_for(25_000)

        peers = {name: host.peer for name, host in world.hosts.items() if host.peer is not None}
        owned = {name: sum(owned.size for owned in peer.possessed()) for name, peer in peers.items()}
        assert sum(owned.values()) == 256, (effects, owned)
        assert owned["h1"] == 0 if left(world, "h1") else crashed and who == "h1"
        assert not any(peer._state.conflicts for peer in peers.values())
        shown = world.ask("h2", Leases("web"))
        world.run_for(100)
        assert shown.answer.leases == (lease.answer.lease,)  # type: ignore[union-attr]
        if not crashed:
            return
    raise AssertionError("it never ends")
