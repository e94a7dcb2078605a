"""A whole node: the core, a real database and real connections in one trio program."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import trio

import ringipam
from ringipam import Config, Node, open_node
from ringipam.core.durable import Change
from ringipam.runtime import node as node_module
from ringipam.runtime.outside import Outside
from ringipam.store.store import Store


def alone(directory: Path, **more: Any) -> Config:
    settings = {"name": "host1", "listen": "127.0.0.1:0", "data_dir": directory / "data", **more}
    return Config("10.32.0.0/12", **settings)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns when `condition` holds; for what other tasks and hosts have yet to do."""
    with trio.fail_after(20):
        while not await condition():
            await trio.sleep(0.01)


# ── the verbs ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_address_is_allocated_found_and_released(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)) as node:
        lease = await node.allocate("c1", labels={"pod": "web"})

        assert lease.address in IPv4Network("10.32.0.0/12")
        assert (lease.id, lease.prefix_len, lease.host, lease.class_) == ("c1", 12, "host1", "container")
        assert lease.labels == {"pod": "web"}
        assert await node.allocate("c1") == lease
        assert await node.lookup("c1") == [lease] == await node.leases()
        assert await node.release("c1") == [lease]
        assert await node.lookup("c1") == []


async def test_arguments_may_be_text_or_objects(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)) as node:
        first = await node.claim("c1", "10.32.0.9/12")
        second = await node.claim("c1", IPv4Interface("10.32.0.10/12"))
        third = await node.allocate("c1", IPv4Network("10.33.0.0/24"))
        assert third == await node.allocate("c1", "10.33.0.0/24")

        assert await node.release("c1", "10.32.0.9") == [first]
        assert await node.release("c1", IPv4Address("10.32.0.10")) == [second]
        assert await node.release("c1", lease=third.lease) == [third]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda node: node.allocate(""),
        lambda node: node.allocate("a b"),
        lambda node: node.allocate("c1", "10.32.0.0"),
        lambda node: node.allocate("c1", "10.32.0.1/24"),
        lambda node: node.allocate("c1", "11.0.0.0/24"),
        lambda node: node.allocate("c1", timeout=0),
        lambda node: node.allocate("c1", timeout=float("nan")),
        lambda node: node.allocate("c1", labels={"a": 1}),
        lambda node: node.claim("c1", "10.32.0.9"),
        lambda node: node.release("c1", "10.32.0.9/12"),
        lambda node: node.connect("host 2"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, wrong: Callable[[Node], Awaitable[object]]
) -> None:
    async with open_node(alone(tmp_path)) as node:
        with pytest.raises(ringipam.RequestError):
            await wrong(node)

        assert await node.leases() == []


async def test_an_unknown_id_has_nothing_to_release(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)) as node:
        with pytest.raises(ringipam.NotFoundError):
            await node.release("c9")


async def test_the_views_are_those_of_the_command_line(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)) as node:
        await node.prime()

        assert (await node.status())["state"] == "ready"
        assert (await node.ring())["universe"] == "10.32.0.0/12"
        assert set(await node.peers()) == {"peers"}
        assert await node.conflicts() == {"conflicts": []}


async def test_the_history_of_an_address_is_read_beside_the_writer(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)) as node:
        await node.allocate("c1")
        found = await node.history("10.32.0.9")
        with pytest.raises(ringipam.RequestError, match="IPv4"):
            await node.history("fd00::1")

    assert found["address"] == "10.32.0.9"
    assert isinstance(found["history"], list)


async def test_an_error_in_the_block_arrives_as_itself(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with open_node(alone(tmp_path)):
            raise LookupError("mine")


async def test_a_warning_of_this_host_stands_in_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "overlaps", lambda config: ["a route is in the way"])
    async with open_node(alone(tmp_path)) as node:

        async def warned() -> bool:
            return (await node.status())["warnings"] == ["a route is in the way"]

        await until(warned)


# ── restarts ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_restart_keeps_leases_ring_and_identity(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)) as node:
        lease = await node.allocate("c1")
        before = await node.status(), await node.ring()

    async with open_node(alone(tmp_path)) as node:
        after = await node.status(), await node.ring()
        assert await node.lookup("c1") == [lease]
        assert await node.allocate("c1") == lease

    assert [after[0][key] for key in ("peer", "cluster")] == [before[0][key] for key in ("peer", "cluster")]
    assert after[1] == before[1]


