"""The command line: `main` finds the command, runs it, and turns errors into one line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

from ringipam.cli.arguments import Parser
from ringipam.errors import DaemonUnreachableError, RingIpamError

DONE, REFUSED, WRONG_USAGE, UNREACHABLE = 0, 1, 2, 3

GROUPS = {
    "launch": ("launch",),
    "unit": ("unit",),
    "addresses": ("allocate", "claim", "lookup", "release", "reconcile", "list"),
    "cni": ("cni",),
    "views": ("status", "ring", "peers", "conflicts"),
    "peers": ("connect", "forget", "prime"),
    "members": ("leave", "remove-peer", "rejoin"),
    "disk": ("backup", "check", "repair", "history"),
}
"""The modules of the command line, and the commands each of them has."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit status (docs/cli.md)."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a path or an id that the terminal cannot show is no failure
    try:
        arguments = sys.argv[1:] if argv is None else list(argv)
        options = _parser(arguments[:1]).parse_args(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except SystemExit as ended:  # argparse has shown its help, or what is wrong
        return ended.code if isinstance(ended.code, int) else WRONG_USAGE
    except DaemonUnreachableError as error:
        return _fail(error, UNREACHABLE)
    except RingIpamError as error:
        return _fail(error, REFUSED)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more may be written, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return 130


def _fail(error: RingIpamError, status: int) -> int:
    print(f"ringipam: {' '.join(error.message.split())}", file=sys.stderr)
    return status


def _parser(command: Sequence[str]) -> Parser:
    """Knows the group of `command` only, where that is a command: to build them all takes as long as to run one."""
    parser = Parser(prog="ringipam", description="Addresses for containers, from a range that hosts share.")
    parser.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version")
    # with `prog` given argparse need not format a usage line for it, nor import what that takes
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser, prog="ringipam")
    wanted = [group for group, names in GROUPS.items() if set(command) & set(names)]
    for group in wanted or GROUPS:
        import_module(f"ringipam.cli.{group}").add_commands(commands)
    return parser


class _Version(argparse.Action):
    """Reads the version only when it is asked for: that takes longer than most commands."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ringipam.version import release

        print(f"ringipam {release()}")
        parser.exit()
