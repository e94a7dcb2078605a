"""`python -m sim explore`: explores small worlds, prints a table, and the shortest way to whatever is broken."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

from sim.explore.search import Result, explore
from sim.explore.worlds import BY_NAME, World

COLUMNS = "{:<18}{:>6}{:>9}{:>8}{:>7}{:>7}{:>10}{:>13}{:>13}{:>6}  {:<9}{:>9}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `main`."""
    parser.add_argument("--world", choices=[*BY_NAME, "all"], default="all")
    parser.add_argument("--depth", type=_number, help="steps from the beginning; default: what the world says")
    parser.add_argument("--states", type=_number, help="stop a world after so many; default: never")
    parser.add_argument("--requests", type=_number, help="at most so many on a path, of those the world has")
    parser.add_argument("--crashes", type=_number, help="at most so many on a path")
    parser.add_argument("--copies", type=_number, help="at most so many messages on a path arrive once more")
    parser.add_argument("--waits", type=_number, help="at most so often on a path the time of each peer passes")
    parser.add_argument("--json", action="store_true", help="one object a world, a line each, instead of the table")


def main(options: argparse.Namespace) -> int:
    """Exit status: 0 nothing is broken, 1 something is (wrong usage never gets here)."""
    worlds = [_within(world, options) for name, world in BY_NAME.items() if options.world in ("all", name)]
    if not options.json:
        print("Messages come in any order, late, or never.")
        print(
            COLUMNS.format(
                "world", "peers", "requests", "crashes", "copies", "waits", "states", "transitions", "host states",
                "depth", "complete", "states/s",
            )
        )  # fmt: skip
    results = []
    for world in worlds:
        results.append(explore(world, options.depth, options.states, _progress))
        _show(results[-1], as_json=options.json)
    if not options.json:
        states, seconds = sum(result.states for result in results), sum(result.seconds for result in results)
        print(f"{states} states in {seconds:.0f} s, {sum(1 for r in results if r.violation)} worlds broken")
    return 1 if any(result.violation for result in results) else 0


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _within(world: World, options: argparse.Namespace) -> World:
    """`world` with other limits."""
    limits = {
        name: getattr(options, name) for name in ("requests", "crashes", "copies") if getattr(options, name) is not None
    }
    world = replace(world, **limits)
    if options.waits is not None:
        world = replace(world, parts=tuple(replace(part, waits=options.waits) for part in world.parts))
    return world


def _show(result: Result, *, as_json: bool) -> None:
    world = result.world
    requests = sum(len(part.asks) for part in world.parts)
    requests = requests if world.requests is None else min(requests, world.requests)
    waits = max(part.waits for part in world.parts)
    rate = round(result.states / result.seconds)
    if as_json:
        found = {
            "world": world.name,
            "peers": len(world.parts),
            "requests": requests,
            "crashes": world.crashes,
            "copies": world.copies,
            "waits": waits,
            "states": result.states,
            "transitions": result.transitions,
            "host_states": result.host_states,
            "depth": result.depth,
            "exhausted": result.exhausted,
            "seconds": round(result.seconds, 1),
            "violation": result.violation,
            "trace": list(result.trace),
        }
        print(json.dumps(found), flush=True)
        return
    complete = "wholly" if result.exhausted else "broken" if result.violation else "to there"
    print(
        COLUMNS.format(
            world.name, len(world.parts), requests, world.crashes, world.copies, waits, result.states,
            result.transitions, result.host_states, result.depth, complete, rate,
        ),
        flush=True,
    )  # fmt: skip
    if result.violation:
        print(f"violation: {result.violation}")
        for number, step in enumerate(result.trace, 1):
            print(f"{number:>4}  {step}")


def _progress(text: str) -> None:
    """On stderr, so that stdout has whole lines only."""
    if sys.stderr.isatty():
        print(f"\r{text} ", end="", file=sys.stderr, flush=True)
