"""Breadth-first through every state of a small world, each looked at once; the first broken one ends the search.

A state of the world is a tuple of numbers: of each host's state, of the messages on their way, of what may still
happen. As the search is breadth-first, the way to what is broken is a shortest one.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from ringipam.claim import Claim, Segment
from ringipam.core.durable import Membered, Stored
from ringipam.core.settings import name_of
from ringipam.messages import Standing
from ringipam.ring.ring import Ring
from sim.checkers.possession import overlap
from sim.explore.node import Commit, Crash, Deliver, Die, Facts, Happening, Hosts, Mourn, Relink, Say, View, Wait
from sim.explore.telling import Step, describe
from sim.explore.worlds import RETRY_MS, RemoveDead, World, settings

SETTLE_ROUNDS = 3
PROGRESS_S = 2.0

State = tuple[int, ...]
"""Number of the state of each host, of the messages on their way, of what is left."""


class Left(NamedTuple):
    """What has been used of what may happen on a path."""

    asked: tuple[int, ...]
    """Requests of each host."""
    waits: tuple[int, ...]
    """Of each host."""
    crashes: int
    copies: int
    links: int
    """How many of the late links stand."""
    dead: tuple[int, ...] = ()
    """Who is no more, in order."""


@dataclass(frozen=True, slots=True)
class Result:
    world: World
    states: int
    transitions: int
    host_states: int
    """How many states of single hosts these are made of."""
    depth: int
    """Every state that is up to so many steps away was looked at."""
    exhausted: bool
    """And there are no others."""
    seconds: float
    violation: str | None = None
    trace: tuple[str, ...] = ()
    """A shortest way to the violation."""


class _Found(Exception):  # noqa: N818  it is what one looks for
    def __init__(self, text: str, step: Step | None) -> None:
        super().__init__(text)
        self.text = text
        self.step = step


def explore(
    world: World,
    depth: int | None = None,
    states_max: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Look at every state up to `depth` steps away, or at the first `states_max` of them."""
    return Search(world, progress).run(world.depth if depth is None else depth, states_max)


