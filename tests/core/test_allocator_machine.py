"""The allocator against a model that is only a dictionary: any order of requests, grants, time and restarts."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from solo import ME, Solo, claim

from ringipam.core.events import Allocate, Leased, LeaseList, Release
from ringipam.errors import InUseError, NoSpaceError, NotFoundError, RequestTimeoutError
from ringipam.lease import Lease
from ringipam.messages import Grant, SpaceRequest

B = "b.00000000bbbb"
UNIVERSE = "10.0.0.0/28"
IDS = st.sampled_from([f"c{n}" for n in range(6)])
OFFSETS = st.integers(0, 15)


class AllocatorMachine(RuleBasedStateMachine):
    """`held` is what users were told they hold; the rest follows from it and from what was granted away."""

    def __init__(self) -> None:
        super().__init__()
        self.solo = Solo(UNIVERSE)
        self.solo.meet(B)
        self.held: dict[tuple[str, str], Lease] = {}
        self.granted: set[int] = set()
        self.number = 0
        self.base = self.solo.settings.universe.start

    def _ours(self) -> set[int]:
        return set(range(self.base, self.base + 16)) - self.granted

    def _taken(self) -> set[int]:
        return {int(lease.address) for lease in self.held.values()}

    @rule(holder=IDS)
    def allocate(self, holder: str) -> None:
        number = self.solo.ask(Allocate(holder, None, 1_000))
        if number not in self.solo.answers:
            self.solo.wait(1_001)  # B owns space and does not answer
        answer = self.solo.answers[number]
        free = {a for a in self._ours() if a not in (self.base, self.base + 15)} - self._taken()
        before = [lease for (of, _), lease in self.held.items() if of == holder]
        match answer:
            case Leased(lease, new):
                if new:
                    assert int(lease.address) in free
                    assert not before
                    self.held[holder, lease.lease] = lease
                else:
                    assert lease in before
            case NoSpaceError() | RequestTimeoutError():
                assert not free
            case _:
                raise AssertionError(answer)

    @rule(holder=IDS, offset=OFFSETS)
    def claim(self, holder: str, offset: int) -> None:
        address = self.base + offset
        number = self.solo.ask(claim(holder, f"10.0.0.{offset}", 28, timeout_ms=1_000))
        if number not in self.solo.answers:
            self.solo.wait(1_001)
        holders = {of for (of, _), lease in self.held.items() if int(lease.address) == address}
        match self.solo.answers[number]:
            case Leased(lease, new):
                assert int(lease.address) == address
                assert address in self._ours()
                assert holders == (set() if new else {holder})
                self.held[holder, lease.lease] = lease
            case InUseError():
                assert holders
                assert holder not in holders
            case RequestTimeoutError():
                assert address in self.granted
            case other:
                raise AssertionError(other)

    @rule(holder=IDS)
    def release_all(self, holder: str) -> None:
        mine = {key: lease for key, lease in self.held.items() if key[0] == holder}
        answer = self.solo.answer(Release(holder))
        if mine:
            assert isinstance(answer, LeaseList)
            assert {lease.lease for lease in answer.leases} == {key[1] for key in mine}
        else:
            assert isinstance(answer, NotFoundError)
        for key in mine:
            del self.held[key]

    @rule(want=st.integers(1, 16), urgent=st.booleans())
    def somebody_asks_for_space(self, want: int, urgent: bool) -> None:
        self.number += 1
        start, end = self.solo.settings.universe.issuable
        answers = self.solo.hear(B, SpaceRequest(self.number, start, end, want, False, urgent, 1_000))
        for answer in answers:
            if isinstance(answer, Grant):
                for first, last, value in answer.segments:
                    given = set(range(first, last))
                    assert given <= self._ours() - self._taken()
                    assert value.owner == B
                    assert value.writer == ME
                    self.granted |= given

    @rule(ms=st.sampled_from([1, 900, 5_000, 31_000]))
    def time_passes(self, ms: int) -> None:
        self.solo.wait(ms)

    @rule()
    def crash_and_restart(self) -> None:
        self.solo.restart()
        self.solo.meet(B)

    @invariant()
    def what_users_hold_is_durable_and_nothing_else_is(self) -> None:
        assert set(self.solo.stored.leases) == {number for _, number in self.held}

    @invariant()
    def no_address_is_held_twice_or_after_it_was_granted_away(self) -> None:
        addresses = [int(lease.address) for lease in self.held.values()]
        assert len(addresses) == len(set(addresses))
        assert set(addresses) <= self._ours()

    @invariant()
    def the_peer_possesses_exactly_what_it_did_not_give_away(self) -> None:
        possessed = {address for part in self.solo.peer.possessed() for address in range(part.start, part.end)}
        assert possessed == self._ours()


AllocatorMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30)
TestAllocator = AllocatorMachine.TestCase
