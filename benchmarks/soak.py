"""Three real hosts under steady work, kills and cut cables: is anything lost, doubled, growing?

Each host starts and stops ten containers a second. Daemons are killed with SIGKILL and started again, cables are pulled
(network namespaces, so only as root; else the daemons share loopback and nothing is cut). The driver keeps its own book
of what was acknowledged, and ends at once if an address is held twice or a lease is lost. h1 is never killed, so that
its memory can be watched over the whole time.

Usage: python -m benchmarks.soak [--minutes 60] [--iprange CIDR] [--seed 0] [--plot docs/img/soak.svg] [--samples FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ringipam import AsyncClient, DaemonUnreachableError, Lease
from ringipam.errors import RingIpamError

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "hosts"))

from lab import RINGIPAM, Host, Lab

IPRANGE = "10.32.0.0/22"
"""So small that hosts need each other's space: 200 to 700 leases, and 900 addresses that would rest."""
PERIOD_S = 0.1
LIFETIME_S = (2.0, 25.0)
"""A host's containers live so long on average; drawn anew every minute."""
CALM_S = (10.0, 40.0)
"""Between two troubles."""
TROUBLE_S = (0.5, 8.0)
"""How long a daemon is down, or a cable out."""
SAMPLE_S = 10.0
RUNS_KIB = 40 * 1024
"""A daemon with less in memory was killed, or has not finished to start."""
ROWS = 12


class BrokenError(Exception):
    """What must never be was seen."""


@dataclass
class Loopback:
    """Hosts for those who are not root: three daemons on one loopback address. Their cables cannot be pulled."""

    directory: Path
    name: str
    iprange: str
    ports: dict[str, int]

    @property
    def socket(self) -> Path:
        return self.directory / "s"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def command(self, *options: str) -> list[str]:
        return [
            *(*RINGIPAM, "launch", "--name", self.name, "--iprange", self.iprange),
            *("--listen", f"127.0.0.1:{self.ports[self.name]}", "--data-dir", str(self.data)),
            *("--socket", str(self.socket), *options),
        ]


@dataclass
class Station:
    """One host with what the driver knows of it."""

    host: Host | Loopback
    options: list[str]
    client: AsyncClient
    mean_s: float = 10.0
    held: dict[str, Lease] = field(default_factory=dict)
    """Acknowledged, and no release asked for yet."""
    unsure: set[str] = field(default_factory=set)
    """Asked for or given up, and no answer came: either outcome is right."""
    under_way: int = 0
    up: trio.Event = field(default_factory=trio.Event)
    process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        with (self.host.directory / "log").open("ab") as log:
            command = self.host.command(*self.options)
            # a session of its own: Ctrl-C is for the driver, which ends the daemons in order
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    async def answers(self) -> None:
        with trio.fail_after(60):
            while True:
                try:
                    await self.client.status()
                    return
                except (DaemonUnreachableError, RingIpamError):
                    assert self.process is not None
                    if self.process.poll() is not None:
                        raise BrokenError(f"{self.host.name} exited {self.process.returncode}") from None
                    await trio.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)
        self.up = trio.Event()

    @property
    def memory_kib(self) -> int:
        """What is resident; 0 of a daemon that was killed."""
        assert self.process is not None
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return 0

    def file_bytes(self, suffix: str) -> int:
        path = self.host.data / f"ringipam.db{suffix}"
        return path.stat().st_size if path.exists() else 0


