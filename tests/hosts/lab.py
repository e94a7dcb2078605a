"""Real hosts on one machine: network namespaces on a bridge, each running the real daemon as a process.

Everything is made under a prefix of its own and removed again; only processes started here are ended, by id.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_serial = itertools.count()
RINGIPAM = (sys.executable, "-m", "ringipam")


def run(*command: str, check: bool = True, input_text: str | None = None) -> str:
    """A command's output; its errors are part of the failure."""
    done = subprocess.run(command, capture_output=True, text=True, input=input_text, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)} exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def until(what: str, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Wait for a truthy answer; fails with `what` when it does not come."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Host:
    """One network namespace with a bridge for its containers, and the daemon in it."""

    lab: Lab
    number: int
    namespace: str
    directory: Path
    daemon: subprocess.Popen[str] | None = None
    containers: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"h{self.number}"

    @property
    def address(self) -> str:
        return f"192.168.77.{self.number}"

    @property
    def endpoint(self) -> str:
        return f"{self.address}:6783"

    @property
    def socket(self) -> Path:
        return self.directory / "s"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def inside(self) -> Sequence[str]:
        """What stands before a command that runs on this host."""
        return ("ip", "netns", "exec", self.namespace)

    def command(self, *options: str) -> list[str]:
        return [
            *(*self.inside, *RINGIPAM, "launch", "--name", self.name),
            *("--iprange", self.lab.iprange, "--listen", self.endpoint),
            *("--data-dir", str(self.data), "--socket", str(self.socket), *options),
        ]

    def launch(self, *options: str, wait: bool = True) -> None:
        """Start the daemon, with the lab's password unless `options` choose otherwise, and wait for its socket."""
        if not any(option in ("--insecure", "--ca", "--password-file") for option in options):
            options = ("--password-file", str(self.lab.password), *options)
        with (self.directory / "log").open("a") as log:
            self.daemon = subprocess.Popen(self.command(*options), stdout=log, stderr=log, text=True)
        if wait:
            until(f"{self.name} answers: {self.log}", self.answers)

    def answers(self) -> bool:
        if self.daemon is not None and self.daemon.poll() is not None:
            raise AssertionError(f"{self.name} exited {self.daemon.returncode}: {self.log}")
        return self.socket.exists() and self.cli("status", check=False) != ""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon; its exit status."""
        assert self.daemon is not None
        self.daemon.send_signal(how)
        status = self.daemon.wait(timeout=20)
        self.daemon = None
        return status

    def cli(self, *arguments: str, check: bool = True) -> str:
        return run(*RINGIPAM, arguments[0], "--socket", str(self.socket), *arguments[1:], check=check)

    def fails(self, *arguments: str) -> tuple[int, str]:
        """Exit status and standard error of a command that should not succeed."""
        done = subprocess.run(
            [*RINGIPAM, arguments[0], "--socket", str(self.socket), *arguments[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr.strip()

    def http(self, method: str, path: str, body: str = "") -> tuple[int, str]:
        """Status and text of the daemon's answer on its socket."""
        connection = _UnixConnection(self.socket)
        with closing(connection):
            connection.request(method, path, body.encode())
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.cli(*arguments, "--json"))

    def view(self, name: str) -> Any:
        """`status`, `ring`, `peers`, `conflicts` or `leases` over the socket: cheaper to poll than a command."""
        status, text = self.http("GET", f"/v1/{name}")
        assert status == 200, text
        return json.loads(text)

    @property
    def peer(self) -> str:
        """Its peer id, `name.uid`."""
        return ".".join(self.view("status")["peer"].values())

    def state(self) -> str:
        return str(self.view("status")["state"])

    def alive(self) -> int:
        """How many other hosts it sees."""
        return int(self.view("status")["peers"]["alive"])

    def owned(self, peer: str) -> int:
        """How many addresses this host thinks that `peer` owns."""
        return sum(token["size"] for token in self.view("ring")["tokens"] if token["owner"] == peer)

    def in_doubt(self) -> set[str]:
        """The addresses that `conflicts` lists; a range is told by its two ends."""
        found = self.view("conflicts")["conflicts"]
        return {end for conflict in found for end in (conflict["first"], conflict["last"])}

    # ── the network ──────────────────────────────────────────────────────────────────────────────

    def cut(self) -> None:
        """Pull this host's cable."""
        run("ip", "-n", self.lab.switch, "link", "set", f"p{self.number}", "down")

    def mend(self) -> None:
        run("ip", "-n", self.lab.switch, "link", "set", f"p{self.number}", "up")

    def ignore(self, other: Host) -> None:
        """No link between these two hosts, whatever both can reach besides."""
        run("ip", "-n", self.namespace, "route", "add", "blackhole", f"{other.address}/32")

    def start_containers(self, addresses: Sequence[str]) -> None:
        """A namespace with a veth for each address (`ADDRESS/LEN`), on this host's bridge."""
        first = len(self.containers)
        names = [f"{self.namespace}-c{first + i}" for i in range(len(addresses))]
        for name in names:
            run("ip", "netns", "add", name)
            self.containers.append(name)
        outside = [
            f"link add v{first + i} type veth peer name eth0 netns {name}\n"
            f"link set v{first + i} master br0\nlink set v{first + i} up"
            for i, name in enumerate(names)
        ]
        run("ip", "-n", self.namespace, "-batch", "-", input_text="\n".join(outside) + "\n")
        for name, address in zip(names, addresses, strict=True):
            nodad = " nodad" if ":" in address else ""
            inside = f"addr add {address} dev eth0{nodad}\nlink set lo up\nlink set eth0 up\n"
            run("ip", "-n", name, "-batch", "-", input_text=inside)


