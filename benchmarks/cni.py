"""CNI ADD and DEL as the runtime sees them, from exec to exit, against host-local: in one run, on one disk, in turns.

`make bench` runs it; host-local is that of the package containernetworking-plugins. With --churn instead: containers
that come and go 10 a second on each of two hosts. Usage: python -m benchmarks.cni [--samples N] [--churn] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.latency import daemon, fill, listening, percentiles
from ringipam.integrations.cni.program.installation import carry_out, plan

SIZES = (0, 1_000, 10_000)
CALLERS = (1, 8)
SAMPLES = 1_000
HOST_LOCAL = Path("/usr/lib/cni/host-local")
SUBNET = "10.32.0.0/12"
CHURN_CONTAINERS, CHURN_PER_SECOND, CHURN_LIFETIME = 500, 10.0, 50

Plugin = dict[str, str]


def write_config(directory: Path, ipam: Mapping[str, object]) -> str:
    path = directory / f"{ipam['type']}.conf"
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "bench", "type": "bridge", "ipam": ipam}))
    return str(path)


def ringipam(directory: Path) -> Plugin:
    """The program as `ringipam cni install` installs it, for the daemon in `directory`."""
    planned = plan(directory / "bin", None, socket=directory / "s", cni_dir=directory / "data/cni", name="bench")
    if planned.language != "C":
        print("no compiler was there when ringipam was installed: this measures the program in Python", file=sys.stderr)
    carry_out(planned)
    config = write_config(directory, {"type": "ringipam", "subnet": SUBNET})
    return {"program": str(planned.program.path), "config": config}


def host_local(directory: Path, leases: int) -> Plugin:
    """host-local with so many addresses in use: a file for each, as it leaves them itself."""
    data = directory / f"host-local-{leases}"
    network = data / "bench"
    network.mkdir(parents=True)
    first = ipaddress.ip_network(SUBNET)[2]
    for number in range(leases):
        (network / str(first + number)).write_text(f"fill-{number}\r\neth0")
    (network / "last_reserved_ip.0").write_text(str(first + max(leases - 1, 0)))
    ipam = {"type": "host-local", "ranges": [[{"subnet": SUBNET}]], "dataDir": str(data)}
    return {"program": str(HOST_LOCAL), "config": write_config(directory, ipam)}


def launch(tasks: Sequence[Mapping[str, object]]) -> list[Any]:
    """Every task in a process of its own, at the same time; what each answers."""
    command = [sys.executable, "-I", str(Path(__file__).with_name("execs.py"))]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in tasks]
    for process, task in zip(processes, tasks, strict=True):
        assert process.stdin is not None
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        process.stdin = None
    outs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a plugin failed, see above")
    return [json.loads(out) for out in outs]


def measure(plugins: Mapping[str, Plugin], callers: int, samples: int) -> dict[str, Any]:
    """Percentiles by plugin and verb."""
    each = max(2, samples // callers)
    tasks = [{"do": "in_turns", "plugins": plugins, "caller": f"c{one}", "samples": each} for one in range(callers)]
    found = launch(tasks)
    return {
        name: {verb: percentiles([ms for one in found for ms in one[name][verb]]) for verb in ("ADD", "DEL")}
        for name in plugins
    }


def table(directory: Path, samples: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for leases in SIZES:
        with daemon(directory / f"h{leases}") as client:
            fill(directory / f"h{leases}" / "s", leases)
            plugins = {"ringipam": ringipam(directory / f"h{leases}")}
            if HOST_LOCAL.exists():
                plugins["host-local"] = host_local(directory, leases)
            measure(plugins, 1, 20)  # both are in memory then
            for callers in CALLERS:
                found = measure(plugins, callers, samples)
                rows.append({"in_use": leases, "callers": callers, **found})
                show(rows[-1])
            assert len(client.leases()) == leases, "something was left, or lost"
    return rows


def starts(directory: Path, samples: int) -> dict[str, Any]:
    """Percentiles by plugin of the least that it can be asked, with no daemon there."""
    directory.mkdir()
    plugins = {"ringipam": ringipam(directory)}
    if HOST_LOCAL.exists():
        plugins["host-local"] = host_local(directory, 0)
    [found] = launch([{"do": "starts", "plugins": plugins, "samples": samples}])
    return {name: percentiles(times) for name, times in found.items()}


def show(row: Mapping[str, Any]) -> None:
    """One line of the table in docs/performance.md."""
    cells = [f"{row['in_use']:,}", str(row["callers"])]
    for verb in ("ADD", "DEL"):
        names = [name for name in ("ringipam", "host-local") if name in row]
        cells += [" / ".join(f"{figure:.2f}" for figure in row[name][verb].values()) for name in names]
        if len(names) == 2:
            cells.append(f"{row['ringipam'][verb]['p95'] / row['host-local'][verb]['p95']:.2f}")
    print("| " + " | ".join(cells) + " |", flush=True)


def churned(directory: Path) -> dict[str, Any]:
    """Two hosts of one ring, containers coming and going on both: times over both, and whether all came out even."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(daemon(directory / "h1", "--init", "consensus=1"))
        second = stack.enter_context(daemon(directory / "h2", "--init", "observer", listening(directory / "h1")))
        first.prime()
        load = {"containers": CHURN_CONTAINERS, "per_second": CHURN_PER_SECOND, "lifetime": CHURN_LIFETIME}
        plugins = [ringipam(directory / host) for host in ("h1", "h2")]
        tasks = [{"do": "churn", "plugin": one, "caller": f"h{n}", **load} for n, one in enumerate(plugins, 1)]
        found = launch(tasks)
        left = len(first.leases()) + len(second.leases())
    return {
        **load,
        **{verb: percentiles([ms for host in found for ms in host[verb]]) for verb in ("ADD", "DEL")},
        "held_twice": doubles([tuple(one) for host in found for one in host["held"]]),
        "left": left,
    }


def doubles(held: Sequence[tuple[str, float, float]]) -> int:
    """How often an address was given to somebody before whoever had it was about to be removed."""
    in_order = sorted(held)
    return sum(one[0] == next_[0] and next_[1] < one[2] for one, next_ in pairwise(in_order))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"in each cell, over all callers ({SAMPLES})")
    parser.add_argument("--churn", action="store_true", help="two hosts under a steady load, instead of the table")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--directory", type=Path, default=None, help="where the data lie (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as temporary:
        directory = Path(temporary)
        if arguments.churn:
            results: Any = churned(directory)
            print(json.dumps(results, indent=1))
        else:
            if not HOST_LOCAL.exists():
                print(f"{HOST_LOCAL} is not there (apt-get install containernetworking-plugins): ringipam alone")
            print("in use | callers | ADD ms p50 / p95 / p99: ringipam | host-local | ratio of p95 | DEL: likewise")
            results = {"table": table(directory, arguments.samples)}
            results["start_ms"] = starts(directory / "start", arguments.samples)
            print("a start alone (VERSION, without a daemon), ms:", results["start_ms"])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
