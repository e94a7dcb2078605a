"""Which address an attachment gets, that it stays its own, and that all sets give one or none does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from calling import SUBNET, Host, a_host, conf

from ringipam.address import Cidr
from ringipam.core.events import Allocate, Answer, Leased, Release, Verb, View
from ringipam.errors import StoreError

TWO = {"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.3.0/24"}]]}
TINY = {"subnet": "10.1.4.0/30", "gateway": "10.1.9.9"}
"""Room for two."""

# ── the same again ────────────────────────────────────────────────────────────────────────────────


async def test_the_same_attachment_again_gets_the_same_addresses(cni: Host) -> None:
    first = await cni("ADD", conf(ipam=TWO))
    again = await cni("ADD", conf(ipam=TWO))

    assert first.json == again.json
    assert len(await cni.leases()) == 2


async def test_another_interface_network_or_container_gets_another_address(cni: Host) -> None:
    calls = [
        await cni("ADD"),
        await cni("ADD", interface="eth1"),
        await cni("ADD", conf(name="other")),
        await cni("ADD", container="c2"),
    ]

    assert len({said.address for said in calls}) == 4


async def test_del_releases_both_sets_of_exactly_this_attachment(cni: Host) -> None:
    await cni("ADD", conf(ipam=TWO))
    kept = {
        (await cni("ADD", interface="eth1")).address,
        (await cni("ADD", conf(name="other"))).address,
        (await cni("ADD", container="c2")).address,
    }

    await cni("DEL", conf(ipam=TWO), netns="")

    assert {f"{address}/24" for address in await cni.addresses()} == kept


async def test_del_leaves_alone_what_was_not_leased_through_cni(cni: Host) -> None:
    labels = {"ringipam.network": "net", "ringipam.interface": "eth0"}
    lease = await cni.node.allocate("c1", labels=labels)

    assert (await cni("DEL")).done

    assert await cni.leases() == [lease]


async def test_after_a_reboot_the_same_addresses_come_back_and_the_lease_tells_the_new_boot(tmp_path: Path) -> None:
    async with a_host(tmp_path) as cni:
        before = await cni("ADD", conf(ipam=TWO), netns="/run/netns/old")
    async with a_host(tmp_path, boot="boot-2") as cni:
        after = await cni("ADD", conf(ipam=TWO), netns="/run/netns/new")

        assert before.json == after.json
        assert {lease.labels["ringipam.boot"] for lease in await cni.leases()} == {"boot-2"}


async def test_calls_about_one_container_are_carried_out_one_after_another(cni: Host) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(cni, "ADD", conf(ipam=TWO))
            nursery.start_soon(cni, "DEL", conf(ipam=TWO))

    assert len(await cni.leases()) in (0, 2)
    assert (await cni("DEL", conf(ipam=TWO))).done
    assert await cni.leases() == []


async def test_containers_at_the_same_time_get_different_addresses(cni: Host) -> None:
    got: list[str] = []

    async def add(number: int) -> None:
        got.append((await cni("ADD", container=f"c{number}")).address)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(add, number)

    assert len(set(got)) == 50


# ── ranges ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ipam", "addresses", "gateway"),
    [
        ({"subnet": "10.1.4.0/29"}, ["10.1.4.2", "10.1.4.6"], "10.1.4.1"),
        ({"subnet": "10.1.4.0/29", "gateway": "10.1.4.3"}, ["10.1.4.1", "10.1.4.6"], "10.1.4.3"),
        ({"subnet": "10.1.4.0/29", "gateway": "10.9.9.9"}, ["10.1.4.1", "10.1.4.6"], "10.9.9.9"),
        ({"subnet": "10.1.4.0/24", "rangeStart": "10.1.4.250"}, ["10.1.4.250", "10.1.4.254"], "10.1.4.1"),
        ({"subnet": "10.1.4.0/24", "rangeEnd": "10.1.4.4"}, ["10.1.4.2", "10.1.4.4"], "10.1.4.1"),
        ({"ranges": [[{"subnet": "10.1.4.0/24", "rangeStart": "10.1.4.7", "rangeEnd": "10.1.4.8"}]]}, None, "10.1.4.1"),
    ],
)
async def test_a_range_is_used_from_its_first_to_its_last_address_but_the_gateway(
    cni: Host, ipam: dict[str, Any], addresses: list[str] | None, gateway: str
) -> None:
    got = []
    for number in range(10):
        said = await cni("ADD", conf(ipam=ipam), container=f"c{number}")
        if not said.done:
            assert said.number == 11
            break
        assert said.json["ips"][0]["gateway"] == gateway
        got.append(said.address.partition("/")[0])

    first, last = addresses or ["10.1.4.7", "10.1.4.8"]
    assert (got[0], got[-1]) == (first, last)
    assert gateway not in got
    assert len(got) < 10


async def test_an_exhausted_subnet_is_11_and_says_who_holds_it(cni: Host) -> None:
    for number in (1, 2):
        assert (await cni("ADD", conf(ipam=TINY), container=f"c{number}")).done

    said = await cni("ADD", conf(ipam=TINY), container="c3")

    assert said.number == 11
    assert "host1" in said.message
    assert len(await cni.leases()) == 2
    assert (await cni("DEL", conf(ipam=TINY), container="c1")).done
    assert (await cni("ADD", conf(ipam=TINY), container="c3")).done


async def test_the_ranges_of_a_set_are_tried_in_order_and_an_attachment_keeps_its_own(cni: Host) -> None:
    ipam = {"ranges": [[TINY, {"subnet": "10.1.5.0/24"}]]}
    got = [(await cni("ADD", conf(ipam=ipam), container=f"c{number}")).address for number in range(3)]

    await cni("DEL", conf(ipam=ipam), container="c0")
    again = await cni("ADD", conf(ipam=ipam), container="c2")

    assert got == ["10.1.4.1/30", "10.1.4.2/30", "10.1.5.2/24"]
    assert again.address == "10.1.5.2/24"
    assert len(await cni.leases()) == 2


async def test_runtimeconfig_the_single_range_and_ranges_are_sets_in_this_order(cni: Host) -> None:
    more = {"runtimeConfig": {"ipRanges": [[{"subnet": "10.5.0.0/24"}]]}}

    said = await cni("ADD", conf(ipam={"subnet": "10.6.0.0/24", "ranges": [[{"subnet": "10.7.0.0/24"}]]}, **more))

    assert [ip["address"] for ip in said.json["ips"]] == ["10.5.0.2/24", "10.6.0.2/24", "10.7.0.2/24"]


# ── all or none ───────────────────────────────────────────────────────────────────────────────────

ALL_OR_NONE = {"ranges": [[{"subnet": SUBNET}], [TINY]]}


async def test_if_one_set_has_no_address_none_is_kept_of_the_others(cni: Host) -> None:
    for number in (1, 2):
        await cni("ADD", conf(ipam=TINY), container=f"x{number}")

    said = await cni("ADD", conf(ipam=ALL_OR_NONE))

    assert said.number == 11
    assert await cni.addresses() == ["10.1.4.1", "10.1.4.2"]


async def test_what_an_attachment_had_before_it_keeps_when_an_add_fails(cni: Host) -> None:
    had = await cni("ADD", conf(ipam={"subnet": SUBNET}))
    for number in (1, 2):
        await cni("ADD", conf(ipam=TINY), container=f"x{number}")

    assert (await cni("ADD", conf(ipam=ALL_OR_NONE))).number == 11

    assert (await cni("ADD", conf(ipam={"subnet": SUBNET}))).json == had.json
    assert len(await cni.leases()) == 3


async def test_a_requested_address_in_use_leaves_none_of_the_others(cni: Host) -> None:
    await cni("ADD", conf(ipam=TINY, runtimeConfig={"ips": ["10.1.4.2"]}), container="x")

    said = await cni("ADD", conf(ipam=ALL_OR_NONE, runtimeConfig={"ips": ["10.1.4.2"]}))

    assert said.number == 11
    assert "in use by x on host1" in said.message
    assert await cni.addresses() == ["10.1.4.2"]


class Slow:
    """A node of which one subnet is never answered for."""

    def __init__(self, host: Host, subnet: Cidr) -> None:
        self._node = host.node
        self._subnet = subnet
        self.asked = trio.Event()
        self.answered = trio.Event()

    async def ask(self, verb: Verb) -> Answer:
        if isinstance(verb, Allocate) and verb.subnet == self._subnet:
            self.asked.set()
            await trio.sleep_forever()
        answer = await self._node.ask(verb)
        if isinstance(answer, Leased):
            self.answered.set()
        return answer

    async def history(self, address: object) -> dict[str, object]:
        raise AssertionError


async def test_a_runtime_that_hangs_up_leaves_no_address(cni: Host) -> None:
    slow = Slow(cni, Cidr(4, (10 << 24) + (1 << 16) + (4 << 8), 30))
    cni.plugin._asker = slow

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cni, "ADD", conf(ipam=ALL_OR_NONE))
        await slow.asked.wait()
        await slow.answered.wait()
        assert await cni.addresses() == ["10.1.2.2"]
        nursery.cancel_scope.cancel()

    cni.plugin._asker = cni.node
    async with cni.turns.of("c1"):
        assert await cni.leases() == []


# ── requested addresses ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "more"),
    [
        ("IP=10.1.2.9", {}),
        ("IP=10.1.2.9/24", {}),
        ("IgnoreUnknown=1;K8S_POD_NAME=p;IP=10.1.2.9", {}),
        ("", {"args": {"cni": {"ips": ["10.1.2.9"]}}}),
        ("", {"args": {"cni": {"ips": ["10.1.2.9/16"]}}}),
        ("", {"runtimeConfig": {"ips": ["10.1.2.9/24"]}}),
        ("IP=10.1.2.9", {"runtimeConfig": {"ips": ["10.1.2.9/24"]}, "args": {"cni": {"ips": ["10.1.2.9"]}}}),
        ("IP=10.1.2.77", {"args": {"cni": {"ips": ["10.1.2.9"]}}}),
    ],
)
async def test_an_address_can_be_requested_in_three_ways_and_twice_counts_once(
    cni: Host, args: str, more: dict[str, Any]
) -> None:
    said = await cni("ADD", conf(**more), args=args)

    assert said.json["ips"] == [{"address": "10.1.2.9/24", "gateway": "10.1.2.1"}]
    [lease] = await cni.leases()
    assert (str(lease.address), lease.class_, lease.labels["ringipam.set"]) == ("10.1.2.9", "container", "0")


@pytest.mark.parametrize("args", ["IP=10.1.3.7,10.1.2.9", "IP=10.1.2.9/24,10.1.3.7/24"])
async def test_each_requested_address_goes_to_its_set(cni: Host, args: str) -> None:
    said = await cni("ADD", conf(ipam=TWO), args=args)

    assert [ip["address"] for ip in said.json["ips"]] == ["10.1.2.9/24", "10.1.3.7/24"]


async def test_a_set_without_a_request_gives_any_address(cni: Host) -> None:
    said = await cni("ADD", conf(ipam=TWO), args="IP=10.1.3.7")

    assert [ip["address"] for ip in said.json["ips"]] == ["10.1.2.2/24", "10.1.3.7/24"]


@pytest.mark.parametrize(
    "args",
    [
        *("IP=10.9.9.9", "IP=10.1.2.0", "IP=10.1.2.255", "IP=10.1.2.9,10.1.2.8", "IP=fd00::1", "IP=192.168.0.1"),
        "IP=10.1.2.9,10.9.9.9",
    ],
)
async def test_a_request_that_falls_in_no_set_is_7(cni: Host, args: str) -> None:
    said = await cni("ADD", args=args)

    assert said.number == 7
    assert await cni.leases() == []


async def test_the_gateway_cannot_be_requested(cni: Host) -> None:
    said = await cni("ADD", args="IP=10.1.2.1")

    assert said.number == 7
    assert "gateway" in said.message
    assert await cni.leases() == []


async def test_a_requested_address_is_the_attachments_own_again_and_nobody_elses(cni: Host) -> None:
    first = await cni("ADD", args="IP=10.1.2.9")

    assert (await cni("ADD", args="IP=10.1.2.9")).json == first.json
    assert (await cni("ADD")).json == first.json
    for other in ({"container": "c2"}, {"interface": "eth1"}):
        said = await cni("ADD", args="IP=10.1.2.9", **other)
        assert said.number == 11
        assert "in use by c1 on host1" in said.message
    assert await cni.addresses() == ["10.1.2.9"]


async def test_another_requested_address_takes_the_place_of_the_one_before(cni: Host) -> None:
    await cni("ADD")

    said = await cni("ADD", args="IP=10.1.2.9")

    assert said.address == "10.1.2.9/24"
    assert await cni.addresses() == ["10.1.2.9"]


# ── CHECK ─────────────────────────────────────────────────────────────────────────────────────────


async def test_check_is_content_with_what_add_told_and_with_addresses_of_others(cni: Host) -> None:
    told = (await cni("ADD", conf(ipam=TWO))).json
    told["ips"].append({"address": "192.168.7.7/24"})

    assert (await cni("CHECK", conf(ipam=TWO, prevResult=told))).done


async def test_check_of_an_unknown_attachment_is_3(cni: Host) -> None:
    told = (await cni("ADD")).json
    await cni("DEL")

    assert (await cni("CHECK", conf(prevResult=told))).number == 3


@pytest.mark.parametrize("ips", [[], [{"address": "10.1.2.77/24"}], [{"address": "10.1.2.2/24"}]])
async def test_check_finds_what_prevresult_has_too_little_or_too_much(cni: Host, ips: list[Any]) -> None:
    await cni("ADD", conf(ipam=TWO))

    assert (await cni("CHECK", conf(ipam=TWO, prevResult={"ips": ips}))).number == 100


async def test_check_finds_an_address_that_is_not_held(cni: Host) -> None:
    told = (await cni("ADD")).json
    told["ips"].append({"address": "10.1.2.99/24"})

    said = await cni("CHECK", conf(prevResult=told))

    assert said.number == 100
    assert "10.1.2.99" in said.message


# ── STATUS ────────────────────────────────────────────────────────────────────────────────────────


async def test_status_is_50_while_the_network_is_exhausted(cni: Host) -> None:
    network = conf("1.1.0", ipam=TINY)
    for number in (1, 2, 3):
        await cni("ADD", network, container=f"c{number}")

    assert (await cni("STATUS", network)).number == 50
    assert (await cni("STATUS", conf("1.1.0", name="other"))).done
    await cni("DEL", network)
    assert (await cni("STATUS", network)).done


class Saying:
    """A node whose status is another."""

    def __init__(self, host: Host, **status: object) -> None:
        self._node = host.node
        self._status = status

    async def ask(self, verb: Verb) -> Answer:
        answer = await self._node.ask(verb)
        return {**answer, **self._status} if isinstance(verb, View) and isinstance(answer, dict) else answer

    async def history(self, address: object) -> dict[str, object]:
        raise AssertionError


@pytest.mark.parametrize(
    ("status", "number"),
    [
        ({"serving": False, "state": "electing", "reason": "waits for host2"}, 50),
        ({"serving": False, "state": "fenced", "reason": "the disk went back"}, 51),
    ],
)
async def test_status_says_why_no_address_can_be_had(cni: Host, status: dict[str, Any], number: int) -> None:
    cni.plugin._asker = Saying(cni, **status)

    said = await cni("STATUS", conf("1.1.0"))

    assert said.number == number
    assert status["reason"] in said.message


# ── both families ─────────────────────────────────────────────────────────────────────────────────

DUAL = {"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64", "rangeStart": "fd00::a"}]]}
V6_FULL = {"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64", "rangeEnd": "fd00::2"}]]}


async def test_an_attachment_gets_an_address_of_each_family_and_gives_both_back(tmp_path: Path) -> None:
    async with a_host(tmp_path, iprange6="fd00::/48") as cni:
        added = await cni("ADD", conf("0.4.0", ipam=DUAL), args="IP=fd00::b")
        old = await cni("ADD", conf("0.2.0", ipam=DUAL), container="c2")
        network = conf("1.1.0", ipam=DUAL)

        assert [(ip["version"], ip["address"]) for ip in added.json["ips"]] == [
            ("4", "10.1.2.2/24"),
            ("6", "fd00::b/64"),
        ]
        assert (old.json["ip4"]["ip"], old.json["ip6"]["ip"]) == ("10.1.2.3/24", "fd00::a/64")
        assert (await cni("CHECK", conf("0.4.0", ipam=DUAL, prevResult=added.json))).done
        assert (await cni("STATUS", network)).done
        assert (await cni("DEL", network, container="c2")).done
        assert (await cni("GC", {**network, "cni.dev/valid-attachments": []})).done
        assert await cni.leases() == []


async def test_without_an_address_of_the_second_family_none_of_the_first_is_kept(tmp_path: Path) -> None:
    async with a_host(tmp_path, iprange6="fd00::/48") as cni:
        assert (await cni("ADD", conf(ipam=V6_FULL), container="c1")).done

        assert (await cni("ADD", conf(ipam=V6_FULL), container="c2")).number == 11

        assert {lease.id for lease in await cni.leases()} == {"c1"}


async def test_a_family_without_a_range_is_7(cni: Host) -> None:
    for command in ("ADD", "STATUS"):
        assert (await cni(command, conf("1.1.0", ipam=DUAL))).number == 7

    assert await cni.leases() == []


# ── what cannot be done now ───────────────────────────────────────────────────────────────────────


class Failing:
    """A node whose disk takes nothing."""

    async def ask(self, verb: Verb) -> Answer:
        await trio.lowlevel.checkpoint()
        raise StoreError("the disk is full")

    async def history(self, address: object) -> dict[str, object]:
        raise AssertionError


async def test_a_del_that_cannot_be_made_durable_is_503_so_that_it_is_left_for_later(cni: Host) -> None:
    await cni("ADD")
    cni.plugin._asker = Failing()

    said = await cni("DEL")

    assert (said.status, said.number) == (503, 5)
    assert (await cni("ADD")).status == 400
    assert (await cni("DEL", b"{")).status == 400
    assert (await cni("STATUS", conf("1.1.0"))).number == 50


async def test_a_del_of_two_sets_says_so_if_one_is_not_released(cni: Host) -> None:
    await cni("ADD", conf(ipam=TWO))

    class OneFails:
        async def ask(self, verb: Verb) -> Answer:
            if isinstance(verb, Release):
                cni.plugin._asker = cni.node  # the other one succeeds
                raise StoreError("the disk is full")
            return await cni.node.ask(verb)

        async def history(self, address: object) -> dict[str, object]:
            raise AssertionError

    cni.plugin._asker = OneFails()

    assert (await cni("DEL", conf(ipam=TWO))).status == 503
    assert len(await cni.leases()) == 1
    assert (await cni("DEL", conf(ipam=TWO))).done
    assert await cni.leases() == []


async def test_status_does_not_wait_for_a_disk_that_hangs(cni: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        async def ask(self, verb: Verb) -> Answer:
            await trio.sleep_forever()

        async def history(self, address: object) -> dict[str, object]:
            raise AssertionError

    assert (await cni("STATUS", conf("1.1.0"))).done
    cni.plugin._asker = Hanging()
    monkeypatch.setattr("ringipam.integrations.cni.plugin.STATUS_S", 0.01)

    assert (await cni("STATUS", conf("1.1.0"))).number == 50


async def test_a_defect_is_999_and_lets_a_del_be_left_for_later(cni: Host) -> None:
    class Broken:
        async def ask(self, verb: Verb) -> Answer:
            raise KeyError(verb)

        async def history(self, address: object) -> dict[str, object]:
            raise AssertionError

    cni.plugin._asker = Broken()

    said = await cni("DEL")

    assert (said.status, said.number) == (503, 999)
