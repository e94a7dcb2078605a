"""Looks at Docker's API: what is understood of it, and what is freed, kept and held because of it.

Docker's side is played from what a real engine answered, where a real one would need a swarm, a disk that fails or a
moment that cannot be met; the tests with a real dockerd are beside this file.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from calls import config

from ringipam import Node, open_node
from ringipam.address import parse_subnet
from ringipam.errors import NoSpaceError
from ringipam.integrations.apiclient import ApiError
from ringipam.integrations.docker import keeper as keeper_module
from ringipam.integrations.docker.driver import UNTAKEN_MAX, Driver
from ringipam.integrations.docker.engine import Engine, Snapshot
from ringipam.integrations.docker.keeper import Keeper
from ringipam.integrations.docker.messages import AddressRequest, AddressReturn, PoolRequest

NET = "local:10.32.5.0/24"
TO_GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}
BUILT_IN: dict[str, Any] = {"Name": "none", "Id": "82b1", "IPAM": {"Driver": "default", "Options": None, "Config": []}}
NETWORK: dict[str, Any] = {
    "Name": "n1",
    "Id": "fc3a",
    "Scope": "local",
    "Driver": "bridge",
    "IPAM": {"Driver": "ringipam", "Options": {}, "Config": [{"Subnet": "10.32.5.0/24"}]},
    "Containers": {},
}


def endpoint(address: str, v6: str = "") -> dict[str, Any]:
    return {
        "Name": "c1",
        "EndpointID": "5d73",
        "MacAddress": "02:42:0a:63:05:02",
        "IPv4Address": address,
        "IPv6Address": v6,
    }


@dataclass
class Api:
    """Docker's API at `path`; `networks` and `containers` are its state, `spoil` changes the bytes of an answer."""

    path: Path
    networks: list[dict[str, Any]] = field(default_factory=lambda: [BUILT_IN, copy.deepcopy(NETWORK)])
    containers: list[dict[str, Any]] = field(default_factory=list)
    spoil: Callable[[str, bytes], bytes] = lambda target, answer: answer
    engine: str = "/var/lib/docker"
    gone: set[str] = field(default_factory=set)
    """Ids that are listed, and not there any more when they are asked for."""

    def answer(self, target: str) -> bytes:
        if target == "/networks":
            shown: object = [{**network, "Containers": {}} for network in self.networks]
        elif target == "/containers/json":
            shown = self.containers
        elif target == "/info":
            shown = {"DockerRootDir": self.engine}
        else:
            found = [network for network in self.networks if target == f"/networks/{network['Id']}"]
            if not found or found[0]["Id"] in self.gone:
                return http(b'{"message":"network fc3a not found"}', "404 Not Found")
            shown = found[0]
        return http(json.dumps(shown).encode())

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            target = request.split()[1].decode()
            answer = self.spoil(target, self.answer(target))
            for start in range(0, len(answer), 100):  # no answer comes in one piece
                await stream.send_all(answer[start : start + 100])


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(answer: bytes) -> bytes:
    """`answer` as Docker sends what is long."""
    _, _, body = answer.partition(b"\r\n\r\n")
    chunks = [body[start : start + 7] for start in range(0, len(body), 7)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@asynccontextmanager
async def playing(directory: Path) -> AsyncIterator[Api]:
    api = Api(directory / "docker.sock")
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(api.path))
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, api.serve, [trio.SocketListener(listener)])
            yield api
            nursery.cancel_scope.cancel()


