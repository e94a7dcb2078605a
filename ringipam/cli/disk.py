"""The commands about what is stored: backup, check, repair, history. The first three need no daemon."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringipam.address import parse_address
from ringipam.cli.arguments import Commands, add_json, add_socket, checked, client
from ringipam.cli.output import print_json, print_table
from ringipam.config import default_data_dir


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "copy the database into FILE, also while the daemon runs"
    parser = commands.add_parser("backup", help=about, description=about)
    parser.add_argument("file", metavar="FILE", type=Path, help="must not be there yet")
    parser.set_defaults(run=_backup)
    _add_data_dir(parser)

    about = "look over the data of a daemon that does not run, and say what is wrong with them"
    parser = commands.add_parser("check", help=about, description=about)
    parser.set_defaults(run=_check)
    _add_data_dir(parser)
    add_json(parser)

    about = "mend the data of a daemon that does not run, after a copy, as far as nothing can be lost by it"
    parser = commands.add_parser("repair", help=about, description=about)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=_repair)
    _add_data_dir(parser)

    about = "who gave the range with ADDRESS to whom, and when"
    parser = commands.add_parser("history", help=about, description=about)
    parser.add_argument("address", metavar="ADDRESS", type=checked(parse_address))
    parser.add_argument("--data-dir", metavar="DIR", type=Path, help="read it here, instead of asking the daemon")
    parser.set_defaults(run=_history)
    add_socket(parser)
    add_json(parser)


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    default = default_data_dir()
    parser.add_argument("--data-dir", metavar="DIR", type=Path, default=default, help=f"whose data ({default})")


def _backup(options: argparse.Namespace) -> int:
    from ringipam.store.backup import back_up_all

    for copy in back_up_all(options.data_dir, options.file)[1:]:
        print(f"the IPv6 range is in {copy}")
    return 0


def _check(options: argparse.Namespace) -> int:
    from ringipam.store.directory import ranges
    from ringipam.store.inspection import inspect

    found = [(title, inspect(path)) for title, path in ranges(options.data_dir)]
    faults = [f"{title}{fault}" for title, one in found for fault in one.faults]
    notes = [f"{title}{note}" for title, one in found for note in one.notes]
    if options.json:
        print_json({"sound": not faults, "faults": faults, "notes": notes})
    else:
        for line in faults or ["sound"]:
            print(line)
        for note in notes:
            print(f"note: {note}")
    return 1 if faults else 0


def _repair(options: argparse.Namespace) -> int:
    from ringipam.store.directory import ranges

    at = datetime.now(UTC)
    sound = [_repair_one(options, at, title, path) for title, path in ranges(options.data_dir)]
    return 0 if all(sound) else 1


def _repair_one(options: argparse.Namespace, at: datetime, title: str, path: Path) -> bool:
    from ringipam.store.repair import repair

    def say(what: object) -> None:
        print(f"{title}{what}")

    def ask(what: str) -> bool:
        what = f"{title}{what}"
        if options.yes:
            print(what)
            return True
        print(f"{what}? [y/N] ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            print()
        return answer.strip().lower() in ("y", "yes")

    return repair(path, at, ask, say)


def _history(options: argparse.Namespace) -> int:
    data = _read_history(options.data_dir, options.address) if options.data_dir else _ask_history(options)
    if options.json:
        print_json(data)
    elif data["history"]:
        print_table(
            ("AT", "FIRST", "LAST", "FROM", "TO", "EPOCH", "VERSION", "WRITER", "SOURCE"),
            [
                (
                    f"{datetime.fromtimestamp(line['at_ms'] / 1000, UTC):%Y-%m-%d %H:%M:%SZ}",
                    line["first"],
                    line["last"],
                    line["before"] or "nobody",
                    line["owner"] or "nobody",
                    line["epoch"],
                    line["version"],
                    line["writer"],
                    line["source"],
                )
                for line in data["history"]
            ],
        )
    else:
        print(f"nothing is recorded of {options.address}", file=sys.stderr)
    return 0


def _read_history(directory: Path, text: str) -> dict[str, Any]:
    from ringipam.store.directory import ranges
    from ringipam.store.history import history

    family, address = parse_address(text)
    second = [path for _, path in ranges(directory)[1:] if family == 6]
    return history(second[0] if second else directory, family, address)


def _ask_history(options: argparse.Namespace) -> dict[str, Any]:
    from ringipam.client.calls import history

    return client(options).perform(history(options.address))
