"""The calls of Docker's IPAM protocol over the plugin's socket, against a daemon in this process."""

from __future__ import annotations

import json
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import trio
from calls import Docker, config, exchange, plugin
from hypothesis import given, settings
from hypothesis import strategies as st

from ringipam import Config, RequestError, StoreError
from ringipam.core.events import ClaimAddress, Leased
from ringipam.integrations.docker.pools import parse_pool_id
from ringipam.integrations.docker.service import open_docker

POOL = {"AddressSpace": "local", "Pool": "10.32.5.0/24", "SubPool": "", "Options": None, "V6": False}
NET = "local:10.32.5.0/24"


# ── who is there ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("/Plugin.Activate", {"Implements": ["IpamDriver"]}),
        ("/IpamDriver.GetCapabilities", {"RequiresMACAddress": False, "RequiresRequestReplay": False}),
        (
            "/IpamDriver.GetDefaultAddressSpaces",
            {"LocalDefaultAddressSpace": "local", "GlobalDefaultAddressSpace": "global"},
        ),
    ],
)
async def test_docker_asks_with_empty_bodies_what_the_plugin_is(
    tmp_path: Path, call: str, answer: dict[str, object]
) -> None:
    async with plugin(tmp_path) as docker:
        assert await exchange(docker.path, "POST", call) == (200, "application/vnd.docker.plugins.v1.2+json", answer)


async def test_other_paths_and_methods_are_refused_in_words_that_docker_shows(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        status, _, answer = await exchange(docker.path, "POST", "/NetworkDriver.GetCapabilities", b"{}")
        assert (status, answer["Err"]) == (404, "nothing is at /NetworkDriver.GetCapabilities")
        status, _, answer = await exchange(docker.path, "GET", "/IpamDriver.RequestPool")
        assert (status, answer["Err"]) == (405, "GET is not served here, only POST")


async def test_a_body_without_end_is_not_read(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        async with await trio.open_unix_socket(str(docker.path)) as stream:
            await stream.send_all(b"POST /IpamDriver.RequestPool HTTP/1.1\r\nHost: \r\nContent-Length: 200000\r\n\r\n")
            answer = b"".join([part async for part in stream])
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"bad request: body larger than 131072 bytes\n")


# ── the plugin's socket ───────────────────────────────────────────────────────────────────────────


async def test_a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not(tmp_path: Path) -> None:
    async with plugin(tmp_path / "a") as docker:
        told = config(tmp_path / "a")
        with pytest.raises(StoreError, match=r"a daemon already answers at .*; give this one another --docker-plugin"):
            async with open_docker(docker.node, told, [told.universe]):
                pytest.fail("it was opened")
    assert not docker.path.exists()
    with trio.socket.socket(trio.socket.AF_UNIX) as left_behind:
        await left_behind.bind(str(docker.path))
    async with plugin(tmp_path / "a") as docker:
        assert await docker.address(NET) == "10.32.5.2/24"


async def test_docker_is_not_served_where_that_is_not_wanted(tmp_path: Path) -> None:
    async with plugin(tmp_path, docker_api="none") as docker:
        told = Config("10.32.0.0/12", data_dir=tmp_path / "b", docker_plugin="none")  # type: ignore[arg-type]
        async with open_docker(docker.node, told, [told.universe]):
            assert await docker.address(NET) == "10.32.5.2/24"


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    for name in ("docker_plugin", "docker_api"):
        with pytest.raises(RequestError, match=f"{name} is no path"):
            Config("10.32.0.0/12", data_dir=tmp_path, **{name: "a\0b"})  # type: ignore[arg-type]


# ── pools ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("iprange", "pool", "subpool", "pool_id"),
    [
        ("10.32.0.0/12", "10.32.5.0/24", "", "local:10.32.5.0/24"),
        ("10.32.0.0/12", "10.32.5.0/24", "10.32.5.128/25", "local:10.32.5.0/24,10.32.5.128/25"),
        ("10.32.0.0/12", "10.32.0.0/12", "10.32.5.7/32", "local:10.32.0.0/12,10.32.5.7/32"),
        ("fd00:10::/48", "fd00:10:0:5::/64", "", "local:fd00:10:0:5::/64"),
        ("fd00:10::/48", "fd00:10:0:5::/64", "fd00:10:0:5::ff00/120", "local:fd00:10:0:5::/64,fd00:10:0:5::ff00/120"),
        ("fd00:10::/48", "FD00:10:0:0005::/64", "", "local:fd00:10:0:5::/64"),
    ],
)
async def test_a_pools_id_says_all_of_it_and_is_the_same_each_time_and_after_a_restart(
    tmp_path: Path, iprange: str, pool: str, subpool: str, pool_id: str
) -> None:
    v6 = ":" in iprange
    for _ in range(2):
        async with plugin(tmp_path, iprange) as docker:
            for _ in range(2):
                answer = await docker.pool(pool, subpool, v6)
                assert answer == {"PoolID": pool_id, "Pool": str(ip_network(pool)), "Data": {}}
            address = ip_interface(await docker.address(pool_id))
            assert address.network == ip_network(pool)
            assert address.ip in ip_network(subpool or pool)
            assert await docker.give_back(pool_id, str(address.ip)) == {}
            assert await docker.give_back_pool(pool_id) == {}
            assert await docker.leases() == []