# ── what Docker says ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", [lambda answer: answer, chunked])
async def test_every_address_that_docker_shows_anywhere_is_seen(tmp_path: Path, form: Callable[[bytes], bytes]) -> None:
    async with playing(tmp_path) as api:
        api.spoil = lambda target, answer: form(answer)
        shown = api.networks[1]
        shown["Containers"] = {"4f8b": endpoint("10.32.5.2/24", "fd00::2/64"), "ep-8e82": endpoint("10.32.5.3/24")}
        aux = {"printer": "10.32.5.9"}
        shown["IPAM"]["Config"] = [
            {"Subnet": "10.32.5.0/24", "Gateway": "10.32.5.254", "AuxiliaryAddresses": aux},
            {"Subnet": "fd00::1/64"},
        ]
        settings = {"n1": {"IPAddress": "10.32.5.4", "GlobalIPv6Address": "fd00::4"}, "n2": {"IPAddress": ""}}
        api.containers = [
            {"Id": "4f8b", "NetworkSettings": {"Networks": settings}},
            {"NetworkSettings": {"Networks": None}},
        ]

        seen = await Engine(api.path).snapshot()

    v4 = {(4, 0x0A200500 + last) for last in (2, 3, 4, 9)}
    assert seen.addresses == v4 | {(6, (0xFD00 << 112) + last) for last in (2, 4)}
    parts = {str(part.subnet): part.gateway for network in seen.networks for part in network.parts}
    assert parts == {"10.32.5.0/24": 0x0A2005FE, "fd00::/64": None}


async def test_a_network_that_goes_while_it_is_looked_at_is_not_there(tmp_path: Path) -> None:
    async with playing(tmp_path) as api:
        api.gone.add("fc3a")
        seen = await Engine(api.path).snapshot()
    assert [network.name for network in seen.networks] == ["none"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(b"{}", "500 Internal Server Error"), "it answered 500"),
        (http(b"[", "200 OK"), "is not JSON"),
        (http(b"[" * 100_000), "is not JSON"),
        (http(b"{}"), "another form than expected"),
        (http(b'["x"]'), "another form than expected"),
        (http(b'[{"Id": 5}]'), "Id is not a string"),
        (b"hello\r\n\r\n", "does not speak HTTP"),
        (b"", "it closed the connection"),
        (http(b"[]")[:-1], "it closed the connection"),
    ],
)
async def test_what_is_not_understood_is_no_answer(tmp_path: Path, answer: bytes, why: str) -> None:
    async with playing(tmp_path) as api:
        api.spoil = lambda target, _: answer
        with pytest.raises(ApiError, match=why):
            await Engine(api.path).snapshot()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda shown: shown.update(IPAM=None), "another form"),
        (lambda shown: shown.update(Containers=[]), "another form"),
        (lambda shown: shown.update(Containers={"a": 5}), "another form"),
        (lambda shown: shown.update(Containers={"a": endpoint("host2")}), "not an IP address: 'host2'"),
        (lambda shown: shown["IPAM"].update(Config=[{"Subnet": "10.32.5.0"}]), "not of the form ADDRESS/LEN"),
        (
            lambda shown: shown["IPAM"].update(Config=[{"Subnet": "10.32.5.0/24", "Gateway": 7}]),
            "Gateway is not a string",
        ),
        (lambda shown: shown["IPAM"].update(Config=[{"AuxiliaryAddresses": {"a": 1}}]), "AuxiliaryAddresses is not"),
    ],
)
async def test_a_network_that_is_not_understood_is_no_answer(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], why: str
) -> None:
    async with playing(tmp_path) as api:
        spoil(api.networks[1])
        with pytest.raises(ApiError, match=why):
            await Engine(api.path).snapshot()


async def test_where_nobody_listens_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="No such file or directory"):
        await Engine(tmp_path / "nobody").snapshot()


# ── what follows ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class Host:
    node: Node
    api: Api
    driver: Driver
    keeper: Keeper

    async def held(self) -> set[str]:
        """Ids of the leases of Docker."""
        return {lease.id for lease in await self.node.leases() if lease.labels.get("ringipam.via") == "docker"}

    async def give(self, address: str = "", pool_id: str = NET) -> str:
        return (await self.driver.request_address(AddressRequest(pool_id, address))).partition("/")[0]

    async def gateway(self, pool_id: str = NET, address: str = "") -> None:
        await self.driver.request_address(AddressRequest(pool_id, address, TO_GATEWAY))

    async def look(self) -> None:
        await self.keeper.look(self.driver)


