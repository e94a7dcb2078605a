"""Every verb of every version of CNI, as libcni executes the installed plugin, with what it prints (W1, W5)."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engines import install
from lab import run, until
from libcni import VERSIONS, Attachment, PluginError, Runtime
from machine import Machine

pytestmark = [pytest.mark.root, pytest.mark.needs("nsenter", "unshare", "cni:bridge")]

IPAM = {
    "type": "ringipam",
    "ranges": [[{"subnet": "10.32.0.64/26", "gateway": "10.32.0.65"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.32.0.66"}],
}
ROUTES = IPAM["routes"]

# What ADD prints in each version (SPEC of that version, "Result").
OLD = {"ip4": {"ip": "10.32.0.70/26", "gateway": "10.32.0.65", "routes": ROUTES}, "dns": {}}
VERSIONED = {
    "ips": [{"version": "4", "address": "10.32.0.70/26", "gateway": "10.32.0.65"}],
    "routes": ROUTES,
    "dns": {},
}
PLAIN = {"ips": [{"address": "10.32.0.70/26", "gateway": "10.32.0.65"}], "routes": ROUTES, "dns": {}}
RESULTS: dict[str, dict[str, Any]] = {
    "0.1.0": OLD,
    "0.2.0": OLD,
    "0.3.0": VERSIONED,
    "0.3.1": VERSIONED,
    "0.4.0": VERSIONED,
    "1.0.0": PLAIN,
    "1.1.0": PLAIN,
}
SINCE_CHECK = VERSIONS[VERSIONS.index("0.4.0") :]
BRIDGED = VERSIONS[: VERSIONS.index("1.1.0")]  # what the packaged bridge speaks


@pytest.fixture(scope="module")
def lasting_host(lasting_machine: Machine) -> Machine:
    lasting_machine.launch()
    install(lasting_machine)
    return lasting_machine


@pytest.fixture
def host(lasting_host: Machine) -> Iterator[Machine]:
    """A host with the plugin, and no lease before and after."""
    if lasting_host.daemon is None:
        lasting_host.launch()
    yield lasting_host
    until("nothing is held", lambda: lasting_host.leases() == [])


@pytest.fixture
def netns(host: Machine) -> Iterator[str]:
    """The path of a container's network namespace."""
    host.run("ip", "netns", "add", "c1")
    yield "/run/netns/c1"
    host.run("ip", "netns", "del", "c1", check=False)


def alone(host: Machine, version: str) -> Runtime:
    """The plugin without a main plugin: what it prints is the result."""
    return Runtime(host, {"cniVersion": version, "name": "ring", "plugins": [{"type": "ringipam", "ipam": IPAM}]})


def bridged(host: Machine, version: str) -> Runtime:
    bridge = {"type": "bridge", "bridge": "br0", "ipam": IPAM}
    return Runtime(host, {"cniVersion": version, "name": "ring", "plugins": [bridge]})


def held(host: Machine) -> list[tuple[str, str]]:
    return [(lease["id"], lease["address"]) for lease in host.leases()]


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(PluginError) as refusal:
        call()
    return refusal.value.code, refusal.value.msg


@pytest.mark.parametrize("version", VERSIONS)
def test_add_prints_the_result_of_its_version_and_del_prints_nothing_however_often(
    host: Machine, netns: str, version: str
) -> None:
    runtime, c1 = alone(host, version), Attachment("c1", netns, args="IP=10.32.0.70")

    assert runtime.add(c1) == {"cniVersion": version, **RESULTS[version]}
    assert runtime.add(c1) == {"cniVersion": version, **RESULTS[version]}
    assert held(host) == [("c1", "10.32.0.70")]

    runtime.delete(c1)
    runtime.delete(c1)
    runtime.delete(Attachment("c1"))
    assert held(host) == []


@pytest.mark.parametrize("version", BRIDGED)
def test_a_bridge_gives_the_container_the_address_of_the_result(host: Machine, netns: str, version: str) -> None:
    runtime, c1 = bridged(host, version), Attachment("c1", netns)

    runtime.add(c1)

    ((_, address),) = held(host)
    assert f"inet {address}/26 " in host.run("ip", "-n", "c1", "-o", "addr", "show", "eth0")
    assert "default via 10.32.0.65 " in host.run("ip", "-n", "c1", "route")
    if version in SINCE_CHECK:
        runtime.check(c1)
    runtime.delete(c1)
    runtime.delete(c1)


