"""What space costs where there is much of it, or too little.

    python -m benchmarks.space [fragments|donors|week …] [--json]

*fragments*: the CPU of allocate, claim and release in the core with up to 1,000,000 single free addresses in a /8 and
a /48, and a start with so many leases. *donors*: requests for each granted block when 100 hosts run out of a subnet in
the same instant. *week*: the tokens of a ring over seven simulated days of work. Without a name all three.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.figures import shown
from benchmarks.space import donors, fragments, week


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    fragments: tuple[int, ...]
    rounds: int
    started: int
    """Leases in the data directory of a start."""
    hosts: int
    rushes: tuple[donors.Rush, ...]
    patterns: tuple[week.Pattern, ...]
    hours: int


WHOLE = Extent(fragments.SIZES, fragments.ROUNDS, fragments.SIZES[-1], donors.HOSTS, donors.RUSHES, week.PATTERNS, 168)
SMOKE = Extent((0, 2_000, 4_000), 1, 2_000, 12, donors.RUSHES[:1], (week.Pattern(3, 4, 30),), 12)
FLAT = 1.15
"""Bar: what is done with most fragments costs at most so many times what it costs with none, or with few."""
OF_USERS = ("allocate", "release", "claim", "block of 16")
"""Held against fresh space; the others against few fragments, as a grant from whole space is another thing."""
REQUESTS_A_GRANT = 4.0
"""Bar: so many requests for each block that is granted, while there is enough for all."""
GROWTH = 1.2
"""Bar: the last three days have at most so many times the tokens of the three that follow the first."""


def verdict(value: float, limit: float) -> str:
    return f"{shown(value)} | ≤ {shown(limit)} | {'reached' if value <= limit else 'not reached'}"


def of_fragments(found: Sequence[fragments.Found], begun: fragments.Start) -> list[str]:
    names = [*found[-1].cpu_us]
    lines = [
        "| CPU µs | " + " | ".join(names) + " | load, s | bytes a lease | full collection, ms |",
        "|---" * (4 + len(names)) + "|",
    ]
    for each in found:
        cells = [shown(each.cpu_us[name]) if name in each.cpu_us else "–" for name in names]
        weight = f"{each.bytes_each:,.0f}" if each.bytes_each is not None else "–"
        lines.append(
            f"| {each.iprange}, {each.fragments:,} | {' | '.join(cells)} | {shown(each.load_s)} | {weight} |"
            f" {shown(each.collection_ms)} |"
        )
    lines += ["", "| | measured | bar | |", "|---|---|---|---|"]
    for iprange in dict.fromkeys(each.iprange for each in found):
        none, few, *_, most = (each for each in found if each.iprange == iprange)
        for name in names:
            base = none if name in OF_USERS else few
            ratio = most.cpu_us[name] / base.cpu_us[name]
            compared = f"{most.fragments:,} ÷ {base.fragments:,}"
            lines.append(f"| {iprange}, {name}: {compared} | {verdict(ratio, FLAT)} |")
    return [
        *lines,
        "",
        f"{begun.leases:,} leases on disk ({begun.disk_mib:,.0f} MiB): first allocation after {begun.wall_s:.1f} s,"
        f" {begun.cpu_s:.1f} s of CPU",
    ]


def of_donors(found: Sequence[donors.Served]) -> list[str]:
    lines = [
        "| | wanted, leased | requests (ahead) | granted | denied | by host, median and most | relayed | ms p50, last |"
        " later | a granted block | bar | |",
        "|---" * 12 + "|",
    ]
    for each in found:
        middle, most = each.per_host
        bar = verdict(each.per_grant, REQUESTS_A_GRANT)
        if each.leased < each.wanted:
            bar = f"{shown(each.per_grant)} | – | refusals: a request to each owner"
        lines.append(
            f"| {each.name} | {each.wanted}, {each.leased} | {each.requests} ({each.ahead}) | {each.grants} |"
            f" {each.denials} | {middle:g}, {most} | {each.relayed} | {each.answer_ms['p50']}, {each.all_ms} |"
            f" {each.later} | {bar} |"
        )
    return lines


def of_week(found: Sequence[week.Week]) -> list[str]:
    lines = [
        "| hosts | starts | refused | kills | tokens, mean of each day | most | at rest | last ÷ early days | bar | |",
        "|---" * 10 + "|",
    ]
    for each in found:
        days = ", ".join(f"{each.of_day(day):.0f}" for day in range(each.days))
        lines.append(
            f"| {each.hosts} | {each.starts:,} | {each.refused} | {each.kills} | {days} |"
            f" {max(each.tokens)} | {each.tokens_at_rest} | {verdict(each.growth, GROWTH)} |"
        )
    return lines


Part = tuple[list[object], list[str]]


def _fragments(extent: Extent) -> Part:
    found, begun = fragments.fragments(extent.fragments, extent.rounds), fragments.start(extent.started)
    return [*found, begun], of_fragments(found, begun)


def _donors(extent: Extent) -> Part:
    found = donors.rushes(extent.hosts, extent.rushes)
    return [*found], of_donors(found)


def _week(extent: Extent) -> Part:
    found = [week.week(pattern, extent.hours) for pattern in extent.patterns]
    return [*found], of_week(found)


PARTS: dict[str, Callable[[Extent], Part]] = {"fragments": _fragments, "donors": _donors, "week": _week}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.space", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--smoke", action="store_true", help="a little of each, to see that it runs")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    extent = SMOKE if options.smoke else WHOLE
    figures: dict[str, object] = {}
    for name in options.parts or PARTS:
        found, lines = PARTS[name](extent)
        figures[name] = [asdict(each) for each in found]  # type: ignore[call-overload]
        if not options.json:
            print(f"### {name}\n", *lines, "", sep="\n", flush=True)
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
