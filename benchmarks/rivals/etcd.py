"""etcd, a single node on loopback, asked for create-only transactions: what it takes to give out something once.

Its JSON gateway is loaded by the same generator as ringipam, gRPC by a client in Go (etcdload).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.worker import Worker, python

SOURCES = Path("/usr/share/gocode")
"""Where Debian's golang-etcd-server-dev leaves etcd's client, and all that it needs."""
CLIENT = SOURCES / "src/go.etcd.io/etcd/clientv3"
LOAD = Path(__file__).parent / "etcdload" / "main.go"
WAIT_S = 20.0


def missing() -> str:
    """Why etcd cannot be measured here; empty if it can."""
    return "" if shutil.which("etcd") else "etcd is not installed (apt-get install etcd-server)"


def client_missing() -> str:
    """Likewise for its client in Go."""
    if missing():
        return missing()
    if not shutil.which("go") or not CLIENT.exists():
        return "etcd's Go client is not there (apt-get install golang-go golang-etcd-server-dev)"
    return ""


@dataclass(frozen=True, slots=True)
class Etcd:
    """A running etcd."""

    pid: int
    port: int

    def json_load(self) -> Worker:
        return python("lean", "tcp", self.port)

    def grpc_load(self, directory: Path) -> Worker:
        """A client of our own in Go, compiled first; without a module proxy, from what Debian ships."""
        program = directory / "etcdload"
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(SOURCES), "GOFLAGS": ""}
        subprocess.run(["go", "build", "-o", str(program), str(LOAD)], env=environment, check=True)
        return Worker([str(program), str(self.port)])


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Etcd]:
    directory.mkdir()
    port, peers = free_port(), free_port()
    here = f"http://127.0.0.1:{peers}"
    command = ["etcd", "--data-dir", str(directory / "data"), "--logger", "zap", "--log-level", "error"]
    for option in ("--listen-client-urls", "--advertise-client-urls"):
        command += [option, f"http://127.0.0.1:{port}"]
    command += ["--listen-peer-urls", here, "--initial-advertise-peer-urls", here]
    command += ["--initial-cluster", f"default={here}"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(port, directory / "log")
        yield Etcd(process.pid, port)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _wait(port: int, log: Path) -> None:
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.02)
    raise SystemExit(f"etcd does not answer: {log.read_text()[-500:]}")