class Soak:
    def __init__(self, stations: list[Station], lab: Lab | None, rng: random.Random, samples: Path | None) -> None:
        self.stations = stations
        self.lab = lab
        self.rng = rng
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.rows: list[dict[str, Any]] = []
        self._owner: dict[str, str] = {}  # address → who holds it, on all hosts
        self._latest: list[float] = []
        self._samples = samples
        self._begin = time.monotonic()
        self._stop = trio.Event()
        self._ears = trio.CancelScope()

    @property
    def _ending(self) -> bool:
        return self._stop.is_set()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begin

    # ── the book ─────────────────────────────────────────────────────────────────────────────────

    def _hold(self, station: Station, lease: Lease) -> None:
        address, holder = str(lease.address), f"{lease.id} on {station.host.name}"
        other = self._owner.get(address)
        if other is not None:
            raise BrokenError(f"{address} is held twice: by {holder} and {other}")
        self._owner[address] = holder
        station.held[lease.id] = lease

    def _let_go(self, station: Station, holder: str) -> Lease:
        lease = station.held.pop(holder)
        del self._owner[str(lease.address)]
        return lease

    async def reconcile(self, station: Station) -> None:
        """Compare the book with what a daemon holds that nobody asks anything at the moment."""
        now = {lease.id: lease for lease in await station.client.leases()}
        for holder, lease in station.held.items():
            if now.get(holder) != lease:
                raise BrokenError(f"{station.host.name} lost {holder} {lease.address}: it has {now.get(holder)}")
        for holder in sorted(now.keys() - station.held.keys()):
            if holder not in station.unsure:
                raise BrokenError(f"{station.host.name} holds {holder} {now[holder].address}, which nobody asked for")
            self._hold(station, now[holder])  # that it is nobody else's is checked here
            self._let_go(station, holder)
            await station.client.release(holder, lease=now[holder].lease)
        station.unsure.clear()
        self.counts["reconciled"] += 1

    # ── containers ───────────────────────────────────────────────────────────────────────────────

    async def containers(self, station: Station, nursery: trio.Nursery) -> None:
        number, due = 0, trio.current_time()
        while not self._ending:
            if number % 600 == 0:
                station.mean_s = self.rng.uniform(*LIFETIME_S)
            number += 1
            due += PERIOD_S
            await trio.sleep_until(due)
            if station.up.is_set():
                nursery.start_soon(self._live, station, f"{station.host.name}-{number}")

    async def _live(self, station: Station, holder: str) -> None:
        begin = time.perf_counter()
        station.under_way += 1
        try:
            lease = await station.client.allocate(holder, timeout=5)
        except DaemonUnreachableError:
            station.unsure.add(holder)
            return
        except RingIpamError as refusal:
            self.counts["refused"] += 1
            self.refusals[refusal.code] += 1
            return
        finally:
            station.under_way -= 1
        self._latest.append((time.perf_counter() - begin) * 1e3)
        self._hold(station, lease)
        self.counts["started"] += 1
        with trio.move_on_after(self.rng.expovariate(1 / station.mean_s)):
            await self._stop.wait()
        await self._release(station, holder)

    async def _release(self, station: Station, holder: str) -> None:
        await station.up.wait()
        lease = self._let_go(station, holder)  # from here on another may get it
        station.under_way += 1
        try:
            await station.client.release(holder, lease=lease.lease)
            self.counts["stopped"] += 1
        except DaemonUnreachableError:
            station.unsure.add(holder)
        except RingIpamError as refusal:
            raise BrokenError(f"{station.host.name} would not release {holder} {lease.address}: {refusal}") from None
        finally:
            station.under_way -= 1

    # ── troubles ─────────────────────────────────────────────────────────────────────────────────

    async def kills(self) -> None:
        while not await self._over(self.rng.uniform(*CALM_S)):
            station = self.rng.choice(self.stations[1:])
            station.kill()
            self.counts["kills"] += 1
            while station.under_way:
                await trio.sleep(0.01)
            await trio.sleep(self.rng.uniform(*TROUBLE_S))
            station.launch()
            await station.answers()
            await self.reconcile(station)
            station.up.set()

    async def cuts(self) -> None:
        while self.lab is not None and not await self._over(self.rng.uniform(*CALM_S)):
            host = self.rng.choice(self.lab.hosts)
            host.cut()
            self.counts["cuts"] += 1
            await trio.sleep(self.rng.uniform(*TROUBLE_S))
            host.mend()

    async def _over(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._stop.wait()
        return self._ending

    # ── watching ─────────────────────────────────────────────────────────────────────────────────

    async def watch(self) -> None:
        before: Counter[str] = Counter()
        while not await self._over(SAMPLE_S):
            latest, self._latest = sorted(self._latest), []
            ring: Any = await self.stations[0].client.ring()
            row: dict[str, Any] = {
                "minute": round(self.elapsed_s / 60, 2),
                "leases": len(self._owner),
                "tokens": len(ring["tokens"]),
                **{key: self.counts[key] - before[key] for key in ("started", "stopped", "refused", "kills", "cuts")},
                "p50_ms": round(latest[len(latest) // 2], 1) if latest else None,
                "p99_ms": round(latest[len(latest) * 99 // 100], 1) if latest else None,
                "memory_kib": [station.memory_kib for station in self.stations],
                "database": [station.file_bytes("") for station in self.stations],
                "wal": [station.file_bytes("-wal") for station in self.stations],
            }
            before = self.counts.copy()
            self.rows.append(row)
            if self._samples is not None:
                with self._samples.open("a") as file:
                    file.write(json.dumps(row) + "\n")

    async def run(self, seconds: float) -> None:
        """All of it for so long; then everything is stopped, and nothing may be left."""
        for station in self.stations:
            station.launch()
        for station in self.stations:
            await station.answers()
            await station.client.prime()
            station.up.set()
        self._begin = time.monotonic()
        async with trio.open_nursery() as nursery:
            for station in self.stations:
                nursery.start_soon(self.containers, station, nursery)
            for task in (self.kills, self.cuts, self.watch):
                nursery.start_soon(task)
            nursery.start_soon(self._interrupted)
            with trio.move_on_after(seconds):
                await self._stop.wait()
            self._stop.set()
            self._ears.cancel()
        for station in self.stations:
            await self.reconcile(station)
            left = await station.client.leases()
            if left:
                raise BrokenError(f"{len(left)} leases are left on {station.host.name}, where no container is")
        with trio.fail_after(30):
            while len({json.dumps(await station.client.ring()) for station in self.stations}) > 1:
                await trio.sleep(0.1)

    async def _interrupted(self) -> None:
        """Ctrl-C ends it early, and in order."""
        with self._ears, trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                self._stop.set()


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def slope_a_hour(rows: list[dict[str, Any]], key: str, host: int) -> float:
    """By how much a figure rises in an hour: a least-squares line over the second half of the time."""
    half = [
        (row["minute"] / 60, row[key][host]) for row in rows[len(rows) // 2 :] if row["memory_kib"][host] > RUNS_KIB
    ]
    if not half:
        return math.nan
    mean_x, mean_y = (sum(column) / len(half) for column in zip(*half, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in half)
    below = sum((x - mean_x) ** 2 for x, _ in half)
    return above / below if below else math.nan


def show(rows: list[dict[str, Any]]) -> None:
    """A row for each part of the time; memory as its greatest in that part, files as they were at its end."""
    print("minute | leases | tokens | started | stopped | refused | kills | cuts | p50 / p99 ms |", end="")
    print(" RSS MiB h1 h2 h3 | database KiB | WAL KiB")
    size = max(1, math.ceil(len(rows) / ROWS))
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        last = part[-1]
        memory = [max(row["memory_kib"][host] for row in part) / 1024 for host in range(3)]
        p50 = sorted(row["p50_ms"] or 0.0 for row in part)[len(part) // 2]
        p99 = max(row["p99_ms"] or 0.0 for row in part)
        sums = {key: sum(row[key] for row in part) for key in ("started", "stopped", "refused", "kills", "cuts")}
        print(f"{last['minute']:>6.1f} | {last['leases']:>6} | {max(row['tokens'] for row in part):>6} |", end="")
        print(f" {sums['started']:>7,} | {sums['stopped']:>7,} | {sums['refused']:>7} | {sums['kills']:>5} |", end="")
        print(f" {sums['cuts']:>4} | {p50:>5.1f} / {p99:>4.0f} |", end="")
        print(f" {' '.join(f'{mib:>5.1f}' for mib in memory):>16} |", end="")
        print(f" {' '.join(f'{size // 1024}' for size in last['database']):>12} |", end="")
        print(f" {' '.join(f'{size // 1024}' for size in last['wal'])}")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Memory and files over time, and the leases held, in one small SVG file that reads in black and white."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ringipam", "svg.fonttype": "none", "font.size": 9, "axes.grid": True})
    matplotlib.rcParams.update({"grid.color": "0.85", "axes.axisbelow": True, "font.family": "sans-serif"})
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    above, middle, below = figure.subplots(3, sharex=True)
    minutes = [row["minute"] for row in rows]
    for host, (line, colour) in enumerate((("-", "black"), ("--", "dimgray"), (":", "dimgray"))):
        name = f"h{host + 1}" + (", never killed" if host == 0 else "")
        style: dict[str, Any] = {"linestyle": line, "color": colour, "linewidth": 1.0, "label": name}
        up = [row for row in rows if row["memory_kib"][host] > RUNS_KIB]
        above.plot([row["minute"] for row in up], [row["memory_kib"][host] / 1024 for row in up], **style)
        middle.plot(minutes, [(row["database"][host] + row["wal"][host]) / 1024 for row in rows], **style)
    below.plot(minutes, [row["leases"] for row in rows], color="black", linewidth=1.0)
    above.set_ylabel("resident MiB")
    middle.set_ylabel("database and WAL, KiB")
    below.set_ylabel("leases held")
    below.set_xlabel("minutes")
    for axes in (above, middle, below):
        axes.set_ylim(bottom=0)
    above.legend(frameon=False, fontsize=8, ncols=3, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def stations_of(directory: Path, iprange: str, lab: Lab | None) -> list[Station]:
    """Three hosts, in namespaces if there are any."""
    init = ["--init", "consensus=3"]
    if lab is not None:
        password = ["--password-file", str(lab.password)]
        return [Station(host, [*init, *password, *lab.peers_of(host)], AsyncClient(host.socket)) for host in lab.hosts]
    ports = {f"h{n}": 47830 + n for n in (1, 2, 3)}
    found = []
    for name in ports:
        host = Loopback(directory / name, name, iprange, ports)
        host.directory.mkdir()
        others = [f"127.0.0.1:{port}" for other, port in ports.items() if other != name]
        found.append(Station(host, [*init, *others], AsyncClient(host.socket)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--iprange", default=IPRANGE, help=f"what the hosts share (default: {IPRANGE})")
    parser.add_argument("--seed", type=int, default=0, help="of the troubles and lifetimes")
    parser.add_argument("--plot", type=Path, help="draw it here, as SVG (needs matplotlib)")
    parser.add_argument("--samples", type=Path, help="append every sample here, as a line of JSON")
    parser.add_argument("--directory", type=Path, help="where the data lie (default: a temporary one)")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=arguments.directory) as temporary:
        directory = Path(temporary)
        lab = Lab(directory, 3, arguments.iprange) if os.geteuid() == 0 else None
        if lab is None:
            print("not root: the daemons share loopback, and no cable is pulled")
        else:
            lab.__enter__()
        stations = stations_of(directory, arguments.iprange, lab)
        soak = Soak(stations, lab, random.Random(arguments.seed), arguments.samples)
        broken = ""
        try:
            trio.run(soak.run, arguments.minutes * 60)
        except* BrokenError as found:
            broken = "; ".join(str(one) for one in found.exceptions)
        finally:
            for station in stations:
                if station.process is not None and station.process.poll() is None:
                    station.process.kill()
                    station.process.wait(timeout=20)
            if lab is not None:
                lab.__exit__(None, None, None)
        show(soak.rows)
        counts = ", ".join(f"{soak.counts[key]:,} {key}" for key in ("started", "stopped", "refused", "kills", "cuts"))
        print(f"\n{soak.elapsed_s / 60:.1f} minutes: {counts}; {dict(soak.refusals)}")
        if len(soak.rows) > 4:
            memory = ", ".join(f"{slope_a_hour(soak.rows, 'memory_kib', host) / 1024:+.2f}" for host in range(3))
            files = ", ".join(f"{slope_a_hour(soak.rows, 'database', host) / 1024:+.1f}" for host in range(3))
            print(f"rising in an hour, second half: memory {memory} MiB; database {files} KiB (h1, h2, h3)")
        if arguments.plot is not None and soak.rows:
            draw(soak.rows, arguments.plot)
        print(f"BROKEN: {broken}" if broken else "nothing was lost, nothing doubled, nothing left behind")
        return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
