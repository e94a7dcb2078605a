"""Exploration of the core as it is finds nothing; with one rule taken out it finds what that rule prevents."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from ringipam.claim import Claim, Segment
from ringipam.core import allocator, donor, election, outbox, state
from ringipam.core.durable import Change, PutAcceptor, PutMember, PutTokens
from ringipam.core.events import Allocate, ClaimAddress, Leased, Persist, Release, Send
from ringipam.core.settings import Settings
from ringipam.messages import (
    Body,
    Denial,
    Denied,
    DenyRemoval,
    Depart,
    Envelope,
    Farewell,
    Grant,
    Introduced,
    Promise,
    Ranges,
    Rejected,
    RoundOver,
    SpaceRequest,
)
from ringipam.ring import ring
from ringipam.ring.ring import Changed, Joined, Ring
from sim.__main__ import main
from sim.explore.node import Hosts, Node, Wait
from sim.explore.search import Result, Search, explore
from sim.explore.worlds import BY_NAME, WORLDS, Part, World
from sim.mutants import MUTANTS, Mutant
from sim.mutants.command import explored

STATES_MAX = 300_000
DANGER_STATES = 50_000
SLACK = 3
"""A protocol may come to need a message or two more; much longer ways are not the shortest."""

Plant = Callable[[pytest.MonkeyPatch], None]


def bounded(name: str, **limits: object) -> World:
    """A world with fewer things that may happen in it."""
    world = BY_NAME[name]
    waits = limits.pop("waits", None)
    world = replace(world, **limits)  # type: ignore[arg-type]
    if waits is not None:
        world = replace(world, parts=tuple(replace(part, waits=waits) for part in world.parts))  # type: ignore[arg-type]
    return world


# ── the core as it is ────────────────────────────────────────────────────────────────────────────


def counts(result: Result) -> tuple[int, int, int, int]:
    return result.states, result.transitions, result.host_states, result.depth


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_nothing_is_broken_a_few_steps_into_any_world(world: World) -> None:
    result = explore(world, depth=6)

    assert result.violation is None, "\n".join((result.violation or "", *result.trace))
    assert result.depth == 6
    assert result.states > 30


def test_a_small_world_is_explored_to_its_end() -> None:
    result = explore(bounded("grant", crashes=0, copies=0))

    assert result.violation is None
    assert result.exhausted


def test_exploring_again_gives_the_same_counts() -> None:
    first, second = (explore(BY_NAME["claim"], depth=7) for _ in range(2))

    assert counts(first) == counts(second)


def test_what_may_happen_more_often_leads_to_more_states() -> None:
    sizes = [explore(bounded("grant", crashes=crashes, copies=0), depth=6).states for crashes in (0, 1)]
    sizes += [explore(bounded("grant", crashes=1, copies=1), depth=6).states]

    assert sizes == sorted(set(sizes))


def danger(name: str, situation: Callable[[Body], bool], **limits: object) -> object:
    return pytest.param(bounded(name, **limits), situation, id=f"{name}: {situation.__name__}")


def granted(body: Body) -> bool:
    return isinstance(body, Grant)


def refused_as_it_is_in_use(body: Body) -> bool:
    return isinstance(body, Denied) and body.reason is Denial.IN_USE


def a_rest_travels(body: Body) -> bool:
    return isinstance(body, Grant) and bool(body.rests)


def old_news_is_told(body: Body) -> bool:
    return isinstance(body, Ranges) and body.answer


def an_acceptor_tells_what_it_accepted(body: Body) -> bool:
    return isinstance(body, Promise) and body.accepted is not None


def a_lower_ballot_comes_too_late(body: Body) -> bool:
    return isinstance(body, Rejected) and body.promised is not None


def a_witness_vouches(body: Body) -> bool:
    return isinstance(body, Introduced)


def somebody_is_bound_to_another_round(body: Body) -> bool:
    return isinstance(body, DenyRemoval) and body.coordinator != ""


def an_epoch_was_seen_already(body: Body) -> bool:
    return isinstance(body, DenyRemoval) and body.seen > 0


def a_round_is_aborted(body: Body) -> bool:
    return isinstance(body, RoundOver) and not body.done


def a_takeover_is_above_another(body: Body) -> bool:
    return isinstance(body, RoundOver) and any(segment.claim.epoch > 1 for segment in body.segments)


def an_heir_confirms(body: Body) -> bool:
    return isinstance(body, Depart) and body.gifts != ()


def nobody_wants_to_inherit(body: Body) -> bool:
    return isinstance(body, Farewell) and not body.willing


@pytest.mark.parametrize(
    ("world", "situation"),
    [
        danger("grant", granted, crashes=0),
        danger("claim", refused_as_it_is_in_use, waits=0, copies=0),
        danger("release-and-move", a_rest_travels, copies=0, requests=4),
        danger("three-grants", old_news_is_told, requests=1),
        danger("election-in-a-line", an_acceptor_tells_what_it_accepted, crashes=0),
        danger("election-in-a-line", a_lower_ballot_comes_too_late, crashes=0),
        danger("newcomer", a_witness_vouches, waits=0),
        danger("newcomer", granted, waits=0),
        danger("removal", somebody_is_bound_to_another_round, ends_well=False),
        danger("removal", an_epoch_was_seen_already, ends_well=False),
        danger("removal", a_round_is_aborted, ends_well=False),
        danger("removal-upon-removal", a_takeover_is_above_another, ends_well=False),
        danger("leave", an_heir_confirms),
        danger("two-leave", nobody_wants_to_inherit, ends_well=False, waits=0),
    ],
)
def test_worlds_get_to_where_it_is_dangerous(world: World, situation: Callable[[Body], bool]) -> None:
    search = Search(world, lambda _: None)

    assert search.run(20, DANGER_STATES).violation is None

    messages = (packet.message for packet in search.hosts.packets)
    assert any(isinstance(message, Envelope) and situation(message.body) for message in messages)


class Doubting(Hosts):
    """Keeps two more images of each state, as it was met by other ways."""

    def __init__(self, settings: list[Settings], *, quick_disks: bool) -> None:
        super().__init__(settings, quick_disks=quick_disks)
        self.others: dict[int, list[bytes]] = {}

    def _number(self, place: int, node: Node) -> int:
        number = super()._number(place, node)
        others = self.others.setdefault(number, [])
        if len(others) < 3:
            others.append(self._shared.dump(node))
        return number


@pytest.mark.parametrize(("world", "depth"), [("lost-grant", 8), ("restart-and-move", 6), ("newcomer", 9)])
def test_states_that_count_as_one_behave_as_one(monkeypatch: pytest.MonkeyPatch, world: str, depth: int) -> None:
    monkeypatch.setattr("sim.explore.search.Hosts", Doubting)
    search = Search(BY_NAME[world], lambda _: None)
    hosts = search.hosts
    assert isinstance(hosts, Doubting)
    assert search.run(depth, None).violation is None

    compared = 0
    for (local, happening), outcomes in list(hosts.outcomes.items()):
        for image in hosts.others[local][1:]:
            assert hosts.work_out(local, image, happening) == outcomes
            compared += 1

    assert compared > 100


# ── planted bugs ─────────────────────────────────────────────────────────────────────────────────


def a_donor_keeps_what_it_grants(patch: pytest.MonkeyPatch) -> None:
    class Forgetful(donor.Donor):
        def give(self, asker: str, number: int, block: object) -> None:
            join, self._state.join = self._state.join, lambda *_: None  # type: ignore[method-assign,assignment]
            super().give(asker, number, block)  # type: ignore[arg-type]
            self._state.join = join  # type: ignore[method-assign]

    patch.setattr("ringipam.core.peer.Donor", Forgetful)


def answers_do_not_wait_for_the_disk(patch: pytest.MonkeyPatch) -> None:
    def hasty(self: outbox.Outbox) -> list[object]:
        seen = [effect for effect in self._queue if not isinstance(effect, Persist)]
        persists = [effect for effect in self._queue if isinstance(effect, Persist)]
        self._queue.clear()
        self._queue.extend(persists)
        return seen  # type: ignore[return-value]

    patch.setattr(outbox.Outbox, "visible", hasty)


def grants_do_not_wait_for_the_disk(patch: pytest.MonkeyPatch) -> None:
    visible = outbox.Outbox.visible

    def hasty(self: outbox.Outbox) -> list[outbox.Visible]:
        sends: list[outbox.Visible] = [effect for effect in self._queue if isinstance(effect, Send)]
        others = [effect for effect in self._queue if not isinstance(effect, Send)]
        self._queue.clear()
        self._queue.extend(others)
        return [*sends, *visible(self)]

    patch.setattr(outbox.Outbox, "visible", hasty)


def a_grant_does_not_raise_the_version(patch: pytest.MonkeyPatch) -> None:
    def unraised(run: list[Segment], owner: str, writer: str) -> Segment:
        version = max(segment.claim.version for segment in run)
        return Segment(run[0].start, run[-1].end, Claim(run[0].claim.epoch, version, owner, writer))

    patch.setattr(ring, "_restamped", unraised)


def what_comes_in_wins(patch: pytest.MonkeyPatch) -> None:
    def compare(self: Ring, theirs: list[Segment]) -> tuple[list[Changed], list[int], list[Changed]]:
        changed, where = [], []
        for start, end, claim in theirs:
            while start < end:
                index = bisect_right(self._bounds, start) - 1
                stop = min(self._bounds[index + 1], end)
                if self._claims[index] != claim and claim.owner:
                    changed.append(Changed(start, stop, self._claims[index], claim))
                    where.append(index)
                start = stop
        return changed, where, []

    patch.setattr(Ring, "_compare", compare)


def a_range_ends_where_the_next_token_starts(patch: pytest.MonkeyPatch) -> None:
    join = state.State.join

    def stretched(
        self: state.State, segments: Iterable[Segment], source: str, *more: object, **named: object
    ) -> Joined:
        assert self.ring is not None
        if source != self.me:
            bounds = self.ring._bounds
            segments = [Segment(start, bounds[bisect_right(bounds, start)], claim) for start, _, claim in segments]
        return join(self, segments, source, *more, **named)  # type: ignore[arg-type]

    patch.setattr(state.State, "join", stretched)


def forgets(kind: type, *, but_mine: bool = False) -> Plant:
    """Changes of this kind stay in memory."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        change = state.State.change

        def forgetful(self: state.State, what: Change) -> None:
            mine = isinstance(what, PutTokens) and any(claim.owner == self.me for _, claim in what.put)
            if not isinstance(what, kind) or (but_mine and mine):
                change(self, what)

        patch.setattr(state.State, "change", forgetful)

    plant.__name__ = f"forgets_{kind.__name__}"
    return plant


