"""Hosts of two releases in one ring, while it is upgraded host by host, and back (docs/design.md, "Gossip")."""

from __future__ import annotations

import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from process import Daemon

import ringipam
from ringipam import Client, Lease
from ringipam.store.schema import VERSION

NEWER = (sys.executable, str(Path(__file__).parent / "newer_release.py"))
SUBNET = "10.32.0.0/26"
HOSTS = 3


def until(what: str, condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within 30 s: {what}")


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in taken]


class Cluster:
    """Hosts h1, h2, … on loopback, each of which can be restarted as another release."""

    def __init__(self, directory: Path, environment: pytest.MonkeyPatch) -> None:
        self._environment = environment
        environment.setenv("PYTHONPATH", str(Path(ringipam.__file__).parents[1]))  # a script knows no other way
        self._endpoints = [f"127.0.0.1:{port}" for port in free_ports(HOSTS)]
        self.daemons = {f"h{number + 1}": self._daemon(directory, number) for number in range(HOSTS)}
        self.clients: dict[str, Client] = {}

    def _daemon(self, directory: Path, number: int) -> Daemon:
        mine, name = self._endpoints[number], f"h{number + 1}"
        others = [endpoint for endpoint in self._endpoints if endpoint != mine]
        return Daemon(directory / name, options=("--listen", mine, *others), name=name)

    def start(self, name: str, protocols: str = "") -> None:
        """`protocols` are those that a later release speaks; without, it is this one."""
        daemon = self.daemons[name]
        self._environment.setenv("RINGIPAM_TEST_PROTOCOLS", protocols)
        daemon.program = NEWER if protocols else Daemon.program
        self.clients[name] = daemon.start()

    def restart(self, name: str, protocols: str = "") -> None:
        self.clients[name].close()
        assert self.daemons[name].stop() == 0
        self.start(name, protocols)

    def links(self, name: str) -> dict[str, dict[str, Any]]:
        """What this host says of those it is linked to, by their names."""
        answer: Any = self.clients[name].peers()
        return {peer["name"]: peer for peer in answer["peers"] if peer["linked"]}

    def meshed(self) -> bool:
        return all(len(self.links(name)) == HOSTS - 1 for name in self.daemons)

    def log_of(self, name: str, about: str) -> list[str]:
        return [line for line in self.daemons[name].log.splitlines() if about in line]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, monkeypatch)
    yield cluster
    for client in cluster.clients.values():
        client.close()
    for daemon in cluster.daemons.values():
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def test_a_ring_serves_while_it_is_upgraded_host_by_host_and_put_back(cluster: Cluster) -> None:
    held: list[Lease] = []
    newer: set[str] = set()

    def serves(stage: str) -> None:
        """Every host needs space of one and the same subnet, so that grants cross between the releases."""
        for name, client in cluster.clients.items():
            held.append(client.allocate(f"{stage}-{name}", SUBNET, timeout=20))
        until(f"{stage}: all are linked", cluster.meshed)
        for name, client in cluster.clients.items():
            assert client.status()["state"] == "ready", stage
            for peer, shown in cluster.links(name).items():
                assert shown["protocol"] == (2 if {name, peer} <= newer else 1), stage
        assert len({lease.address for lease in held}) == len(held)

    for name in cluster.daemons:
        cluster.start(name)
    serves("before")
    for name in cluster.daemons:
        cluster.restart(name, "1 2")
        newer.add(name)
        serves(f"{name}-upgraded")
    for name in cluster.daemons:
        cluster.restart(name)
        newer.remove(name)
        serves(f"{name}-back")

    assert {lease for client in cluster.clients.values() for lease in client.leases()} == set(held)
    for name in cluster.daemons:
        assert cluster.log_of(name, "malformed") == cluster.log_of(name, "refusing") == []


def test_what_only_the_newer_host_knows_is_counted_and_named_once(cluster: Cluster) -> None:
    cluster.start("h1")
    cluster.start("h2", "1 2")
    cluster.start("h3")
    cluster.clients["h1"].prime()
    until("all are linked", cluster.meshed)

    ignored = until("h1 ignores several messages", lambda: (n := cluster.links("h1")["h2"]["ignored"]) > 5 and n)

    assert ignored
    assert cluster.links("h1")["h3"]["ignored"] == 0
    assert len(cluster.log_of("h1", "what is new in it is ignored")) == 1


def test_hosts_without_a_common_protocol_refuse_each_other_and_both_say_what_to_do(cluster: Cluster) -> None:
    def reason(name: str) -> str:
        return str(cluster.clients[name].status()["reason"])

    cluster.start("h1")
    cluster.start("h2", "2 3")

    todo = "upgrade ringipam on h1, or put back on h2 the release that it ran before"
    until("h1 says what to do", lambda: todo in reason("h1"))
    until("h2 says what to do", lambda: todo in reason("h2"))


def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(cluster: Cluster) -> None:
    cluster.start("h1")
    daemon = cluster.daemons["h1"]
    assert daemon.stop() == 0
    database = daemon.data / "ringipam.db"
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = database.read_bytes()

    said = daemon.refuses_to_start()

    assert f"schema {VERSION + 1}, this one knows up to {VERSION}" in said
    assert "install that one again" in said
    assert database.read_bytes() == before
