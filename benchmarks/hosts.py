"""What gossip costs real daemons: at rest, for a change of the ring, for a newcomer, by hosts and by tokens.

    python -m benchmarks.hosts [--hosts 30] [--seconds 60] [--tokens 100 100000] [--json]

Needs root: every host is a network namespace with a daemon in it, all on one switch. Bytes and packets are those of the
host's interface, so with everything that Ethernet, IP, TCP and TLS add; processor time is what the kernel has counted.
Two things are measured: a ring of many hosts, and two rings of a few hosts, one with few tokens, one with many, side
by side, which a newcomer joins in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from statistics import fmean

from benchmarks.contender import cpu_s, resident_bytes
from benchmarks.oldring import Place, found, seeding
from benchmarks.results import machine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "hosts"))

from lab import Host, Lab, until

IPRANGE = "10.0.0.0/8"
HOSTS = 30
SIZED_HOSTS = 5
"""In each of the rings that differ in tokens."""
TOKENS = (100, 100_000)
SECONDS = 60
CHANGES = 20
PERIOD_S = 0.5
"""Between two changes."""
QUIET_S = 15.0
"""After hosts have met, and after the last change, until all has been said."""
WAIT_S = 120.0
MIB = 2**20
ESTABLISHED = "01"
"""As /proc/net/tcp says it."""
SIZE_BAR = 1.1
"""What a ring of many tokens costs against one of few."""
CHANGE_BAR = 1_000
"""Bytes of a change for each host reached."""


@dataclass(frozen=True, slots=True)
class Look:
    """The counters of one host at one moment."""

    at_s: float
    bytes: int
    """Sent."""
    packets: int
    cpu_s: float

    def since(self, before: Look) -> Look:
        return Look(
            self.at_s - before.at_s,
            self.bytes - before.bytes,
            self.packets - before.packets,
            self.cpu_s - before.cpu_s,
        )


def look(host: Host) -> Look:
    sent_bytes, sent_packets, _, _ = interface(pid(host))
    return Look(time.monotonic(), sent_bytes, sent_packets, cpu_s(pid(host)))


def interface(process: int) -> tuple[int, int, int, int]:
    """Bytes and packets that left the host of this process by its cable, and that came in."""
    for line in Path(f"/proc/{process}/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "eth0":
            fields = [int(field) for field in counters.split()]
            return fields[8], fields[9], fields[0], fields[1]
    raise SystemExit(f"process {process} has no eth0")


@dataclass(frozen=True, slots=True)
class Rest:
    """By a host, on average over all."""

    packets_s: float
    bytes_s: float
    cpu_percent: float
    """Of one core."""
    cpu_percent_most: float
    resident_mib: float


@dataclass(frozen=True, slots=True)
class Change:
    """An address that one host grants to another: by a host, beyond what is sent at rest."""

    packets: float
    bytes: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What it took from its start; bytes and CPU up to the moment in which it had the whole ring on its disk."""

    answers_s: float
    whole_s: float
    address_s: float
    """Until it had been granted its first address."""
    bytes_in: int
    bytes_out: int
    cpu_s: float
    others_cpu_s: float
    """Of all others together, beyond what they need at rest."""


@dataclass(frozen=True, slots=True)
class Measured:
    hosts: int
    tokens: int
    links: float
    rest: Rest
    change: Change
    newcomer: Newcomer | None = None


class Site:
    """A lab whose hosts find one ring on their disks when they start, with a place for a newcomer."""

    def __init__(self, directory: Path, hosts: int, tokens: int, stack: ExitStack) -> None:
        directory.mkdir()
        self.tokens = tokens
        self.lab = stack.enter_context(Lab(directory, hosts + 1, IPRANGE))
        *self.hosts, self.newcomer = self.lab.hosts
        self._places = {host.name: Place(host.data, host.endpoint) for host in self.hosts}
        say(f"{hosts} data directories with {tokens:,} tokens")
        found(IPRANGE, self._places, tokens)

    def launch(self) -> None:
        say(f"{len(self.hosts)} daemons start")
        for host in self.hosts:
            host.launch("--init", seeding(self._places), *self.seeds(host), wait=False)
        for host in self.hosts:
            until(f"{host.name} sees all others", lambda host=host: self._sees_all(host), WAIT_S)
        time.sleep(QUIET_S)
        self.check_that_all_agree()

    def seeds(self, host: Host) -> list[str]:
        return [other.endpoint for other in self.hosts[:3] if other is not host]

    def _sees_all(self, host: Host) -> bool:
        return answered(host) and host.alive() == len(self.hosts) - 1

    def check_that_all_agree(self) -> None:
        texts = {host.http("GET", "/v1/ring")[1] for host in self.hosts}
        assert len(texts) == 1, f"{len(texts)} different rings on {len(self.hosts)} hosts"

    @property
    def links(self) -> float:
        """Of a host, on average."""
        established = fmean(connections(host) for host in self.hosts)
        return round(established, 1)

    def looks(self) -> list[Look]:
        return [look(host) for host in self.hosts]

    def spent(self, before: Sequence[Look]) -> list[Look]:
        return [look(host).since(then) for host, then in zip(self.hosts, before, strict=True)]


