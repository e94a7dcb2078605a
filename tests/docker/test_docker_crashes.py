"""A real dockerd and a real daemon that are killed, restarted or late, at every stage of a container's life.

Whatever happens: what runs keeps its address, no two containers have one, and what is gone is free again in the end.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from dockerlab import MORTAL, SLOW, CommandError, DockerLab, Host, missing, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")]


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with DockerLab(1) as lab:
        yield lab.start()[0]


@pytest.fixture
def host(machine: Host) -> Iterator[Host]:
    """With a network `net`; afterwards nothing of it is left, neither there nor here."""
    if machine.daemon is None:
        machine.start_ringipam()
    machine.network("net", "--subnet", "10.32.5.0/24", "-o", "com.docker.network.bridge.name=dk0")
    yield machine
    if machine.daemon is None:
        machine.start_ringipam()
    if containers := machine.docker("ps", "-aq").split():
        machine.docker("rm", "-f", *containers)
    machine.docker("network", "prune", "-f")
    until(f"nothing is leased: {machine.leases()}", lambda: not machine.leases())


def running(host: Host) -> dict[str, str]:
    """The addresses of the containers that run, by name."""
    names = host.docker("ps", "--format", "{{.Names}}").split()
    return {name: host.address(name, "net") for name in names}


def assert_only_what_runs_is_leased(host: Host) -> None:
    until("Docker answers", lambda: host.docker("info", "-f", "x"))
    host.wait_for_looks()
    found = running(host)
    assert len(set(found.values())) == len(found)
    assert host.endpoints() == set(found.values())


def in_background(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(CommandError):  # whatever was asked of what is being killed may fail
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def start_and_restart(host: Host, name: str) -> None:
    host.container(name, "net")
    host.docker("restart", "-t", "0", name)


def test_a_container_keeps_its_address_over_a_kill_of_the_daemon_and_gives_it_back_to_the_next(host: Host) -> None:
    before = host.container("before", "net")
    host.kill_ringipam()
    host.start_ringipam()

    after = host.container("after", "net")

    assert after != before
    assert_only_what_runs_is_leased(host)
    host.docker("rm", "-f", "before", "after")
    assert host.endpoints() == set()


def test_a_container_that_starts_or_ends_while_the_daemon_is_away_waits_for_it(host: Host) -> None:
    host.container("old", "net")
    host.stop_ringipam()
    starts = in_background(lambda: host.container("new", "net"))
    ends = in_background(lambda: host.docker("rm", "-f", "old"))
    time.sleep(1)

    host.start_ringipam()
    starts.join(90)
    ends.join(90)

    assert list(running(host)) == ["new"]
    assert_only_what_runs_is_leased(host)


@pytest.mark.slow
def test_a_network_that_is_removed_while_the_daemon_is_away_leaks_nothing(host: Host) -> None:
    host.container("one", "net")
    host.network("auto")
    assert len(host.leases(role="pool")) == 1
    host.stop_ringipam()

    host.docker("rm", "-f", "one")  # Docker gives up after half a minute, and never tells of it again
    host.docker("network", "rm", "net", "auto")
    host.start_ringipam()

    until(f"all is free again: {host.leases()}", lambda: not host.leases())


def test_docker_killed_and_started_again_ends_its_containers_and_their_addresses_are_free(host: Host) -> None:
    address = host.container("one", "net")
    host.end_docker(signal.SIGKILL)
    until("the daemon misses Docker", lambda: "Docker's API does not answer" in host.log)
    assert host.endpoints() == {address}

    host.start_docker()

    assert_only_what_runs_is_leased(host)
    assert host.endpoints() == set()
    host.docker("start", "one")
    assert_only_what_runs_is_leased(host)


def test_containers_that_outlive_docker_keep_their_addresses(host: Host) -> None:
    host.end_docker()
    host.start_docker("--live-restore")
    address = host.container("one", "net")

    for how in (signal.SIGKILL, signal.SIGTERM):
        host.end_docker(how)
        host.start_docker("--live-restore")

        assert running(host)["one"] == address
        assert_only_what_runs_is_leased(host)
        assert host.container(f"next-{how.name}", "net") != address

    host.end_docker()
    host.start_docker()


def test_after_a_power_cut_containers_that_come_back_have_an_address_each_and_nothing_else_is_leased(
    host: Host,
) -> None:
    for number in range(3):
        host.container(f"comes-back-{number}", "net", "--restart", "always")
    host.container("stays-away", "net")
    host.container("named", "net", "--ip", "10.32.5.200", "--restart", "always")

    host.cut_power()
    host.boot()
    host.start_ringipam()
    host.start_docker()

    until("they come back", lambda: len(running(host)) == 4 and all(running(host).values()))
    assert running(host)["named"] == "10.32.5.200"
    assert_only_what_runs_is_leased(host)


def test_docker_that_starts_before_the_daemon_waits_for_it(host: Host) -> None:
    host.container("comes-back", "net", "--restart", "always")
    host.cut_power()
    host.boot()
    late = threading.Timer(2, host.start_ringipam)
    late.start()

    host.start_docker()
    late.join(60)

    until("it comes back", lambda: running(host).get("comes-back"))
    assert_only_what_runs_is_leased(host)


CALLS: dict[str, Callable[[Host], object]] = {
    "request_pool": lambda host: host.network("new"),
    "request_address": lambda host: host.container("new", "net"),
    "release_address": lambda host: host.docker("rm", "-f", "old"),
    "release_pool": lambda host: host.docker("network", "rm", "auto"),
}
"""What makes Docker call."""


def assert_blocks_are_those_of_networks(host: Host) -> None:
    networks = host.docker("network", "ls", "--format", "{{.Name}}", "-f", "driver=bridge").split()
    assert len(host.leases(role="pool")) == len({"auto", "new"}.intersection(networks))


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_the_daemon_dies_on_a_call_of_docker(host: Host, call: str, done: bool) -> None:
    host.container("old", "net")
    host.network("auto")
    host.stop_ringipam()
    host.start_ringipam(more=MORTAL.format(call=call, done=done))
    dying = host.daemon
    assert dying is not None

    asking = in_background(lambda: CALLS[call](host))
    dying.wait(60)
    host.start_ringipam()
    asking.join(90)

    host.container("next", "net")
    assert_only_what_runs_is_leased(host)
    assert_blocks_are_those_of_networks(host)


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_docker_dies_while_it_waits_for_a_call(host: Host, call: str, done: bool) -> None:
    host.container("old", "net")
    host.network("auto")
    host.stop_ringipam()
    mark = host.directory / "called"
    mark.unlink(missing_ok=True)
    host.start_ringipam(more=SLOW.format(call=call, done=done, mark=str(mark)))

    asking = in_background(lambda: CALLS[call](host))
    until("Docker calls", mark.exists)
    host.end_docker(signal.SIGKILL)
    asking.join(90)
    host.kill_ringipam()
    host.start_ringipam()
    host.start_docker()

    host.container("next", "net")
    assert_only_what_runs_is_leased(host)
    assert_blocks_are_those_of_networks(host)


@pytest.mark.slow
def test_the_daemon_is_killed_at_any_moment_of_lives_of_containers(host: Host) -> None:
    rng = random.Random(5)
    for round_ in range(8):
        name = f"round-{round_}"
        work = in_background(partial(start_and_restart, host, name))
        time.sleep(rng.uniform(0.0, 0.6))
        host.kill_ringipam()
        host.start_ringipam()
        work.join(90)
        if rng.random() < 0.5:
            host.docker("rm", "-f", name)

    assert_only_what_runs_is_leased(host)


@pytest.mark.slow
def test_docker_is_killed_at_any_moment_of_lives_of_containers(host: Host) -> None:
    rng = random.Random(6)
    host.end_docker()
    host.start_docker("--live-restore")
    for round_ in range(8):
        name = f"round-{round_}"
        work = in_background(partial(start_and_restart, host, name))
        time.sleep(rng.uniform(0.0, 0.6))
        host.end_docker(signal.SIGKILL)
        work.join(90)
        host.start_docker("--live-restore")

    assert_only_what_runs_is_leased(host)
    host.end_docker()
    host.start_docker()
    assert_only_what_runs_is_leased(host)
