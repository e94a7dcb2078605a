"""The commands about this host's place among others: connect, forget, prime."""

from __future__ import annotations

import argparse

from ringipam.cli.arguments import Commands, add_socket, add_timeout, client


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "connect to another host, and again whenever it is lost"
    parser = commands.add_parser("connect", help=about, description=about)
    parser.add_argument("peer", metavar="PEER", help="HOST or HOST:PORT")
    parser.set_defaults(run=_connect)
    add_socket(parser)

    about = "stop connecting to another host; it stays a member"
    parser = commands.add_parser("forget", help=about, description=about)
    parser.add_argument("peer", metavar="PEER", help="its name, or the HOST:PORT it was connected by")
    parser.set_defaults(run=_forget)
    add_socket(parser)

    about = "form the ring now if there is none, and wait for it"
    parser = commands.add_parser("prime", help=about, description=about)
    parser.set_defaults(run=_prime)
    add_timeout(parser)
    add_socket(parser)


def _connect(options: argparse.Namespace) -> int:
    client(options).connect(options.peer)
    return 0


def _forget(options: argparse.Namespace) -> int:
    client(options).forget(options.peer)
    return 0


def _prime(options: argparse.Namespace) -> int:
    client(options).prime(options.timeout)
    return 0