def _pool(**changes: object) -> bytes:
    return json.dumps({**POOL, **changes}).encode()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "the request came without its body: ask again"),
        (b" \n", "the request came without its body: ask again"),
        (b"{", "the request is not JSON"),
        (b"\xff\xfe", "the request is not JSON"),
        (b"[" * 100_000, "the request is not JSON"),
        (b"null", "the request is not a JSON object"),
        (b"[]", "the request is not a JSON object"),
        (b'"10.32.5.0/24"', "the request is not a JSON object"),
        (b"{}", "V6 is true or false, not null"),
        (b'{"V6": false}', "AddressSpace is a string of at most 256 characters, not null"),
        (b'{"V6": ' + b"9" * 5000 + b"}", "the request is not JSON"),
        (_pool(V6=None), "V6 is true or false, not null"),
        (_pool(V6=1), "V6 is true or false, not 1"),
        (_pool(V6="true"), 'V6 is true or false, not "true"'),
        (_pool(Pool=None), "Pool is a string of at most 256 characters, not null"),
        (_pool(Pool=5), "Pool is a string of at most 256 characters, not 5"),
        (_pool(Pool=["10.32.5.0/24"]), 'Pool is a string of at most 256 characters, not ["10.32.5.0/24"]'),
        (_pool(Pool="1" * 257), "Pool is a string of at most 256 characters, not"),
        (_pool(SubPool={}), "SubPool is a string of at most 256 characters, not {}"),
        (_pool(AddressSpace=7), "AddressSpace is a string of at most 256 characters, not 7"),
        (_pool(AddressSpace=""), "the address space is local or global, not ''"),
        (_pool(AddressSpace="LocalDefault"), "the address space is local or global, not 'LocalDefault'"),
        (_pool(Options=[]), "Options is an object of strings, not []"),
        (_pool(Options={"a": 1}), 'Options is an object of strings, not {"a": 1}'),
        (_pool(Options={"a\nb": "c"}), "unknown option 'a\\nb'; known are: ringipam.prefix-len, ringipam.prefix-len6"),
        (_pool(Options={"ringipam.prefix-len": "24"}), "ringipam.prefix-len is about networks without --subnet"),
        (json.dumps({k: v for k, v in POOL.items() if k != "Options"}).encode(), "Options is missing"),
        (_pool(Pool=" "), "not an IP address: ' '"),
        (_pool(Pool="10.32.5.0"), "not of the form ADDRESS/LEN: '10.32.5.0'"),
        (_pool(Pool="10.32.5.0/"), "not of the form ADDRESS/LEN: '10.32.5.0/'"),
        (_pool(Pool="10.32.5.0/33"), "not of the form ADDRESS/LEN: '10.32.5.0/33'"),
        (_pool(Pool="10.32.5.0/-1"), "not of the form ADDRESS/LEN: '10.32.5.0/-1'"),
        (_pool(Pool="10.32.5.0/2\u0664"), "not of the form ADDRESS/LEN"),
        (_pool(Pool="10.32.5.1/24"), "not all zero: '10.32.5.1/24' (did you mean 10.32.5.0/24?)"),
        (_pool(Pool="10.32.5.0/31"), "subnet smaller than the minimum of 4 addresses: '10.32.5.0/31'"),
        (_pool(Pool="10.0.0.0/8"), "the subnet 10.0.0.0/8 does not lie inside 10.32.0.0/12"),
        (_pool(Pool="192.168.0.0/24"), "the subnet 192.168.0.0/24 does not lie inside 10.32.0.0/12"),
        (_pool(Pool="fd00::/64"), "fd00::/64 is no subnet of IPv4"),
        (_pool(Pool="fd00::/64", V6=True), "the subnet fd00::/64 does not lie inside 10.32.0.0/12"),
        (_pool(V6=True), "10.32.5.0/24 is no subnet of IPv6"),
        (_pool(Pool="::ffff:10.32.5.0/120", V6=True), "does not lie inside 10.32.0.0/12"),
        (_pool(Pool="fe80::%eth0/64", V6=True), "an address with a scope cannot be managed"),
        (_pool(Pool="10.32.5.0/24\n"), "not of the form ADDRESS/LEN"),
        (_pool(Pool="\ud800"), "not an IP address"),
        (_pool(SubPool="10.32.6.0/25"), "--ip-range 10.32.6.0/25 does not lie inside 10.32.5.0/24"),
        (_pool(SubPool="10.32.0.0/16"), "--ip-range 10.32.0.0/16 does not lie inside 10.32.5.0/24"),
        (_pool(SubPool="fd00::/120"), "--ip-range fd00::/120 does not lie inside 10.32.5.0/24"),
        (_pool(SubPool="10.32.5.0/32"), "--ip-range 10.32.5.0/32 has no address that may be issued in 10.32.5.0/24"),
        (_pool(SubPool="10.32.5.255/32"), "--ip-range 10.32.5.255/32 has no address that may be issued"),
        (_pool(SubPool="x"), "not an IP address: 'x'"),
        (_pool(Pool="", SubPool="10.32.5.0/25"), "--ip-range needs --subnet"),
        (_pool(Pool="", V6=True), "this host has no range of IPv6: its range is 10.32.0.0/12"),
        (_pool(Pool="", Options={"a": "b"}), "unknown option 'a'"),
        *(
            (_pool(Pool="", Options={"ringipam.prefix-len": text}), "prefix-len is 12 to 30 in 10.32.0.0/12, not '")
            for text in ("11", "31", "+24", "", "2\u0664", "24.0", "1" * 200)
        ),
        (_pool(Pool="", AddressSpace="x"), "the address space is local or global, not 'x'"),
    ],
)
async def test_a_pool_that_cannot_be_is_refused_in_one_line_and_nothing_is_leased(
    tmp_path: Path, body: bytes, complaint: str
) -> None:
    async with plugin(tmp_path) as docker:
        answer = await docker.call("RequestPool", body)

        assert complaint in answer["Error"]
        assert "\n" not in answer["Error"]
        assert answer.keys() == {"Error", "Err"}
        assert await docker.leases() == []