async def test_data_of_another_range_are_refused_with_the_way_out(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)):
        pass

    other = Config("10.0.0.0/8", name="host1", data_dir=tmp_path / "data", listen="127.0.0.1:0")
    with pytest.raises(ringipam.StoreError, match=r"is for 10\.32\.0\.0/12, not 10\.0\.0\.0/8: .* move .* begin anew"):
        async with open_node(other):
            pass


async def test_data_of_another_host_are_refused_with_the_way_out(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)):
        pass

    with pytest.raises(ringipam.StoreError, match=r"is of host1, not host2: start with --name host1"):
        async with open_node(alone(tmp_path, name="host2")):
            pass


async def test_a_stored_ring_wins_over_init_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_node(alone(tmp_path)) as node:
        ring = await node.ring()

    async with open_node(alone(tmp_path, init="consensus=3")) as node:
        assert await node.ring() == ring

    assert "--init consensus=3 does not change" in caplog.text


async def test_a_second_node_on_one_directory_is_refused(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path)):
        with pytest.raises(ringipam.StoreError, match="in use by"):
            async with open_node(alone(tmp_path)):
                pass


async def test_a_port_in_use_is_refused_and_the_directory_is_free_again(tmp_path: Path) -> None:
    async with open_node(alone(tmp_path / "a")) as node:
        with pytest.raises(ringipam.RequestError, match="address already in use"):
            async with open_node(alone(tmp_path / "b", listen=node.listening)):
                pass

        async with open_node(alone(tmp_path / "b")):
            pass


async def test_a_seeded_host_has_the_identity_its_peers_expect(tmp_path: Path) -> None:
    uids = []
    for directory in ("a", "b"):
        async with open_node(alone(tmp_path / directory, init="seed=host1,host2")) as node:
            uids.append((await node.status())["peer"])

    assert uids[0] == uids[1]


# ── callers that go away, and the end ─────────────────────────────────────────────────────────────


async def test_a_cancelled_request_makes_no_lease(tmp_path: Path) -> None:
    waits_for_others = alone(tmp_path, init="consensus=3")
    async with open_node(waits_for_others) as node:
        with trio.move_on_after(0.05) as scope:
            await node.allocate("c1")

        assert scope.cancelled_caught
        assert (await node.status())["pending"] == []
        assert await node.lookup("c1") == []


async def test_requests_under_way_at_the_end_are_told_so(tmp_path: Path) -> None:
    told = []

    async def wait(node: Node) -> None:
        with pytest.raises(ringipam.NotReadyError) as error:
            await node.allocate("c1")
        told.append(error.value.message)

    async with trio.open_nursery() as nursery, open_node(alone(tmp_path, init="consensus=3")) as node:
        nursery.start_soon(wait, node)
        await trio.testing.wait_all_tasks_blocked(0.01)

    assert told == ["the node is shutting down"]
    with pytest.raises(ringipam.NotReadyError):
        await node.lookup("c1")


