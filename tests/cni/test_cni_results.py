"""Every verb in every version prints what its specification says, to the byte of the JSON's meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from calling import SUBNET, Host, a_host, conf

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "10.1.2.254"}]
TWO_SETS = {"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.3.0/24", "gateway": "10.1.3.9"}]]}


def expected(version: str) -> dict[str, Any]:
    """The result for the first address of `SUBNET`, with `ROUTES`."""
    if version in ("0.1.0", "0.2.0"):
        return {
            "cniVersion": version,
            "ip4": {"ip": "10.1.2.2/24", "gateway": "10.1.2.1", "routes": ROUTES},
            "dns": {},
        }
    ip = {"address": "10.1.2.2/24", "gateway": "10.1.2.1"}
    if version in ("0.3.0", "0.3.1", "0.4.0"):
        ip = {"version": "4", **ip}
    return {"cniVersion": version, "ips": [ip], "routes": ROUTES, "dns": {}}


@pytest.mark.parametrize("version", VERSIONS)
async def test_add_prints_the_result_of_the_configurations_version(cni: Host, version: str) -> None:
    said = await cni("ADD", conf(version, ipam={"subnet": SUBNET, "routes": ROUTES}))

    assert said.done
    assert said.json == expected(version)


@pytest.mark.parametrize("missing", ["absent", "empty"])
async def test_a_configuration_without_a_version_is_0_1_0(cni: Host, missing: str) -> None:
    said = await cni("ADD", {**conf(None), **({"cniVersion": ""} if missing == "empty" else {})})

    assert said.json == {"cniVersion": "0.1.0", "ip4": {"ip": "10.1.2.2/24", "gateway": "10.1.2.1"}, "dns": {}}


@pytest.mark.parametrize("version", VERSIONS)
async def test_del_prints_nothing_however_often(cni: Host, version: str) -> None:
    await cni("ADD", conf(version))

    first, again = await cni("DEL", conf(version), netns=""), await cni("DEL", conf(version), netns="")

    assert (first.status, first.text, again.status, again.text) == (200, "", 200, "")
    assert await cni.leases() == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_check_prints_nothing_and_is_there_since_0_4_0(cni: Host, version: str) -> None:
    added = await cni("ADD", conf(version))

    said = await cni("CHECK", conf(version, prevResult=added.json))

    if version < "0.4.0":
        assert said.number == 1
        assert said.json["cniVersion"] == version
    else:
        assert (said.status, said.text) == (200, "")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["STATUS", "GC"])
async def test_status_and_gc_print_nothing_and_are_there_since_1_1_0(cni: Host, version: str, command: str) -> None:
    said = await cni(command, conf(version), container="", netns="", interface="")

    if version < "1.1.0":
        assert said.number == 1
        assert said.json["cniVersion"] == version
    else:
        assert (said.status, said.text) == (200, "")


@pytest.mark.parametrize("version", VERSIONS)
async def test_version_says_all_that_are_spoken_in_the_version_it_is_asked_in(cni: Host, version: str) -> None:
    said = await cni("VERSION", {"cniVersion": version}, container="", netns="dummy", interface="dummy")

    assert said.json == {"cniVersion": version, "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b"null", b'{"cniVersion": "7"}', b'{"cniVersion": [1]}', b"\xff"])
async def test_version_needs_no_configuration(cni: Host, stdin: bytes) -> None:
    said = await cni("VERSION", stdin)

    assert said.json == {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize("version", VERSIONS[2:])
async def test_two_sets_are_two_addresses_in_their_order(cni: Host, version: str) -> None:
    said = await cni("ADD", conf(version, ipam=TWO_SETS))

    ips = [(ip["address"], ip["gateway"]) for ip in said.json["ips"]]
    assert ips == [("10.1.2.2/24", "10.1.2.1"), ("10.1.3.1/24", "10.1.3.9")]
    assert [lease.labels["ringipam.set"] for lease in await cni.leases()] in (["0", "1"], ["1", "0"])


@pytest.mark.parametrize("version", VERSIONS[:2])
async def test_two_addresses_of_a_family_do_not_fit_into_an_old_result(cni: Host, version: str) -> None:
    said = await cni("ADD", conf(version, ipam=TWO_SETS))

    assert said.number == 7
    assert await cni.leases() == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_ipv6_is_as_ipv4_in_its_own_place(tmp_path: Path, version: str) -> None:
    async with a_host(tmp_path, iprange="fd00::/48") as cni:
        ipam = {"subnet": "fd00:0:0:1::/64", "routes": [{"dst": "::/0"}, {"dst": "0.0.0.0/0"}]}
        said = (await cni("ADD", conf(version, ipam=ipam))).json

    shown = {"gateway": "fd00:0:0:1::1"}
    if version < "0.3.0":
        assert said["ip6"] == {"ip": "fd00:0:0:1::2/64", **shown, "routes": [{"dst": "::/0"}]}
    else:
        family = {"version": "6"} if version < "1.0.0" else {}
        assert said["ips"] == [{**family, "address": "fd00:0:0:1::2/64", **shown}]


async def test_nothing_named_is_the_daemons_subnet_without_a_gateway(tmp_path: Path) -> None:
    async with a_host(tmp_path, subnet="10.7.0.0/16") as cni:
        plain = await cni("ADD", conf(ipam={}))
        with_gateway = await cni("ADD", conf(ipam={"gateway": "10.7.0.2"}, name="other"), container="c2")

    assert plain.json["ips"] == [{"address": "10.7.0.1/16"}]
    assert with_gateway.json["ips"] == [{"address": "10.7.0.3/16", "gateway": "10.7.0.2"}]


async def test_all_that_a_route_may_say_is_passed_on(cni: Host) -> None:
    route = {"dst": "10.9.0.0/16", "gw": "10.1.2.1", "mtu": 1400, "advmss": 1360, "priority": 9, "table": 5, "scope": 0}

    said = await cni("ADD", conf("1.1.0", ipam={"subnet": SUBNET, "routes": [route]}))

    assert said.json["routes"] == [route]


async def test_dns_comes_from_the_file_that_is_named(cni: Host, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# a comment\n; another\nnameserver 10.0.0.53\nnameserver fd00::53\nnameserver nobody\nnameserver\n"
        "domain example.net\nsearch a.example b.example\nsearch c.example\noptions ndots:5 rotate\n"
    )

    said = await cni("ADD", conf(ipam={"subnet": SUBNET, "resolvConf": str(path)}))

    assert said.json["dns"] == {
        "nameservers": ["10.0.0.53", "fd00::53"],
        "domain": "example.net",
        "search": ["a.example", "b.example", "c.example"],
        "options": ["ndots:5", "rotate"],
    }


async def test_a_lease_tells_which_attachment_it_is_for(cni: Host) -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=shop;K8S_POD_UID=u"

    await cni("ADD", conf(name="front"), args=args, interface="eth7", netns="/nowhere")

    [lease] = await cni.leases()
    assert (lease.id, lease.class_) == ("c1", "container")
    assert lease.labels == {
        "ringipam.via": "cni",
        "ringipam.network": "front",
        "ringipam.interface": "eth7",
        "ringipam.set": "0",
        "ringipam.boot": "boot-1",
        "ringipam.pod": "web-1",
        "ringipam.namespace": "shop",
    }
