"""The command line: `main` finds the command, runs it, and turns errors into one line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from ringipam.cli import addresses, launch, peers, views
from ringipam.cli.arguments import Parser
from ringipam.errors import DaemonUnreachableError, RingIpamError

DONE, REFUSED, WRONG_USAGE, UNREACHABLE = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; the exit status (docs/cli.md)."""
    try:
        options = _parser().parse_args(argv)
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


def _parser() -> Parser:
    parser = Parser(prog="ringipam", description="Addresses for containers, from a range that hosts share.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for group in (launch, addresses, views, peers):
        group.add_commands(commands)
    return parser


class _Version(argparse.Action):
    """Reads the version only when it is asked for: that takes longer than most commands."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ringipam.version import release

        print(f"ringipam {release()}")
        parser.exit()