@pytest.mark.parametrize(
    ("iprange", "prefix_len"),
    [
        ("10.32.0.0/12", 24),
        ("10.32.0.0/20", 24),
        ("10.32.0.0/24", 28),
        ("10.32.0.0/27", 30),
        ("fd00:10::/48", 64),
        ("fd00:10::/64", 72),
        ("fd00:10::/120", 126),
    ],
)
async def test_a_block_is_as_large_as_people_expect_and_leaves_room_for_others(
    tmp_path: Path, iprange: str, prefix_len: int
) -> None:
    async with plugin(tmp_path, iprange) as docker:
        answer = await docker.pool(v6=":" in iprange)

        block = ip_network(answer["Pool"])
        assert block.prefixlen == prefix_len
        assert block.subnet_of(ip_network(iprange))  # type: ignore[arg-type]
        assert await docker.pool_id(v6=":" in iprange) != answer["PoolID"]


async def test_a_block_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        answer = await docker.call("RequestPool", _pool(Pool="", Options={"ringipam.prefix-len": "28"}))
        assert ip_network(answer["Pool"]).prefixlen == 28


async def test_nobody_else_gets_addresses_of_a_block_and_it_is_free_again_when_its_network_is_gone(
    tmp_path: Path,
) -> None:
    async with plugin(tmp_path, "10.32.0.0/24") as docker:
        pool_id = await docker.pool_id()
        (block,) = await docker.leases()
        mine = {(await docker.address(pool_id)).partition("/")[0] for _ in range(3)}
        assert block.class_ == "block"
        assert all(ip_interface(address).ip in block.subnet for address in mine)

        others = [(await docker.node.allocate(f"c{number}")).address for number in range(100)]
        assert not [address for address in others if address in block.subnet]

    async with plugin(tmp_path, "10.32.0.0/24") as docker:
        for address in mine:
            assert await docker.give_back(pool_id, address) == {}
        for _ in range(2):
            assert await docker.give_back_pool(pool_id) == {}
        assert [lease for lease in await docker.leases() if lease.labels] == []