@asynccontextmanager
async def hosting(directory: Path, **more: Any) -> AsyncIterator[Host]:
    directory.mkdir(exist_ok=True)
    async with open_node(config(directory, **more)) as node, playing(directory) as api:
        keeper = Keeper(node, Engine(api.path), "ringipam", directory / "docker-engine")
        yield Host(node, api, Driver(node, [parse_subnet("10.32.0.0/12")], keeper.wake), keeper)


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Docker does not know is freed at once."""
    monkeypatch.setattr(keeper_module, "GRACE_S", 0.0)


@pytest.mark.usefixtures("no_grace")
async def test_what_docker_has_forgotten_is_freed_and_what_it_has_is_kept(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        listed, stopped, lost, named = (
            await host.give(),
            await host.give(),
            await host.give(),
            await host.give("10.32.5.99"),
        )
        await host.node.allocate("c1", "10.32.5.0/24")
        await host.node.allocate("c2", labels={"ringipam.via": "cni"})
        host.api.networks[1]["Containers"] = {"a": endpoint(f"{listed}/24"), "ep-b": endpoint(f"{stopped}/24")}

        await host.look()

        assert await host.held() == {"gateway:10.32.5.0/24", listed, stopped}
        assert {lost, named}.isdisjoint(lease.id for lease in await host.node.leases())
        assert len(await host.node.leases()) == 5


async def test_a_gateway_that_was_given_back_is_not_claimed_again_before_the_next_look(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        await host.look()
        (gateway,) = await host.node.lookup("gateway:10.32.5.0/24")
        await host.driver.release_address(AddressReturn(NET, str(gateway.address)))
        await host.node.release(gateway.id)

        await host.keeper._hold_again(host.driver)

        assert await host.held() == set()


async def test_a_gateway_that_another_host_leases_is_not_taken_over_for_a_network_that_is_gone(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        await host.look()
        await host.node.release("gateway:10.32.5.0/24")  # as if it were another host's, which lets go of it

        await host.driver.release_address(AddressReturn(NET, "10.32.5.1"))
        await host.keeper._hold_again(host.driver)

        assert await host.held() == set()


async def test_a_gateway_that_is_given_back_during_a_look_is_not_claimed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        engine = host.keeper._engine
        seen = await engine.snapshot()

        async def late() -> Snapshot:
            await host.driver.release_address(AddressReturn(NET, "10.32.5.1"))
            await host.node.release("gateway:10.32.5.0/24")
            return seen

        monkeypatch.setattr(engine, "snapshot", late)
        await host.look()

        assert await host.held() == set()


async def test_a_gateway_is_claimed_again_between_two_looks_when_its_holder_has_let_go(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        await host.look()
        await host.node.release("gateway:10.32.5.0/24")

        await host.keeper._hold_again(host.driver)

        assert await host.held() == {"gateway:10.32.5.0/24"}


@pytest.mark.usefixtures("no_grace")
async def test_what_another_engine_does_not_know_is_kept(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        address = await host.give()
        host.api.networks[1]["Containers"] = {"a": endpoint(f"{address}/24")}
        await host.look()
        ours, host.api.engine, host.api.networks = host.api.engine, "/srv/docker", [BUILT_IN]

        await host.look()
        await host.look()

        assert address in await host.held()
        assert "another engine" in host.keeper.stranger
        host.api.engine = ours
        await host.look()
        assert host.keeper.stranger == ""
        assert address not in await host.held(), "its own engine has forgotten it"


@pytest.mark.usefixtures("no_grace")
async def test_another_engine_is_taken_for_docker_when_nothing_is_held_for_the_one_before(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.look()
        host.api.engine = "/srv/docker"
        await host.look()
        lost = await host.give()

        await host.look()

        assert host.keeper.stranger == ""
        assert lost not in await host.held()


async def test_what_may_be_on_its_way_into_dockers_lists_is_not_freed(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        starting = await host.give()
        pool = await host.driver.request_pool(PoolRequest("local", "", ""))
        assert pool.block is not None
        for _ in range(3):
            await host.look()
        assert await host.held() == {"gateway:10.32.5.0/24", starting, pool.block[0]}


@pytest.mark.parametrize("failing", ["/networks", "/networks/fc3a", "/containers/json"])
@pytest.mark.usefixtures("no_grace")
async def test_nothing_is_freed_unless_docker_has_answered_everything(tmp_path: Path, failing: str) -> None:
    async with hosting(tmp_path) as host:
        address = await host.give()
        host.api.spoil = lambda target, answer: answer if target != failing else http(b"", "503 Service Unavailable")
        with pytest.raises(ApiError):
            await host.look()
        assert await host.held() == {address}


@pytest.mark.usefixtures("no_grace")
async def test_addresses_of_a_swarm_are_kept_as_other_hosts_may_run_their_containers(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway("global:10.32.9.0/24")
        task = await host.give(pool_id="global:10.32.9.0/24")
        await host.look()
        assert await host.held() == {task, "gateway:10.32.9.0/24", "gateway:10.32.5.0/24"}


@pytest.mark.usefixtures("no_grace")
async def test_a_block_is_kept_with_its_network_and_freed_after_it(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        pool = await host.driver.request_pool(PoolRequest("local", "", ""))
        await host.gateway(str(pool))
        assert pool.block is not None
        mine = {pool.block[0], pool.gateway_holder}
        network = {**NETWORK, "Id": "df8f", "IPAM": {"Driver": "ringipam", "Config": [{"Subnet": str(pool.subnet)}]}}

        host.api.networks.append(network)
        await host.look()
        assert await host.held() >= mine

        host.api.networks.remove(network)
        await host.look()
        assert (await host.held()).isdisjoint(mine)


@pytest.mark.usefixtures("no_grace")
async def test_blocks_that_docker_never_gave_back_do_not_count_as_asked_for_in_vain_for_ever(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        for _ in range(UNTAKEN_MAX):  # as by a Docker that is killed while it looks for one
            await host.driver.request_pool(PoolRequest("local", "", ""))
        with pytest.raises(NoSpaceError):
            await host.driver.request_pool(PoolRequest("local", "", ""))

        await host.look()
        await host.look()

        assert await host.held() == {"gateway:10.32.5.0/24"}
        assert await host.driver.request_pool(PoolRequest("local", "", ""))


async def test_a_gateway_given_back_is_free_on_a_ring_of_one_when_no_network_has_it(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        back = AddressReturn(NET, "10.32.5.1")
        await host.driver.release_address(back)
        await host.look()  # another network there still has it
        assert await host.held() == {"gateway:10.32.5.0/24"}

        host.api.networks = [BUILT_IN]
        await host.driver.release_address(back)
        await host.look()
        assert await host.held() == set()


async def test_a_gateway_given_back_and_asked_for_again_stays(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        host.api.networks = [BUILT_IN]
        await host.gateway()
        await host.driver.release_address(AddressReturn(NET, "10.32.5.1"))

        await host.gateway()
        await host.look()

        assert await host.held() == {"gateway:10.32.5.0/24"}


@pytest.mark.usefixtures("no_grace")
async def test_a_gateway_that_other_hosts_may_have_stays_until_it_is_freed_by_hand(tmp_path: Path) -> None:
    async with hosting(tmp_path / "a", insecure=True) as host:
        other = {"insecure": True, "name": "host2", "peers": [host.node.listening], "init": "observer"}
        async with hosting(tmp_path / "b", **other) as second:
            await host.gateway()
            await second.node.allocate("c1")
            host.api.networks = second.api.networks = [BUILT_IN]

            await host.driver.release_address(AddressReturn(NET, "10.32.5.1"))
            await host.look()
            await second.look()

            assert await host.held() == {"gateway:10.32.5.0/24"}
            await host.node.release("gateway:10.32.5.0/24")
            assert await host.held() == set()


async def test_a_host_with_a_network_takes_over_the_gateway_when_its_holder_lets_go(tmp_path: Path) -> None:
    async with hosting(tmp_path / "a", insecure=True, quarantine_s=0.0) as host:
        other = {"insecure": True, "name": "host2", "peers": [host.node.listening], "init": "observer"}
        async with hosting(tmp_path / "b", **other) as second:
            await host.gateway()
            await second.gateway()
            assert await second.held() == set()
            await second.look()
            assert await second.held() == set()

            await host.node.release("gateway:10.32.5.0/24")
            assert await second.give() != "10.32.5.1"  # not even before the next look
            await second.look()

            assert "gateway:10.32.5.0/24" in await second.held()


async def test_the_usual_gateway_is_issued_to_nobody_before_it_is_known_whether_it_is_one(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        await host.gateway()
        await host.node.release("gateway:10.32.5.0/24")  # as when the host that leased it is gone

        restarted = Driver(host.node, [parse_subnet("10.32.0.0/12")])
        given = [await restarted.request_address(AddressRequest(NET, "")) for _ in range(253)]

        assert "10.32.5.1/24" not in given
        with pytest.raises(NoSpaceError):
            await restarted.request_address(AddressRequest(NET, ""))


async def test_gateways_are_held_for_networks_of_this_driver_alone(tmp_path: Path) -> None:
    async with hosting(tmp_path) as host:
        host.api.networks[1]["IPAM"]["Driver"] = "default"
        await host.look()
        assert await host.held() == set()


async def test_a_gateway_that_somebody_else_was_given_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(tmp_path) as host:
        await host.node.claim("c1", "10.32.5.254/24")
        host.api.networks[1]["IPAM"]["Config"] = [{"Subnet": "10.32.5.0/24", "Gateway": "10.32.5.254"}]
        for _ in range(3):
            await host.look()
    told = [record.message for record in caplog.records if "gateway" in record.message]
    assert told == [
        "a network of Docker has a gateway that is not its own: the gateway 10.32.5.254 of 10.32.5.0/24 is in use by c1"
        " on host1: name another with --gateway"
    ]


async def test_the_log_tells_when_docker_is_away_and_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(keeper_module, "RETRY_S", 0.01)

    def told() -> list[str]:
        return [record.message for record in caplog.records if record.name == keeper_module.__name__]

    async with hosting(tmp_path) as host, trio.open_nursery() as nursery:
        await host.give()
        host.api.spoil = lambda target, answer: http(b"", "500 Internal Server Error")
        nursery.start_soon(host.keeper.run, host.driver)
        with trio.fail_after(20):
            while not told():
                await trio.sleep(0.01)
            host.api.spoil = lambda target, answer: answer
            while len(told()) < 2:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert told() == [
        "Docker's API does not answer: it answered 500: nothing; what its containers hold is kept",
        "Docker's API answers again",
    ]


async def test_a_host_without_docker_has_nothing_to_say_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(keeper_module, "RETRY_S", 0.01)
    looks = 0
    async with hosting(tmp_path) as host, trio.open_nursery() as nursery:

        def refuse(target: str, answer: bytes) -> bytes:
            nonlocal looks
            looks += 1
            return b""

        host.api.spoil = refuse
        nursery.start_soon(host.keeper.run, host.driver)
        with trio.fail_after(20):
            while looks < 5:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert not [record for record in caplog.records if record.name == keeper_module.__name__]


async def test_a_gateway_given_back_is_looked_at_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "SOON_S", 0.0)
    async with hosting(tmp_path) as host, trio.open_nursery() as nursery:
        await host.gateway()
        host.api.networks = [BUILT_IN]
        nursery.start_soon(host.keeper.run, host.driver)
        await host.driver.release_address(AddressReturn(NET, "10.32.5.1"))
        with trio.fail_after(20):  # and not in a minute
            while await host.held():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