async def test_a_cancelled_node_leaves_a_directory_that_can_be_used(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_node(alone(tmp_path)) as node:
            lease = await node.allocate("c1")
            scope.cancel()
            await trio.sleep_forever()

    async with open_node(alone(tmp_path)) as node:
        assert await node.lookup("c1") == [lease]


# ── the disk fails (safety.md S14) ────────────────────────────────────────────────────────────────


class FailingStore(Store):
    """A disk that can be told to be full."""

    full = False
    refused = 0

    def commit(self, changes: Sequence[Change]) -> None:
        if type(self).full:
            type(self).refused += 1
            raise ringipam.StoreError(f"cannot commit: {errno.errorcode[errno.ENOSPC]}")
        super().commit(changes)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> type[FailingStore]:
    monkeypatch.setattr(FailingStore, "full", False)
    monkeypatch.setattr(FailingStore, "refused", 0)
    monkeypatch.setattr(node_module, "RETRY_S_MIN", 0.02)
    return FailingStore


async def test_a_full_disk_refuses_requests_says_why_and_recovers_by_itself(
    tmp_path: Path, failing: type[FailingStore]
) -> None:
    async with open_node(alone(tmp_path), Outside(store_type=failing)) as node:
        kept = await node.allocate("c1")

        failing.full = True
        with pytest.raises(ringipam.StoreError, match="ENOSPC"):
            await node.allocate("c2")
        status = await node.status()
        assert (status["state"], status["reason"]) == ("refusing", "cannot commit: ENOSPC")

        async def tried_again() -> bool:
            return failing.refused > 1

        await until(tried_again)
        failing.full = False

        async def ready() -> bool:
            return (await node.status())["state"] == "ready"

        await until(ready)
        assert await node.leases() == [kept], "what was not acknowledged is gone, what was is not"
        assert (await node.allocate("c2")).address != kept.address


async def test_while_the_disk_fails_what_was_durable_can_still_be_looked_at(
    tmp_path: Path, failing: type[FailingStore]
) -> None:
    async with open_node(alone(tmp_path), Outside(store_type=failing)) as node:
        kept, freed = await node.allocate("kept"), await node.allocate("freed")
        await node.release("freed", lease=freed.lease)
        ring = await node.ring()

        failing.full = True
        with pytest.raises(ringipam.StoreError, match="ENOSPC"):
            await node.allocate("refused")

        assert await node.lookup("kept") == [kept] == await node.leases()
        assert await node.lookup("refused") == []
        assert await node.ring() == ring
        assert (await node.status())["leases"] == 1
        assert (await node.status())["serving"] is False
        for refused in (
            node.release("kept"),
            node.peers(),
            node.leases(cluster=True),
            node.claim("kept", "10.32.0.1/12"),
        ):
            with pytest.raises(ringipam.StoreError, match="ENOSPC"):
                await refused
        assert await node.lookup("kept") == [kept]


async def test_the_status_of_a_refusing_node_has_the_keys_of_a_ready_one(
    tmp_path: Path, failing: type[FailingStore]
) -> None:
    async with open_node(alone(tmp_path), Outside(store_type=failing)) as node:
        ready = await node.status()
        failing.full = True
        with pytest.raises(ringipam.StoreError):
            await node.allocate("c1")
        refusing = await node.status()

    assert set(ready) == set(refusing)
    assert ready["peer"] == refusing["peer"]


# ── several nodes ─────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def cluster(directory: Path, size: int, **more: Any) -> AsyncIterator[list[Node]]:
    """Nodes host1, host2, … of one ring, each launched with the address of the first."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for number in range(1, size + 1):
            config = alone(
                directory / str(number),
                name=f"host{number}",
                init=f"consensus={size}",
                peers=[node.listening for node in nodes[:1]],
                **more,
            )
            nodes.append(await stack.enter_async_context(open_node(config)))
        yield nodes


async def agree(nodes: list[Node]) -> None:
    """Returns when all show one and the same ring."""

    async def same() -> bool:
        rings = [await node.ring() for node in nodes]
        return bool(rings[0]["cluster"]) and all(ring == rings[0] for ring in rings)

    await until(same)


async def test_two_nodes_share_a_range_over_tls(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse")

    async with cluster(tmp_path, 2, password_file=password) as nodes:
        leases = [await node.allocate(f"c{i}") for i in range(20) for node in nodes]

        assert len({lease.address for lease in leases}) == 40
        await agree(nodes)
        assert {lease.host for lease in await nodes[0].leases(cluster=True)} == {"host1", "host2"}


async def test_a_node_may_issue_the_last_address_of_another(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        leases = [await nodes[0].allocate(f"c{i}", "10.32.0.0/28", timeout=10) for i in range(14)]

        assert len({lease.address for lease in leases}) == 14
        with pytest.raises(ringipam.NoSpaceError):
            await nodes[1].allocate("c99", "10.32.0.0/28", timeout=10)


async def test_a_node_that_was_away_is_heard_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as (first, _):
        await first.allocate("c1")

    async with (
        open_node(alone(tmp_path / "1")) as first,
        open_node(alone(tmp_path / "2", name="host2", peers=[first.listening])) as second,
    ):
        await agree([first, second])

        async def seen() -> bool:
            return (await first.status())["peers"] == {"alive": 1, "suspect": 0, "dead": 0}

        await until(seen)


async def test_a_wrong_password_is_visible_to_both_operators(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, password in ((1, "correct horse"), (2, "battery staple")):
        (tmp_path / f"password{number}").write_text(password)
    async with open_node(alone(tmp_path / "1", password_file=tmp_path / "password1")) as first:
        other = alone(
            tmp_path / "2",
            name="host2",
            password_file=tmp_path / "password2",
            peers=[first.listening],
            init="consensus=2",
        )
        async with open_node(other) as second:

            async def told() -> bool:
                return "wrong password" in str((await second.status())["warnings"])

            await until(told)

    closings = [text for _, level, text in caplog.record_tuples if level == logging.WARNING and "closed" in text]
    assert any("its password or certificate is another" in text for text in closings)
