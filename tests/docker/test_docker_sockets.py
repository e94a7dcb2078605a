"""How a real dockerd and a daemon find each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dockerlab import CommandError, DockerLab, Host, missing, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")]


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with DockerLab(1) as lab:
        lab.hosts[0].start_docker()
        yield lab.hosts[0]


@pytest.fixture
def host(machine: Host) -> Iterator[Host]:
    yield machine
    machine.docker("network", "prune", "-f")
    if machine.daemon is not None:
        machine.stop_ringipam()


def test_the_daemon_of_a_host_with_docker_is_found_without_being_told(host: Host) -> None:
    host.start_ringipam(plugin=None)

    host.network("n", "--subnet", "10.32.5.0/24")

    assert [lease["id"] for lease in host.leases()] == ["gateway:10.32.5.0/24"]


def test_docker_finds_a_socket_elsewhere_by_a_file(host: Host) -> None:
    elsewhere = "/run/elsewhere/docker.sock"
    host.enter("mkdir", "-p", "/etc/docker/plugins")
    host.enter("sh", "-c", f"echo unix://{elsewhere} > /etc/docker/plugins/ringipam.spec")
    host.start_ringipam(plugin=elsewhere)
    host.end_docker()  # it remembers where it found a driver
    host.start_docker()

    host.network("n", "--subnet", "10.32.6.0/24")

    assert "10.32.6.1" in {lease["address"] for lease in host.leases(role="gateway")}
    host.enter("rm", "/etc/docker/plugins/ringipam.spec")
    host.docker("network", "prune", "-f")
    host.end_docker()
    host.start_docker()


def test_a_daemon_that_is_not_to_serve_docker_does_not(host: Host) -> None:
    host.start_ringipam(plugin="none")
    with pytest.raises(CommandError):
        host.enter("test", "-e", "/run/docker/plugins/ringipam.sock")


def test_a_second_daemon_of_a_host_leaves_docker_to_the_first(host: Host) -> None:
    host.start_ringipam()

    second = host.other_ringipam()
    try:
        until("it is there", lambda: "listening on" in host.other_log)
        assert second.poll() is None
        host.network("n", "--subnet", "10.32.7.0/24")
        assert "10.32.7.1" in {lease["address"] for lease in host.leases(role="gateway")}
    finally:
        second.kill()
        second.wait(20)

    told = host.other_ringipam("--docker-plugin", "/run/docker/plugins/ringipam.sock")
    assert told.wait(30) == 1
    assert "a daemon already answers at /run/docker/plugins/ringipam.sock; give this one another --docker-plugin" in (
        host.other_log
    )