class Search:
    """One exploration, to be run once."""

    def __init__(self, world: World, progress: Callable[[str], None]) -> None:
        self._world = world
        self._progress = progress
        self._places = range(len(world.parts))
        self.hosts = Hosts([settings(world, place) for place in self._places], quick_disks=world.quick_disks)
        self._flights: dict[tuple[int, ...], int] = {(): 0}
        self._packets_of: list[tuple[int, ...]] = [()]
        self._moves: dict[tuple[int, int, tuple[int, ...]], int] = {}
        self._lefts: dict[Left, int] = {}
        self._left_of: list[Left] = []
        self._verdicts: dict[tuple[int, int], str] = {}
        self._endings: dict[State, str] = {}
        self._delivers: list[Deliver] = []
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self._before = array("l")
        self._steps: list[Step | None] = []
        self._transitions = 0

    def run(self, depth: int, states_max: int | None) -> Result:
        begin = told = time.perf_counter()
        violation: str | None = None
        trace: tuple[str, ...] = ()
        reached = 0
        frontier: Sequence[int] = ()
        index = -1
        try:
            root = self._root()
            self._judge(root)
            self._add(root, -1, None)
            frontier = range(1)
            while reached < depth and frontier:
                first = len(self._states)
                for index in frontier:
                    if states_max is not None and len(self._states) >= states_max:
                        break
                    for step, state in self._successors(self._states[index]):
                        self._transitions += 1
                        if state not in self._numbers:
                            self._judge(state, step)
                            self._add(state, index, step)
                    if time.perf_counter() - told > PROGRESS_S:
                        told = time.perf_counter()
                        self._progress(f"{self._world.name}: {len(self._states)} states, depth {reached + 1}")
                else:
                    reached += 1
                    frontier = range(first, len(self._states))
                    continue
                break
        except _Found as found:
            violation = found.text
            trace = self._trace(index, found.step)
        return Result(
            self._world,
            len(self._states),
            self._transitions,
            len(self.hosts.locals),
            reached,
            violation is None and not frontier,
            time.perf_counter() - begin,
            violation,
            trace,
        )

    # ── the beginning ────────────────────────────────────────────────────────────────────────────

    def _root(self) -> State:
        """All hosts are up and linked, and what they have to say to each other at first has been said."""
        world = self._world
        dead = tuple(place for place in self._places if world.parts[place].dead)
        locals_ = [
            self.hosts.dead(place) if place in dead else self.hosts.begin(place, self._disk(place))
            for place in self._places
        ]
        waiting: list[int] = []
        for one, other in combinations(self._living(dead), 2):
            if (one, other) not in (*world.late_links, *world.no_links):
                self._link(locals_, waiting, one, other)
        for place in self._living(dead):
            self._mourn(locals_, waiting, place, dead)
        self._settle(locals_, waiting, dead, 1_000)
        none = tuple(0 for _ in self._places)
        left = Left(none, none, 0, 0, 0, dead)
        for place in world.opening:
            say = self._say(place, left)
            assert say is not None
            self._happen(locals_, waiting, place, say)
            left = left._replace(asked=_one_more(left.asked, place))
        return (*locals_, self._flight(tuple(sorted(waiting))), self._left(left))

    def _settle(self, locals_: list[int], waiting: list[int], dead: tuple[int, ...], ms: int) -> None:
        """Time passes, so much in each round, and nothing strikes."""
        self._calm(locals_, waiting)
        for _ in range(SETTLE_ROUNDS):
            for place in self._living(dead):
                self._happen(locals_, waiting, place, Wait(ms))
            self._calm(locals_, waiting)

    def _living(self, dead: tuple[int, ...]) -> list[int]:
        return [place for place in self._places if place not in dead]

    def _mourn(self, locals_: list[int], packets: list[int], place: int, dead: tuple[int, ...]) -> None:
        for other in dead:
            self._happen(locals_, packets, place, Mourn(other, self._world.peers[other]))

    def _disk(self, place: int) -> Stored:
        world = self._world
        stored = Stored()
        if world.parts[place].ringless:
            return stored
        ring = Ring(world.universe.range)
        start = world.universe.start
        for peer, part in zip(world.peers, world.parts, strict=True):
            ring.join([Segment(start + lo, start + hi, Claim(0, 1, peer, peer)) for lo, hi in part.owns])
        stored.meta["cluster"] = "ring"
        stored.tokens.update(ring.tokens())
        for peer, name, part in zip(world.peers, world.names, world.parts, strict=True):
            if peer != world.peers[place] and not part.ringless:
                stored.members[peer] = Membered(f"{name}:6783", Standing.MEMBER)
        return stored

    def _happen(self, locals_: list[int], waiting: list[int], place: int, happening: Happening) -> None:
        """Let it happen, in the first of the ways it can; the root is no place for choices."""
        for outcome in self.hosts.after(locals_[place], happening)[:1]:
            if outcome.broken:
                raise _Found(outcome.broken, None)
            locals_[place] = outcome.local
            waiting.extend(outcome.sent)

    def _calm(self, locals_: list[int], waiting: list[int]) -> None:
        while True:
            writing = [place for place in self._places if self.hosts.locals[locals_[place]].writing]
            for place in writing:
                self._happen(locals_, waiting, place, Commit())
            if not writing and not waiting:
                return
            if waiting:
                deliver = self._deliver(waiting.pop(0))
                self._happen(locals_, waiting, deliver.packet.receiver, deliver)

    # ── what can happen next ─────────────────────────────────────────────────────────────────────

    def _successors(self, state: State) -> Iterator[tuple[Step, State]]:
        flight, left = state[-2:]
        yield from self._deliveries(state, flight, left)
        for place in self._places:
            if self.hosts.locals[state[place]].writing:
                yield from self._outcomes(state, place, Commit(), flight, left)
        yield from self._spending(state, flight, self._left_of[left])

    def _deliveries(self, state: State, flight: int, left: int) -> Iterator[tuple[Step, State]]:
        packets = self._packets_of[flight]
        used = self._left_of[left]
        before = -1
        for packet in packets:
            if packet == before:
                continue
            before = packet
            deliver = self._deliver(packet)
            place = deliver.packet.receiver
            yield from self._outcomes(state, place, deliver, self._moved(flight, packet, ()), left)
            if used.copies < self._world.copies:
                copied = self._left(used._replace(copies=used.copies + 1))
                yield from self._outcomes(state, place, deliver, flight, copied, "and a copy is on its way")

    def _spending(self, state: State, flight: int, used: Left) -> Iterator[tuple[Step, State]]:
        """Whatever may happen only so often."""
        world = self._world
        for place in self._places:
            part = world.parts[place]
            if place in used.dead:
                continue
            say = self._say(place, used)
            if say is not None:
                left = self._left(used._replace(asked=_one_more(used.asked, place)))
                yield from self._outcomes(state, place, say, flight, left)
            if part.dies and used.dead.count(place) == 0 and self._died(used) < world.deaths:
                yield self._dies(state, place, used)
            if used.waits[place] < part.waits:
                left = self._left(used._replace(waits=_one_more(used.waits, place)))
                for ms in world.waits_ms:
                    yield from self._outcomes(state, place, Wait(ms), flight, left)
            if used.crashes < world.crashes and place in (world.crashing or self._places):
                left = self._left(used._replace(crashes=used.crashes + 1))
                yield self._crashed(state, place, Crash(finished=False), left)
                if self.hosts.locals[state[place]].writing:
                    yield self._crashed(state, place, Crash(finished=True), left)
        if used.links < len(world.late_links):
            yield self._linked(state, *world.late_links[used.links], self._left(used._replace(links=used.links + 1)))

    def _outcomes(
        self, state: State, place: int, happening: Happening, flight: int, left: int, note: str = ""
    ) -> Iterator[tuple[Step, State]]:
        for number, outcome in enumerate(self.hosts.after(state[place], happening)):
            if outcome.broken:
                raise _Found(outcome.broken, Step(place, happening, note))
            if outcome.local == state[place] and not outcome.sent:
                continue  # what makes no difference now may as well come later, or never
            step = Step(place, happening, note or ("by another choice" if number else ""))
            sent = self._moved(flight, -1, outcome.sent) if outcome.sent else flight
            yield step, (*state[:place], outcome.local, *state[place + 1 : -2], sent, left)

    def _say(self, place: int, used: Left) -> Say | None:
        """The next request there, if there is one and it makes sense now."""
        world = self._world
        asks, nth = world.parts[place].asks, used.asked[place]
        if nth >= len(asks) or (world.requests is not None and sum(used.asked) >= world.requests):
            return None
        ask = asks[nth]
        if not isinstance(ask, RemoveDead):
            return Say(nth, ask)
        dead = tuple(world.peers[other] for other in used.dead)
        return Say(nth, ask, dead) if len(dead) >= ask.at_least else None

    def _died(self, used: Left) -> int:
        return sum(1 for place in used.dead if not self._world.parts[place].dead)

    def _dies(self, state: State, place: int, used: Left) -> tuple[Step, State]:
        """With it goes all that is on its links; what it has told is known where it has arrived, or on another's."""
        locals_ = list(state[:-2])
        step = Step(place, Die())
        packets = [number for number in self._packets_of[state[-2]] if not self._touches(number, place)]
        dead = tuple(sorted((*used.dead, place)))
        try:
            self._happen(locals_, packets, place, Die())
            for other in self._living(dead):
                self._mourn(locals_, packets, other, (place,))
        except _Found as found:
            raise _Found(found.text, step) from None
        left = self._left(used._replace(dead=dead))
        return step, (*locals_, self._flight(tuple(sorted(packets))), left)

    def _crashed(self, state: State, place: int, crash: Crash, left: int) -> tuple[Step, State]:
        """A host crashes and is up again at once; what was under way on its links is lost, and they stand anew.

        To be down for longer is no different for the others, but for what is lost in any case.
        """
        locals_ = list(state[:-2])
        step = Step(place, crash)
        packets = [number for number in self._packets_of[state[-2]] if not self._touches(number, place)]
        dead = self._left_of[left].dead
        try:
            self._happen(locals_, packets, place, crash)
            self._mourn(locals_, packets, place, dead)
            for other in self._living(dead):
                if other != place and self._stands(place, other, self._left_of[left].links):
                    self._link(locals_, packets, place, other)
        except _Found as found:
            raise _Found(found.text, step) from None
        return step, (*locals_, self._flight(tuple(sorted(packets))), left)

    def _linked(self, state: State, one: int, other: int, left: int) -> tuple[Step, State]:
        locals_ = list(state[:-2])
        packets = list(self._packets_of[state[-2]])
        self._link(locals_, packets, one, other)
        return Step(one, Relink(other)), (*locals_, self._flight(tuple(sorted(packets))), left)

    def _link(self, locals_: list[int], packets: list[int], one: int, other: int) -> None:
        """A new link between two; a greeting that waits for no disk arrives with it."""
        said: list[int] = []
        self._happen(locals_, said, one, Relink(other))
        self._happen(locals_, said, other, Relink(one))
        for number in said:
            deliver = self._deliver(number)
            self._happen(locals_, packets, deliver.packet.receiver, deliver)

    def _stands(self, one: int, other: int, late: int) -> bool:
        pair = min(one, other), max(one, other)
        return pair not in (*self._world.no_links, *self._world.late_links[late:])

    def _touches(self, number: int, place: int) -> bool:
        packet = self.hosts.packets[number]
        return place in (packet.sender, packet.receiver)

    # ── what must hold ───────────────────────────────────────────────────────────────────────────

    def _judge(self, state: State, step: Step | None = None) -> None:
        for one, other in combinations(self._places, 2):
            pair = state[one], state[other]
            verdict = self._verdicts.get(pair)
            if verdict is None:
                verdict = self._verdicts[pair] = self._compared(one, other, *pair)
            if verdict:
                raise _Found(verdict, step)
        for newcomer in self._world.newcomers:
            self._witnessed(state, newcomer, step)
        if self._world.ends_well and not self._packets_of[state[-2]]:
            self._ends_well(state, step)

    def _ends_well(self, state: State, step: Step | None) -> None:
        """From where nothing is on its way: if nothing more strikes, whatever was begun ends, and nobody who is gone
        owns anything any more; whatever somebody owns who is there, it possesses."""
        dead = self._left_of[state[-1]].dead
        locals_: list[int] = list(state[:-2])
        waiting: list[int] = []
        if any(self.hosts.locals[local].writing for local in locals_):
            return
        found = self._endings.get(state[:-2])
        if found is None:
            try:
                self._settle(locals_, waiting, dead, RETRY_MS)
                for _ in range(SETTLE_ROUNDS):
                    self._exchange(locals_, waiting, dead)
                found = self._stranded(locals_, dead)
            except _Found as broken:
                found = f"if nothing more happens: {broken.text}"
            self._endings[state[:-2]] = found
        if found:
            raise _Found(found, step)

    def _exchange(self, locals_: list[int], waiting: list[int], dead: tuple[int, ...]) -> None:
        """All links stand anew, with the exchange of news that this brings."""
        for one, other in combinations(self._living(dead), 2):
            if self._stands(one, other, len(self._world.late_links)):
                self._link(locals_, waiting, one, other)
                self._calm(locals_, waiting)

    def _stranded(self, locals_: list[int], dead: tuple[int, ...]) -> str:
        """What is wrong with such an end. While somebody dead is not removed, whatever needs its word may wait."""
        world = self._world
        facts = {place: self.hosts.locals[locals_[place]].facts for place in self._living(dead)}
        gone = frozenset().union(*(self.hosts.locals[local].facts.gone for local in locals_))
        waiting = any(world.peers[place] not in gone for place in dead)
        if len({fact.ring for fact in facts.values()}) > 1:
            return "if nothing more happens, rings stay different"
        for place, fact in facts.items():
            for start, end, claim in fact.ring:
                held = sum(max(0, min(end, hi) - max(start, lo)) for lo, hi in fact.memory.owned)
                if claim.owner in gone:
                    return f"{world.universe.text(start)} is stranded: its owner {name_of(claim.owner)} is gone"
                if claim.owner == world.peers[place] and held < end - start and not waiting:
                    return f"{world.names[place]} owns {world.universe.text(start)} and never possesses it"
        for place, fact in facts.items():
            if fact.asked and not waiting:
                return f"if nothing more happens, somebody waits at {world.names[place]} for ever"
            if fact.bound - gone and not waiting:
                return f"if nothing more happens, {world.names[place]} stays bound to a removal"
        return ""

    def _compared(self, one: int, other: int, local: int, other_local: int) -> str:
        """What two hosts may not both believe, in memory or on disk, as if either restarted now."""
        names = self._world.names[one], self._world.names[other]
        mine, theirs = self.hosts.locals[local].facts, self.hosts.locals[other_local].facts
        if mine.disk.cluster and theirs.disk.cluster and mine.disk.cluster != theirs.disk.cluster:
            clusters = f"{mine.disk.cluster} and {theirs.disk.cluster}"
            return f"{names[0]} and {names[1]} formed two rings: {clusters}"
        for where, my_view in _views(mine):
            for their_where, their_view in _views(theirs):
                if my_view.cluster != their_view.cluster:
                    continue
                shared = overlap(my_view.owned, their_view.owned)
                places = f"{names[0]} ({where}) and {names[1]} ({their_where})"
                if shared is not None:
                    first, last = self._world.universe.text(shared.start), self._world.universe.text(shared.end - 1)
                    return f"{places} both possess {first} to {last}"
                for address, holder in my_view.leased.items():
                    if address in their_view.leased:
                        users = f"{holder} and {their_view.leased[address]}"
                        return f"{places} both lease {self._world.universe.text(address)}, to {users}"
        return ""

    def _witnessed(self, state: State, newcomer: int, step: Step | None) -> None:
        """Whoever possesses space is known durably to two others (safety.md S4)."""
        if not self.hosts.locals[state[newcomer]].facts.memory.owned:
            return
        peer = self._world.peers[newcomer]
        knowing = [place for place in self._places if peer in self.hosts.locals[state[place]].facts.members]
        if len(knowing) < min(2, len(self._places) - 1):
            raise _Found(f"{self._world.names[newcomer]} possesses space, and only one other knows it durably", step)

    # ── numbers ──────────────────────────────────────────────────────────────────────────────────

    def _add(self, state: State, before: int, step: Step | None) -> None:
        self._numbers[state] = len(self._states)
        self._states.append(state)
        self._before.append(before)
        self._steps.append(step)

    def _deliver(self, packet: int) -> Deliver:
        while len(self._delivers) <= packet:
            number = len(self._delivers)
            self._delivers.append(Deliver(number, self.hosts.packets[number]))
        return self._delivers[packet]

    def _moved(self, flight: int, arrived: int, sent: tuple[int, ...]) -> int:
        """The messages on their way without the one that arrived and with those that were sent."""
        key = flight, arrived, sent
        found = self._moves.get(key)
        if found is None:
            packets = list(self._packets_of[flight])
            if arrived >= 0:
                packets.remove(arrived)
            found = self._moves[key] = self._flight(tuple(sorted((*packets, *sent))))
        return found

    def _flight(self, packets: tuple[int, ...]) -> int:
        number = self._flights.setdefault(packets, len(self._packets_of))
        if number == len(self._packets_of):
            self._packets_of.append(packets)
        return number

    def _left(self, left: Left) -> int:
        number = self._lefts.setdefault(left, len(self._left_of))
        if number == len(self._left_of):
            self._left_of.append(left)
        return number

    def _trace(self, index: int, last: Step | None) -> tuple[str, ...]:
        steps = [last] if last is not None else []
        while index > 0:
            step = self._steps[index]
            assert step is not None
            steps.append(step)
            index = self._before[index]
        return tuple(describe(self._world, step) for step in reversed(steps))


def _views(facts: Facts) -> tuple[tuple[str, View], tuple[str, View]]:
    return (("in memory", facts.memory), ("if it restarts", facts.disk))


def _one_more(counts: tuple[int, ...], place: int) -> tuple[int, ...]:
    return (*counts[:place], counts[place] + 1, *counts[place + 1 :])