class Lab:
    """Hosts h1, h2, … on one switch, made on entry and removed on exit."""

    def __init__(
        self, directory: Path, hosts: int, iprange: str = "10.32.0.0/12", host_type: type[Host] = Host
    ) -> None:
        self.iprange = iprange
        self._prefix = f"ri{os.getpid()}x{next(_serial)}"
        self.switch = f"{self._prefix}-sw"
        self.password = directory / "password"
        self.password.touch(0o600)
        self.password.write_text("correct horse battery staple\n")
        self.hosts = [host_type(self, n, f"{self._prefix}-h{n}", directory / f"h{n}") for n in range(1, hosts + 1)]

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def _build(self) -> None:
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        run("ip", "-n", self.switch, "link", "set", "br0", "up")
        for host in self.hosts:
            host.directory.mkdir(parents=True)
            run("ip", "netns", "add", host.namespace)
            run(
                *("ip", "-n", host.namespace, "link", "add", "eth0", "type", "veth"),
                *("peer", "name", f"p{host.number}", "netns", self.switch),
            )
            run("ip", "-n", self.switch, "link", "set", f"p{host.number}", "master", "br0", "up")
            steps = (
                "link add br0 type bridge forward_delay 0\nlink set eth0 master br0\n"
                f"link set lo up\nlink set eth0 up\nlink set br0 up\naddr add {host.address}/24 dev br0\n"
            )
            run("ip", "-n", host.namespace, "-batch", "-", input_text=steps)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for host in self.hosts:
            if host.daemon is not None and host.daemon.poll() is None:
                host.daemon.kill()
                host.daemon.wait(timeout=20)
        for host in self.hosts:
            for name in (*host.containers, host.namespace):
                run("ip", "netns", "del", name, check=False)
        run("ip", "netns", "del", self.switch, check=False)

    def peers_of(self, host: Host) -> list[str]:
        return [other.endpoint for other in self.hosts if other is not host]

    def launch_all(self, *options: str) -> None:
        """Launch every host with the addresses of the others, and wait until all see each other."""
        for host in self.hosts:
            host.launch(*options, *self.peers_of(host), wait=False)
        for host in self.hosts:
            until(f"{host.name} answers: {host.log}", host.answers)


def rings_equal(hosts: Sequence[Host]) -> bool:
    return len({host.cli("ring", "--json") for host in hosts}) == 1


def leases_of(host: Host) -> list[dict[str, Any]]:
    leases: list[dict[str, Any]] = host.json("list")["leases"]
    return leases


def assert_no_address_twice(hosts: Sequence[Host]) -> int:
    """Every lease of every host has an address of its own; how many there are."""
    held: dict[str, str] = {}
    for host in hosts:
        for lease in leases_of(host):
            holder = f"{lease['id']} on {host.name}"
            assert lease["address"] not in held, f"{lease['address']} is held by {holder} and {held[lease['address']]}"
            held[lease["address"]] = holder
    return len(held)


def fill(host: Host) -> int:
    """Allocate on `host` until no address is left anywhere; how many there were."""
    for number in itertools.count():
        status, text = host.http("POST", "/v1/leases", json.dumps({"id": f"fill-{number}", "timeout_s": 5}))
        if status != 201:
            assert json.loads(text)["error"]["code"] == "no_space", text
            return number
    raise AssertionError("there is always an end")
