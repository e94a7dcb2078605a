"""Containers of `ctr run --cni` get their addresses from ringipam, through kills and reboots (W1, W5, W9)."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest
from engines import Containerd, conflist, install
from lab import assert_no_address_twice, until
from machine import Machine, Site

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs("containerd", "ctr", "runc", "busybox", "nsenter", "unshare", "cni:bridge"),
]

REAP_AFTER_S = "2"


def containerd_on(machine: Machine) -> Containerd:
    install(machine, conflist())
    containerd = Containerd(machine)
    containerd.prepare()
    containerd.launch()
    return containerd


@pytest.fixture
def pair(make_site: Callable[..., Site]) -> tuple[Containerd, Containerd]:
    """containerd on two hosts of one ring."""
    site = make_site(2)
    site.launch_all("--init", "consensus=2", "--reap-after", REAP_AFTER_S)
    one, two = (containerd_on(machine) for machine in site.machines)
    return one, two


@pytest.fixture(scope="module")
def lasting_containerd(lasting_machine: Machine) -> Containerd:
    return containerd_on(lasting_machine)


@pytest.fixture
def alone(lasting_containerd: Containerd) -> Iterator[Containerd]:
    """containerd on a host of its own."""
    if lasting_containerd.machine.daemon is None:
        lasting_containerd.machine.launch("--reap-after", REAP_AFTER_S)
    yield lasting_containerd
    lasting_containerd.clear()
    held_is(lasting_containerd, {})


def held(containerd: Containerd) -> dict[str, str]:
    """Name in containerd to address, as ringipam has it."""
    leases = containerd.machine.leases()
    return {lease["id"].removeprefix("default-"): f"{lease['address']}/{lease['prefix_len']}" for lease in leases}


def held_is(containerd: Containerd, expected: dict[str, str]) -> None:
    until(f"held is {expected}, not {held(containerd)}", lambda: held(containerd) == expected)


def test_containers_of_two_hosts_share_a_subnet_reach_each_other_and_give_their_addresses_back(
    pair: tuple[Containerd, Containerd],
) -> None:
    one, two = pair

    addresses = {name: engine.attend(name) for engine, name in ((one, "a"), (one, "b"), (two, "c"), (two, "d"))}

    assert len(set(addresses.values())) == 4
    assert assert_no_address_twice([one.machine, two.machine]) == 4
    assert held(one) == {name: addresses[name] for name in ("a", "b")}
    assert one.pings("a", addresses["c"].split("/")[0])
    assert two.pings("d", addresses["b"].split("/")[0])

    for engine, name in ((one, "a"), (one, "b"), (two, "c"), (two, "d")):
        engine.end(name)
    held_is(one, {})
    held_is(two, {})


def test_a_detached_container_whose_end_nobody_reports_is_released_when_its_namespace_is_gone(
    alone: Containerd,
) -> None:
    kept = alone.run("kept")
    alone.run("gone")

    alone("tasks", "rm", "--force", "gone", check=False)  # its own exit status is that of the task

    held_is(alone, {"kept": kept})
    assert alone.address("kept") == kept


def test_a_container_that_ended_while_the_daemon_was_down_is_released_when_it_is_up_again(alone: Containerd) -> None:
    kept, machine = alone.attend("kept"), alone.machine
    alone.attend("gone")
    machine.stop(signal.SIGKILL)

    alone.end("gone")
    machine.launch("--reap-after", REAP_AFTER_S)

    held_is(alone, {"kept": kept})


def test_containerd_killed_and_started_again_leaks_and_doubles_nothing(alone: Containerd) -> None:
    addresses = {name: alone.run(name) for name in ("one", "two")}

    alone.stop(signal.SIGKILL)
    alone.launch()

    addresses["fresh"] = alone.run("fresh")
    assert len(set(addresses.values())) == 3
    held_is(alone, addresses)
    alone("tasks", "rm", "--force", "one", check=False)
    held_is(alone, {name: addresses[name] for name in ("two", "fresh")})


@pytest.mark.parametrize("victim", ["containerd-shim-runc-v2", "ctr"])
def test_a_killed_monitor_or_client_leaks_and_doubles_nothing(alone: Containerd, victim: str) -> None:
    address = alone.attend("c")
    for pid in alone.machine.pids_of(victim):
        alone.machine.run("kill", "-9", str(pid))

    other = alone.run("other")

    assert other != address
    alone("tasks", "rm", "--force", "c", check=False)
    held_is(alone, {"other": other})


@pytest.mark.parametrize("stage", ["asked for", "address held"])
@pytest.mark.parametrize("victim", ["ringipam", "containerd", "ctr"])
def test_whoever_is_killed_while_a_container_starts_nothing_leaks_and_nothing_is_doubled(
    alone: Containerd, victim: str, stage: str
) -> None:
    before, machine = alone.run("before"), alone.machine
    starting = machine.start("ctr", "run", "--detach", *alone.options("starting"), "/bin/sleep", "1000000")
    end = time.monotonic() + 5
    while stage == "address held" and len(machine.view("leases")["leases"]) < 2 and time.monotonic() < end:
        pass

    if victim == "ringipam":
        machine.stop(signal.SIGKILL)
        starting.entered.wait(timeout=60)
        machine.launch("--reap-after", REAP_AFTER_S)
    elif victim == "containerd":
        alone.stop(signal.SIGKILL)
        starting.entered.wait(timeout=60)
        alone.launch()
    else:
        starting.stop(signal.SIGKILL)
    after = alone.run("after")

    assert after != before
    started = alone.address_if_up("starting")
    assert started not in (before, after)
    alone("tasks", "rm", "--force", "starting", check=False)
    held_is(alone, {"before": before, "after": after})


def test_after_a_reboot_nothing_is_held_but_what_is_started_again(alone: Containerd) -> None:
    machine = alone.machine
    alone.run("forgotten")
    before = alone.run("again")

    machine.reboot()
    machine.launch("--reap-after", "3")
    alone.launch()
    for name in ("again", "forgotten"):
        alone("containers", "rm", name)
    again = alone.run("again")

    assert again == before
    held_is(alone, {"again": again})