async def test_docker_gets_another_block_each_time_and_an_end_where_it_takes_none(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        held = [await docker.pool_id() for _ in range(32)]
        assert len(set(held)) == 32

        refused = await docker.pool()
        assert refused["Error"] == (
            "Docker took none of the last 32 blocks of 10.32.0.0/12: routes or networks of this host overlap them;"
            " name a subnet with --subnet"
        )
        assert len(await docker.leases("pool")) == 32

        await docker.gateway(held[0])  # that one was taken
        assert "PoolID" in await docker.pool()
        assert "Error" in await docker.pool()
        for pool_id in held:
            await docker.give_back_pool(pool_id)
        assert "PoolID" in await docker.pool()


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────


def _address(**changes: object) -> bytes:
    return json.dumps({"PoolID": NET, "Address": "", "Options": None, **changes}).encode()


GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "the request came without its body: ask again"),
        (b"{", "the request is not JSON"),
        (b"{}", "PoolID is a string of at most 256 characters, not null"),
        (
            b'{"PoolID": "local:10.32.5.0/24", "Options": null}',
            "Address is a string of at most 256 characters, not null",
        ),
        (json.dumps({"PoolID": NET, "Address": ""}).encode(), "Options is missing"),
        (_address(Address=None), "Address is a string of at most 256 characters, not null"),
        (_address(Address=0), "Address is a string of at most 256 characters, not 0"),
        (_address(Options={"a": None}), "Options is an object of strings"),
        (_address(PoolID=""), "not a pool of ringipam: ''"),
        (_address(PoolID="10.32.5.0/24"), "not a pool of ringipam: '10.32.5.0/24'"),
        (_address(PoolID="local:10.32.5.0/24\n"), "not a pool of ringipam: 'local:10.32.5.0/24\\n'"),
        (_address(PoolID="local:10.32.5.0/24#"), "not a pool of ringipam"),
        (_address(PoolID="local:10.32.5.1/24"), "bits after the network prefix are not all zero"),
        (_address(PoolID="local:10.32.5.0/999"), "not of the form ADDRESS/LEN"),
        (_address(PoolID="local:10.32.5.0/24,fd00::/120"), "--ip-range fd00::/120 does not lie inside 10.32.5.0/24"),
        (_address(PoolID="local:::::/24"), "not an IP address"),
        (_address(PoolID="local:192.168.5.0/24"), "the subnet 192.168.5.0/24 does not lie inside 10.32.0.0/12"),
        (_address(PoolID="local:fd00::/64"), "the subnet fd00::/64 does not lie inside 10.32.0.0/12"),
        (_address(Address="10.32.5.0"), "10.32.5.0 is no address for a host in 10.32.5.0/24"),
        (_address(Address="10.32.5.255"), "10.32.5.255 is no address for a host in 10.32.5.0/24"),
        (_address(Address="10.32.6.1"), "10.32.6.1 is no address for a host in 10.32.5.0/24"),
        (_address(Address="fd00::1"), "fd00::1 is no address for a host in 10.32.5.0/24"),
        (_address(Address="::ffff:10.32.5.7"), "is no address for a host in 10.32.5.0/24"),
        (_address(Address="10.32.5.7/24"), "not an IP address: '10.32.5.7/24'"),
        (_address(Address="any"), "not an IP address: 'any'"),
        (_address(Address="10.32.5.7\n"), "not an IP address: '10.32.5.7\\n'"),
        (_address(Address="10.32.6.1", Options=GATEWAY), "10.32.6.1 is no address for a host in 10.32.5.0/24"),
        (_address(Address="10.32.5.0", Options=GATEWAY), "10.32.5.0 is no address for a host in 10.32.5.0/24"),
    ],
)
async def test_an_address_that_cannot_be_is_refused_in_one_line_and_nothing_is_leased(
    tmp_path: Path, body: bytes, complaint: str
) -> None:
    async with plugin(tmp_path) as docker:
        answer = await docker.call("RequestAddress", body)

        assert complaint in answer["Error"]
        assert "\n" not in answer["Error"]
        assert await docker.leases() == []


