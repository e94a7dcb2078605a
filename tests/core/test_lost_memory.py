"""Lost memory and twins (safety.md S12, S13), `--on-restart verify`, rejoining, and resolving what is in doubt."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
from solo import ME, Solo, claim, ip, request

from ringipam.address import Range
from ringipam.claim import Claim, Segment
from ringipam.core.disputes import REMIND_MS, TELL_MS
from ringipam.core.durable import PutBoot
from ringipam.core.events import (
    Allocate,
    Leased,
    LeaseList,
    Leases,
    LinkUp,
    Persist,
    Rebuild,
    Received,
    Rejoin,
    Release,
    Resolve,
    Send,
    Show,
)
from ringipam.core.memory import PUBLISHED_MAX
from ringipam.errors import FencedError, NotFoundError, RequestError
from ringipam.messages import (
    Ack,
    Denial,
    Denied,
    Dispute,
    Disputed,
    Envelope,
    Grant,
    Health,
    Hello,
    Member,
    Members,
    Ping,
    Point,
    Recall,
    Rumour,
    SpaceRequest,
    Standing,
)

B = "b.00000000bbbb"
C = "c.00000000cccc"
ALL = Range(ip("10.0.0.0"), ip("10.0.0.16"))
HALF = Range(ip("10.0.0.8"), ip("10.0.0.16"))


def entry(where: Range, owner: str, writer: str, version: int = 1, epoch: int = 0) -> Segment:
    return Segment(*where, Claim(epoch, version, owner, writer))


def standing_alone() -> Solo:
    """The owner of all, linked to B."""
    solo = Solo("10.0.0.0/28")
    solo.meet(B)
    return solo


def told_point(solo: Solo) -> Point:
    """How far it has come, as it tells B."""
    solo.sent.clear()
    solo.wait(3_000)
    return [body.point for body in solo.sent_to(B) if isinstance(body, Ping) and body.point is not None][-1]


def commits(solo: Solo, count: int) -> None:
    """So many, none of which changes the ring."""
    before = solo.peer._state.memory.number
    while solo.peer._state.memory.number < before + count:
        solo.allocate("c")
        solo.answer(Release("c"))


def status(solo: Solo) -> dict[str, object]:
    found = solo.answer(Show.STATUS)
    assert isinstance(found, dict)
    return found


def fenced(solo: Solo) -> bool:
    return status(solo)["state"] == "fenced" and solo.peer.possessed() == []


# ── S12: a disk that went back ───────────────────────────────────────────────────────────────────


def test_s12_a_disk_that_went_back_is_noticed_though_its_numbers_have_caught_up() -> None:
    """Commits 101 to 110 are lost; eleven later it stands at 111, and looks ahead of what others have heard."""
    solo = standing_alone()
    commits(solo, 4)
    old = deepcopy(solo.stored)
    commits(solo, 10)
    held = told_point(solo)

    solo.stored = old
    solo.restart()
    commits(solo, 20)
    assert solo.peer._state.memory.number > held.number
    solo.meet(B)
    assert not fenced(solo)
    solo.hear(B, Recall(held))

    assert fenced(solo)
    assert "went back to an earlier state" in str(status(solo)["reason"])


def test_s12_a_disk_on_which_only_leases_went_back_is_noticed_and_what_is_held_is_served() -> None:
    solo = standing_alone()
    kept = solo.allocate("kept")
    old = deepcopy(solo.stored)
    solo.allocate("lost")
    held = told_point(solo)
    assert solo.stored.tokens == old.tokens

    solo.stored = old
    solo.restart()
    solo.meet(B)
    solo.hear(B, Recall(held))

    assert fenced(solo)
    assert isinstance(solo.answer(Allocate("new", None, 1_000)), FencedError)
    assert solo.answer(Leases("kept")) == LeaseList((kept,))


def test_s12_a_disk_that_went_back_within_one_process_as_virtual_machines_do_is_noticed() -> None:
    solo = standing_alone()
    commits(solo, 4)
    saved = deepcopy((solo.stored, solo.peer._state.memory, solo.now))
    commits(solo, 6)
    held = told_point(solo)

    solo.stored, solo.peer._state.memory, _ = saved
    commits(solo, 20)
    solo.wait(3_000)
    solo.hear(B, Recall(held))

    assert fenced(solo)


def test_s12_an_entry_of_its_own_that_a_peer_does_not_know_shows_that_it_has_lost_memory() -> None:
    solo = standing_alone()
    old = deepcopy(solo.stored)
    solo.hear(B, request(1, solo))
    assert solo.peer.ring is not None
    given = next(segment for segment in solo.peer.ring.segments() if segment.claim.owner == B)

    solo.stored = old
    solo.restart()
    solo.meet(B)
    solo.hear(B, Rumour(1, (given,), ()))

    assert fenced(solo)
    assert "was given away by this host, which does not know of it" in str(status(solo)["reason"])


def test_s12_a_fence_holds_over_a_restart() -> None:
    solo = standing_alone()
    solo.hear(B, Recall(Point("another", 7, 7)))

    solo.restart()

    assert fenced(solo)


@pytest.mark.parametrize("restarts", [0, 1, 5])
def test_s12_an_honest_peer_knows_every_point_of_its_past(restarts: int) -> None:
    solo = standing_alone()
    commits(solo, 5)
    held = [told_point(solo)]
    for _ in range(restarts):
        solo.restart()
        solo.meet(B)
        commits(solo, 3)
        held.append(told_point(solo))

    for point in held:
        solo.hear(B, Recall(point))

    assert not fenced(solo)


def test_s12_points_so_old_that_their_hash_is_no_longer_kept_raise_no_alarm() -> None:
    solo = standing_alone()
    held = told_point(solo)
    for _ in range(PUBLISHED_MAX + 5):
        commits(solo, 1)
        solo.wait(1_000)

    solo.hear(B, Recall(held))

    assert len(solo.stored.published) <= PUBLISHED_MAX
    assert not fenced(solo)


def test_s12_what_is_told_of_ones_own_history_is_durable_before() -> None:
    """Else an honest crash looks like a disk that went back."""
    solo = standing_alone()
    commits(solo, 3)

    point = told_point(solo)
    solo.restart()

    assert solo.stored.published[point.number] == point.head
    solo.meet(B)
    solo.hear(B, Recall(point))
    assert not fenced(solo)


def test_s12_a_member_keeps_the_furthest_point_of_each_other_durably_and_holds_it_against_the_peer() -> None:
    solo = standing_alone()
    solo.hear(B, Ping(1, Point("n1", 110, 5)))
    solo.hear(B, Ping(2, Point("n1", 108, 4)))
    solo.wait(2_000)
    solo.restart()

    effects = solo.meet(B)

    messages = [effect.message for effect in effects if isinstance(effect, Send)]
    sent = [message.body for message in messages if isinstance(message, Envelope)]
    assert Recall(Point("n1", 110, 5)) in sent


def test_s12_what_a_newcomer_heard_of_a_rolled_back_peer_does_not_make_others_forget() -> None:
    """The peer went back from 110 to 100, met the newcomer only, and stands at 111 as the newcomer tells."""
    solo = standing_alone()
    solo.hear(B, Ping(1, Point("n1", 110, 5)))

    solo.hear(B, Members((Member(C, "c:6783", 1, Health.ALIVE, 0, point=Point("m1", 110, 5)),), ()))
    solo.hear(B, Members((Member(C, "c:6783", 2, Health.ALIVE, 0, point=Point("m2", 111, 6)),), ()))
    solo.sent.clear()
    solo.meet(C)

    assert solo.sent_to(C)[0] == Recall(Point("m1", 110, 5))


# ── S13: twins ───────────────────────────────────────────────────────────────────────────────────


def test_s13_the_nonce_of_a_process_is_durable_before_anything_is_said() -> None:
    solo = Solo()
    solo.stored = deepcopy(solo.stored)
    solo.restart()

    assert isinstance(solo.effects[0], Persist)
    boots = [change for change in solo.effects[0].changes if isinstance(change, PutBoot)]
    assert [boot.nonce for boot in boots] == [solo.peer._state.memory.nonce]


def test_s13_every_process_has_a_nonce_of_its_own_and_knows_all_before() -> None:
    solo = Solo()
    for _ in range(4):
        solo.restart()

    assert len(solo.stored.boots) == 5


def test_s13_a_late_rumour_of_ones_own_former_process_is_no_clone() -> None:
    solo = standing_alone()
    commits(solo, 5)
    former = told_point(solo)
    solo.restart()
    solo.meet(B)
    commits(solo, 5)

    solo.hear(B, Members((Member(ME, "me:6783", 9, Health.ALIVE, 0, point=former),), ()))
    solo.hear(B, Recall(former))

    assert not fenced(solo)


def greeting(solo: Solo, peer: str, nonce: str) -> Hello:
    return Hello(1, 1, peer, solo.universe, solo.peer.cluster, "me:6783", 1, False, 1, nonce)


def test_s13_a_twin_is_noticed_by_its_greeting() -> None:
    solo = Solo()
    solo.step(LinkUp(7, "elsewhere:6783", "192.0.2.7"))

    solo.step(Received(7, greeting(solo, ME, "anothernonce")))

    assert fenced(solo)
    assert "192.0.2.7" in str(status(solo)["reason"])


def test_s13_ones_own_address_in_the_list_of_peers_is_no_twin() -> None:
    solo = Solo()
    solo.step(LinkUp(7, "me:6783", "192.0.2.7"))

    solo.step(Received(7, greeting(solo, ME, solo.peer._state.memory.nonce)))

    assert not fenced(solo)


def test_s13_of_two_twins_each_is_told_of_the_other_by_whoever_hears_both() -> None:
    solo = standing_alone()
    one, other = Point("n1", 101, 5), Point("n2", 101, 6)

    assert [body for body in solo.hear(B, Ping(1, one)) if isinstance(body, Recall)] == []
    assert Recall(one) in solo.hear(B, Ping(2, other))
    assert Recall(other) in solo.hear(B, Ping(3, one))


@pytest.mark.parametrize("order", [("n1", "n2"), ("n2", "n1")])
def test_s13_a_twin_that_a_third_party_heard_is_noticed_in_either_order(order: tuple[str, str]) -> None:
    """A copy of one disk runs elsewhere; both have gone on since."""
    original = standing_alone()
    commits(original, 4)
    copy = standing_alone()
    copy.stored = deepcopy(original.stored)
    copy._starts = 50
    for twin in (original, copy):
        twin.restart()
        twin.meet(B)
        commits(twin, 3)
    by_name = {"n1": original, "n2": copy}
    first, second = (by_name[name] for name in order)

    second.hear(B, Recall(told_point(first)))

    assert fenced(second)
    assert "copied" in str(status(second)["reason"])


# ── --on-restart verify ──────────────────────────────────────────────────────────────────────────


def doubtful() -> Solo:
    """A member of a ring of two that was restarted with `verify`."""
    solo = standing_alone()
    solo.hear(B, request(1, solo))
    solo.settings = replace(solo.settings, verify=True)
    solo.restart()
    return solo


def test_with_verify_nothing_is_issued_or_given_away_before_a_peer_has_confirmed_that_the_data_is_current() -> None:
    solo = doubtful()
    waiting = solo.ask(Allocate("web", None, 60_000))
    solo.meet(B)

    assert waiting not in solo.answers
    assert solo.peer.possessed() == []
    refusals = [answer for answer in solo.hear(B, request(2, solo)) if isinstance(answer, Denied)]
    assert [refusal.reason for refusal in refusals] == [Denial.NOT_YET]
    assert "--on-restart verify" in str(status(solo)["reason"])
    solo.hear(B, Recall(told_point(solo)))

    assert isinstance(solo.answers[waiting], Leased)
    assert solo.peer.possessed() != []


def test_with_verify_a_peer_that_knows_more_fences_the_host_before_it_has_issued_anything() -> None:
    solo = doubtful()
    waiting = solo.ask(Allocate("web", None, 60_000))
    solo.meet(B)

    solo.hear(B, Recall(Point(next(iter(solo.stored.boots)), 999, 1)))
    solo.wait(61_000)

    assert fenced(solo)
    assert not isinstance(solo.answers[waiting], Leased)
    assert solo.stored.leases == {}


def test_with_verify_who_has_gone_out_of_reach_is_not_waited_for_when_all_others_know_nothing() -> None:
    """Also if it seemed to be there when the last of the others said so (seed 348)."""
    solo = standing_alone()
    solo.hear(B, request(1, solo))
    solo.hear(B, Rumour(1, (), (Member(C, "c:6783", 0, Health.ALIVE, 0),)))
    solo.settings = replace(solo.settings, verify=True)
    solo.restart()
    waiting = solo.ask(Allocate("web", None, 60_000))
    solo.meet(B)

    solo.hear(B, Recall(None))
    assert waiting not in solo.answers, "C might know more"
    solo.hear(B, Rumour(2, (), (Member(C, "c:6783", 0, Health.DEAD, 0),)))
    solo.wait(2_000)

    assert isinstance(solo.answers[waiting], Leased)


def test_with_verify_a_host_that_is_alone_has_nobody_to_ask() -> None:
    solo = Solo()
    solo.settings = replace(solo.settings, verify=True)
    solo.restart()

    assert solo.allocate("web")


# ── rejoin ───────────────────────────────────────────────────────────────────────────────────────


def removed() -> Solo:
    """A host with a lease that was removed while it was alive; B has taken over all."""
    solo = standing_alone()
    solo.allocate("web")
    solo.hear(B, Members((Member(ME, "me:6783", 50, Health.DEAD, 0, Standing.REMOVED),), ()))
    solo.hear(B, Rumour(1, (entry(ALL, B, B, 2, epoch=1),), ()))
    return solo


def reborn(solo: Solo, verb: Rejoin) -> dict[str, object]:
    """The daemon begins again from the disk, as whoever it says one is now."""
    cluster = solo.peer.cluster
    answer = solo.answer(verb)
    assert isinstance(answer, dict)
    assert any(isinstance(effect, Rebuild) for effect in solo.effects)
    solo.settings = replace(solo.settings, peer=solo.stored.meta["peer"])
    solo.restart()
    solo.sent.clear()
    solo.meet(B, cluster=cluster)
    return answer


def test_rejoin_says_what_becomes_of_the_leases_before_it_acts() -> None:
    solo = removed()
    before = deepcopy(solo.stored)

    plan = solo.answer(Rejoin(dry_run=True))

    assert isinstance(plan, dict)
    assert plan["from"] == ME
    assert plan["to"] is None
    assert [lease["id"] for lease in plan["leases"]] == ["web"]  # type: ignore[union-attr,index]
    assert plan["next"] == f"ringipam remove-peer {ME}"
    assert solo.stored == before


def test_a_rejoined_host_is_another_peer_of_the_same_ring_and_claims_its_leases_anew() -> None:
    solo = removed()
    lease = solo.answer(Leases("web"))
    assert isinstance(lease, LeaseList)
    address = int(lease.leases[0].address)

    answer = reborn(solo, Rejoin())
    me = solo.settings.peer
    assert (answer["from"], answer["to"]) == (ME, me)
    assert me != ME
    solo.hear(B, Rumour(1, (entry(ALL, B, B, 2, epoch=1),), ()))
    solo.wait(2_000)
    asked = [body for body in solo.sent_to(B) if isinstance(body, SpaceRequest)]
    assert [(body.start, body.exact) for body in asked][:1] == [(address, True)]
    given = Segment(address, address + 1, Claim(1, 3, me, B))
    solo.hear(B, Grant(asked[-1].number, (given,), ()))

    assert solo.peer.possessed() == [Range(address, address + 1)]
    assert solo.answer(Leases("web")) == lease
    assert status(solo)["state"] == "ready"
    assert status(solo)["warnings"] == []


def test_a_carried_lease_whose_address_somebody_uses_meanwhile_is_in_doubt() -> None:
    solo = removed()
    reborn(solo, Rejoin())
    solo.hear(B, Rumour(1, (entry(ALL, B, B, 2, epoch=1),), ()))
    solo.wait(2_000)
    asked = [body for body in solo.sent_to(B) if isinstance(body, SpaceRequest)]

    solo.hear(B, Denied(asked[-1].number, Denial.IN_USE, "other", (), 16))
    solo.wait(2_000)

    shown = solo.answer(Show.CONFLICTS)
    assert isinstance(shown, dict)
    assert [[lease["id"] for lease in entry["leases"]] for entry in shown["conflicts"]] == [["web"]]  # type: ignore[attr-defined]


def test_a_host_may_rejoin_without_its_leases() -> None:
    solo = removed()

    answer = reborn(solo, Rejoin(drop_leases=True))

    assert answer["becomes"] == "dropped"
    assert solo.stored.leases == {}
    assert solo.answer(Leases("web")) == LeaseList(())


def test_a_rejoining_host_forms_no_ring_of_its_own() -> None:
    solo = removed()
    solo.answer(Rejoin())
    solo.settings = replace(solo.settings, peer=solo.stored.meta["peer"])

    solo.restart()

    assert solo.peer.cluster == ""


def test_a_healthy_member_is_refused_to_rejoin() -> None:
    solo = standing_alone()
    before = deepcopy(solo.stored)

    assert isinstance(solo.answer(Rejoin()), RequestError)
    assert solo.stored == before


# ── what is in doubt ─────────────────────────────────────────────────────────────────────────────


def test_a_fenced_host_tells_owners_which_of_their_addresses_it_leases_and_then_seldom() -> None:
    solo = removed()
    solo.sent.clear()
    solo.wait(11_000)
    told = [body for body in solo.sent_to(B) if isinstance(body, Dispute)]
    assert len(told) >= 2
    leased = {int(lease.address) for lease in solo.peer.leases.values()}
    assert {address for start, end in told[-1].ranges for address in range(start, end)} == leased

    solo.hear(B, Disputed(told[-1].number))
    solo.sent.clear()
    solo.wait(REMIND_MS - TELL_MS - 1_000)

    assert [body for body in solo.sent_to(B) if isinstance(body, Dispute)] == []


def test_an_owner_issues_nothing_that_a_fenced_host_leases_and_that_is_durable_before_it_says_so() -> None:
    solo = standing_alone()

    answers = solo.hear(B, Dispute(7, (Range(ip("10.0.0.1"), ip("10.0.0.3")),)))

    assert answers == [Disputed(7)]
    assert isinstance(solo.effects[0], Persist)
    solo.restart()
    assert str(solo.allocate("web").address) == "10.0.0.3"
    assert "addresses in doubt" in str(status(solo)["warnings"]) or "in doubt" in str(status(solo)["warnings"])


def doubted() -> Solo:
    solo = standing_alone()
    solo.hear(B, Dispute(7, (Range(ip("10.0.0.1"), ip("10.0.0.5")),)))
    return solo


def test_what_an_operator_resolves_is_issued_again_and_the_rest_stays_in_doubt() -> None:
    solo = doubted()

    answer = solo.answer(Resolve(ip("10.0.0.2"), ip("10.0.0.4")))

    assert answer == {"resolved": ["10.0.0.2", "10.0.0.3"]}
    assert sorted(solo.stored.conflicts) == [
        (ip("10.0.0.1"), ip("10.0.0.2")),
        (ip("10.0.0.4"), ip("10.0.0.5")),
    ]
    assert any(owned.start <= ip("10.0.0.2") < owned.end for owned in solo.peer.possessed())
    assert isinstance(solo.answer(claim("web", "10.0.0.2", 28)), Leased)


def test_resolving_where_nothing_is_in_doubt_is_an_error() -> None:
    assert isinstance(doubted().answer(Resolve(ip("10.0.0.9"), ip("10.0.0.10"))), NotFoundError)


@pytest.mark.parametrize(("take", "owner", "size"), [(False, B, 8), (True, ME, 16)])
def test_resolving_leaves_ownership_to_the_ring_unless_this_host_takes_it(take: bool, owner: str, size: int) -> None:
    solo = standing_alone()
    solo.hear(B, Rumour(1, (entry(HALF, B, C, 9),), ()))
    assert solo.stored.conflicts

    solo.answer(Resolve(*HALF, take=take))

    assert solo.peer.ring is not None
    assert solo.peer.ring.at(HALF.start).owner == owner
    assert solo.peer.ring.at(HALF.start).epoch == int(take), "an epoch of its own beats whatever was written"
    assert solo.stored.conflicts == {}
    assert sum(owned.size for owned in solo.peer.possessed()) == size


def test_an_answer_to_a_probe_tells_how_far_the_history_has_come() -> None:
    solo = standing_alone()
    told_point(solo)

    answers = [answer for answer in solo.hear(B, Ping(3)) if isinstance(answer, Ack)]

    assert [answer.point is not None for answer in answers] == [True]
