"""The command that prints the unit file, for systemd to run the daemon of this installation."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from ringipam.cli.arguments import Commands

TEMPLATE = Path(__file__).parent.parent / "systemd/ringipam.service"
PROGRAM = "/usr/bin/ringipam"
"""What the template starts."""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "print a systemd unit that runs this installation's daemon"
    parser = commands.add_parser("unit", help=about, description=about)
    parser.set_defaults(run=_unit)


def _unit(options: argparse.Namespace) -> int:
    print(TEMPLATE.read_text().replace(f"ExecStart={PROGRAM} ", f"ExecStart={_program()} "), end="")
    return 0


def _program() -> str:
    """How systemd starts this very program: by its script, or by Python where it was not started by one."""
    script = Path(sys.argv[0])
    if script.name == "ringipam" and (found := shutil.which(sys.argv[0])):
        return shlex.quote(str(Path(found).absolute()))
    return f"{shlex.quote(sys.executable)} -m ringipam"