@pytest.mark.parametrize("version", SINCE_CHECK)
def test_check_compares_what_is_held_with_the_result(host: Machine, netns: str, version: str) -> None:
    runtime, c1 = alone(host, version), Attachment("c1", netns)
    result = runtime.add(c1)
    runtime.check(c1)

    result["ips"][0]["address"] = "10.32.0.99/26"

    ((_, address),) = held(host)
    assert refused(lambda: runtime.check(c1)) == (
        100,
        f"c1 holds {address}, of which prevResult does not tell",
    )
    runtime.delete(c1)
    runtime.cache[c1.container, c1.ifname] = (c1, result)
    assert refused(lambda: runtime.check(c1)) == (3, "c1 holds no address of ring on eth0")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_verb_that_its_version_does_not_have_is_refused(host: Machine, version: str) -> None:
    runtime = alone(host, version)
    runtime.cache["c1", "eth0"] = (Attachment("c1", "/run/netns/c1"), {})
    verbs: dict[str, tuple[str, Callable[[], None]]] = {
        "CHECK": ("0.4.0", lambda: runtime.check(Attachment("c1", "/run/netns/c1"))),
        "STATUS": ("1.1.0", runtime.status),
        "GC": ("1.1.0", lambda: runtime.collect_garbage([Attachment("c1")])),
    }
    for verb, (since, call) in verbs.items():
        if VERSIONS.index(version) < VERSIONS.index(since):
            code, why = refused(call)
            assert (code, why) == (1, f"{verb} needs cniVersion {since} or later, not {version}")


def test_version_tells_all_versions_to_a_caller_that_gives_dummies_for_everything_else(host: Machine) -> None:
    assert alone(host, "1.1.0").version("ringipam") == {"cniVersion": "1.1.0", "supportedVersions": list(VERSIONS)}


def test_gc_releases_what_is_not_listed_and_leaves_other_networks_alone(host: Machine) -> None:
    host.run("sh", "-c", "for n in kept left lost; do ip netns add $n; done")
    runtime, other = alone(host, "1.1.0"), alone(host, "1.1.0")
    other.network["name"] = "other"
    kept, left, lost = (Attachment(name, f"/run/netns/{name}") for name in ("kept", "left", "lost"))
    for attachment in (kept, left, lost):
        runtime.add(attachment)
    other.add(lost)
    runtime.cache.pop(("lost", "eth0"))  # this runtime has forgotten it: only GC can tell that it is gone

    runtime.collect_garbage([kept])

    assert sorted((lease["id"], lease["labels"]["ringipam.network"]) for lease in host.leases()) == [
        ("kept", "ring"),
        ("lost", "other"),
    ]
    runtime.collect_garbage([])
    other.collect_garbage([])
    host.run("sh", "-c", "for n in kept left lost; do ip netns del $n; done")


def test_while_the_daemon_is_down_status_and_add_fail_and_del_is_made_up_for(host: Machine, netns: str) -> None:
    runtime, c1 = alone(host, "1.1.0"), Attachment("c1", netns)
    runtime.add(c1)
    runtime.status()
    host.stop(signal.SIGKILL)

    status, add = refused(runtime.status), refused(lambda: runtime.add(Attachment("c2", netns)))
    runtime.delete(c1)

    assert (status[0], add[0]) == (50, 11)
    assert str(host.socket) in status[1]
    assert str(host.socket) in add[1]
    host.launch()
    until("c1 is released", lambda: held(host) == [])


def test_status_fails_while_no_address_is_left(host: Machine, netns: str) -> None:
    network = {"type": "ringipam", "ipam": {"type": "ringipam", "subnet": "10.32.0.160/30"}}
    runtime = Runtime(host, {"cniVersion": "1.1.0", "name": "small", "plugins": [network]})
    held_ones = [Attachment(f"c{n}", netns) for n in range(2)]
    add = [runtime.add(attachment)["ips"][0]["address"] for attachment in held_ones[:1]]
    late = Attachment("late", netns)

    full = refused(lambda: [runtime.add(attachment) for attachment in (held_ones[1], late)])
    status = refused(runtime.status)

    assert add == ["10.32.0.162/30"]
    assert full[0] == 11
    assert "no free address in 10.32.0.160/30" in full[1]
    assert status[0] == 50
    assert "no free address in 10.32.0.160/30" in status[1]
    runtime.collect_garbage([])
    runtime.status()


def test_a_configuration_that_cannot_be_is_refused_and_nothing_is_held(host: Machine, netns: str) -> None:
    for ipam, code in (
        ({"ranges": [[{"subnet": "10.32.0.64/33"}]]}, 7),
        ({"ranges": [[{"subnet": "10.32.0.65/26"}]]}, 7),
        ({"ranges": "10.32.0.64/26"}, 7),
        ({"subnet": "192.0.2.0/24"}, 7),
    ):
        plugin = {"type": "ringipam", "ipam": {"type": "ringipam", **ipam}}
        runtime = Runtime(host, {"cniVersion": "1.1.0", "name": "ring", "plugins": [plugin]})

        got, why = refused(lambda runtime=runtime: runtime.add(Attachment("c1", netns)))

        assert (got, why.count("\n")) == (code, 0), why
        assert held(host) == []


def test_the_installed_plugin_answers_without_python_on_the_path(host: Machine) -> None:
    asked = json.dumps({"cniVersion": "1.0.0"})

    shown = run(
        *(*host.inside, "env", "-i", "PATH=/nowhere", "CNI_COMMAND=VERSION", "/opt/cni/bin/ringipam"), input_text=asked
    )

    assert json.loads(shown)["supportedVersions"] == list(VERSIONS)
