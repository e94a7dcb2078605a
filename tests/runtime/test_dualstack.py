"""Two ranges behind the verbs of one node: each verb goes to its ring, or to both, and both are told of."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
import trio

import ringipam
from ringipam import Config, DualStack, RequestError, open_dual_stack, open_node
from ringipam.address import parse_subnet
from ringipam.core.durable import Change
from ringipam.core.events import AllocateBlock, ClaimAddress, Leased, Show, View
from ringipam.runtime import node as node_module
from ringipam.runtime.outside import Outside
from ringipam.store.store import Store

FOUR, SIX = "10.32.0.0/12", "fd00:32::/48"


def both(directory: Path, **more: Any) -> Config:
    settings = {"name": "host1", "listen": "127.0.0.1:0", "data_dir": directory / "data", **more}
    return Config(FOUR, iprange6=SIX, **settings)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Returns when `condition` holds; for what other tasks and hosts have yet to do."""
    with trio.fail_after(30):
        while not await condition():
            await trio.sleep(0.02)


# ── the configuration ─────────────────────────────────────────────────────────────────────────────


def test_the_second_ring_uses_the_port_after_the_first_ones_everywhere(tmp_path: Path) -> None:
    config = Config(
        FOUR,
        subnet="10.32.4.0/24",
        iprange6=SIX,
        subnet6="fd00:32:0:4::/64",
        listen="127.0.0.1:7000",
        advertise="host1.example",
        data_dir=tmp_path,
        peers=("host2", "host3:7000", "[fd99::1]:65534"),
        exclude=("10.32.0.1", "fd00:32::1", "fd00:32:0:4::/80"),
        init="consensus=3",
        name="host1",
    )

    four, six = config.of_family(4), config.of_family(6)

    assert (four.iprange, four.subnet, four.listen, four.data_dir) == (FOUR, "10.32.4.0/24", "127.0.0.1:7000", tmp_path)
    assert (four.advertise, four.peers) == (config.advertise, config.peers)
    assert four.exclude == ("10.32.0.1",)
    assert (six.iprange, six.subnet, six.listen) == (SIX, "fd00:32:0:4::/64", "127.0.0.1:7001")
    assert (six.advertise, six.data_dir) == ("host1.example:6784", tmp_path / "ipv6")
    assert six.peers == ("host2:6784", "host3:7001", "[fd99::1]:65535")
    assert six.exclude == ("fd00:32::1", "fd00:32:0:4::/80")
    assert (six.init, six.name) == ("consensus=3", "host1")


def test_by_default_the_second_ring_listens_on_6784() -> None:
    assert Config(FOUR, iprange6=SIX, name="h").of_family(6).listen_on == "127.0.0.1:6784"
    assert Config(FOUR, iprange6=SIX, name="h", insecure=True).of_family(6).listen_on == "0.0.0.0:6784"


@pytest.mark.parametrize(
    ("iprange", "settings", "complaint"),
    [
        (FOUR, {"iprange6": "10.0.0.0/8"}, "--iprange6 is an IPv6 range beside an IPv4 --iprange"),
        ("fd01::/64", {"iprange6": SIX}, "--iprange6 is an IPv6 range beside an IPv4 --iprange"),
        (FOUR, {"iprange6": "fd00:32::"}, "not of the form ADDRESS/LEN"),
        (FOUR, {"iprange6": "fd00:32::/127"}, "smaller than the minimum"),
        (FOUR, {"subnet6": SIX}, "--subnet6 needs --iprange6"),
        (FOUR, {"iprange6": SIX, "subnet6": "fd01::/64"}, "does not lie inside --iprange6"),
        (FOUR, {"iprange6": SIX, "subnet6": "10.32.0.0/24"}, "does not lie inside --iprange6"),
        (FOUR, {"iprange6": SIX, "subnet": "fd00:32::/64"}, "does not lie inside --iprange "),
        (FOUR, {"iprange6": SIX, "exclude": ("fd01::1",)}, "does not lie inside --iprange .* or --iprange6"),
        (FOUR, {"iprange6": SIX, "exclude": ("::a20:1",)}, "does not lie inside"),
        (FOUR, {"iprange6": SIX, "peers": ("host2:65535",)}, "there is none after host2:65535"),
        (FOUR, {"iprange6": SIX, "listen": "127.0.0.1:65535"}, "there is none after"),
        (FOUR, {"exclude": ("fd00:32::1",)}, f"does not lie inside --iprange {FOUR}$"),
    ],
)
def test_ranges_that_do_not_go_together_are_refused(iprange: str, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        Config(iprange, name="h", **settings)


async def test_a_single_node_is_not_opened_with_half_of_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="open_dual_stack"):
        async with open_node(both(tmp_path)):
            pass

    assert not (tmp_path / "data").exists()