async def test_options_of_an_address_that_are_not_about_gateways_are_of_no_concern(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        options = {
            "com.docker.network.endpoint.macaddress": "02:42:ac:11:00:02",
            "com.docker.network.ipam.x": "true",
        }
        assert await docker.call("RequestAddress", _address(Options=options)) == {"Address": "10.32.5.2/24", "Data": {}}


async def test_an_address_that_is_named_is_given_once(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        await docker.node.claim("c1", "10.32.5.8/24")
        anonymous = await docker.node.ask(ClaimAddress("_", 4, 0x0A200509, 24, 1000))
        assert isinstance(anonymous, Leased)

        assert await docker.address(NET, "10.32.5.7") == "10.32.5.7/24"

        again = "10.32.5.7 is in use by another container or network of this host's Docker"
        assert await docker.address(NET, "10.32.5.7") == again
        assert await docker.address(NET, "10.32.5.8") == "10.32.5.8 is in use by c1 on host1"
        assert await docker.address(NET, "10.32.5.9") == "10.32.5.9 is in use on host1"
        assert await docker.address("local:10.32.0.0/16", "10.32.5.7") == "10.32.5.7 is in use on host1"
        assert await docker.node.lookup("10.32.5.9") == [anonymous.lease]


async def test_what_a_user_reserves_outside_of_the_part_is_given(tmp_path: Path) -> None:
    part = "local:10.32.5.0/24,10.32.5.128/25"
    async with plugin(tmp_path) as docker:
        assert await docker.gateway(part, "10.32.5.1") == "10.32.5.1/24"
        assert await docker.address(part, "10.32.5.9") == "10.32.5.9/24"
        assert await docker.address(part) == "10.32.5.128/24"


async def test_an_address_is_given_back_as_often_as_docker_likes(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        kept, freed = await docker.address(NET), await docker.address(NET)
        for _ in range(3):
            assert await docker.give_back(NET, freed) == {}
        assert [lease.interface for lease in await docker.leases()] == [kept]


async def test_only_what_docker_has_from_this_pool_is_given_back(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        named = await docker.node.claim("c1", "10.32.5.8/24")
        anonymous = await docker.node.ask(ClaimAddress("_", 4, 0x0A200509, 24, 1000))
        mine = await docker.address(NET, "10.32.5.10")
        before = await docker.leases()

        for address in (str(named.address), "10.32.5.9", "10.32.5.200", "192.168.0.1", "fd00::1"):
            assert await docker.give_back(NET, address) == {}
        assert await docker.give_back("local:10.32.0.0/16", mine) == {}
        assert await docker.give_back("local:10.32.5.0/24,10.32.5.8/29", mine) == {}

        assert isinstance(anonymous, Leased)
        assert await docker.leases() == before


@pytest.mark.parametrize(
    ("call", "body", "complaint"),
    [
        ("ReleaseAddress", b"", "the request came without its body: ask again"),
        ("ReleaseAddress", b'{"PoolID": "local:10.32.5.0/24"}', "Address is a string"),
        ("ReleaseAddress", b'{"PoolID": "local:10.32.5.0/24", "Address": ""}', "not an IP address: ''"),
        ("ReleaseAddress", b'{"PoolID": "x", "Address": "10.32.5.1"}', "not a pool of ringipam: 'x'"),
        ("ReleasePool", b"", "the request came without its body: ask again"),
        ("ReleasePool", b"{}", "PoolID is a string"),
        ("ReleasePool", b'{"PoolID": "_"}', "not a pool of ringipam: '_'"),
    ],
)
async def test_nothing_is_given_back_by_a_request_that_does_not_say_what(
    tmp_path: Path, call: str, body: bytes, complaint: str
) -> None:
    async with plugin(tmp_path) as docker:
        await docker.address(NET)
        assert complaint in (await docker.call(call, body))["Error"]
        assert len(await docker.leases()) == 1


async def test_a_forged_id_of_a_block_frees_no_lease_of_others(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        lease = await docker.node.allocate("c1")
        real = parse_pool_id(await docker.pool_id())
        assert real.block is not None

        for block in (("c1", "AAAAAAAAAAAAAAAA"), ("c2", lease.lease), (real.block[0], lease.lease)):
            assert await docker.give_back_pool(f"local:10.32.5.0/24#{block[0]}:{block[1]}") == {}

        assert len(await docker.leases()) == 2


async def test_a_full_subnet_is_told_with_who_has_it(tmp_path: Path) -> None:
    async with plugin(tmp_path, quarantine_s=0.0) as docker:
        small = await docker.pool_id("10.32.5.0/29")
        for _ in range(6):
            await docker.address(small)
        assert await docker.address(small) == "no free address in 10.32.5.0/29: host1 owns 6 (none free)"
        await docker.give_back(small, "10.32.5.3")
        assert await docker.address(small) == "10.32.5.3/29"


# ── gateways ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_gateway_is_the_first_address_unless_it_is_named_and_is_issued_to_nobody(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        assert await docker.gateway(NET) == "10.32.5.1/24"
        assert await docker.gateway(NET) == "10.32.5.1/24"
        assert await docker.gateway("local:10.32.6.0/24", "10.32.6.254") == "10.32.6.254/24"

        assert await docker.address(NET) == "10.32.5.2/24"
        assert await docker.address(NET, "10.32.5.1") == "10.32.5.1 is in use by gateway:10.32.5.0/24 on host1"
        assert {lease.id for lease in await docker.leases("gateway")} == {
            "gateway:10.32.5.0/24",
            "gateway:10.32.6.0/24",
        }


async def test_a_gateway_that_somebody_has_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        await docker.node.claim("c1", "10.32.5.1/24")
        await docker.address(NET, "10.32.5.2")

        assert await docker.gateway(NET) == (
            "the gateway 10.32.5.1 of 10.32.5.0/24 is in use by c1 on host1: name another with --gateway"
        )
        assert await docker.gateway(NET, "10.32.5.2") == (
            "the gateway 10.32.5.2 of 10.32.5.0/24 is in use on host1: name another with --gateway"
        )


async def test_a_gateway_given_back_stays_taken_while_nobody_knows_who_else_has_it(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        await docker.gateway(NET)
        assert await docker.give_back(NET, "10.32.5.1") == {}
        assert [lease.id for lease in await docker.leases()] == ["gateway:10.32.5.0/24"]

        await docker.node.release("gateway:10.32.5.0/24")  # by hand
        assert await docker.leases() == []


async def test_the_gateway_of_a_block_is_free_with_its_network(tmp_path: Path) -> None:
    async with plugin(tmp_path) as docker:
        pool_id = await docker.pool_id()
        gateway = await docker.gateway(pool_id)
        assert await docker.give_back(pool_id, gateway) == {}
        assert await docker.give_back_pool(pool_id) == {}
        assert await docker.leases() == []


async def test_two_hosts_have_one_gateway_and_one_lease_of_it(tmp_path: Path) -> None:
    more: dict[str, Any] = {"insecure": True, "docker_api": "none"}
    async with plugin(tmp_path / "a", **more) as first:
        other = {**more, "name": "host2", "peers": [first.node.listening], "init": "observer"}
        async with plugin(tmp_path / "b", **other) as second:
            assert await first.gateway(NET) == "10.32.5.1/24"
            assert await second.gateway(NET) == "10.32.5.1/24"
            assert await second.gateway(NET) == "10.32.5.1/24"

            assert [lease.id for lease in await first.leases()] == ["gateway:10.32.5.0/24"]
            assert await second.leases() == []
            given = [await docker.address(NET) for docker in (first, second) * 5]
            assert len(set(given)) == 10
            assert "10.32.5.1/24" not in given
            assert await second.address(NET, "10.32.5.1") == "10.32.5.1 is in use by gateway:10.32.5.0/24 on host1"

            await first.address(NET, "10.32.5.200")
            assert await second.gateway(NET, "10.32.5.200") == (
                "the gateway 10.32.5.200 of 10.32.5.0/24 is in use on host1: name another with --gateway"
            )
            assert await second.give_back(NET, "10.32.5.1") == {}
            assert [lease.id for lease in await first.leases("gateway")] == ["gateway:10.32.5.0/24"]


# ── over restarts ─────────────────────────────────────────────────────────────────────────────────


async def test_the_daemon_is_restarted_between_any_two_calls_of_a_networks_life(tmp_path: Path) -> None:
    answers: list[Any] = []

    async def step(name: str, **fields: object) -> Any:
        async with plugin(tmp_path) as docker:
            answers.append(await docker.call(name, fields))
        return answers[-1]

    for pool in ("10.32.5.0/24", ""):
        pool_id = (await step("RequestPool", **{**POOL, "Pool": pool}))["PoolID"]
        gateway = (await step("RequestAddress", PoolID=pool_id, Address="", Options=GATEWAY))["Address"]
        one = (await step("RequestAddress", PoolID=pool_id, Address="", Options=None))["Address"]
        named = str(ip_interface(one).ip + 100)
        two = (await step("RequestAddress", PoolID=pool_id, Address=named, Options=None))["Address"]
        assert len({gateway, one, two}) == 3
        for address in (one, two, gateway):
            await step("ReleaseAddress", PoolID=pool_id, Address=address.partition("/")[0])
        await step("ReleasePool", PoolID=pool_id)

    assert not [answer for answer in answers if "Error" in answer]
    async with plugin(tmp_path) as docker:
        assert [lease.id for lease in await docker.leases()] == ["gateway:10.32.5.0/24"]


# ── any order ─────────────────────────────────────────────────────────────────────────────────────

POOLS = ("10.32.5.0/28", "10.32.5.0/28,10.32.5.4/30", "10.32.5.16/29", "")
STEP = st.tuples(
    st.sampled_from(["any", "any", "named", "gateway", "back", "restart", "junk", "pool"]),
    st.integers(0, 3),
    st.integers(0, 18),
)


class _Model:
    """What Docker was given and has not given back."""

    def __init__(self) -> None:
        self.pools: list[str] = []
        self.held: dict[str, str] = {}
        self.gateways: set[str] = set()

    async def step(self, docker: Docker, what: str, which: int, number: int) -> None:
        if what == "pool":
            subnet, _, part = POOLS[which].partition(",")
            answer = await docker.pool(subnet, part)
            self.pools += [answer["PoolID"]] if "PoolID" in answer else []
        pool_id = self.pools[which % len(self.pools)]
        pool = parse_pool_id(pool_id)
        address = pool.subnet.text(min(pool.subnet.start + number, pool.subnet.range.end - 1))
        if what == "any":
            self._given(pool_id, await docker.address(pool_id), anywhere=False)
        elif what == "named":
            self._given(pool_id, await docker.address(pool_id, address), anywhere=True)
        elif what == "gateway":
            said = await docker.gateway(pool_id)
            if "/" in said.partition(" ")[0]:
                assert said.partition("/")[0] not in self.held
                self.gateways.add(said.partition("/")[0])
        elif what == "back":
            assert await docker.give_back(pool_id, address) == {}
            if self.held.get(address) == pool_id:
                del self.held[address]
        elif what == "junk":
            assert "Error" in await docker.call("RequestAddress", b'{"PoolID": "' + pool_id.encode() + b'"}')

    def _given(self, pool_id: str, said: str, anywhere: bool) -> None:
        if " " in said:  # a refusal
            return
        address = ip_interface(said)
        pool = parse_pool_id(pool_id)
        assert str(address.network) == str(pool.subnet)
        assert int(address.ip) in (pool.subnet.issuable if anywhere else pool.issuable)
        assert str(address.ip) not in self.held
        assert str(address.ip) not in self.gateways
        self.held[str(address.ip)] = pool_id


@settings(max_examples=60)
@given(st.lists(STEP, max_size=40))
def test_in_any_order_of_calls_no_address_is_given_twice_and_what_is_leased_is_what_docker_has(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    async def live() -> None:
        directory = tmp_path_factory.mktemp("any-order")
        model = _Model()
        rest = [("pool", which, 0) for which in range(4)] + steps
        while rest:
            async with plugin(directory, quarantine_s=0.0) as docker:
                while rest:
                    what, which, number = rest.pop(0)
                    if what == "restart":
                        break
                    await model.step(docker, what, which, number)
                    endpoints = {str(lease.address) for lease in await docker.leases("endpoint")}
                    assert endpoints == model.held.keys()

    trio.run(live)
