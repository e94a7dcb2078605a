"""How fast the simulator goes, and what its checkers cost: the same seeds with and without them, in turn."""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time

from sim.run import Plan, Run

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds of the default swarm, from 0 on")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead")
    options = parser.parse_args()
    plans = [Plan(seed) for seed in range(options.seeds)]
    if options.profile:
        _profile(plans)
        return
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(ROUNDS):
        for checked in (True, False):
            rates[checked].append(_events_a_second(plans, checked))
    with_, without = statistics.median(rates[True]), statistics.median(rates[False])
    if options.json:
        print(json.dumps({"seeds": len(plans), "checked": rates[True], "unchecked": rates[False]}))
        return
    print(f"{len(plans)} seeds of 5 hosts and 80 s, one core, CPU time, median of {ROUNDS} rounds")
    print(f"  with all checkers   {with_:8,.0f} events a second ({min(rates[True]):,.0f} to {max(rates[True]):,.0f})")
    print(f"  without             {without:8,.0f} events a second")
    print(f"  the checkers cost {without / with_ - 1:.2f} x the run itself")


def _events_a_second(plans: list[Plan], checked: bool) -> float:
    begin = time.process_time()
    events = sum(Run(plan, checked=checked).complete().events for plan in plans)
    return events / (time.process_time() - begin)


def _profile(plans: list[Plan]) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for plan in plans:
        Run(plan).complete()
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
