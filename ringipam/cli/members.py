"""The commands by which hosts go and come back: leave, remove-peer, rejoin."""

from __future__ import annotations

import argparse
from typing import Any

from ringipam.cli.arguments import Commands, add_json, add_socket, add_timeout, add_yes, client, confirm, need_answer
from ringipam.cli.output import count_text, parts, print_json, print_table, print_title, size_text


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "give this host's ranges to the others and leave the ring"
    parser = commands.add_parser("leave", help=about, description=about)
    parser.add_argument("--drop-leases", action="store_true", help="release all leases: their containers are gone")
    parser.set_defaults(run=_leave)
    _add_common(parser)

    about = "take over what dead hosts own, for good; asks every live host first"
    parser = commands.add_parser("remove-peer", help=about, description=about)
    parser.add_argument("peers", metavar="NAME", nargs="+", help="a name, or NAME.UID where that is not unique")
    parser.add_argument("--force", action="store_true", help="go on without hosts that do not answer")
    parser.add_argument("--dry-run", action="store_true", help="say who would be asked and what taken, no more")
    parser.set_defaults(run=_remove)
    _add_common(parser)

    about = "make this host a new peer, after it fenced itself off or belongs to a foreign ring"
    parser = commands.add_parser("rejoin", help=about, description=about)
    parser.add_argument("--drop-leases", action="store_true", help="release all leases: their containers are gone")
    parser.add_argument("--dry-run", action="store_true", help="say what would become of the leases, no more")
    parser.set_defaults(run=_rejoin)
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_yes(parser)
    add_timeout(parser)
    add_socket(parser)
    add_json(parser)


def _leave(options: argparse.Namespace) -> int:
    dropped = ", and drop all leases" if options.drop_leases else ""
    confirm(options, f"leave the ring for good{dropped}")
    heirs: Any = client(options).leave(options.drop_leases, options.timeout)
    if options.json:
        print_json(heirs)
        return 0
    for title, part in parts(heirs):
        if part["heirs"]:
            print_title(title)
            print_table(("HEIR", "ADDRESSES"), [(heir, size_text(size)) for heir, size in part["heirs"].items()])
    print("this host has left the ring: its daemon can be stopped")
    return 0


def _remove(options: argparse.Namespace) -> int:
    if not options.dry_run:
        need_answer(options, f"remove {', '.join(options.peers)}")
    daemon = client(options)
    plan: Any = daemon.remove_peers(*options.peers, force=options.force, dry_run=True, timeout=options.timeout)
    if options.dry_run:
        print_json(plan) if options.json else print("\n".join(map(_planned, parts(plan))))
        return 0
    going = [(title, part) for title, part in parts(plan) if part["would_remove"]]
    names = " and ".join(f"{title}{', '.join(part['would_remove'])}" for title, part in going)
    sizes = " and ".join(f"{title}{size_text(part['would_take'])}" for title, part in going)
    risk = ""
    if options.force:
        risk = "; if it is alive, or one that does not answer has space from it, addresses may be held twice"
    confirm(options, f"remove {names} for good, {sizes} addresses as seen from here{risk}")
    done: Any = daemon.remove_peers(*options.peers, force=options.force, timeout=options.timeout)
    if options.json:
        print_json(done)
        return 0
    for title, part in parts(done):
        if part["removed"] or not title:
            _show_removed(title, part)
    return 0


def _show_removed(title: str, done: dict[str, Any]) -> None:
    print(f"{title}removed {', '.join(done['removed'])}: {size_text(done['taken'])} addresses taken over")
    if done["without"]:
        print(f"{title}not heard from: {', '.join(done['without'])}; watch `ringipam conflicts` when they are back")
    if done["also"]:
        print(f"{title}at the same time removed somebody: {', '.join(done['also'])}")


def _planned(titled: tuple[str, dict[str, Any]]) -> str:
    title, plan = titled
    if title and not plan["would_remove"]:
        return f"{title}none of them is a member"
    lines = [
        f"would remove {', '.join(plan['would_remove'])}",
        f"would take over {size_text(plan['would_take'])} addresses, as seen from here",
        f"must answer: {', '.join(plan['must_answer']) or 'nobody else'}",
    ]
    if plan["unreachable"]:
        lines.append(f"cannot be reached now: {', '.join(plan['unreachable'])}")
    return "\n".join(f"{title}{line}" for line in lines)


def _rejoin(options: argparse.Namespace) -> int:
    if not options.dry_run:
        need_answer(options, "begin anew as another peer")
    daemon = client(options)
    plan: Any = daemon.rejoin(dry_run=True, drop_leases=options.drop_leases)
    if not options.json:
        for title, part in parts(plan):
            _show_rejoin_plan(title, part)
    if options.dry_run:
        if options.json:
            print_json(plan)
        return 0
    given_up = " and ".join(part["from"] for _, part in parts(plan) if part["to"] != part["from"])
    confirm(options, f"give up {given_up} for good")
    done: Any = daemon.rejoin(drop_leases=options.drop_leases)
    if options.json:
        print_json(done)
        return 0
    for title, part in parts(done):
        if part["to"] != part["from"]:
            print(f"{title}now {part['to']}; next, here: {part['next']}")
    return 0


def _show_rejoin_plan(title: str, plan: dict[str, Any]) -> None:
    if plan["to"] == plan["from"]:
        print(f"{title}{plan['from']} stays as it is, a member in good standing")
        return
    leases = count_text(len(plan["leases"]), "lease")
    print(f"{title}{plan['from']} would become a new peer; {leases}: {plan['becomes']}")
    if plan["leases"]:
        rows = [(lease["id"], lease["address"], lease["since"]) for lease in plan["leases"]]
        print_table(("ID", "ADDRESS", "SINCE"), rows)
