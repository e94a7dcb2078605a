"""Allocation through the daemon's socket: latency by leases held, throughput, and three hosts under steady load.

The machines are noisy, so every cell is measured in rounds that alternate with a bare append + fdatasync on the same
disk, and the ratio is printed. Usage: python -m benchmarks.latency [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ringipam import AsyncClient, Client, DaemonUnreachableError

SIZES = (0, 1_000, 10_000)


@contextlib.contextmanager
def daemon(directory: Path, *options: str) -> Iterator[Client]:
    """A real daemon on loopback; it is ended by its own process id."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ringipam", "launch", "--iprange", "10.32.0.0/12", "--listen", "127.0.0.1:0"]
    command += ["--name", directory.name, "--data-dir", str(directory / "data"), "--socket", str(directory / "s")]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    try:
        client = Client(directory / "s")
        wait_for(client)
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for(client: Client) -> None:
    for _ in range(3_000):
        try:
            client.status()
            return
        except DaemonUnreachableError:
            time.sleep(0.01)
    raise SystemExit("the daemon does not answer")


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1e3


def percentiles(samples_ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(samples_ms, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "p99": round(cuts[98], 3)}


class BareSync:
    """Append 100 bytes and fdatasync: the floor for anything durable."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self) -> None:
        os.write(self._file, b"x" * 100)
        os.fdatasync(self._file)


def fill(socket: Path, leases: int) -> None:
    """Bring the daemon to so many leases, as fast as it goes."""

    async def main() -> None:
        async with AsyncClient(socket) as client, trio.open_nursery() as nursery:

            async def worker(number: int) -> None:
                for one in range(number, leases, 32):
                    await client.allocate(f"fill-{one}")

            for number in range(32):
                nursery.start_soon(worker, number)

    trio.run(main)


def latency(client: Client, bare: BareSync, samples: int) -> dict[str, Any]:
    """One caller, allocate and release, alternating with the bare sync."""
    allocate: list[float] = []
    release: list[float] = []
    sync: list[float] = []
    for number in range(samples):
        sync.append(timed(bare))
        holder = f"probe-{number}"
        allocate.append(timed(partial(client.allocate, holder)))
        release.append(timed(partial(client.release, holder)))
    ours, floor = percentiles(allocate), percentiles(sync)
    ratio = round(ours["p50"] / floor["p50"], 2)
    return {"allocate_ms": ours, "release_ms": percentiles(release), "fdatasync_ms": floor, "ratio_p50": ratio}


def throughput(socket: Path, callers: int, seconds: float) -> float:
    """Allocations a second with so many callers, each releasing what it got."""
    done = 0

    async def main() -> None:
        nonlocal done
        async with AsyncClient(socket) as client, trio.open_nursery() as nursery:
            end = trio.current_time() + seconds

            async def caller(number: int) -> None:
                nonlocal done
                while trio.current_time() < end:
                    lease = await client.allocate(f"load-{number}")
                    await client.release(lease.id, lease=lease.lease)
                    done += 1

            for number in range(callers):
                nursery.start_soon(caller, number)

    trio.run(main)
    return round(done / seconds, 1)


def steady(directory: Path, seconds: float) -> dict[str, float]:
    """Three hosts, ten starts and stops a second on each (W12, W13)."""
    samples: list[float] = []
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(daemon(directory / "h1", "--init", "consensus=1"))
        endpoint = listening(directory / "h1")
        stack.enter_context(daemon(directory / "h2", "--init", "observer", endpoint))
        stack.enter_context(daemon(directory / "h3", "--init", "observer", endpoint))
        first.prime()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for host in ("h1", "h2", "h3"):
                    nursery.start_soon(starts_and_stops, directory / host / "s")

        async def starts_and_stops(socket: Path) -> None:
            async with AsyncClient(socket) as client:
                await client.allocate("warm-up")
                for number in range(int(seconds * 10)):
                    begin = time.perf_counter()
                    lease = await client.allocate(f"c{number}")
                    samples.append((time.perf_counter() - begin) * 1e3)
                    await client.release(lease.id, lease=lease.lease)
                    await trio.sleep(max(0.0, 0.1 - (time.perf_counter() - begin)))

        trio.run(main)
    return percentiles(samples)


def listening(directory: Path) -> str:
    """Where a daemon on port 0 ended up, from its own log."""
    for _ in range(500):
        for word in (directory / "log").read_text().split():
            if word.startswith("127.0.0.1:") and word.rstrip(",;").rpartition(":")[2] not in ("", "0"):
                return word.rstrip(",;")
        time.sleep(0.01)
    raise SystemExit(f"no listening address in {directory / 'log'}")


def startup(directory: Path, leases: int) -> float:
    """Milliseconds from exec to the first answer with so many leases on disk: the median of five starts."""
    with daemon(directory):
        fill(directory / "s", leases)
    starts = []
    for _ in range(5):
        begin = time.perf_counter()
        with daemon(directory) as client:
            client.lookup("nobody")
            starts.append((time.perf_counter() - begin) * 1e3)
    return round(statistics.median(starts), 1)


def show(rows: list[dict[str, Any]]) -> None:
    """The table of docs/performance.md."""
    print("leases | allocate p50 / p95 / p99 ms | fdatasync p50 ms | ratio | a second, 1 caller | 32 callers")
    for row in rows:
        ours, floor = row["allocate_ms"], row["fdatasync_ms"]
        latencies = f"{ours['p50']:.3f} / {ours['p95']:.3f} / {ours['p99']:.3f}"
        print(f"{row['leases']:>6} | {latencies:>27} | {floor['p50']:>16.3f} | {row['ratio_p50']:>5.2f}", end="")
        print(f" | {row['per_second_1']:>18,.0f} | {row['per_second_32']:>10,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--directory", type=Path, default=None, help="where the data lie (default: a temporary one)")
    arguments = parser.parse_args()
    scale = 0.1 if arguments.quick else 1.0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as temporary:
        directory = Path(temporary)
        bare = BareSync(directory / "bare")
        for leases in SIZES:
            with daemon(directory / "one") as client:
                fill(directory / "one" / "s", leases)
                row: dict[str, Any] = {"leases": leases, **latency(client, bare, int(2_000 * scale))}
                row["per_second_1"] = throughput(directory / "one" / "s", 1, 5 * scale)
                row["per_second_32"] = throughput(directory / "one" / "s", 32, 5 * scale)
            rows.append(row)
        show(rows)
        start_ms = startup(directory / "start", SIZES[-1])
        print(f"\nstart until the first answer with {SIZES[-1]:,} leases: {start_ms} ms (exec to answer)")
        three = steady(directory, 30 * scale)
        print("three hosts, 10 starts and stops a second on each, allocation in ms:", three)
    if arguments.json:
        arguments.json.write_text(json.dumps({"latency": rows, "startup_ms": start_ms, "steady_ms": three}, indent=1))


if __name__ == "__main__":
    main()