def rest(sites: Sequence[Site], seconds: float) -> list[Rest]:
    """All at the same time, so that what else the machine does troubles all alike."""
    before = [site.looks() for site in sites]
    time.sleep(seconds)
    found_: list[Rest] = []
    for site, then in zip(sites, before, strict=True):
        spent = site.spent(then)
        shares = [each.cpu_s / each.at_s * 100 for each in spent]
        found_.append(
            Rest(
                fmean(each.packets / each.at_s for each in spent),
                fmean(each.bytes / each.at_s for each in spent),
                fmean(shares),
                max(shares),
                fmean(resident_bytes(pid(host)) for host in site.hosts) / MIB,
            )
        )
    return found_


def changes(sites: Sequence[Site], at_rest: Sequence[Rest], count: int) -> list[Change]:
    """Hosts claim addresses of each other, at each site in turn."""
    shares = [shares_of(site.hosts[0]) for site in sites]
    before = [site.looks() for site in sites]
    for number in range(count):
        for site, of in zip(sites, shares, strict=True):
            claim(site, of, number)
        time.sleep(PERIOD_S)
    time.sleep(QUIET_S)
    made: list[Change] = []
    for site, then, quiet in zip(sites, before, at_rest, strict=True):
        spent = site.spent(then)
        made.append(
            Change(
                fmean(each.packets - quiet.packets_s * each.at_s for each in spent) / count,
                fmean(each.bytes - quiet.bytes_s * each.at_s for each in spent) / count,
                fmean(each.cpu_s - quiet.cpu_percent / 100 * each.at_s for each in spent) / count * 1e3,
            )
        )
        site.check_that_all_agree()
    return made


def claim(site: Site, shares: dict[str, IPv4Address], number: int) -> None:
    """A host claims an address of another, which nobody has claimed yet."""
    hosts = site.hosts
    host, owner = hosts[number % len(hosts)], hosts[(number + 1) % len(hosts)]
    address = shares[owner.name] + 8 + number // len(hosts)
    status, text = host.http("PUT", f"/v1/leases/change-{number}/{address}/32")
    assert status == 201, text


def shares_of(host: Host) -> dict[str, IPv4Address]:
    """Where the first share of each host begins; a share has far more addresses than there will be changes."""
    found_: dict[str, IPv4Address] = {}
    for token in host.view("ring")["tokens"]:
        found_.setdefault(str(token["owner"]).partition(".")[0], IPv4Address(token["first"]))
    return found_


def join(site: Site, at_rest: Rest) -> Newcomer:
    """One more host is started with an empty disk, and learns the whole ring; then it wants an address."""
    host, wanted = site.newcomer, stored_tokens(site.hosts[0])
    before, begin = site.looks(), time.monotonic()
    host.launch("--init", "observer", *site.seeds(host), wait=False)
    answers_s = 0.0
    while stored_tokens(host) < wanted:
        elapsed = time.monotonic() - begin
        if elapsed > WAIT_S:
            raise SystemExit(f"the newcomer has {stored_tokens(host)} of {wanted} tokens: {host.log}")
        if not answers_s and answered(host):
            answers_s = elapsed
        time.sleep(0.01)
    whole_s = time.monotonic() - begin
    used_s = cpu_s(pid(host))
    sent_bytes, _, received_bytes, _ = interface(pid(host))
    others = sum(each.cpu_s - at_rest.cpu_percent / 100 * each.at_s for each in site.spent(before))
    status, text = host.http("POST", "/v1/leases", json.dumps({"id": "first", "timeout_s": WAIT_S}))
    assert status == 201, text
    return Newcomer(answers_s, whole_s, time.monotonic() - begin, received_bytes, sent_bytes, used_s, others)


# ── what a host shows ────────────────────────────────────────────────────────────────────────────


def pid(host: Host) -> int:
    assert host.daemon is not None
    return host.daemon.pid


def answered(host: Host) -> bool:
    if host.daemon is not None and host.daemon.poll() is not None:
        raise SystemExit(f"{host.name} exited {host.daemon.returncode}: {host.log}")
    try:
        return host.socket.exists() and host.http("GET", "/v1/status")[0] == 200
    except OSError:
        return False


