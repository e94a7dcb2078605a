"""The commands that only look: status, ring, peers, conflicts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, cast

from ringipam.address import parse_span
from ringipam.cli.arguments import Commands, Parser, add_json, add_socket, add_yes, client, confirm
from ringipam.cli.output import age_text, count_text, print_json, print_table, size_text
from ringipam.errors import RequestError

View = dict[str, Any]
"""What the daemon's JSON says; its keys are those of docs/http.md."""

NEXT_STEP = {
    "idle": "nothing is wrong; `ringipam prime` forms the ring now instead of at the first allocation",
    "electing": "wait for the hosts named, or look at `ringipam peers` for those that cannot be reached",
    "refusing": "what is held here stays; see the reason, then correct --iprange, the peers or the disk, and restart",
    "fenced": "nothing is issued here any more; see `ringipam conflicts`, then `ringipam rejoin` makes it a new peer",
}


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    _add_view(commands, "status", "how this host is, and what to do about it", _status)
    ring = _add_view(commands, "ring", "who owns which part of the range", _ring)
    peers = _add_view(commands, "peers", "the other hosts, as this one sees them", _peers)
    conflicts = _add_view(commands, "conflicts", "addresses that more than one host may hold", _conflicts)
    for parser in (ring, peers, conflicts):
        parser.add_argument("--ipv6", action="store_true", help="of the IPv6 range, where there are two")
    _add_resolve(conflicts)


def _add_resolve(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="resolve", parser_class=Parser, prog="ringipam conflicts")
    about = "say that nobody but the owner uses these addresses, so that they can be issued again"
    resolve = actions.add_parser("resolve", help=about, description=about)
    resolve.add_argument("first", metavar="ADDRESS|CIDR", help="the addresses, or the first of them")
    resolve.add_argument("last", metavar="LAST", nargs="?", help="the last of them")
    resolve.add_argument("--take", action="store_true", help="own them from now on, whoever the ring says does")
    resolve.set_defaults(run=_resolve, wrong=resolve.error)
    add_yes(resolve)
    # what stands before `resolve` must not be hidden by a default of its own
    resolve.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="where the daemon listens")
    resolve.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _resolve(options: argparse.Namespace) -> int:
    try:
        parse_span(options.first, options.last)
    except RequestError as error:
        options.wrong(error.message)
    span = options.first if options.last is None else f"{options.first} to {options.last}"
    taking = ", and take them over" if options.take else ""
    confirm(options, f"nobody but their owner uses {span}{taking}")
    done = client(options).resolve(options.first, options.last, options.take)
    if options.json:
        print_json(done)
    else:
        print(f"no longer in doubt: {' to '.join(dict.fromkeys(map(str, cast('list[str]', done['resolved']))))}")
    return 0


def _add_view(
    commands: Commands[argparse.ArgumentParser], name: str, about: str, show: Callable[[View], None]
) -> argparse.ArgumentParser:
    def run(options: argparse.Namespace) -> int:
        from ringipam.client.calls import view

        data = client(options).perform(view(name, 6 if getattr(options, "ipv6", False) else None))
        if options.json:
            print_json(data)
        else:
            show(data)
        return 0

    parser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    add_socket(parser)
    add_json(parser)
    return parser


def _status(status: View) -> None:
    """Of two ranges: the state, the warnings and what to do are those of both."""
    peer, state = status["peer"], status["state"]
    lines = [
        ("peer", f"{peer['name']} (uid {peer['uid']})"),
        ("state", f"{state}: {status['reason']}" if status["reason"] else state),
    ]
    _add_range(lines, status)
    if second := status.get("ipv6"):
        lines += [("", ""), ("IPv6", f"{second['peer']['name']} (uid {second['peer']['uid']}), {second['state']}")]
        _add_range(lines, second)
        lines += [("", "")]
    lines += [("warning", warning) for warning in status["warnings"]]
    if state in NEXT_STEP:
        lines.append(("next", NEXT_STEP[state]))
    for title, text in lines:
        print(f"{title:<8} {text}".rstrip())


def _add_range(lines: list[tuple[str, str]], status: View) -> None:
    peers = status["peers"]
    lines.extend(
        [
            ("range", f"{status['universe']}, addresses from {status['subnet']} unless told otherwise"),
            ("cluster", status["cluster"] or "none yet"),
            ("space", f"{size_text(status['owned'])} addresses owned here, {size_text(status['free'])} of them free"),
            ("leases", str(status["leases"])),
            ("peers", f"{peers['alive']} alive, {peers['suspect']} suspect, {peers['dead']} dead"),
        ]
    )
    for waiting in status["pending"]:
        lines.append(("waiting", f"{waiting['id']} in {waiting['subnet']}, for {waiting['waiting_for']}"))


def _ring(ring: View) -> None:
    if not ring["tokens"]:
        print(f"no ring of {ring['universe']} yet")
        return
    print(f"{ring['universe']}, cluster {ring['cluster']}, {count_text(len(ring['tokens']), 'token')}")
    print_table(
        ("FIRST", "LAST", "SIZE", "OWNER", "EPOCH", "VERSION", "WRITER"),
        [
            (
                token["first"],
                token["last"],
                size_text(token["size"]),
                token["owner"],
                token["epoch"],
                token["version"],
                token["writer"],
            )
            for token in ring["tokens"]
        ],
    )


def _peers(peers: View) -> None:
    if not peers["peers"]:
        print("no other peers")
        return
    print_table(
        ("NAME", "UID", "ADDRESS", "STATE", "OWNED", "FREE", "LAST SEEN"),
        [
            (
                peer["name"],
                peer["uid"],
                peer["address"],
                peer["state"],
                size_text(peer["owned"]),
                size_text(peer["free"]),
                "never" if peer["last_seen_s"] is None else f"{age_text(peer['last_seen_s'])} ago",
            )
            for peer in peers["peers"]
        ],
    )


def _conflicts(conflicts: View) -> None:
    if not conflicts["conflicts"]:
        print("no conflicts")
        return
    print_table(
        ("FIRST", "LAST", "PEERS", "LEASES", "SINCE"),
        [
            (
                conflict["first"],
                conflict["last"],
                ", ".join(conflict["peers"]),
                ", ".join(f"{lease['id']} {lease['address']}" for lease in conflict["leases"]) or "none here",
                conflict["since"],
            )
            for conflict in conflicts["conflicts"]
        ],
    )
    for advice in dict.fromkeys(conflict["advice"] for conflict in conflicts["conflicts"]):
        print(advice)
