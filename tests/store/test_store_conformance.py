"""One suite for both stores, the reference in memory and SQLite: the same changes give the same state."""

from __future__ import annotations

import copy
import ipaddress
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringipam.address import Range
from ringipam.claim import NOBODY, Claim
from ringipam.core import durable
from ringipam.core.durable import (
    BeginAnew,
    Change,
    Conflict,
    DropConflict,
    DropLease,
    DropPledge,
    DropRound,
    Pledge,
    PutAcceptor,
    PutAnswered,
    PutBoot,
    PutConflict,
    PutLease,
    PutMember,
    PutMeta,
    PutPledge,
    PutPoint,
    PutPublished,
    PutRound,
    PutTokens,
    Record,
    Recorded,
    Round,
    Stored,
    Suspensions,
)
from ringipam.lease import Lease
from ringipam.messages import Ballot, Founding, Point, Standing
from ringipam.ring.space import Rows
from ringipam.store.store import Store


class Keeper(Protocol):
    def commit(self, changes: Sequence[Change]) -> None: ...
    def load(self) -> Stored: ...
    def reopen(self) -> None: ...


class Memory:
    """The reference, `Stored`, with the store's verbs."""

    def __init__(self) -> None:
        self._stored = Stored()

    def commit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._stored.apply(change)

    def load(self) -> Stored:
        return copy.deepcopy(self._stored)

    def reopen(self) -> None:
        """Memory has nothing to open."""


@contextmanager
def in_memory(family: int) -> Iterator[Keeper]:
    yield Memory()


@contextmanager
def on_disk(family: int) -> Iterator[Keeper]:
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(Path(directory) / "data", family)
        try:
            yield store
        finally:
            store.close()


both = pytest.mark.parametrize("opened", [in_memory, on_disk])
Opened = Callable[[int], Any]

# ── any change ────────────────────────────────────────────────────────────────────────────────────

texts = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
peers = st.sampled_from(["host1.3f9a", "host2.77c1", "host3.aaaa"])
counts = st.integers(0, (1 << 63) - 1)
claims = st.just(NOBODY) | st.builds(Claim, counts, counts, peers, peers)
ballots = st.builds(Ballot, counts, peers)
foundings = st.builds(Founding, texts, st.lists(peers, min_size=1, max_size=3).map(tuple))
times = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def addresses(family: int) -> st.SearchStrategy[int]:
    last = (1 << (32 if family == 4 else 128)) - 1
    return st.integers(0, 5) | st.integers(last - 5, last) | st.integers(0, last)


