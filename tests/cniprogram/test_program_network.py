"""The network that `ringipam cni install` writes, with the real bridge plugin: containers of two hosts meet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ringipam.integrations.cni.program import installation

sys.path.insert(0, str(Path(__file__).parent.parent / "daemon"))

from process import Daemon

PLUGINS = Path("/usr/lib/cni")
PREFIX = f"rip{os.getpid()}"
LISTENING = 20_000 + os.getpid() % 20_000

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (PLUGINS / "bridge").exists(), reason="needs the package containernetworking-plugins"),
]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def pings(namespace: str, address: str) -> bool:
    command = ["ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "2", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def namespaces() -> Iterator[Callable[[str], str]]:
    """Makes network namespaces, and removes them."""
    made: list[str] = []

    def make(name: str) -> str:
        ip("netns", "add", f"{PREFIX}{name}")
        made.append(f"{PREFIX}{name}")
        ip("-n", made[-1], "link", "set", "lo", "up")
        return made[-1]

    yield make
    for name in made:
        ip("netns", "del", name)


class Host:
    """One host: a namespace, a daemon, and what was installed for it."""

    def __init__(self, namespace: str, daemon: Daemon, bin_dir: Path, network: dict[str, Any]) -> None:
        self.namespace = namespace
        self._daemon = daemon
        self._bin_dir = bin_dir
        self._plugin = {"cniVersion": network["cniVersion"], "name": network["name"], **network["plugins"][0]}

    def exec(self, command: str, container: str) -> dict[str, Any]:
        """What a runtime does for a container whose namespace has its name."""
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/var/run/netns/{container}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self._bin_dir}:{PLUGINS}",
            "PATH": os.environ["PATH"],
        }
        program = ["ip", "netns", "exec", self.namespace, str(PLUGINS / "bridge")]
        config = json.dumps(self._plugin).encode()
        done = subprocess.run(program, env=env, input=config, capture_output=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr, self._daemon.log)
        return dict(json.loads(done.stdout)) if done.stdout else {}


@pytest.fixture
def hosts(
    tmp_path: Path, namespaces: Callable[[str], str], compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., list[Host]]]:
    """Two hosts of one ring, which have the network with these subnets; a cable between their bridges."""
    monkeypatch.setattr(installation, "COMPILED", compiled)
    with ExitStack() as stack:

        def make(*subnets: str) -> list[Host]:
            made = []
            for number, init in ((1, ("--init", "consensus=1")), (2, ("--init", "observer", f"127.0.0.1:{LISTENING}"))):
                directory = tmp_path / f"h{number}"
                listen = f"127.0.0.1:{LISTENING if number == 1 else 0}"
                daemon = Daemon(directory, options=("--listen", listen, *init), name=f"h{number}")
                stack.callback(daemon.kill)
                stack.enter_context(daemon.start()).prime()
                planned = installation.plan(
                    directory / "bin",
                    directory / "conf",
                    socket=daemon.socket,
                    cni_dir=daemon.data / "cni",
                    name="net",
                    subnets=subnets,
                )
                installation.carry_out(planned)
                assert planned.conflist is not None
                network = json.loads(planned.conflist.path.read_text())
                made.append(Host(namespaces(f"h{number}"), daemon, directory / "bin", network))
            return made

        yield make


def connect(one: Host, other: Host) -> None:
    """As an operator does: the cable goes into the bridges that the plugin has made."""
    ip("-n", one.namespace, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other.namespace)
    for host in (one, other):
        ip("-n", host.namespace, "link", "set", "cable", "master", "ringipam0", "up")


@pytest.mark.parametrize("subnets", [(), ("10.32.5.0/24",)])
def test_containers_of_one_host_and_of_two_reach_each_other(
    hosts: Callable[..., list[Host]], namespaces: Callable[[str], str], subnets: tuple[str, ...]
) -> None:
    first, second = hosts(*subnets)
    containers = [namespaces(name) for name in ("c1", "c2", "c3")]

    results = [host.exec("ADD", one) for host, one in zip((first, first, second), containers, strict=True)]
    connect(first, second)

    addresses = [result["ips"][0]["address"].partition("/")[0] for result in results]
    assert len(set(addresses)) == 3
    assert pings(containers[0], addresses[1]), "on one host"
    assert pings(containers[0], addresses[2]), "across hosts"
    assert pings(containers[2], addresses[0])
    for host, one in zip((first, first, second), containers, strict=True):
        host.exec("DEL", one)


def test_a_host_is_the_gateway_of_its_containers(
    hosts: Callable[..., list[Host]], namespaces: Callable[[str], str]
) -> None:
    first, second = hosts("10.32.5.0/24")
    world = namespaces("w")
    ip("-n", first.namespace, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", world)
    for namespace, address in ((first.namespace, "192.0.2.1/24"), (world, "192.0.2.2/24")):
        ip("-n", namespace, "addr", "add", address, "dev", "up0")
        ip("-n", namespace, "link", "set", "up0", "up")
    containers = [namespaces(name) for name in ("c1", "c2")]

    results = [host.exec("ADD", one) for host, one in zip((first, second), containers, strict=True)]

    assert [result["ips"][0]["gateway"] for result in results] == ["10.32.5.1"] * 2
    assert all(pings(one, "10.32.5.1") for one in containers)
    assert pings(containers[0], "192.0.2.2"), "the world, which knows no way back but to the host"