def every_elector_decides_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(election.Election, "_quorum", lambda *_: 1)


def what_was_accepted_is_not_proposed_again(patch: pytest.MonkeyPatch) -> None:
    promised = election.Election.promised

    def deaf(self: election.Election, sender: str, promise: Promise) -> None:
        promised(self, sender, replace(promise, accepted_ballot=None, accepted=None))

    patch.setattr(election.Election, "promised", deaf)


def a_copy_of_a_request_is_granted_again(patch: pytest.MonkeyPatch) -> None:
    asked = donor.Donor.asked

    def again(self: donor.Donor, asker: str, request: SpaceRequest) -> None:
        self._state.answered.pop(asker, None)
        asked(self, asker, request)

    patch.setattr("ringipam.core.peer.Donor.asked", again)


def a_leased_address_is_granted(patch: pytest.MonkeyPatch) -> None:
    def blind(self: donor.Donor, asker: str, request: SpaceRequest) -> None:
        if self._state.owns(request.start, request.end):
            self.give(asker, request.number, donor.Range(request.start, request.end))

    patch.setattr(donor.Donor, "_give_exactly", blind)


def everything_is_mine(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state.State, "owns", lambda *_: True)


def a_release_frees_whatever_the_id_holds(patch: pytest.MonkeyPatch) -> None:
    release = allocator.Allocator.release

    def careless(self: allocator.Allocator, request: int, verb: Release) -> None:
        release(self, request, replace(verb, lease=None))

    patch.setattr(allocator.Allocator, "release", careless)