def extents(family: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(addresses(family), addresses(family)).map(lambda ends: (min(ends), max(ends) + 1))


def leases(family: int) -> st.SearchStrategy[Lease]:
    return st.builds(
        lambda number, holder, address, subnet_len, prefix_len, since, labels: Lease(
            number,
            holder,
            address,
            prefix_len,
            ipaddress.ip_network((address, subnet_len), strict=False),
            "container",
            "host1",
            since.replace(microsecond=0),
            labels,
        ),
        st.sampled_from("ABCDE"),
        ids,
        addresses(family).map(ipaddress.IPv4Address if family == 4 else ipaddress.IPv6Address),
        st.integers(0, 32),
        st.integers(0, 32),
        times,
        st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    )


def kinds(family: int) -> dict[type, st.SearchStrategy[Any]]:
    address, extent = addresses(family), extents(family)
    tokens = st.lists(st.tuples(address, claims), max_size=4).map(tuple)
    rests = st.lists(st.tuples(extent, counts).map(lambda row: (*row[0], row[1])), max_size=4).map(tuple)
    some = st.lists(address, max_size=4).map(tuple)
    ranges = st.lists(extent.map(lambda ends: Range(*ends)), max_size=3).map(tuple)
    several = st.lists(peers, max_size=3).map(tuple)
    few = st.integers(0, 5)
    return {
        PutMeta: st.builds(PutMeta, st.sampled_from(["peer", "cluster", "boots"]), texts),
        PutTokens: st.builds(PutTokens, some, tokens),
        PutLease: st.builds(PutLease, leases(family) | leases(10 - family)),
        DropLease: st.builds(DropLease, st.sampled_from("ABCDE")),
        Rows: st.builds(Rows, some, rests),
        PutMember: st.builds(PutMember, peers, st.just("") | texts, st.sampled_from(Standing)),
        PutAcceptor: st.builds(PutAcceptor, ballots, ballots, foundings)
        | st.builds(PutAcceptor, ballots, st.none(), st.none()),
        PutAnswered: st.builds(PutAnswered, peers, counts),
        PutConflict: st.builds(
            lambda ends, who, since, source: PutConflict(Conflict(ends[0], ends[1], who, since, source)),
            extent,
            several,
            counts,
            peers,
        ),
        DropConflict: st.builds(lambda ends: DropConflict(*ends), extent),
        PutBoot: st.builds(PutBoot, ids, counts),
        PutPublished: st.builds(PutPublished, few, counts, st.lists(few, max_size=3).map(tuple)),
        PutPoint: st.builds(PutPoint, peers, st.builds(Point, ids, counts, counts)),
        PutPledge: st.builds(PutPledge, peers, st.builds(Pledge, counts, several)),
        DropPledge: st.builds(DropPledge, peers),
        PutRound: st.builds(PutRound, few, st.builds(Round, several, st.booleans(), ranges)),
        DropRound: st.builds(DropRound, few),
        Suspensions: st.builds(Suspensions, some, ranges),
        Record: st.builds(Record, st.lists(lines(family), max_size=3).map(tuple)),
        BeginAnew: st.builds(BeginAnew, peers),
    }


def lines(family: int) -> st.SearchStrategy[Recorded]:
    return st.builds(
        lambda at_ms, ends, was, claim, source: Recorded(at_ms, *ends, was, claim, source),
        counts,
        extents(family),
        peers,
        claims,
        peers,
    )


def commits(family: int) -> st.SearchStrategy[list[list[Change]]]:
    some = [strategy for kind, strategy in kinds(family).items() if kind is not BeginAnew]
    return st.lists(st.lists(st.one_of(some), max_size=6), max_size=5)


def somebody(family: int) -> list[Change]:
    """What a peer knows of itself before anything else."""
    return [PutMeta("peer", "host0.0000"), PutMeta("universe", "0.0.0.0/0" if family == 4 else "::/0")]


@both
@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
@settings(max_examples=40)
def test_any_changes_add_up_to_what_the_reference_says(opened: Opened, family: int, data: st.DataObject) -> None:
    expected = Stored()
    with opened(family) as keeper:
        for changes in data.draw(commits(family)):
            keeper.commit(changes)
            for change in changes:
                expected.apply(change)

        assert keeper.load() == expected
        keeper.reopen()
        assert keeper.load() == expected


@both
@pytest.mark.parametrize("kind", get_args(durable.Change), ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=10)
def test_every_kind_of_change_is_kept(opened: Opened, kind: type, data: st.DataObject) -> None:
    changes = [*(somebody(4) if kind is BeginAnew else ()), data.draw(kinds(4)[kind])]
    expected = Stored()
    for change in changes:
        expected.apply(change)

    with opened(4) as keeper:
        keeper.commit(changes)
        keeper.reopen()

        assert keeper.load() == expected


@both
@pytest.mark.parametrize("family", [4, 6])
@given(data=st.data())
@settings(max_examples=20)
def test_who_begins_anew_keeps_the_leases_and_whom_to_dial(opened: Opened, family: int, data: st.DataObject) -> None:
    expected = Stored()
    with opened(family) as keeper:
        for changes in [*data.draw(commits(family)), [*somebody(family), BeginAnew("host9.ffff")]]:
            keeper.commit(changes)
            for change in changes:
                expected.apply(change)

        assert keeper.load() == expected
        assert expected.meta.keys() == {"peer", "universe", "formerly", "dial"}


@both
def test_a_new_store_holds_nothing(opened: Opened) -> None:
    with opened(4) as keeper:
        assert keeper.load() == Stored()


@both
def test_changes_of_one_commit_are_made_in_their_order(opened: Opened) -> None:
    first, second = Claim(0, 1, "host1.3f9a", "host1.3f9a"), Claim(0, 2, "host2.77c1", "host1.3f9a")

    with opened(4) as keeper:
        keeper.commit([PutTokens((), ((7, first), (8, first))), PutTokens((7,), ()), PutTokens((8,), ((8, second),))])

        assert keeper.load().tokens == {8: second}


@both
def test_a_commit_of_many_rows_leaves_those_that_it_put_and_did_not_drop(opened: Opened) -> None:
    claim = Claim(0, 1, "host1.3f9a", "host1.3f9a")

    with opened(4) as keeper:
        keeper.commit([PutTokens((), tuple((first, claim) for first in range(300)))])
        keeper.commit([PutTokens(tuple(range(0, 300, 2)), ((4, claim),)), PutTokens((1, 3), ())])

        assert sorted(keeper.load().tokens) == [4, *range(5, 300, 2)]


@both
@example(order=["A", "B"])
@example(order=["B", "A"])
@given(order=st.permutations(["A", "B", "A"]))
@settings(max_examples=5)
def test_the_last_of_two_values_for_one_key_stands(opened: Opened, order: list[str]) -> None:
    with opened(4) as keeper:
        keeper.commit([PutMeta("peer", value) for value in order])

        assert keeper.load().meta == {"peer": order[-1]}


@both
def test_the_last_address_of_the_family_can_be_in_a_range(opened: Opened) -> None:
    for family, end in ((4, 1 << 32), (6, 1 << 128)):
        conflict = Conflict(0, end, ("host1.3f9a",), 5, "host2.77c1")
        with opened(family) as keeper:
            keeper.commit([Rows((), ((end - 1, end, 99),)), PutConflict(conflict)])

            assert keeper.load().quarantine == {end - 1: (end, 99)}
            assert keeper.load().conflicts == {(0, end): conflict}
