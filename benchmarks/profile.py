"""Where the processor's time of a request through the socket goes, by part of the program, as py-spy sees it.

    python -m benchmarks.profile [--callers N] [--seconds S] [--json]

A daemon is loaded as in the rows `HTTP` of `make bench`, allocations and releases in turn. Each sample counts for the
innermost part that is on the stack, with what that part asks of SQLite and the kernel; how much a request takes
altogether is what the kernel says of the daemon while py-spy does not look. Needs `py-spy` and the right to look at
other processes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.contender import cpu_s
from benchmarks.daemons import process, wait_for
from benchmarks.worker import Worker, python
from ringipam import Client

IPRANGE = "10.32.0.0/12"
SAMPLES_A_SECOND = 400
VERBS = ("allocate", "release")
PARTS = {
    "ringipam/core/": "core",
    "ringipam/ring/": "core",
    "ringipam/gossip/": "core",
    "sortedcontainers/": "core",
    "ringipam/lease.py": "core",
    "ringipam/address.py": "core",
    "ringipam/store/": "store: SQLite, sync",
    "ringipam/runtime/": "runtime: driver, disk",
    "ringipam/server/": "server: HTTP, JSON",
    "json/": "server: HTTP, JSON",
    "ringipam/integrations/": "integrations",
    "trio/": "trio",
    "outcome/": "trio",
}
"""By what a frame's file has in its name; the first that fits counts."""
WAITING = ("get_events (", "Writer._work (", "_work (ringipam/store", "WorkerThread._work (")
"""Where a thread has nothing to do."""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description="where a request's time goes")
    parser.add_argument("--callers", type=int, default=32, metavar="N", help="how many ask at a time; 32")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long to look; 10")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    options = parser.parse_args(arguments)
    profiler = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if profiler is None:
        raise SystemExit("py-spy is not installed: pip install py-spy")
    with tempfile.TemporaryDirectory(prefix="ringipam-profile-", dir=Path.cwd()) as name:
        cpu_us, stacks = look(Path(name), profiler, options.callers, options.seconds)
    shares = by_part(stacks)
    if options.json:
        print(json.dumps({"callers": options.callers, "cpu_us": round(cpu_us, 1), "shares": shares}))
        return
    print(f"{options.callers} callers: {cpu_us:.0f} µs of the processor for a request\n\n| | µs | % |\n|---|---|---|")
    for part, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"| {part} | {share * cpu_us:.0f} | {share:.0%} |")


def look(directory: Path, profiler: str, callers: int, seconds: float) -> tuple[float, list[str]]:
    """The processor's time of a request in microseconds, and sampled stacks with their counts."""
    with process(directory / "h", iprange=IPRANGE) as daemon:
        with Client(directory / "h" / "s") as client:
            wait_for(client)
            client.prime()
        worker = python("lean", "unix", directory / "h" / "s", IPRANGE, 0)
        load(worker, callers, seconds / 10)
        before = cpu_s(daemon.pid)
        requests = load(worker, callers, seconds)
        cpu_us = (cpu_s(daemon.pid) - before) / requests * 1e6
        raw = directory / "stacks"
        command = [profiler, "record", "--format", "raw", "--rate", str(SAMPLES_A_SECOND)]
        command += ["--duration", str(round(seconds)), "--output", str(raw), "--pid", str(daemon.pid)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recording:
            while recording.poll() is None:
                load(worker, callers, seconds / 10)
        worker.close()
        return cpu_us, raw.read_text().splitlines()


def load(worker: Worker, callers: int, seconds: float) -> int:
    """As many requests as fit into so long, half of it for each verb; how many they were."""
    told = [worker.ask({"verb": verb, "callers": callers, "seconds": seconds / 2}) for verb in VERBS]
    return sum(len(answer["us"]) for answer in told)


def by_part(stacks: Iterable[str]) -> Mapping[str, float]:
    """Each part's share of all samples that were not spent waiting."""
    found: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not frames[-1].startswith(WAITING):
            found[part_of(frames)] += int(count)
    return {part: count / found.total() for part, count in found.items()}


def part_of(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        for name, part in PARTS.items():
            if name in frame:
                return part
    return "other"


if __name__ == "__main__":
    main(sys.argv[1:])
