"""Real daemons on loopback, each started with a data directory of its own and ended by its own process id."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from benchmarks.filling import RANGES
from ringipam import AsyncClient, Client, DaemonUnreachableError

WAIT_S = 60.0


@contextlib.contextmanager
def daemon(directory: Path, *options: str, iprange: str = RANGES[4], name: str | None = None) -> Iterator[Client]:
    """A daemon that answers, with its data in `data` and its socket at `s` in the directory."""
    with process(directory, *options, iprange=iprange, name=name):
        client = Client(directory / "s")
        wait_for(client)
        yield client
        client.close()


@contextlib.contextmanager
def process(
    directory: Path, *options: str, iprange: str = RANGES[4], name: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that was just started."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ringipam", "launch", "--iprange", iprange, "--listen", "127.0.0.1:0"]
    command += ["--name", name or directory.name, "--data-dir", str(directory / "data")]
    with (directory / "log").open("w") as log:
        started = subprocess.Popen([*command, "--socket", str(directory / "s"), *options], stdout=log, stderr=log)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(timeout=20)
        finally:
            started.kill()
            started.wait()


def wait_for(client: Client) -> None:
    """Until somebody answers; raises SystemExit if that takes a minute."""
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        try:
            client.status()
            return
        except DaemonUnreachableError:
            time.sleep(0.005)
    raise SystemExit("the daemon does not answer")


def listening(directory: Path) -> str:
    """Where a daemon on port 0 ended up, from its own log."""
    for _ in range(500):
        for word in (directory / "log").read_text().split():
            if word.startswith("127.0.0.1:") and word.rstrip(",;").rpartition(":")[2] not in ("", "0"):
                return word.rstrip(",;")
        time.sleep(0.01)
    raise SystemExit(f"no listening address in {directory / 'log'}")


def fill(socket: Path, leases: int) -> None:
    """Bring a running daemon to so many leases, as fast as it goes."""

    async def main() -> None:
        async with AsyncClient(socket) as client, trio.open_nursery() as nursery:

            async def worker(number: int) -> None:
                for one in range(number, leases, 32):
                    await client.allocate(f"fill-{one}")

            for number in range(32):
                nursery.start_soon(worker, number)

    trio.run(main)
