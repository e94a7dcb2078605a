"""With one rule of safety.md taken out of the core, the test that stands for it fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import test_blocks as blocks
import test_leaving as leaving
import test_lost_memory as lost
import test_removal as removal
import test_weave_defects as weave

from ringipam.core.allocator import Allocator
from ringipam.core.disputes import Disputes
from ringipam.core.donor import Donor
from ringipam.core.leases import LeaseBook
from ringipam.core.leaving import Leaving
from ringipam.core.links import Links
from ringipam.core.memory import Memory
from ringipam.core.peer import Peer
from ringipam.core.pledges import Pledges
from ringipam.core.removal import Removals
from ringipam.core.spreading import Spreading
from ringipam.core.state import State
from sim.mutants import Edit, edited

Rule = Callable[[], None]


def without(name: str, test: Rule, *edits: Edit) -> object:
    return pytest.param(test, edits, id=name)


@pytest.mark.parametrize(
    ("test", "edits"),
    [
        without(
            "W16: who does not name a block gets no address of it",
            blocks.test_no_address_of_a_block_goes_to_one_who_does_not_name_it,
            Edit(LeaseBook.barred, "else self.blocked(*subnet)", "else []"),
        ),
        without(
            "W16: nor claims one",
            blocks.test_an_address_inside_a_block_is_claimed_only_by_its_own_subnet,
            Edit(Allocator._claim, "if lease is None and verb.family", "if False and verb.family"),
        ),
        without(
            "W16: two blocks never overlap",
            blocks.test_no_block_is_made_inside_another,
            Edit(Allocator._allocate_block, ", state.leases.blocked(*within.range))", ")"),
        ),
        without(
            "W16: no part of a block is donated",
            blocks.test_no_part_of_a_block_is_given_away,
            Edit(Donor._give_some, "pieces = difference(pieces, blocks)", "pass"),
        ),
        without(
            "W16: nor granted to one who claims it",
            blocks.test_no_part_of_a_block_is_given_away,
            Edit(Donor._give_exactly, "blocks_within(*wanted)", "blocks_within(0, 0)"),
        ),
        without(
            "S1: suspensions are durable",
            removal.test_s1_what_a_dead_peer_granted_and_was_learned_after_the_promise_is_not_possessed_nor_after_a_restart,
            Edit(State.suspend, "self.change(Suspensions(", "bool(Suspensions("),
        ),
        without(
            "S1: promises are durable",
            removal.test_s1_a_promise_outlives_a_restart,
            Edit(Pledges.make, "state.change(PutPledge(coordinator, pledge))", "pass"),
        ),
        without(
            "S2: a restamp is of what is possessed",
            removal.test_s2_what_is_suspended_is_neither_granted_nor_restamped,
            Edit(Donor.tick, "for mine in state.possessed() for run", "for mine in [state.extent] for run"),
        ),
        without(
            "S4: members of members answer too",
            removal.test_s4_members_that_only_another_member_knows_must_answer_too,
            Edit(Removals.promised, "state.learn_names(promise.members, member)", "pass"),
        ),
        without(
            "S8: what the dead wrote and nobody possesses is taken over",
            removal.test_s8_what_a_dead_peer_granted_to_one_that_does_not_possess_it_is_taken_over_too,
            Edit(Removals._to_take, "for start, end in held:", "for start, end in ((segment.start, segment.end),):"),
        ),
        without(
            "S8: answers tell of possession, not of ownership",
            removal.test_s8_what_a_dead_peer_granted_to_one_that_possesses_it_stays_there,
            Edit(Removals._to_take, "left.discard(start, end)", "pass"),
        ),
        without(
            "S9: bound to one round at a time",
            removal.test_s9_a_member_is_bound_to_one_round_at_a_time_and_says_whose,
            Edit(Pledges.other, "return other", "continue"),
        ),
        without(
            "S9: the lower priority aborts",
            removal.test_s9_of_two_coordinators_the_one_of_lower_priority_gives_way_durably_before_it_promises,
            Edit(Pledges._objection, "bound == state.me and coordinator < state.me", "False"),
        ),
        without(
            "S9: nothing is written in an aborted round",
            removal.test_s9_of_two_coordinators_the_one_of_lower_priority_gives_way_durably_before_it_promises,
            Edit(Removals._abort, "open_, self._open = self._open, None", "open_ = self._open"),
            Edit(Removals._abort, "self._drop(open_.epoch)", "self.pledges.end(self._state.me)"),
        ),
        without(
            "S9: a restarted coordinator aborts",
            removal.test_s9_a_restarted_coordinator_aborts_what_it_had_not_committed,
            Edit(Removals.start, "if not found.done", "if False"),
        ),
        without(
            "S9: epochs are promised upwards only",
            removal.test_s9_an_epoch_is_promised_only_above_all_that_were_promised_or_seen_and_that_is_durable,
            Edit(State.raise_epoch, 'self.change(PutMeta("epoch", str(epoch)))', "pass"),
        ),
        without(
            "S9: unbound after joining the takeover",
            removal.test_s9_members_are_unbound_in_the_record_in_which_they_join_the_takeover,
            Edit(Pledges.over, "if message.done:", "if False:"),
        ),
        without(
            "S10: whoever has gone is removed again",
            removal.test_s10_a_takeover_that_nobody_saw_comes_after_its_coordinator_was_removed_and_is_removed_again,
            Edit(Pledges.out, "peer in targets or self._state.members.gone(peer)", "False"),
        ),
        without(
            "S10: tombstones fence",
            removal.test_s10_the_fence_on_a_removed_peer_stays_over_rounds_and_restarts,
            Edit(State.fences, "self.members.gone(peer) or", ""),
        ),
        without(
            "S10: nothing is granted to the fenced",
            removal.test_s10_nothing_is_granted_to_one_that_was_removed,
            Edit(
                Donor.eligible,
                "return not self._state.fences(peer) and self._state.members.standing(peer) is Standing.MEMBER",
                "return True",
            ),
        ),
        without(
            "S10: a removal can be repeated",
            removal.test_s10_what_a_member_was_granted_that_a_forced_removal_did_not_hear_is_taken_by_the_next_one,
            Edit(Removals._satisfy, "not wish.again and ", ""),
        ),
        without(
            "S11: leaving is durable",
            leaving.test_s11_leaving_is_durable_before_anybody_is_told_and_goes_on_after_a_restart,
            Edit(State.come_to, "self.change(PutMember(me.peer, me.address, standing))", "pass"),
        ),
        without(
            "S11: all promise first",
            leaving.test_s11_a_leaver_gives_nothing_away_before_every_member_has_promised_to_grant_it_no_more,
            Edit(Leaving._advance, "    if not self._missing(going):\n", "    if True:\n"),
        ),
        without(
            "S11: members show what the leaver owns",
            leaving.test_s11_a_grant_that_was_on_its_way_reaches_the_leaver_before_it_goes_and_is_passed_on,
            Edit(Leaving.said, "state.join(farewell.segments, peer)", "pass"),
        ),
        without(
            "S11: the heirs have it durably",
            leaving.test_s11_a_leaver_is_not_gone_before_its_heirs_have_its_ranges_durably_and_says_for_whom_it_waits,
            Edit(Leaving._advance, "if not self._missing(going) and not self._owned() and", "if not self._owned() and"),
        ),
        without(
            "S11: heirs consent",
            leaving.test_s11_only_who_is_willing_becomes_an_heir,
            Edit(Leaving._bequeath, "going.willing.get(peer) and ", ""),
        ),
        without(
            "S11: leavers do not inherit",
            leaving.test_s11_of_two_leavers_neither_becomes_the_others_heir,
            Edit(Leaving.departed, "and state.members.me.standing is Standing.MEMBER", ""),
        ),
        without(
            "S11: nobody leaves while a removal counts on its view",
            leaving.test_s11_who_coordinates_a_removal_lets_nobody_leave_before_it_is_over,
            Edit(Leaving.departed, "self._removals.coordinating or ", ""),
        ),
        without(
            "S11: who has promised to fence the leaver off does not consent",
            leaving.test_s11_who_has_promised_the_removal_of_the_leaver_consents_when_that_is_over,
            Edit(Leaving.departed, " or state.fences(leaver)", ""),
        ),
        without(
            "S11: who is bound to a removal does not go",
            leaving.test_s11_a_leaver_that_is_bound_to_a_removal_goes_when_that_is_over,
            Edit(Leaving._advance, " and not self._removals.pledges.bound", ""),
        ),
        without(
            "S11: leavers are granted nothing",
            leaving.test_s11_nothing_is_granted_to_a_leaver_also_not_after_a_restart,
            Edit(Donor.eligible, "and self._state.members.standing(peer) is Standing.MEMBER", ""),
        ),
        without(
            "S11: no process confirms what a former one asked",
            leaving.test_s11_the_word_of_a_former_process_confirms_nothing,
            Edit(Leaving._setting_out, "(self._state.boot << 32) + 1", "1"),
        ),
        without(
            "S12: the history is a chain",
            lost.test_s12_a_disk_that_went_back_is_noticed_though_its_numbers_have_caught_up,
            Edit(Memory.objection, "if point.number > self._last_of(point.nonce):", "if False:"),
            Edit(Memory.objection, 'known == point.head else "', 'True else "'),
            Edit(Memory.objection, "if forgotten else", "if True else"),
        ),
        without(
            "S12: points are durable",
            lost.test_s12_a_member_keeps_the_furthest_point_of_each_other_durably_and_holds_it_against_the_peer,
            Edit(State.save_points, "self.change(PutPoint(peer, self.points[peer]))", "pass"),
        ),
        without(
            "S12: what is told is durable before",
            lost.test_s12_what_is_told_of_ones_own_history_is_durable_before,
            Edit(State.save_points, "self.change(published)", "pass"),
        ),
        without(
            "S12: points are held against the peer",
            lost.test_s12_a_disk_on_which_only_leases_went_back_is_noticed_and_what_is_held_is_served,
            Edit(Spreading.recalled, "state.confront(recall.point, sender)", "pass"),
        ),
        without(
            "S12: own unknown entries",
            lost.test_s12_an_entry_of_its_own_that_a_peer_does_not_know_shows_that_it_has_lost_memory,
            Edit(State._recognise, "new.writer == self.me and", "False and"),
        ),
        without(
            "S12: nobody forgets over a newcomer's word",
            lost.test_s12_what_a_newcomer_heard_of_a_rolled_back_peer_does_not_make_others_forget,
            Edit(State.note_point, "and (confronted or point.nonce == known.nonce)", ""),
        ),
        without(
            "S12: a fence is durable",
            lost.test_s12_a_fence_holds_over_a_restart,
            Edit(State.fence, 'self.change(PutMeta("fenced", reason))', "pass"),
        ),
        without(
            "S13: nonces are durable",
            lost.test_s13_every_process_has_a_nonce_of_its_own_and_knows_all_before,
            Edit(Peer.start, "state.change(state.memory.begin())", "state.memory.begin()"),
        ),
        without(
            "S13: one's own former processes are no twins",
            lost.test_s13_a_late_rumour_of_ones_own_former_process_is_no_clone,
            Edit(Memory.objection, "point.nonce not in self._boots", "point.nonce != self.nonce"),
        ),
        without(
            "S13: a twin's greeting",
            lost.test_s13_a_twin_is_noticed_by_its_greeting,
            Edit(Links.greeted, 'if hello.nonce not in ("", self._state.memory.nonce):', "if False:"),
        ),
        without(
            "S13: third parties tell, the newest does not win",
            lost.test_s13_of_two_twins_each_is_told_of_the_other_by_whoever_hears_both,
            Edit(Spreading._place, "self._router.send(sender, Recall(before))", "pass"),
        ),
        without(
            "S23: the fenced promise nothing",
            removal.test_s23_a_fenced_member_promises_nothing,
            Edit(Pledges._objection, "if state.hold:", "if False:"),
        ),
        without(
            "S23: the fenced do not inherit",
            removal.test_s23_a_fenced_member_is_no_heir,
            Edit(Leaving.departed, "willing = not state.hold and", "willing ="),
        ),
        without(
            "S23: the fenced issue nothing",
            removal.test_s23_a_fenced_member_grants_and_issues_nothing_removes_nobody_and_goes_on_serving_over_a_restart,
            Edit(Allocator._held_up, "bool(self._state.hold) or", ""),
        ),
        without(
            "S23: the fenced take nothing over",
            removal.test_s23_a_coordinator_that_is_fenced_meanwhile_takes_nothing_over,
            Edit(Removals._advance, "if state.fenced:", "if False:"),
        ),
        without(
            "D7: owners are told what is in doubt",
            weave.test_d7_a_live_busy_peer_that_is_removed_by_force_goes_on_serving_and_both_sides_list_what_is_in_doubt,
            Edit(Disputes._tell, "self._router.send(owner, Dispute(self._number, ranges))", "pass"),
        ),
        without(
            "D7: the removed learn of it",
            weave.test_d7_a_live_busy_peer_that_is_removed_by_force_goes_on_serving_and_both_sides_list_what_is_in_doubt,
            Edit(State._check_own, "if member.standing.value > mine.standing.value:", "if False:"),
        ),
    ],
)
def test_without_a_rule_its_test_fails(test: Rule, edits: tuple[Edit, ...]) -> None:
    with edited(edits), pytest.raises((AssertionError, AttributeError, KeyError, IndexError)):
        test()
