"""Reconciling through each surface of a real node, also with more ids than one request holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from ringipam import AsyncClient, Client, Config, Node, RequestError, open_node
from ringipam.client import calls
from ringipam.runtime.dualstack import open_dual_stack
from ringipam.server import http
from ringipam.server.surface import open_surface

HELD = 300
LONG = "\U0001f600" * 250
"""In JSON each of these characters takes twelve bytes."""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    config = Config(iprange="10.32.0.0/12", data_dir=tmp_path / "data", listen="127.0.0.1:0", name="h1")
    async with open_node(config) as node, open_surface(node, tmp_path / "s", None, config.default_subnet, "0"):
        yield node


def numbered(number: int) -> str:
    return f"{number:064x}"


async def holding(node: Node, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(node.allocate, numbered(number))


async def held(node: Node) -> set[str]:
    return {lease.id for lease in await node.leases()}


async def test_in_process(node: Node) -> None:
    await holding(node, 3)

    released = await node.reconcile([numbered(1)], older_than=0)

    assert {lease.id for lease in released} == {numbered(0), numbered(2)}
    assert await held(node) == {numbered(1)}


@pytest.mark.parametrize("live", [1_000, 10_000])
async def test_a_client_reconciles_any_number_of_ids(node: Node, tmp_path: Path, live: int) -> None:
    await holding(node, HELD)
    ids = [numbered(number) for number in range(10, live + 10)]

    async with AsyncClient(tmp_path / "s") as client:
        planned = await client.reconcile(ids, older_than=0, dry_run=True)
        assert len(await held(node)) == HELD
        released = await client.reconcile(ids, older_than=0)

    assert {lease.id for lease in planned} == {lease.id for lease in released} == set(map(numbered, range(10)))
    assert await held(node) == set(map(numbered, range(10, HELD)))


async def test_the_blocking_client_does_the_same(node: Node, tmp_path: Path) -> None:
    await holding(node, HELD)
    ids = [numbered(number) for number in range(10, 10_010)]

    with Client(tmp_path / "s") as client:
        released = await trio.to_thread.run_sync(lambda: client.reconcile(ids, older_than=0))

    assert len(released) == 10
    assert await held(node) == set(map(numbered, range(10, HELD)))


async def test_age_and_labels_count_for_those_who_did_not_fit_as_well(node: Node, tmp_path: Path) -> None:
    await node.allocate("young", labels={"runtime": "a"})
    await node.allocate("other", subnet="10.33.0.0/16", labels={"runtime": "b"})
    ids = [numbered(number) for number in range(10_000)]

    async with AsyncClient(tmp_path / "s") as client:
        assert await client.reconcile(ids) == []
        released = await client.reconcile(ids, older_than=0, labels={"runtime": "b"})

    assert [lease.id for lease in released] == ["other"]
    assert await held(node) == {"young"}


async def test_ids_that_take_many_bytes_are_sent_in_what_a_daemon_reads(node: Node, tmp_path: Path) -> None:
    await node.allocate("gone")
    labels = {"\U0001f600" * 100 + str(key): "\U0001f600" * 100 for key in range(32)}

    async with AsyncClient(tmp_path / "s") as client:
        released = await client.reconcile([f"{LONG}{number}" for number in range(1_000)], older_than=0)
        assert await client.reconcile(["c1"], older_than=0, labels=labels) == []

    assert [lease.id for lease in released] == ["gone"]


@pytest.mark.parametrize("live", ["c1", ["two words"], [""], ["x" * 257], ["c1\n"]])
async def test_what_is_no_list_of_ids_is_refused_and_changes_nothing(
    node: Node, tmp_path: Path, live: list[str]
) -> None:
    await node.allocate("c9")

    async with AsyncClient(tmp_path / "s") as client:
        for reconcile in (node.reconcile, client.reconcile):
            with pytest.raises(RequestError):
                await reconcile(live, older_than=0)

    assert await held(node) == {"c9"}


@pytest.mark.parametrize("age", [-1, float("nan"), float("inf")])
async def test_an_age_that_cannot_be_is_refused_and_changes_nothing(node: Node, tmp_path: Path, age: float) -> None:
    await node.allocate("c9")

    async with AsyncClient(tmp_path / "s") as client:
        for reconcile in (node.reconcile, client.reconcile):
            with pytest.raises(RequestError, match="an age is 0 to"):
                await reconcile([], older_than=age)

    assert await held(node) == {"c9"}


async def test_a_node_with_two_ranges_reconciles_both(tmp_path: Path) -> None:
    config = Config(
        iprange="10.32.0.0/12", iprange6="fd00:32::/48", data_dir=tmp_path / "data", listen="127.0.0.1:0", name="h1"
    )
    async with open_dual_stack(config) as both:
        for holder in ("here", "gone"):
            await both.allocate(holder)
            await both.allocate(holder, subnet="fd00:32::/64")

        released = await both.reconcile(["here"], older_than=0)

        assert [(lease.id, lease.address.version) for lease in released] == [("gone", 4), ("gone", 6)]
        assert [lease.id for lease in await both.leases()] == ["here", "here"]


def test_the_clients_know_how_much_a_daemon_reads() -> None:
    assert calls.REQUEST_SIZE_MAX == http.BODY_SIZE_MAX
