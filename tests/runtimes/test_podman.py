"""Podman's containers get their addresses from ringipam: on several hosts, through kills and reboots (W1, W5, W9)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import Podman, collect_garbage, conflist, install, install_ours
from lab import assert_no_address_twice, until
from machine import Machine, Site

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs("podman", "runc", "conmon", "busybox", "nsenter", "unshare", "cni:bridge"),
]

REAP_AFTER_S = "2"
DOCUMENTED = Path(__file__).parent.parent.parent / "docs/podman.md"


def podman_on(machine: Machine) -> Podman:
    install(machine, conflist())
    podman = Podman(machine)
    podman.prepare()
    return podman


@pytest.fixture
def pair(make_site: Callable[..., Site]) -> tuple[Podman, Podman]:
    """Podman on two hosts of one ring."""
    site = make_site(2)
    site.launch_all("--init", "consensus=2", "--reap-after", REAP_AFTER_S)
    one, two = (podman_on(machine) for machine in site.machines)
    return one, two


@pytest.fixture(scope="module")
def lasting_podman(lasting_machine: Machine) -> Podman:
    return podman_on(lasting_machine)


@pytest.fixture
def alone(lasting_podman: Podman) -> Iterator[Podman]:
    """Podman on a host of its own."""
    if lasting_podman.machine.daemon is None:
        lasting_podman.machine.launch("--reap-after", REAP_AFTER_S)
    yield lasting_podman
    lasting_podman("rm", "--force", "--time", "0", "--all")
    nothing_is_held(lasting_podman)


def held(podman: Podman) -> dict[str, str]:
    """Container id to address, as ringipam has it."""
    return {lease["id"]: f"{lease['address']}/{lease['prefix_len']}" for lease in podman.machine.leases()}


def nothing_is_held(podman: Podman) -> None:
    until(f"all is released: {held(podman)}", lambda: held(podman) == {})


def test_containers_of_two_hosts_share_a_subnet_reach_each_other_and_give_their_addresses_back(
    pair: tuple[Podman, Podman],
) -> None:
    one, two = pair

    addresses = {name: podman.run(name) for podman in pair for name in (f"{podman.machine.name}-{n}" for n in range(3))}

    assert len(set(addresses.values())) == 6
    assert all(address.startswith("10.32.0.") and address.endswith("/24") for address in addresses.values())
    assert assert_no_address_twice([podman.machine for podman in pair]) == 6
    assert held(one) == {one.id(f"h1-{n}"): addresses[f"h1-{n}"] for n in range(3)}
    assert one.pings("h1-0", addresses["h2-2"].split("/")[0])
    assert two.pings("h2-1", addresses["h1-2"].split("/")[0])

    for podman in pair:
        podman("rm", "--force", "--time", "0", "--all")
    assert [held(podman) for podman in pair] == [{}, {}]


def test_an_address_asked_for_is_given_on_any_host_and_refused_while_it_is_held(pair: tuple[Podman, Podman]) -> None:
    one, two = pair

    assert one.run("low", "--ip", "10.32.0.20") == "10.32.0.20/24"
    assert two.run("high", "--ip", "10.32.0.220") == "10.32.0.220/24"
    for podman, address, holder in ((one, "10.32.0.220", two.id("high")), (two, "10.32.0.20", one.id("low"))):
        options = (*podman.options("late"), "--ip", address)
        status, why = podman.fails("run", "-d", *options, podman.image, "sleep", "9")
        assert status != 0
        assert f"{address} is in use by {holder}" in why
        podman("rm", "--force", "late")

    one("rm", "--force", "--time", "0", "low")
    assert two.run("heir", "--ip", "10.32.0.20") == "10.32.0.20/24"


@pytest.mark.needs("iptables", "cni:portmap")
def test_the_documented_network_has_a_gateway_on_the_host_that_no_container_gets(alone: Podman) -> None:
    install_ours(alone.machine, "--subnet", "10.32.0.0/24")
    written = json.loads(alone.machine.run("cat", "/etc/cni/net.d/10-ringipam.conflist"))
    shown = DOCUMENTED.read_text().partition("```json\n")[2].partition("```")[0]
    assert written == json.loads(shown.replace("10.32.0.0/16", "10.32.0.0/24"))

    addresses = {alone.run(name, network="ringipam") for name in ("a", "b", "c")}

    assert "10.32.0.1/24" not in addresses
    assert alone.pings("a", "10.32.0.1")
    assert "default via 10.32.0.1 " in alone("exec", "b", "ip", "route")


def test_a_stopped_container_holds_nothing_and_a_container_that_ended_neither(alone: Podman) -> None:
    alone.run("stopped")
    alone.run("killed")

    alone("stop", "--time", "0", "stopped")
    alone("kill", "killed")

    nothing_is_held(alone)
    alone("start", "stopped", "killed")
    assert held(alone) == {alone.id(name): alone.address(name) for name in ("stopped", "killed")}


def test_a_container_removed_while_the_daemon_is_down_is_released_when_it_is_up_again(alone: Podman) -> None:
    kept, machine = alone.run("kept"), alone.machine
    alone.run("removed")
    machine.stop(signal.SIGKILL)

    alone("rm", "--force", "--time", "0", "removed")
    status, why = alone.fails("run", "-d", *alone.options("early"), alone.image, "sleep", "9")
    machine.launch("--reap-after", REAP_AFTER_S)

    assert (status != 0, "ringipam" in why) == (True, True)
    until("what was removed is released", lambda: held(alone) == {alone.id("kept"): kept})
    alone("start", "early")
    assert alone.address("early") not in ("", kept)


def test_a_host_whose_daemon_is_killed_again_and_again_and_one_that_goes_on_issue_no_address_twice(
    pair: tuple[Podman, Podman],
) -> None:
    one, two = pair
    addresses = []
    for number in range(3):
        starting = two.machine.start("podman", "run", "-d", *two.options(f"two{number}"), two.image, "sleep", "1000000")
        addresses.append(one.run(f"one{number}"))
        one.machine.stop(signal.SIGKILL)
        assert starting.entered.wait(timeout=60) == 0
        addresses.append(two.address(f"two{number}"))
        one.machine.launch("--init", "consensus=2", "--reap-after", REAP_AFTER_S, two.machine.endpoint)

    assert len(set(addresses)) == 6
    assert assert_no_address_twice([one.machine, two.machine]) == 6


# ── kills at every stage of a container's life ────────────────────────────────────────────────────

# What can be seen of a container that is being started, in the order in which it comes about.
STAGES = ("asked for", "namespace made", "address held", "monitor started")


def reached(podman: Podman, stage: str, namespaces: int) -> None:
    """Wait, without a pause, for this stage of the one container that is starting beside so many others."""
    machine = podman.machine
    reports: dict[str, Callable[[], bool]] = {
        "asked for": lambda: True,
        "namespace made": lambda: len(list(machine.root("/run/netns").glob("cni-*"))) > namespaces,
        "address held": lambda: len(machine.view("leases")["leases"]) > namespaces,
        "monitor started": lambda: len(machine.pids_of("conmon")) > namespaces,
    }
    end = time.monotonic() + 5
    while not reports[stage]() and time.monotonic() < end:
        pass


@pytest.mark.parametrize("stage", STAGES)
def test_the_daemon_killed_while_containers_start_and_stop_leaks_and_doubles_nothing(alone: Podman, stage: str) -> None:
    machine = alone.machine
    before = alone.run("before")
    alone.run("leaving")
    starting = machine.start("podman", "run", "-d", *alone.options("starting"), alone.image, "sleep", "1000000")
    going = machine.start("podman", "rm", "--force", "--time", "0", "leaving")
    reached(alone, stage, namespaces=2)

    machine.stop(signal.SIGKILL)
    started = starting.entered.wait(timeout=30) == 0
    assert going.entered.wait(timeout=30) == 0
    machine.launch("--reap-after", REAP_AFTER_S)

    alive = {"before": before} | ({"starting": alone.address("starting")} if started else {})
    alive["after"] = alone.run("after")
    assert len(set(alive.values())) == len(alive)
    expected = {alone.id(name): address for name, address in alive.items()}
    until(f"held is what runs: {expected}", lambda: held(alone) == expected)


@pytest.mark.parametrize("stage", STAGES)
def test_podman_killed_while_a_container_starts_leaks_nothing(alone: Podman, stage: str) -> None:
    starting = alone.machine.start("podman", "run", "-d", *alone.options("c"), alone.image, "sleep", "1000000")
    reached(alone, stage, namespaces=0)

    starting.stop(signal.SIGKILL)

    until("podman forgets what it began", lambda: alone.fails("rm", "--force", "--time", "0", "--all")[0] == 0)
    following = alone.run("next")
    collect_garbage(alone.machine, "ring", [alone.id("next")])
    assert held(alone) == {alone.id("next"): following}


def test_a_container_whose_monitor_was_killed_keeps_its_address_until_it_is_removed(alone: Podman) -> None:
    address = alone.run("c")
    alone.machine.run("kill", "-9", str(alone.conmon("c")))
    other = alone.run("other")
    assert held(alone) == {alone.id("c"): address, alone.id("other"): other}

    alone("rm", "--force", "--time", "0", "c")

    until("only the other is held", lambda: held(alone) == {alone.id("other"): other})


# ── reboot ────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_reboot_restarted_containers_have_their_addresses_and_the_others_are_released(alone: Podman) -> None:
    machine = alone.machine
    addresses = {name: alone.run(name) for name in ("back", "also-back", "removed", "forgotten")}
    ids = {name: alone.id(name) for name in addresses}

    machine.reboot()
    machine.launch("--reap-after", "4")
    alone("rm", "--force", "removed")
    alone("start", "back", "also-back")

    expected = {ids[name]: addresses[name] for name in ("back", "also-back")}
    assert {ids[name]: alone.address(name) for name in ("back", "also-back")} == expected
    until(f"held is what came back: {expected}", lambda: held(alone) == expected)
    fresh = alone.run("fresh")
    assert fresh not in expected.values()


def test_a_container_restarted_after_its_lease_was_reaped_gets_an_address(alone: Podman) -> None:
    machine = alone.machine
    alone.run("late")
    machine.reboot()
    machine.launch("--reap-after", "1")
    nothing_is_held(alone)

    alone("start", "late")

    assert held(alone) == {alone.id("late"): alone.address("late")}
