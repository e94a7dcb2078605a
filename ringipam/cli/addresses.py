"""The commands that deal with addresses: allocate, claim, lookup, release, reconcile, list."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ringipam.address import parse_address, parse_interface, parse_subnet
from ringipam.cli.arguments import Commands, add_json, add_socket, add_timeout, add_yes, checked, client, confirm
from ringipam.cli.output import print_json, print_table
from ringipam.config import OLDER_THAN_S, OLDER_THAN_S_MAX, check_age
from ringipam.errors import RequestError
from ringipam.lease import check_id

if TYPE_CHECKING:
    from ringipam.lease import Lease


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _add_command(commands, "allocate", "allocate an address for ID; again, the same address", _allocate)
    _add_id(parser)
    parser.add_argument("--subnet", metavar="CIDR", type=checked(parse_subnet), help="where the address comes from")
    add_timeout(parser)

    parser = _add_command(commands, "claim", "claim exactly this address for ID", _claim)
    _add_id(parser)
    parser.add_argument("interface", metavar="ADDRESS/LEN", type=checked(parse_interface))
    add_timeout(parser)

    parser = _add_command(commands, "lookup", "the addresses that ID has here", _lookup)
    _add_id(parser)

    parser = _add_command(commands, "release", "release what ID has here, or one address of it", _release)
    _add_id(parser)
    parser.add_argument("address", metavar="ADDRESS", nargs="?", type=checked(parse_address))

    parser = _add_command(commands, "reconcile", "release the leases of this host whose holder is gone", _reconcile)
    parser.add_argument("--live-ids", metavar="FILE", required=True, help="who is there, an id a line; - for stdin")
    parser.add_argument(
        "--older-than",
        metavar="S",
        type=_age,
        default=OLDER_THAN_S,
        help=f"leases younger than this stay: they may be of containers that came after the list ({OLDER_THAN_S:.0f})",
    )
    parser.add_argument(
        "--label", metavar="KEY=VALUE", action="append", default=[], type=_label, help="only leases that carry it"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be released, no more")
    add_yes(parser)

    parser = _add_command(commands, "list", "every lease: who, where, since when", _list)
    parser.add_argument("--cluster", action="store_true", help="of all hosts, not of this one only")


def _add_command(
    commands: Commands[argparse.ArgumentParser], name: str, about: str, run: object
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    add_socket(parser)
    add_json(parser)
    return parser


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=checked(check_id), help="the name of the holder")


def _allocate(options: argparse.Namespace) -> int:
    _show_one(client(options).allocate(options.id, options.subnet, options.timeout), options.json)
    return 0


def _claim(options: argparse.Namespace) -> int:
    _show_one(client(options).claim(options.id, options.interface, options.timeout), options.json)
    return 0


def _lookup(options: argparse.Namespace) -> int:
    leases = client(options).lookup(options.id)
    if options.json:
        _print_leases(leases)
    else:
        for lease in leases:
            print(lease.interface)
    return 0 if leases else 1


def _release(options: argparse.Namespace) -> int:
    released = client(options).release(options.id, options.address)
    if options.json:
        _print_leases(released)
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    live = _read_ids(options.live_ids)
    if not live and not options.dry_run:
        # A command that failed in front of a pipe lists nobody either.
        confirm(options, "the list has no id at all: release the leases of all containers of this host")
    found = client(options).reconcile(live, options.older_than, dict(options.label), options.dry_run)
    if options.json:
        _print_leases(found)
    else:
        for lease in found:
            print(f"{'would release' if options.dry_run else 'released'} {lease.interface} of {lease.id}")
    return 0


def _read_ids(name: str) -> list[str]:
    """An id a line; empty lines and what begins with # are for people. Raises RequestError."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, ValueError) as error:  # ValueError: no text, or no path
        raise RequestError(f"cannot read the ids in {name}: {getattr(error, 'strerror', None) or 'no text'}") from None
    lines = [line.strip() for line in text.splitlines()]
    return [check_id(line) for line in lines if line and not line.startswith("#")]


def _age(text: str) -> float:
    try:
        return check_age(float(text))
    except (ValueError, RequestError):
        raise argparse.ArgumentTypeError(f"an age is 0 to {OLDER_THAN_S_MAX:.0f} seconds, not {text!r}") from None


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"a label is KEY=VALUE, not {text!r}")
    return key, value


def _list(options: argparse.Namespace) -> int:
    from ringipam.client.calls import listing

    found = client(options).perform(listing(options.cluster))
    if options.json:
        _print_leases(found.leases)
    elif found.leases:
        print_table(
            ("ADDRESS", "ID", "HOST", "SINCE", "CLASS", "SUBNET"),
            [
                (lease.interface, lease.id, lease.host, f"{lease.since:%Y-%m-%d %H:%M:%SZ}", lease.class_, lease.subnet)
                for lease in sorted(found.leases, key=lambda lease: (lease.address.version, lease.address.packed))
            ],
        )
    if found.unreachable:
        missing = ", ".join(found.unreachable)
        print(f"ringipam: incomplete: no answer from {missing}", file=sys.stderr)
    return 0


def _show_one(lease: Lease, as_json: bool) -> None:
    if as_json:
        print_json(lease.as_json())
    else:
        print(lease.interface)


def _print_leases(leases: Iterable[Lease]) -> None:
    print_json({"leases": [lease.as_json() for lease in leases]})
