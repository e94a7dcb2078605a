"""Real daemons that serve an IPv4 and an IPv6 range: they join, are killed, lose a disk, get and lose a range."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from process import PROGRAM, Daemon
from test_failing_disk import mounted

from ringipam import Client, DaemonUnreachableError, Lease, OutOfRangeError, StoreError

SIX = "fd00:32::/48"
KILLS = 10


def until(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"not within 60 s: {what}"
        time.sleep(0.05)


def port_with_a_next_one() -> int:
    """A port that is free, as is the one after it."""
    for _ in range(100):
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 1)):
                return port
    raise AssertionError("no two ports in a row are free")


def cli(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, arguments[0], "--socket", str(daemon.socket), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def http(port: int, path: str) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body if path == "/metrics" else json.loads(body)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Daemon]]:
    """Two hosts with both ranges, one password, and the address of the first."""
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("the password of all hosts\n")
    ports = [port_with_a_next_one()]
    while len(ports) < 2:
        other = port_with_a_next_one()
        ports += [other] if abs(other - ports[0]) > 1 else []
    found = []
    for name, port in zip(("h1", "h2"), ports, strict=True):
        where = ("--listen", f"127.0.0.1:{port}", "--password-file", str(password))
        peers = (f"127.0.0.1:{ports[0]}",) if name == "h2" else (f"127.0.0.1:{ports[1]}",)
        options = ("--iprange6", SIX, *where, "--init", "consensus=2", *peers)
        found.append(Daemon(tmp_path / name, name=name, options=options))
    yield found
    for daemon in found:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def test_two_hosts_join_by_password_and_issue_addresses_of_both_families(hosts: list[Daemon]) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(daemon.start()) for daemon in hosts]

        leases = [client.allocate(f"c{i}", net) for i in range(8) for client in clients for net in (None, SIX)]

        assert len({lease.address for lease in leases}) == 32
        assert {type(lease.address) for lease in leases} == {IPv4Address, IPv6Address}
        for family in (4, 6):
            until("equal rings", lambda: clients[0].ring(family) == clients[1].ring(family))  # noqa: B023
            assert len(clients[0].peers(family)["peers"]) == 1  # type: ignore[arg-type]
        everywhere = {lease.lease for lease in clients[1].leases(cluster=True)}
        assert everywhere == {lease.lease for lease in leases}

        assert cli(hosts[0], "ring", "--json", "--ipv6").stdout == cli(hosts[1], "ring", "--json", "--ipv6").stdout
        assert "h2" in cli(hosts[0], "peers", "--ipv6").stdout
        shown = cli(hosts[0], "status").stdout
        assert ("10.32.0.0/12" in shown, SIX in shown) == (True, True)
        assert len(cli(hosts[0], "lookup", "c1").stdout.splitlines()) == 2
        assert cli(hosts[0], "release", "c1").returncode == 0
        assert cli(hosts[0], "lookup", "c1").returncode == 1


def test_a_lease_of_either_family_that_was_told_survives_every_kill(hosts: list[Daemon]) -> None:
    chance = random.Random(2026)
    told: dict[str, Lease] = {}
    with hosts[1].start():
        for kill in range(KILLS):
            client = hosts[0].start()
            held = {lease.lease for lease in client.leases()}
            assert held >= set(told), f"lost by kill {kill}"
            under_way = threading.Thread(target=_allocate_while_it_lives, args=(client, kill, told))
            under_way.start()
            time.sleep(chance.uniform(0.02, 0.2))
            hosts[0].kill()
            under_way.join(timeout=30)
            assert not under_way.is_alive()
            client.close()

        with hosts[0].start() as client:
            found = client.leases()
            assert {lease.lease for lease in found} >= set(told)
            assert len({lease.address for lease in found}) == len(found)
            assert {lease.address.version for lease in told.values()} == {4, 6}


def _allocate_while_it_lives(client: Client, kill: int, told: dict[str, Lease]) -> None:
    with suppress(DaemonUnreachableError):
        for number in range(100_000):
            for net in (None, SIX):
                lease = client.allocate(f"k{kill}-{number}", net)
                told[lease.lease] = lease


@pytest.mark.root
@pytest.mark.parametrize("broken", [4, 6])
def test_while_the_disk_of_one_range_is_full_the_other_is_served_and_every_surface_says_so(
    tmp_path: Path, broken: int
) -> None:
    port = port_with_a_next_one()
    options = ("--iprange6", SIX, "--listen", "127.0.0.1:0", "--http", f"127.0.0.1:{port}")
    daemon = Daemon(tmp_path, options=options)
    with mounted("tmpfs", daemon.data) as first, mounted("tmpfs", daemon.data / "ipv6") as second:
        client = daemon.start()
        try:
            nets = {4: "10.32.0.0/12", 6: SIX}
            kept = {family: client.allocate("kept", net) for family, net in nets.items()}
            filler = (first if broken == 4 else second) / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            with pytest.raises(StoreError, match="the disk is full"):
                _allocate_for_ever(client, nets[broken])

            well = 10 - broken
            other = client.allocate("other", nets[well])
            assert client.lookup("other") == [other]
            assert client.lookup("kept") == [kept[4], kept[6]]
            assert client.release("other") == [other], "it has nothing on the disk that is full"
            with pytest.raises(StoreError, match=rf"IPv{broken}: .*full.*IPv{well}: |IPv{well}: released.*full"):
                client.release("kept")
            assert client.lookup("kept") == [kept[broken]]
            status, shown = client.status(), cli(daemon, "status").stdout
            assert (status["state"], status["serving"]) == ("refusing", False)
            assert str(status["reason"]).startswith(f"IPv{broken}: ")
            assert f"state    refusing: IPv{broken}: " in shown
            assert http(port, "/v1/status?family=4")[1]["state"] == ("refusing" if broken == 4 else "ready")
            assert http(port, "/v1/status?family=6")[1]["state"] == ("refusing" if broken == 6 else "ready")
            assert http(port, "/readyz") == (503, {"state": "refusing", "reason": status["reason"]})
            scraped = http(port, "/metrics")[1]
            assert 'ringipam_state{state="refusing"} 1.0' in scraped
            assert f'ringipam_ipv6_state{{state="refusing"}} {1.0 if broken == 6 else 0.0}' in scraped
            mark = "IPv6: " if broken == 6 else ""
            assert f"ERROR {mark}refusing requests until the disk works again" in daemon.log

            filler.unlink()
            until("it serves again", lambda: client.status()["serving"])
            assert http(port, "/readyz")[0] == 200
            assert client.release("kept") == [kept[broken]]
        finally:
            client.close()
            daemon.kill()


def _allocate_for_ever(client: Client, net: str) -> None:
    for number in range(10_000):
        client.allocate(f"c{number}", net)


def test_a_daemon_of_one_range_gets_a_second_by_a_restart_and_says_so_when_it_is_missing(daemon: Daemon) -> None:
    with daemon.start() as client:
        four = client.allocate("c1")
        with pytest.raises(OutOfRangeError, match=r"the subnet fd00:32::/48 does not lie inside 10\.32\.0\.0/12"):
            client.allocate("c1", SIX)
        missing = cli(daemon, "ring", "--ipv6")
        assert missing.returncode == 1
        assert "there is no IPv6 range here, only 10.32.0.0/12: --iprange6 adds one" in missing.stderr
    assert daemon.stop() == 0

    one_range = daemon.options
    daemon.options = (*one_range, "--iprange6", SIX)
    with daemon.start() as client:
        six = client.allocate("c1", SIX)
        assert client.lookup("c1") == [four, six]
    assert daemon.stop() == 0
    assert ": range fd00:32::/48, listening on 127.0.0.1:" in daemon.log
    assert "ringipam launch --iprange 10.32.0.0/12 --iprange6 fd00:32::/48 --password-file FILE" in daemon.log

    daemon.options = one_range
    with daemon.start() as client:
        assert client.lookup("c1") == [four]
        left = f"the IPv6 range in {daemon.data}/ipv6 is not served: start with --iprange6 for it"
        assert client.status()["warnings"] == [left]
        assert left in daemon.log
    assert daemon.stop() == 0

    done = subprocess.run(
        [*PROGRAM, "check", "--data-dir", str(daemon.data)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "sound\n")


def test_the_second_range_may_stand_in_the_configuration_file(daemon: Daemon) -> None:
    file = daemon.directory / "ringipam.toml"
    file.write_text(f'iprange6 = "{SIX}"\nsubnet6 = "fd00:32:0:7::/64"\nexclude = ["10.32.0.1", "fd00:32:0:7::1"]\n')
    daemon.options = (*daemon.options, "--config", str(file))

    with daemon.start() as client:
        assert client.allocate("c1", "fd00:32:0:7::/64").interface == "fd00:32:0:7::2/64"
        assert client.allocate("c1").interface == "10.32.0.2/12"


def test_a_port_that_the_second_ring_does_not_get_ends_the_start(daemon: Daemon) -> None:
    port = port_with_a_next_one()
    daemon.options = ("--iprange6", SIX, "--listen", f"127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", port + 1)):
        said = daemon.refuses_to_start()

    assert f"cannot listen on 127.0.0.1:{port + 1}: address already in use" in said


def test_whoever_waits_in_either_ring_is_told_that_the_daemon_ends(daemon: Daemon) -> None:
    daemon.options = (*daemon.options, "--iprange6", SIX, "--init", "consensus=3")
    told: list[str] = []

    def wait(net: str) -> None:
        with Client(daemon.socket) as waiting:
            try:
                waiting.allocate("c1", net)
            except Exception as error:  # what it is, is what this is about
                told.append(str(error))

    with daemon.start() as client:
        threads = [threading.Thread(target=wait, args=(net,)) for net in ("10.32.0.0/12", SIX)]
        for thread in threads:
            thread.start()
        for family in (4, 6):
            key = "pending" if family == 4 else "ipv6"
            until("they wait", lambda: _pending(client.status(), key))  # noqa: B023
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(timeout=20)

    assert told == ["the node is shutting down"] * 2
    assert daemon.process.wait(timeout=20) == 0


def _pending(status: Any, key: str) -> Any:
    return status["pending"] if key == "pending" else status["ipv6"]["pending"]