def callers_that_left_are_served(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(allocator.Allocator, "cancel", lambda *_: None)


def asking_again_is_a_new_request(patch: pytest.MonkeyPatch) -> None:
    allocate = allocator.Allocator._allocate

    def forgetful(self: allocator.Allocator, waiting: allocator._Waiting, verb: Allocate) -> object:
        of, self._state.leases.of = self._state.leases.of, lambda _: []  # type: ignore[method-assign]
        try:
            return allocate(self, waiting, verb)
        finally:
            self._state.leases.of = of  # type: ignore[method-assign]

    patch.setattr(allocator.Allocator, "_allocate", forgetful)


def a_newcomer_needs_no_witness(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(donor.Donor, "_vouched", lambda *_: True)


def claims_ask_nobody(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: allocator.Allocator, waiting: allocator._Waiting, verb: ClaimAddress) -> Leased:
        subnet = allocator.enclosing(verb.family, verb.address, verb.prefix_len)
        return Leased(self._issue(verb.id, verb.family, verb.address, subnet, "static", verb.labels), new=True)

    patch.setattr(allocator.Allocator, "_claim", at_once)


TWICE = (Allocate("a1", None, 1_000), Allocate("a1", None, 1_000))


@pytest.mark.parametrize(
    ("plant", "world", "steps", "found"),
    [
        (a_donor_keeps_what_it_grants, bounded("grant", crashes=0, copies=0), 6, "both possess"),
        (answers_do_not_wait_for_the_disk, bounded("grant"), 1, "before that was durable"),
        (grants_do_not_wait_for_the_disk, bounded("grant", crashes=0), 4, "(if it restarts) both possess"),
        (a_grant_does_not_raise_the_version, bounded("grant"), 5, "a conflict was recorded"),
        (what_comes_in_wins, bounded("three-grants", requests=1), 9, "both possess"),
        (a_range_ends_where_the_next_token_starts, bounded("three-grants"), 6, "both possess"),
        (forgets(PutTokens, but_mine=True), bounded("three-grants"), 4, "memory and disk differ in the ring"),
        (forgets(PutAcceptor), bounded("election-in-a-line"), 17, "formed two rings"),
        (every_elector_decides_alone, bounded("election"), 10, "formed two rings"),
        (what_was_accepted_is_not_proposed_again, bounded("election-in-a-line", crashes=0), 24, "formed two rings"),
        (a_copy_of_a_request_is_granted_again, bounded("release-and-move"), 5, "was granted twice"),
        (a_leased_address_is_granted, bounded("claim"), 6, "both lease"),
        (everything_is_mine, bounded("claim"), 2, "both lease"),
        (claims_ask_nobody, bounded("claim"), 2, "both lease"),
        (a_release_frees_whatever_the_id_holds, bounded("release-and-move"), 7, "web"),
        (callers_that_left_are_served, bounded("release-and-move"), 5, "after its caller had gone"),
        (asking_again_is_a_new_request, bounded("grant", parts=(Part(((0, 4),), TWICE), Part())), 4, "was told of"),
        (a_newcomer_needs_no_witness, bounded("newcomer", waits=0), 12, "only one other knows it durably"),
        (forgets(PutMember), bounded("newcomer", waits=0), 13, "only one other knows it durably"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found_by_a_shortest_way(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, world: World, steps: int, found: str
) -> None:
    plant(monkeypatch)

    result = explore(world, depth=50, states_max=STATES_MAX)

    assert result.violation is not None, f"not found in {result.states} states"
    assert found in result.violation
    assert 0 < len(result.trace) <= steps + SLACK, "\n".join(result.trace)


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS.values() if mutant.explored is not None], ids=lambda mutant: mutant.name
)
def test_a_mutant_of_removal_or_leaving_is_found_by_a_shortest_way(mutant: Mutant) -> None:
    assert mutant.explored is not None

    result = explored(mutant)

    assert result.violation is not None, f"not found in {result.states} states"
    assert mutant.explored.found in result.violation
    assert 0 < len(result.trace) <= mutant.explored.steps + SLACK, "\n".join(result.trace)


def test_a_host_that_is_gone_answers_nothing_and_is_answered_nothing() -> None:
    search = Search(BY_NAME["three-coordinators"], lambda _: None)
    search.run(6, 1_000)

    dead = [number for number, local in enumerate(search.hosts.locals) if not local.image]
    assert len(dead) == 3
    assert all(search.hosts.after(local, Wait(1_000)) == () for local in dead)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_how_much_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--world", "grant", "--depth", "4", "--crashes", "0"]) == 0

    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("grant"))
    assert row[1:4] == ["2", "3", "0"]
    assert row[9:12] == ["4", "to", "there"]


def test_the_command_ends_with_1_and_the_way_there_if_something_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    everything_is_mine(monkeypatch)

    assert main(["explore", "--world", "claim", "--json"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert "both lease 10.0.0.2" in told["violation"]
    assert sorted(told["trace"]) == ["h1: claim 10.0.0.2 for web", "h2: allocate web"]


@pytest.mark.parametrize("arguments", [["--world", "atlantis"], ["--depth", "-1"], ["--states", "many"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["explore", *arguments])

    assert exit_.value.code == 2