def connections(host: Host) -> int:
    """Established, to and from other hosts."""
    lines_ = Path(f"/proc/{pid(host)}/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[3] == ESTABLISHED for line in lines_)


def stored_tokens(host: Host) -> int:
    """How many tokens are durable there; the daemon is not asked, as a long ring is a long answer."""
    try:
        with closing(sqlite3.connect(f"file:{host.data}/ringipam.db?mode=ro", uri=True)) as database:
            (count,) = database.execute("SELECT rows FROM sums WHERE name = 'tokens'").fetchone()
            return int(count)
    except (sqlite3.Error, TypeError):  # not there yet
        return 0


# ── what is printed ──────────────────────────────────────────────────────────────────────────────


def lines(rings: Sequence[Measured]) -> Iterator[str]:
    """The tables of docs/performance.md."""
    yield (
        "| hosts | tokens | links of a host | at rest, a host and second | CPU of an idle host | resident"
        " | a change, a host |"
    )
    yield "|---" * 7 + "|"
    for ring in rings:
        quiet, change = ring.rest, ring.change
        yield (
            f"| {ring.hosts} | {ring.tokens:,} | {ring.links:.0f}"
            f" | {quiet.packets_s:.1f} packets, {quiet.bytes_s:,.0f} B"
            f" | {quiet.cpu_percent:.2f} % (most {quiet.cpu_percent_most:.2f}) | {quiet.resident_mib:.1f} MiB"
            f" | {change.packets:.1f} packets, {change.bytes:,.0f} B, {change.cpu_ms:.1f} ms of CPU |"
        )
    joined = [(ring, ring.newcomer) for ring in rings if ring.newcomer is not None]
    if joined:
        yield ""
        yield (
            "| a newcomer, tokens | answers after | has the whole ring | has an address | received | sent | its CPU"
            " | that of the others |"
        )
        yield "|---" * 8 + "|"
    for ring, newcomer in joined:
        yield (
            f"| {ring.tokens:,} | {newcomer.answers_s:.2f} s | {newcomer.whole_s:.2f} s | {newcomer.address_s:.2f} s"
            f" | {newcomer.bytes_in:,} B | {newcomer.bytes_out:,} B | {newcomer.cpu_s:.2f} s"
            f" | {newcomer.others_cpu_s:.2f} s |"
        )
    yield ""
    yield "| | measured | bar | |"
    yield "|---|---|---|---|"
    for name, value, bar in verdicts(rings):
        yield f"| {name} | {value:,.2f} | ≤ {bar:,.2f} | {'reached' if value <= bar else 'not reached'} |"


def verdicts(rings: Sequence[Measured]) -> Iterator[tuple[str, float, float]]:
    """Each bar: what it is about, what was measured, and the limit."""
    for ring in rings:
        reached = ring.change.bytes * ring.hosts / (ring.hosts - 1)
        yield (
            f"{ring.hosts} hosts, {ring.tokens:,} tokens: bytes of a change for each host reached",
            reached,
            CHANGE_BAR,
        )
    sized = sorted((ring for ring in rings if ring.newcomer is not None), key=lambda ring: ring.tokens)
    if len(sized) > 1:
        short, long = sized[0], sized[-1]
        of = f"{long.hosts} hosts, {long.tokens:,} tokens ÷ {short.tokens:,}"
        yield f"{of}: bytes at rest", long.rest.bytes_s / short.rest.bytes_s, SIZE_BAR
        yield f"{of}: CPU at rest", long.rest.cpu_percent / short.rest.cpu_percent, SIZE_BAR
        yield f"{of}: bytes of a change", long.change.bytes / short.change.bytes, SIZE_BAR


def say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────


def many(directory: Path, hosts: int, seconds: float, count: int) -> list[Measured]:
    """One ring of many hosts, each of which owns a share."""
    with ExitStack() as stack:
        return measured([Site(directory, hosts, hosts, stack)], seconds, count, joined=False)


def sized(directory: Path, tokens: Sequence[int], seconds: float, count: int) -> list[Measured]:
    """Rings of few hosts that differ in tokens."""
    with ExitStack() as stack:
        sites = [Site(directory / str(number), SIZED_HOSTS, each, stack) for number, each in enumerate(tokens)]
        return measured(sites, seconds, count, joined=True)


def measured(sites: Sequence[Site], seconds: float, count: int, *, joined: bool) -> list[Measured]:
    for site in sites:
        site.launch()
    say(f"at rest, {seconds:.0f} s")
    quiet = rest(sites, seconds)
    say(f"{count} changes")
    made = changes(sites, quiet, count)
    found_: list[Measured] = []
    for site, at_rest, change in zip(sites, quiet, made, strict=True):
        ring = Measured(len(site.hosts), site.tokens, site.links, at_rest, change)
        if joined:
            say(f"a newcomer, {site.tokens:,} tokens")
            ring = replace(ring, newcomer=join(site, at_rest))
        found_.append(ring)
    return found_


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hosts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=HOSTS, help=f"of the large ring; 0: none (default: {HOSTS})")
    parser.add_argument(
        "--tokens", type=int, nargs="*", default=TOKENS, help="of the rings that are compared (default: 100 100000)"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"at rest (default: {SECONDS})")
    parser.add_argument("--changes", type=int, default=CHANGES, help=f"in each ring (default: {CHANGES})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("network namespaces need root")
    with tempfile.TemporaryDirectory(prefix="ringipam-") as directory:
        rings: list[Measured] = []
        if options.hosts:
            rings += many(Path(directory) / "many", options.hosts, options.seconds, options.changes)
        if options.tokens:
            (Path(directory) / "sized").mkdir()
            rings += sized(Path(directory) / "sized", options.tokens, options.seconds, options.changes)
    if options.json:
        print(json.dumps({"machine": machine(), "rings": [asdict(ring) for ring in rings]}))
        return
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}\n")
    print("\n".join(lines(rings)))


if __name__ == "__main__":
    main()
