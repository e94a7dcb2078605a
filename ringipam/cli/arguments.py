"""What the commands' arguments have in common: the parser, and options that several of them take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ringipam.config import TIMEOUT_S, TIMEOUT_S_MAX
from ringipam.errors import RequestError

if TYPE_CHECKING:
    from ringipam.client import Client

T = TypeVar("T")

Commands = argparse._SubParsersAction  # argparse has no public name for it


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaint is one line, as every other error of the command line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ringipam: {' '.join(message.split())} (see {self.prog} --help)\n")


def checked(check: Callable[[str], T]) -> Callable[[str], str]:
    """An argument's type: the text as it is, if `check` does not raise RequestError."""

    def argument(text: str) -> str:
        try:
            check(text)
        except RequestError as error:
            raise argparse.ArgumentTypeError(error.message) from None
        return text

    return argument


def add_socket(parser: argparse.ArgumentParser) -> None:
    about = "where the daemon listens, a path or http[s]://HOST:PORT; also from RINGIPAM_SOCKET"
    parser.add_argument("--socket", metavar="PATH", help=about)
    for flag, text in (
        ("--token-file", "over TCP: the token to show stands there; also from RINGIPAM_TOKEN_FILE"),
        ("--ca", "over TCP: the authority that certifies the daemon (the system's)"),
        ("--cert", "over TCP: the certificate to show, with its --key"),
        ("--key", "over TCP: its private key"),
    ):
        parser.add_argument(flag, metavar="FILE", help=text)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_timeout(parser: argparse.ArgumentParser) -> None:
    about = f"seconds to wait at most ({TIMEOUT_S:.0f})"
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=TIMEOUT_S, help=about)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise argparse.ArgumentTypeError(f"a timeout is above 0 and at most {TIMEOUT_S_MAX:.0f} seconds, not {text!r}")
    return seconds


def add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")


def need_answer(options: argparse.Namespace, what: str) -> None:
    """End the program, with status 2, where nobody could be asked."""
    if not options.yes and not sys.stdin.isatty():
        print(f"ringipam: {what}: give --yes if you mean it, as there is no terminal to ask on", file=sys.stderr)
        raise SystemExit(2)


def confirm(options: argparse.Namespace, question: str) -> None:
    """Go on only if the user says so, here or by --yes; ends the program if not."""
    need_answer(options, question)
    if options.yes:
        return
    print(f"{question}? [y/N] ", end="", file=sys.stderr, flush=True)  # standard output is for the answer's JSON
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        print("nothing was done", file=sys.stderr)
        raise SystemExit(1)


def client(options: argparse.Namespace) -> Client:
    """The client of the daemon that `--socket` names."""
    from ringipam.client import Client

    return Client(options.socket, token_file=options.token_file, ca=options.ca, cert=options.cert, key=options.key)
