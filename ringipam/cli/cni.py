"""The command that installs the CNI program for container runtimes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ringipam.address import parse_subnet
from ringipam.cli.arguments import Commands, Parser, add_json, checked
from ringipam.cli.output import print_json
from ringipam.config import default_data_dir, default_socket

if TYPE_CHECKING:
    from ringipam.integrations.cni.program.installation import File, Installation

BIN_DIR, CONF_DIR = Path("/opt/cni/bin"), Path("/etc/cni/net.d")
NAME = "ringipam"


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "what container runtimes with CNI need"
    parser = commands.add_parser("cni", help=about, description=about)
    actions = parser.add_subparsers(metavar="install", parser_class=Parser, prog="ringipam cni", required=True)
    about = "put the CNI program ringipam, and a network that uses it, where runtimes look for them"
    install = actions.add_parser("install", help=about, description=about)
    for option, default, text in (
        ("--bin-dir", BIN_DIR, "where the runtime finds programs"),
        ("--conf-dir", CONF_DIR, "where the runtime finds networks"),
        (
            "--cni-dir",
            default_data_dir() / "cni",
            "where the program keeps releases while the daemon is down: the daemon's own",
        ),
    ):
        install.add_argument(option, metavar="DIR", type=Path, default=default, help=f"{text} ({default})")
    install.add_argument(
        "--socket", metavar="PATH", help="where the program finds the daemon, on this host; also from RINGIPAM_SOCKET"
    )
    install.add_argument("--name", metavar="NAME", default=NAME, help=f"of the network ({NAME})")
    install.add_argument(
        "--subnet",
        metavar="CIDR",
        action="append",
        default=[],
        type=checked(parse_subnet),
        help="of the network; each host has its first address as the containers' gateway. Once for each family",
    )
    install.add_argument("--no-conflist", action="store_true", help="the program only: you write the networks")
    install.add_argument("--force", action="store_true", help="replace what others have put there")
    install.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    install.set_defaults(run=_install)
    add_json(install)


def _install(options: argparse.Namespace) -> int:
    from ringipam.integrations.cni.program.installation import carry_out, plan

    socket = Path(options.socket) if options.socket is not None else default_socket()
    conf_dir = None if options.no_conflist else options.conf_dir.absolute()
    planned = plan(
        options.bin_dir.absolute(),
        conf_dir,
        socket=socket,
        cni_dir=options.cni_dir,
        name=options.name,
        subnets=options.subnet,
        force=options.force,
    )
    if not options.dry_run:
        carry_out(planned)
    if options.json:
        print_json(_as_json(planned, options.dry_run, socket, options.cni_dir))
    else:
        _print(planned, options.dry_run)
    if planned.conflist is not None and planned.conflist.done == "left":
        print(
            f"ringipam: {planned.conflist.path} is left as it is, as somebody has changed it: --force replaces it",
            file=sys.stderr,
        )
    return 0


def _as_json(planned: Installation, dry_run: bool, socket: Path, cni_dir: Path) -> dict[str, object]:
    program, conflist = planned.program, planned.conflist
    return {
        "dry_run": dry_run,
        "program": {"path": str(program.path), "done": program.done, "language": planned.language},
        "conflist": None if conflist is None else {"path": str(conflist.path), "done": conflist.done},
        "socket": str(socket),
        "cni_dir": str(cni_dir),
    }


def _print(planned: Installation, dry_run: bool) -> None:
    _print_file(planned.program, f", a program in {planned.language}", dry_run)
    if planned.conflist is not None:
        _print_file(planned.conflist, "", dry_run)


def _print_file(file: File, what: str, dry_run: bool) -> None:
    if file.done == "same":
        print(f"{file.path} is there already{what}")
    elif file.done == "written":
        print(f"{'would write' if dry_run else 'wrote'} {file.path}{what}")