# ── verbs that name a family ──────────────────────────────────────────────────────────────────────


async def test_a_holder_gets_an_address_of_each_family_and_releases_both(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        four = await node.allocate("c1")
        six = await node.allocate("c1", SIX)

        assert (four.prefix_len, six.prefix_len) == (12, 48)
        assert six.address in IPv6Network(SIX)
        assert await node.allocate("c1", FOUR) == four
        assert await node.allocate("c1", IPv6Network(SIX)) == six
        assert await node.lookup("c1") == [four, six] == await node.leases() == await node.leases(cluster=True)
        assert await node.release("c1") == [four, six]
        assert await node.lookup("c1") == []


async def test_a_release_frees_the_address_or_the_lease_that_it_names_and_no_other(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        four, six = await node.claim("c1", "10.32.0.9/12"), await node.claim("c1", "fd00:32::9/64")

        with pytest.raises(ringipam.NotFoundError, match="c1 does not hold fd00:32::8"):
            await node.release("c1", "fd00:32::8")
        with pytest.raises(ringipam.NotFoundError, match="no addresses for c2"):
            await node.release("c2")
        assert await node.release("c1", IPv6Address("fd00:32::9")) == [six]
        assert await node.lookup("c1") == [four]
        assert await node.release("c1", lease=four.lease) == [four]
        with pytest.raises(ringipam.NotFoundError, match="no addresses for c1"):
            await node.release("c1")


async def test_a_claim_goes_to_the_ring_of_its_family(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        assert (await node.claim("c1", "fd00:32::9/64")).address == IPv6Address("fd00:32::9")
        assert (await node.claim("c1", "10.32.0.9/12")).address == IPv4Address("10.32.0.9")
        with pytest.raises(ringipam.InUseError, match="fd00:32::9 is in use by c1"):
            await node.claim("c2", "fd00:32::9/64")
        with pytest.raises(ringipam.OutOfRangeError, match=rf"does not lie inside {SIX}"):
            await node.claim("c2", "fd01::9/64")
        with pytest.raises(ringipam.OutOfRangeError, match=rf"the subnet fd01::/64 does not lie inside {SIX}"):
            await node.allocate("c2", "fd01::/64")


async def test_a_block_without_a_subnet_is_of_the_family_that_can_have_one_of_its_length(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        found = []
        for verb in (
            AllocateBlock("net1", 24, None, 10_000),
            AllocateBlock("net2", 64, None, 10_000),
            AllocateBlock("net3", 64, parse_subnet("fd00:32:0:8000::/49"), 10_000),
        ):
            answer = await node.ask(verb)
            assert isinstance(answer, Leased)
            found.append(answer.lease.address.version)

        assert found == [4, 6, 6]


async def test_default_subnet_of_each_range_and_what_is_excluded_hold_in_it(tmp_path: Path) -> None:
    config = both(tmp_path, subnet="10.32.4.0/24", subnet6="fd00:32:0:4::/64", exclude=["10.32.4.1", "fd00:32:0:4::1"])
    async with open_dual_stack(config) as node:
        four, six = await node.allocate("c1"), await node.allocate("c1", "fd00:32:0:4::/64")

        assert (four.address, six.address) == (IPv4Address("10.32.4.2"), IPv6Address("fd00:32:0:4::2"))
        assert (await node.status())["subnet"] == "10.32.4.0/24"
        assert (await node.node(6).status())["subnet"] == "fd00:32:0:4::/64"


async def test_the_history_is_that_of_the_ring_of_the_address(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        await node.prime()

        for address in ("10.32.0.9", "fd00:32::9"):
            found = await node.history(address)
            assert found["address"] == address
            assert found["history"]


async def test_what_is_resolved_is_of_the_family_of_the_addresses(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        await node.prime()
        for span in ("10.32.0.9", "fd00:32::9"):
            with pytest.raises(ringipam.NotFoundError, match="nothing is in doubt there"):
                await node.resolve(span)

    async with open_node(Config(FOUR, name="host1", listen="127.0.0.1:0", data_dir=tmp_path / "one")) as single:
        with pytest.raises(ringipam.OutOfRangeError, match=r"no IPv6 range here, only 10\.32\.0\.0/12: --iprange6"):
            await single.resolve("::a20:9")


# ── views ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_view_is_of_the_ipv4_ring_unless_the_other_is_named(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        await node.prime()

        assert (await node.ring())["universe"] == FOUR == (await node.ring(4))["universe"]
        assert (await node.ring(6))["universe"] == SIX
        assert await node.peers(6) == {"peers": []}
        assert await node.conflicts(6) == {"conflicts": []}
        with pytest.raises(RequestError, match="4 or 6"):
            await node.ring(5)


async def test_a_node_of_one_range_shows_it_under_its_own_family_only(tmp_path: Path) -> None:
    async with open_node(Config(SIX, name="host1", listen="127.0.0.1:0", data_dir=tmp_path)) as node:
        assert await node.ring(6) == await node.ring()
        status = await node.ask(View(Show.STATUS, 6))
        assert status == await node.status()
        with pytest.raises(ringipam.OutOfRangeError, match=r"no IPv4 range here, only fd00:32::/48$"):
            await node.ring(4)


async def test_the_status_has_that_of_the_second_ring_and_the_worse_state_of_both(tmp_path: Path) -> None:
    async with open_node(both(tmp_path).of_family(4)) as single:
        await single.prime()

    async with open_dual_stack(both(tmp_path, init="consensus=3")) as node:
        halfway = await node.status()
    async with open_dual_stack(both(tmp_path)) as node:
        await node.prime()
        ready = await node.status()

    assert (halfway["state"], halfway["serving"]) == ("idle", False)
    assert str(halfway["reason"]).startswith("IPv6: no ring yet")
    assert (ready["state"], ready["reason"], ready["serving"]) == ("ready", None, True)
    second = ready["ipv6"]
    assert isinstance(second, dict)
    assert (ready["universe"], second["universe"]) == (FOUR, SIX)
    assert set(second) == set(ready) - {"ipv6"}
    assert ready["peer"] != second["peer"]


async def test_warnings_of_both_stand_in_one_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "overlaps", lambda config: ["same", f"a route into {config.universe}"])
    async with open_dual_stack(both(tmp_path)) as node:

        async def warned() -> bool:
            return len((await node.status())["warnings"]) == 3  # type: ignore[arg-type]

        await until(warned)
        expected = ["same", f"a route into {FOUR}", f"IPv6: a route into {SIX}"]
        assert (await node.status())["warnings"] == expected


# ── one disk fails ────────────────────────────────────────────────────────────────────────────────


class HalfFailing(Store):
    """A disk on which the state of one ring can be told to be full."""

    full: str | None = None
    """The name of the directory on it."""
    _at: Path

    @classmethod
    def open(cls, directory: Path, family: int) -> Store:
        store = super().open(directory, family)
        assert isinstance(store, cls)
        store._at = directory
        return store

    def commit(self, changes: Sequence[Change]) -> None:
        if type(self).full == getattr(self, "_at", Path()).name:
            raise ringipam.StoreError(f"cannot commit: {errno.errorcode[errno.ENOSPC]}")
        super().commit(changes)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> type[HalfFailing]:
    monkeypatch.setattr(HalfFailing, "full", None)
    monkeypatch.setattr(node_module, "RETRY_S_MIN", 0.02)
    return HalfFailing


async def test_while_one_disk_fails_the_other_ring_serves_and_status_says_both(
    tmp_path: Path, disk: type[HalfFailing]
) -> None:
    async with open_dual_stack(both(tmp_path), Outside(store_type=disk)) as node:
        four, six = await node.allocate("c1"), await node.allocate("c1", SIX)
        disk.full = "data"
        with pytest.raises(ringipam.StoreError, match="ENOSPC"):
            await node.allocate("c2")

        other = await node.allocate("c2", SIX)
        status = await node.status()
        assert (status["state"], status["reason"], status["serving"]) == (
            "refusing",
            "IPv4: cannot commit: ENOSPC",
            False,
        )
        assert isinstance(status["ipv6"], dict)
        assert (status["ipv6"]["state"], status["ipv6"]["serving"]) == ("ready", True)
        assert {lease.lease for lease in await node.leases()} == {four.lease, six.lease, other.lease}
        with pytest.raises(ringipam.StoreError, match=r"^IPv4: cannot commit: ENOSPC; IPv6: 2 leases$"):
            await node.leases(cluster=True)

        disk.full = None

        async def ready() -> bool:
            return (await node.status())["state"] == "ready"

        await until(ready)
        assert {lease.lease for lease in await node.leases()} == {four.lease, six.lease, other.lease}


async def test_a_release_of_which_one_half_fails_says_what_became_of_each_and_may_be_repeated(
    tmp_path: Path, disk: type[HalfFailing]
) -> None:
    async with open_dual_stack(both(tmp_path), Outside(store_type=disk)) as node:
        four, six = await node.allocate("c1"), await node.allocate("c1", SIX)
        only = await node.allocate("only", SIX)
        disk.full = "data"

        with pytest.raises(ringipam.StoreError, match=rf"^IPv4: cannot commit: ENOSPC; IPv6: released {six.address}$"):
            await node.release("c1")
        assert await node.lookup("c1") == [four]
        with pytest.raises(ringipam.StoreError, match=r"^cannot commit: ENOSPC$"):
            await node.release("c1")
        # who has nothing in the ring that fails is not kept by it
        assert await node.release("only") == [only]
        with pytest.raises(ringipam.NotFoundError, match="no addresses for only"):
            await node.release("only")

        disk.full = None

        async def released() -> bool:
            try:
                return await node.release("c1") == [four]
            except ringipam.StoreError:
                return False

        await until(released)


async def test_the_log_tells_the_second_ring_from_the_first(
    tmp_path: Path, disk: type[HalfFailing], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_dual_stack(both(tmp_path), Outside(store_type=disk)) as node:
        disk.full = "ipv6"
        with pytest.raises(ringipam.StoreError, match="ENOSPC"):
            await node.allocate("c1", SIX)
        assert (await node.allocate("c1")).address.version == 4
        assert (await node.status())["reason"] == "IPv6: cannot commit: ENOSPC"

    assert "IPv6: refusing requests until the disk works again: cannot commit: ENOSPC" in caplog.messages
    assert "refusing requests until the disk works again: cannot commit: ENOSPC" not in caplog.messages


# ── the data directory ────────────────────────────────────────────────────────────────────────────


async def test_a_restart_keeps_both_rings(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)) as node:
        held = [await node.allocate("c1"), await node.allocate("c1", SIX)]
        before = await node.ring(4), await node.ring(6)

    async with open_dual_stack(both(tmp_path)) as node:
        assert await node.lookup("c1") == held
        assert (await node.ring(4), await node.ring(6)) == before


async def test_a_directory_of_one_ring_gets_a_second_by_a_restart(tmp_path: Path) -> None:
    async with open_node(both(tmp_path).of_family(4)) as single:
        four = await single.allocate("c1")
        ring = await single.ring()

    async with open_dual_stack(both(tmp_path)) as node:
        assert await node.lookup("c1") == [four]
        assert await node.ring() == ring
        assert (await node.allocate("c1", SIX)).address.version == 6


async def test_data_of_another_second_range_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    async with open_dual_stack(both(tmp_path)):
        pass

    other = Config(FOUR, iprange6="fd01::/48", name="host1", listen="127.0.0.1:0", data_dir=tmp_path / "data")
    with pytest.raises(ringipam.StoreError, match=r"/ipv6 is for fd00:32::/48, not fd01::/48: start with the range"):
        async with open_dual_stack(other):
            pass
    async with open_dual_stack(both(tmp_path)):
        pass


async def test_an_address_claimed_before_there_was_a_range_for_it_is_warned_of_and_can_be_moved(tmp_path: Path) -> None:
    async with open_node(both(tmp_path).of_family(4)) as single:
        _, address = ringipam.address.parse_address("fd00:32::7")
        await single.ask(ClaimAddress("c1", 6, address, 64, 1_000, outside=True))

    async with open_dual_stack(both(tmp_path)) as node:
        assert "fd00:32::7 of c1 was claimed when there was no range" in str((await node.status())["warnings"])
        [freed] = await node.release("c1")
        assert str(freed.address) == "fd00:32::7"
        await node.claim("c1", "fd00:32::7/64")

    async with open_dual_stack(both(tmp_path)) as node:
        assert (await node.status())["warnings"] == []
        assert await node.node(4).leases() == []


async def test_requests_under_way_at_the_end_are_told_so(tmp_path: Path) -> None:
    told = []

    async def wait(node: DualStack, subnet: str) -> None:
        with pytest.raises(ringipam.NotReadyError) as error:
            await node.allocate("c1", subnet)
        told.append(error.value.message)

    async with trio.open_nursery() as nursery, open_dual_stack(both(tmp_path, init="consensus=3")) as node:
        nursery.start_soon(wait, node, FOUR)
        nursery.start_soon(wait, node, SIX)
        await trio.testing.wait_all_tasks_blocked(0.01)

    assert told == ["the node is shutting down"] * 2


# ── several hosts ─────────────────────────────────────────────────────────────────────────────────


def port_with_a_next_one() -> int:
    """A port that is free, as is the one after it."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                with socket.create_server(("127.0.0.1", port + 1)):
                    return port
            except (OSError, OverflowError):
                continue
    raise AssertionError("no two ports in a row are free")


@asynccontextmanager
async def cluster(directory: Path, size: int, outside: Outside = node_module.MACHINE) -> AsyncIterator[list[DualStack]]:
    """Hosts host1, host2, … with both rings, each launched with the address of the first."""
    async with AsyncExitStack() as stack:
        nodes: list[DualStack] = []
        seed = ""
        for number in range(1, size + 1):
            port = port_with_a_next_one()
            config = both(
                directory / str(number),
                name=f"host{number}",
                listen=f"127.0.0.1:{port}",
                init=f"consensus={size}",
                peers=[seed] if seed else [],
                quarantine_s=0,
            )
            seed = seed or config.listen_on
            nodes.append(await stack.enter_async_context(open_dual_stack(config, outside)))
        yield nodes


async def agree(nodes: Sequence[DualStack], others: int) -> None:
    """Returns when all show the same rings, and every other host as alive."""

    async def same() -> bool:
        for family in (4, 6):
            rings = [await node.ring(family) for node in nodes]
            if not rings[0]["cluster"] or any(ring != rings[0] for ring in rings):
                return False
            for node in nodes:
                status = await node.node(family).status()
                if status["peers"] != {"alive": others, "suspect": 0, "dead": 0}:
                    return False
        return True

    await until(same)


async def test_two_hosts_share_both_ranges(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        leases = [await node.allocate(f"c{i}", net) for i in range(5) for node in nodes for net in (FOUR, SIX)]

        assert len({lease.address for lease in leases}) == 20
        await agree(nodes, 1)
        assert len(await nodes[0].leases(cluster=True)) == 20


async def test_a_host_leaves_both_rings_or_neither(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        await nodes[0].prime()
        await agree(nodes, 1)
        second = nodes[1]
        six = await second.allocate("c1", SIX)

        with pytest.raises(RequestError, match=r"^nothing was done: IPv6: 1 leases are held here: c1"):
            await second.leave()
        assert [(await second.node(family).status())["state"] for family in (4, 6)] == ["ready", "ready"]

        await second.release("c1", lease=six.lease)
        left = await second.leave()
        assert list(left["heirs"]) == ["host1"]  # type: ignore[call-overload]
        assert list(left["ipv6"]["heirs"]) == ["host1"]  # type: ignore[index]
        assert [(await second.node(family).status())["state"] for family in (4, 6)] == ["fenced", "fenced"]
        with pytest.raises(RequestError, match=r"^this host has left the ring"):
            await second.leave()


async def test_a_host_that_has_left_one_ring_leaves_the_other_by_the_same_verb(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        await nodes[0].prime()
        await agree(nodes, 1)
        await nodes[1].node(4).leave()

        left = await nodes[1].leave()

        assert left["heirs"] == {}
        assert list(left["ipv6"]["heirs"]) == ["host1"]  # type: ignore[index]


async def test_a_ring_that_never_began_keeps_nobody_from_leaving_the_other(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        await nodes[0].node(4).prime()

        async def heard() -> bool:
            return (await nodes[1].node(4).status())["state"] == "ready"

        await until(heard)
        left = await nodes[1].leave()

        assert list(left["heirs"]) == ["host1"]  # type: ignore[call-overload]
        assert left["ipv6"] == {"heirs": {}}


async def test_what_cannot_be_taken_back_is_not_begun_while_one_disk_fails(
    tmp_path: Path, disk: type[HalfFailing]
) -> None:
    async with cluster(tmp_path, 2, Outside(store_type=disk)) as nodes:
        await nodes[0].prime()
        await agree(nodes, 1)
        second = nodes[1]
        disk.full = "ipv6"
        with pytest.raises(ringipam.StoreError, match="ENOSPC"):
            await second.allocate("c1", SIX)

        for wanted in (
            second.leave(),
            second.remove_peers("host1", force=True),
            second.remove_peers("host1", dry_run=True),
        ):
            with pytest.raises(ringipam.StoreError, match=r"^nothing was done: IPv6: cannot commit: ENOSPC$"):
                await wanted
        assert (await second.node(4).status())["state"] == "ready"
        assert [peer["name"] for peer in (await second.peers())["peers"]] == ["host1"]  # type: ignore[attr-defined]


async def test_a_dead_host_is_removed_from_both_rings_by_its_name_and_from_one_by_its_uid(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(cluster_of_one(tmp_path))
        async with AsyncExitStack() as going:
            for name in ("host2", "host3"):
                config = both(
                    tmp_path / name,
                    name=name,
                    listen=f"127.0.0.1:{port_with_a_next_one()}",
                    peers=[first.listening],
                    init="observer",
                )
                node = await going.enter_async_context(open_dual_stack(config))
                await agree([first, node], 1 if name == "host2" else 2)
        third = (await first.peers(6))["peers"]
        assert isinstance(third, list)
        uid = next(peer["uid"] for peer in third if peer["name"] == "host3")

        with pytest.raises(ringipam.NotFoundError, match="no peer host9 is known"):
            await first.remove_peers("host2", "host9")
        with pytest.raises(RequestError, match="host1 is this host itself"):
            await first.remove_peers("host1")
        plan = await first.remove_peers("host2", f"host3.{uid}", dry_run=True)
        assert len(plan["would_remove"]) == 1  # type: ignore[arg-type]
        assert len(plan["ipv6"]["would_remove"]) == 2  # type: ignore[index]

        done = await first.remove_peers("host2", f"host3.{uid}", force=True)

        assert [str(peer).partition(".")[0] for peer in done["removed"]] == ["host2"]  # type: ignore[attr-defined]
        assert [peer.partition(".")[0] for peer in done["ipv6"]["removed"]] == ["host2", "host3"]  # type: ignore[index]
        only = await first.remove_peers("host3", force=True)
        assert only["removed"]


@asynccontextmanager
async def cluster_of_one(directory: Path) -> AsyncIterator[DualStack]:
    config = both(directory / "1", listen=f"127.0.0.1:{port_with_a_next_one()}", init="alone")
    async with open_dual_stack(config) as node:
        await node.prime()
        yield node


async def test_a_host_in_good_standing_in_both_rings_does_not_rejoin(tmp_path: Path) -> None:
    async with cluster_of_one(tmp_path) as node:
        for dry_run in (True, False):
            with pytest.raises(RequestError, match=r"^this host is a member in good standing"):
                await node.rejoin(dry_run=dry_run)


async def test_the_ring_that_was_left_is_rejoined_and_the_other_stays(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as nodes:
        await nodes[0].prime()
        await agree(nodes, 1)
        await nodes[1].node(6).leave()
        before = (await nodes[1].node(4).status())["peer"]

        plan = await nodes[1].rejoin(dry_run=True)
        done = await nodes[1].rejoin()

        assert plan["from"] == plan["to"] == done["from"] == done["to"]
        assert plan["ipv6"]["to"] is None  # type: ignore[index]
        assert done["ipv6"]["to"] != done["ipv6"]["from"]  # type: ignore[index]

        async def back() -> bool:
            return (await nodes[1].node(6).status())["state"] != "fenced"

        await until(back)
        assert (await nodes[1].node(4).status())["peer"] == before


async def test_connect_and_forget_are_of_both_rings(tmp_path: Path) -> None:
    async with (
        cluster_of_one(tmp_path / "a") as first,
        open_dual_stack(both(tmp_path / "b", name="host2", init="observer")) as second,
    ):
        await second.connect(first.listening)
        await agree([first, second], 1)

        await second.forget(first.listening)
        with pytest.raises(ringipam.NotFoundError, match="no peer and no address host9:1 is known"):
            await second.forget("host9:1")
        with pytest.raises(RequestError, match="there is none after"):
            await second.connect("host9:65535")


async def test_a_prime_that_one_ring_cannot_carry_out_says_which(tmp_path: Path) -> None:
    async with open_node(both(tmp_path).of_family(4)) as single:
        await single.prime()

    async with open_dual_stack(both(tmp_path, init="consensus=3")) as node:
        with pytest.raises(ringipam.NotReadyError, match=r"^IPv4: done; IPv6: no ring yet after 0\.1 s"):
            await node.prime(timeout=0.1)
