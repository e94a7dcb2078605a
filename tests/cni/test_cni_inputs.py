"""Whatever is wrong with a call: the right number, one line, the version that was asked in, and no lease."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from calling import SUBNET, UNIVERSE, Host, a_host, body, conf
from hypothesis import given, settings
from hypothesis import strategies as st

LONG = "x" * 5_000
HOSTILE = ("", " ", "a b", "a\nb", "a\x1b[2Jb", "a/b", "../..", "-x", "é", "\u202e", LONG, "$(reboot)", "a;b", "\x7f")

# ── the environment ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["", "add", "ADD ", "DELETE", "ADD\n", LONG, "\x1b[2J"])
async def test_a_command_that_is_none_is_4(cni: Host, command: str) -> None:
    said = await cni(command)

    assert said.number == 4
    assert await cni.leases() == []


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME"]),
    ],
)
async def test_each_variable_that_a_verb_needs_is_missed_by_name(cni: Host, command: str, needed: list[str]) -> None:
    env = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/ns", "CNI_IFNAME": "eth0"}
    for name in needed:
        absent = {key: value for key, value in env.items() if key != name}
        for given_env in (absent, {**env, name: ""}):
            said = await cni.post(body(given_env, conf()))

            assert said.number == 4
            assert name in said.message
    assert await cni.leases() == []


@pytest.mark.parametrize("container", [text for text in HOSTILE if text] + [".a", "_a", "c" * 257])
async def test_a_container_that_is_none_is_4(cni: Host, container: str) -> None:
    for command in ("ADD", "DEL", "CHECK"):
        assert (await cni(command, container=container)).number == 4

    assert await cni.leases() == []


@pytest.mark.parametrize("interface", [".", "..", "a/b", "a:b", "a b", "a\tb", "x" * 16, "é" * 8, "\x01", LONG])
async def test_an_interface_that_is_none_is_4(cni: Host, interface: str) -> None:
    for command in ("ADD", "DEL", "CHECK"):
        assert (await cni(command, interface=interface)).number == 4

    assert await cni.leases() == []


async def test_a_namespace_with_control_characters_is_4_and_a_long_one_is_served(cni: Host) -> None:
    assert (await cni("ADD", netns="/run/netns/a\nb")).number == 4

    assert (await cni("ADD", netns="/run/" + "n" * 4_000)).done
    assert (await cni("ADD", netns="relative", container="c2")).done


async def test_the_hosts_own_namespace_is_8_unless_it_is_meant(cni: Host) -> None:
    own = f"/proc/{os.getpid()}/ns/net"

    assert (await cni("ADD", netns=own)).number == 8
    assert await cni.leases() == []
    assert (await cni("ADD", netns=own, CNI_NETNS_OVERRIDE="1")).done


async def test_a_variable_that_is_not_utf_8_is_4(cni: Host) -> None:
    assert (await cni("ADD", CNI_ARGS=b"\xff")).number == 4


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\0", b"CNI_COMMAND=ADD", b"CNI_COMMAND=ADD\0", b"\0" * 50, b"\xff"])
async def test_a_body_without_an_environment_is_an_error_of_one_line(cni: Host, sent: bytes) -> None:
    assert (await cni.post(sent)).number in (4, 6)


@pytest.mark.parametrize(
    "args",
    [
        *("IP", "=;", "IP=10.1.2.9;", "IP=10.1.2.9=", "A=B", "IP=10.1.2.9;MAC=02::", "IgnoreUnknown=maybe", ";"),
        *("IP=10.1.2", "IP=10.1.2.9,", "IP=10.1.2.9/33", "IP=10.1.2.9/", "IP=fe80::1%eth0", f"IP={LONG}", "IP=\n"),
        f"IP=10.1.2.9/{'9' * 5_000}",
    ],
)
async def test_cni_args_that_are_none_are_4(cni: Host, args: str) -> None:
    said = await cni("ADD", args=args)

    assert said.number == 4
    assert said.json["cniVersion"] == "1.0.0"
    assert await cni.leases() == []


@pytest.mark.parametrize("args", ["MAC=02::;IgnoreUnknown=1", "IgnoreUnknown=TRUE;A=B", "IgnoreUnknown=true;=", ""])
async def test_what_is_unknown_in_cni_args_may_be_ignored(cni: Host, args: str) -> None:
    assert (await cni("ADD", args=args)).done


# ── standard input ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "stdin",
    [
        *(b"", b"{", b"null", b"[]", b'"x"', b"7", b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"name": NaN}'),
        *(b'{"a":' * 20_000, b'{"name": 1' + b"0" * 5_000 + b"}", b'{"name": "net"} {}'),
    ],
)
@pytest.mark.parametrize("command", ["ADD", "DEL", "GC"])
async def test_what_is_no_json_object_is_6(cni: Host, stdin: bytes, command: str) -> None:
    said = await cni(command, stdin)

    assert said.number == 6
    assert await cni.leases() == []


@pytest.mark.parametrize("version", ["1.2.0", "9.9.9", "0.0.1", "1", "x", " 1.0.0", "1.0.0\n", LONG])
async def test_a_version_that_is_not_spoken_is_1(cni: Host, version: str) -> None:
    for command in ("ADD", "DEL", "CHECK", "STATUS", "GC"):
        assert (await cni(command, conf(version))).number == 1

    assert await cni.leases() == []


@pytest.mark.parametrize("version", [7, True, [], {}, 1.0])
async def test_a_version_that_is_no_string_is_6(cni: Host, version: Any) -> None:
    assert (await cni("ADD", {**conf(), "cniVersion": version})).number == 6


@pytest.mark.parametrize("name", [*HOSTILE, None, 7, [], {}, True, "n" * 241])
async def test_a_network_without_a_proper_name_is_7(cni: Host, name: Any) -> None:
    for command in ("ADD", "DEL"):
        said = await cni(command, {**conf(), "name": name})

        assert said.number == 7
        assert said.json["cniVersion"] == "1.0.0"
    assert await cni.leases() == []


OBJECTS: tuple[Any, ...] = ([], "x", 7, True)
LISTS: tuple[Any, ...] = ({}, "x", 7, True)
TEXTS: tuple[Any, ...] = ([], {}, 7, True)
BAD_SUBNETS = ("10.1.2.0", "10.1.2.1/24", "10.1.2.0/31", "10.1.2.0/32", "x/y", "10.1.2.0/", "10.1.2.0/٣", LONG)
BAD_ADDRESSES = ("x", "10.1.2", "10.1.2.0/24", "fe80::1%eth0", LONG, "\ud800", "10.1.2.9\n")
RANGE = {"subnet": SUBNET}

WRONG_IPAM: list[Any] = [
    *OBJECTS,
    *({"ranges": value} for value in (*LISTS, [7], [[7]], [[]], [{}], [[{}]], [[[]]], [None], [[None]])),
    *({"subnet": value} for value in (*TEXTS, *BAD_SUBNETS, "fd00::/127", "fd00::/128", "fd00::1/64")),
    *({"ranges": [[{"subnet": value}]]} for value in (*TEXTS, *BAD_SUBNETS)),
    *({**RANGE, key: value} for key in ("rangeStart", "rangeEnd") for value in (*TEXTS, *BAD_ADDRESSES)),
    *({**RANGE, key: value} for key in ("rangeStart", "rangeEnd") for value in ("10.1.3.1", "fd00::1")),
    *({**RANGE, "gateway": value} for value in (*TEXTS, *BAD_ADDRESSES)),
    {**RANGE, "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.8"},
    {**RANGE, "rangeEnd": "10.1.2.0"},
    {"ranges": [[RANGE], [RANGE]]},
    {"ranges": [[RANGE, RANGE]]},
    {"ranges": [[{"subnet": "10.1.0.0/16"}], [RANGE]]},
    {**RANGE, "ranges": [[RANGE]]},
    {"ranges": [[RANGE, {"subnet": "fd00::/64"}]]},
    {"ranges": [[{"subnet": f"10.{number}.0.0/24"}] for number in range(33)]},
    {"ranges": [[{"subnet": f"10.{number}.0.0/24"} for number in range(65)]]},
    *({**RANGE, "routes": value} for value in (*LISTS, [7], [None], [{}], [{"dst": "0.0.0.0"}], [{"dst": []}])),
    *({**RANGE, "routes": [{"dst": "0.0.0.0/0", "gw": value}]} for value in (7, [], "x", "10.1.2.1/24", LONG)),
    *({**RANGE, "routes": [{"dst": "::/0", "mtu": value}]} for value in ("x", -1, 1.5, True, 1 << 32, [])),
    {**RANGE, "routes": [{"dst": "::/0"}] * 257},
    *({**RANGE, "resolvConf": value} for value in (*TEXTS, "\0", "\ud800", "/", "/dev/null")),
    {"subnet": "192.168.0.0/24"},
    {"subnet": "8.0.0.0/5"},
    {"subnet": "fd00::/64"},
    {"ranges": [[RANGE], [{"subnet": "192.168.0.0/24"}]]},
    {"ranges": [[RANGE], [{"subnet": "fd00::/64"}]]},
]


async def test_a_wrong_ipam_is_7_and_a_del_does_not_mind(cni: Host) -> None:
    for ipam in WRONG_IPAM:
        await cni("ADD", container="other")
        wrong = {**conf("1.1.0"), "ipam": ipam}

        said = await cni("ADD", wrong)

        assert (said.number, said.json["cniVersion"]) == (7, "1.1.0"), ipam
        assert [lease.id for lease in await cni.leases()] == ["other"], ipam
        assert (await cni("DEL", wrong, container="other")).done, ipam
        assert await cni.leases() == [], ipam


async def test_check_and_status_say_the_same_of_wrong_ranges(cni: Host) -> None:
    for ipam in WRONG_IPAM[: WRONG_IPAM.index({"ranges": [[RANGE, RANGE]]})]:
        for command in ("STATUS", "CHECK"):
            said = await cni(command, {**conf("1.1.0"), "ipam": ipam, "prevResult": {"ips": []}})

            assert said.number == 7, (command, ipam)


async def test_values_nested_as_deeply_as_can_just_be_read_are_7(cni: Host) -> None:
    numbers = set()
    for depth in range(700, 1_050):
        for key in ("name", "ipam", "cniVersion"):
            nested = b"[" * depth + b"]" * depth
            rest = {name: value for name, value in conf().items() if name != key}
            said = await cni("ADD", json.dumps(rest).encode()[:-1] + b', "%b": %b}' % (key.encode(), nested))
            numbers.add(said.number)

    assert numbers == {6, 7}
    assert await cni.leases() == []


async def test_a_configuration_without_ipam_is_7(cni: Host) -> None:
    assert (await cni("ADD", {"cniVersion": "1.0.0", "name": "net"})).number == 7


async def test_a_resolv_conf_that_cannot_be_read_is_5(cni: Host) -> None:
    said = await cni("ADD", conf(ipam={**RANGE, "resolvConf": "/nowhere/resolv.conf"}))

    assert said.number == 5
    assert await cni.leases() == []


ADDRESSES: tuple[Any, ...] = (*LISTS, [7], [None], [[]], ["x"], ["10.1.2"], ["10.1.2.9/33"], [LONG], ["10.1.2.9"] * 33)


WRONG_REQUESTS: list[dict[str, Any]] = [
    *({"runtimeConfig": value} for value in OBJECTS),
    *({"runtimeConfig": {"ips": value}} for value in ADDRESSES),
    *({"runtimeConfig": {"ipRanges": value}} for value in (*LISTS, [7], [[7]], [[{"subnet": 7}]])),
    *({"args": value} for value in OBJECTS),
    *({"args": {"cni": value}} for value in OBJECTS),
    *({"args": {"cni": {"ips": value}}} for value in ADDRESSES),
]


async def test_wrong_requests_of_the_configuration_are_7(cni: Host) -> None:
    for more in WRONG_REQUESTS:
        said = await cni("ADD", conf(**more))

        assert said.number == 7, more
        assert await cni.leases() == [], more


@pytest.mark.parametrize(
    "previous",
    [None, *OBJECTS, *({"ips": value} for value in (*LISTS, [7], [{}], [{"address": 7}], [{"address": "10.1.2.2"}]))],
)
async def test_check_needs_a_proper_prevresult(cni: Host, previous: Any) -> None:
    await cni("ADD")

    said = await cni("CHECK", conf(prevResult=previous))

    assert said.number == 7


async def test_a_request_that_is_too_large_is_turned_away_and_nothing_happens(cni: Host) -> None:
    said = await cni("ADD", conf(more="x" * 200_000))

    assert said.status == 400
    assert await cni.leases() == []


# ── anything ──────────────────────────────────────────────────────────────────────────────────────

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 40), 1 << 40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", SUBNET, UNIVERSE, "10.1.2.9", "10.1.2.9/24", "fd00::/64", "0.0.0.0/0", *HOSTILE])
    | st.text(max_size=20)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
ranges = st.fixed_dictionaries({}, optional=dict.fromkeys(("subnet", "rangeStart", "rangeEnd", "gateway"), scalars))
ipams = anything | st.fixed_dictionaries(
    {},
    optional={
        "subnet": scalars,
        "gateway": scalars,
        "rangeStart": scalars,
        "rangeEnd": scalars,
        "ranges": anything | st.lists(st.lists(ranges | anything, max_size=2), max_size=3),
        "routes": anything | st.lists(st.fixed_dictionaries({"dst": scalars}, optional={"gw": scalars}), max_size=2),
    },
)
confs = st.fixed_dictionaries(
    {"name": st.just("net") | scalars, "cniVersion": st.sampled_from(["0.2.0", "0.4.0", "1.1.0"]) | scalars},
    optional={
        "ipam": ipams,
        "runtimeConfig": anything | st.fixed_dictionaries({}, optional={"ips": anything, "ipRanges": anything}),
        "args": anything | st.fixed_dictionaries({"cni": anything}),
        "prevResult": anything,
        "cni.dev/valid-attachments": anything,
        "disableGC": anything,
    },
)
environments = st.fixed_dictionaries(
    {
        "CNI_COMMAND": st.sampled_from(["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"]),
        "CNI_CONTAINERID": st.just("c1") | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9),
        "CNI_NETNS": st.just("/nowhere") | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9),
        "CNI_IFNAME": st.just("eth0") | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9),
        "CNI_ARGS": st.just("") | st.sampled_from(["IP=10.1.2.9", "IP=10.1.2.9/24,10.1.2.8", "IgnoreUnknown=1"]),
    }
)


def test_any_call_is_answered_with_a_result_or_one_line_and_an_error_leaves_no_lease(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import trio

    calls: list[tuple[dict[str, str], Any]] = []

    @given(environments, confs | anything)
    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    def draw(env: dict[str, str], stdin: Any) -> None:
        calls.append((env, stdin))

    async def main(directory: Path) -> None:
        async with a_host(directory) as cni:
            for env, stdin in calls:
                said = await cni.post(body(env, stdin))

                if not said.done:
                    assert said.number in (1, 3, 4, 5, 6, 7, 8, 11, 50, 51, 100), (env, stdin, said)
                    assert await cni.leases() == [], (env, stdin, said)
                elif env["CNI_COMMAND"] == "ADD":
                    stop = {**env, "CNI_COMMAND": "DEL"}
                    assert (await cni.post(body(stop, stdin))).done
                    assert await cni.leases() == [], (env, stdin, said)

    draw()
    trio.run(main, tmp_path_factory.mktemp("any"))
    assert len(calls) >= 400
