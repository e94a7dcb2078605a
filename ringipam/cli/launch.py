"""The command that runs the daemon: its options are the settings of `Config`."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ringipam.cli.arguments import Commands
from ringipam.errors import RequestError

if TYPE_CHECKING:
    from ringipam.config import Config


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    about = "run the daemon of this host, in the foreground"
    # SUPPRESS: an option that is not given is not there, so that it cannot hide what the file says
    parser = commands.add_parser("launch", help=about, description=about, argument_default=argparse.SUPPRESS)
    parser.set_defaults(run=_launch)
    parser.add_argument("peers", metavar="PEER", nargs="*", help="another host, HOST or HOST:PORT")
    for flag, metavar, text in (
        ("--iprange", "CIDR", "the addresses that all hosts share; the same on each of them"),
        ("--subnet", "CIDR", "where addresses come from unless told otherwise (the whole range)"),
        ("--iprange6", "CIDR", "a second range, IPv6 beside IPv4; its ring uses the port after the first one's"),
        ("--subnet6", "CIDR", "as --subnet, for --iprange6"),
        ("--name", "NAME", "this host's name among the others (the host name)"),
        ("--listen", "HOST:PORT", "for other hosts (0.0.0.0:6783; without credentials 127.0.0.1:6783)"),
        ("--advertise", "HOST:PORT", "where others reach this host, if not where their connection comes from"),
        ("--data-dir", "DIR", "what must survive a restart"),
        ("--socket", "PATH", "the API's unix socket; also from RINGIPAM_SOCKET"),
        ("--socket-mode", "MODE", "who may open it, in octal (0600, or 0660 with --socket-group)"),
        ("--socket-group", "GROUP", "the group that may open it"),
        ("--http", "HOST:PORT", "the API over TCP besides; on loopback open to every user of this host, unless:"),
        ("--http-token-file", "FILE", "clients over TCP must know a token that stands there; mode 0600"),
        ("--http-cert", "FILE", "certificate of the API over TCP, which then speaks TLS"),
        ("--http-key", "FILE", "its private key"),
        ("--http-ca", "FILE", "clients over TCP must have a certificate of this authority"),
        (
            "--docker-plugin",
            "PATH|none",
            "the socket of Docker's IPAM driver (its usual place, on hosts with Docker)",
        ),
        ("--docker-api", "PATH|none", "Docker's socket, to free what Docker has forgotten (/var/run/docker.sock)"),
        ("--init", "MODE", "how the ring begins: consensus=N, seed=NAME,NAME,…, observer or alone"),
        ("--password-file", "FILE", "a secret that all hosts share; further lines are accepted besides the first"),
        ("--ca", "FILE", "certificate of your own authority, with --cert and --key"),
        ("--cert", "FILE", "this host's certificate"),
        ("--key", "FILE", "its private key"),
        ("--log-format", "FORMAT", "of the lines on standard error: text, or json for an object a line"),
        ("--cni-dir", "DIR", "where the CNI program leaves releases for later (cni in --data-dir)"),
        ("--config", "FILE", "settings in TOML under the names of these options; options given here come first"),
    ):
        parser.add_argument(flag, metavar=metavar, help=text)
    parser.add_argument(
        "--exclude", metavar="ADDRESS|CIDR", nargs="+", action="extend", help="never allocated, but can be claimed"
    )
    parser.add_argument(
        "--watch",
        metavar="PATH",
        action="append",
        help="API socket of a container engine: addresses of its containers are released when these are gone; several"
        " times for several, none for none (for root, where Docker and Podman have theirs)",
    )
    parser.add_argument(
        "--on-restart",
        choices=("trust", "verify"),
        help="verify: issue nothing before one other host has confirmed that the data here is current (trust)",
    )
    parser.add_argument(
        "--reap-after",
        dest="reap_after_s",
        metavar="S",
        type=float,
        help="after a reboot, how long runtimes have to start containers again with their addresses (300)",
    )
    parser.add_argument("--insecure", action="store_true", help="let anybody on the network be a peer")


def _launch(options: argparse.Namespace) -> int:
    settings = vars(options)
    try:
        config = _config({name: value for name, value in settings.items() if name != "run"})
    except RequestError as error:
        print(f"ringipam: {' '.join(error.message.split())}", file=sys.stderr)
        return 2
    gc.disable()  # what a start makes is there to stay; the daemon has the collector begin when it is ready
    try:
        from ringipam.daemon import run

        return run(config)
    finally:
        gc.enable()


def _config(settings: dict[str, object]) -> Config:
    from ringipam.config import config_from_file, config_from_settings

    if not settings.get("peers"):
        settings.pop("peers", None)  # none given here: those of the file count
    path = settings.pop("config", None)
    return config_from_settings(settings) if path is None else config_from_file(Path(str(path)), settings)
