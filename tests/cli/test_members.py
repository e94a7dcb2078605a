"""The commands by which hosts go and come back, and doubts end: what they print, and when they ask (docs/cli.md)."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from asking import Book
from running import Run

from ringipam.core.events import Answer, Leave, Rejoin, RemovePeers, Resolve, Verb
from ringipam.errors import RequestError, RequestTimeoutError

DANGEROUS = (
    ["leave"],
    ["leave", "--drop-leases"],
    ["remove-peer", "host2"],
    ["remove-peer", "host2", "host3", "--force"],
    ["rejoin"],
    ["conflicts", "resolve", "10.32.0.9"],
    ["conflicts", "resolve", "10.32.0.0/24", "--take"],
)


def changes(book: Book) -> list[object]:
    """What was asked of the daemon that would change anything."""
    return [
        verb
        for verb in book.asked
        if isinstance(verb, Leave | Resolve) or (isinstance(verb, RemovePeers | Rejoin) and not verb.dry_run)
    ]


@pytest.mark.parametrize("command", DANGEROUS, ids=" ".join)
def test_without_a_terminal_nothing_is_done_unless_yes_is_given(run: Run, book: Book, command: list[str]) -> None:
    done = run(*command)

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("ringipam: ")
    assert "give --yes if you mean it" in done.err
    assert changes(book) == []

    assert run(*command, "--yes").status == 0
    assert len(changes(book)) == 1


@pytest.mark.parametrize(("typed", "done"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)])
def test_on_a_terminal_the_user_is_asked_and_the_question_is_not_in_the_json(
    book: Book, typed: str, done: bool
) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())

    answered = subprocess.run(
        [sys.executable, "-m", "ringipam", "remove-peer", "host2", "--force", "--json"],
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    os.close(ours)
    os.close(theirs)
    assert "remove host2 for good, 64 addresses as seen from here; if it is alive" in answered.stderr
    assert answered.returncode == (0 if done else 1)
    assert len(changes(book)) == done
    if done:
        assert json.loads(answered.stdout)["removed"] == ["host2"]
    else:
        assert answered.stdout == ""
        assert "nothing was done" in answered.stderr


def test_leave_names_the_heirs(run: Run, book: Book) -> None:
    out = run("leave", "--drop-leases", "--timeout", "7", "--yes").out

    assert [line.split() for line in out.splitlines()[:3]] == [
        ["HEIR", "ADDRESSES"],
        ["host2", "4,096"],
        ["host3", "4,096"],
    ]
    assert out.endswith("\nthis host has left the ring: its daemon can be stopped\n")
    assert book.asked == [Leave(7_000, True)]
    assert json.loads(run("leave", "--yes", "--json").out) == {"heirs": {"host2": 4096, "host3": 4096}}


def test_remove_peer_says_what_was_taken_over(run: Run, book: Book) -> None:
    done = run("remove-peer", "host2", "host4.77c1", "--yes")

    assert (done.status, done.out) == (0, "removed host2, host4.77c1: 64 addresses taken over\n")
    assert book.asked == [
        RemovePeers(("host2", "host4.77c1"), 30_000, False, True),
        RemovePeers(("host2", "host4.77c1"), 30_000, False, False),
    ]
    answer = json.loads(run("remove-peer", "host2", "--yes", "--json").out)
    assert answer == {"removed": ["host2"], "taken": 64, "without": [], "also": []}


def test_a_dry_run_needs_no_yes_and_changes_nothing(run: Run, book: Book) -> None:
    run("allocate", "c1")

    removal = run("remove-peer", "host2", "--dry-run").out.splitlines()
    assert removal == ["would remove host2", "would take over 64 addresses, as seen from here", "must answer: host3"]
    assert json.loads(run("remove-peer", "host2", "--dry-run", "--json").out)["must_answer"] == ["host3"]
    rejoin = run("rejoin", "--dry-run").out.splitlines()
    assert rejoin[0] == "host1.3f9a would become a new peer; 1 lease: kept"
    assert rejoin[2].split()[:2] == ["c1", "10.32.0.1"]
    assert json.loads(run("rejoin", "--dry-run", "--json").out)["to"] is None

    assert changes(book) == []


def test_rejoin_shows_the_leases_first_and_then_what_to_do_next(run: Run, book: Book) -> None:
    run("allocate", "c1")

    out = run("rejoin", "--yes").out

    assert out.startswith("host1.3f9a would become a new peer; 1 lease: kept")
    assert out.endswith("now host1.77c1; next, here: remove it\n")
    assert json.loads(run("rejoin", "--yes", "--json").out)["to"] == "host1.77c1"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["10.32.0.9"], "10.32.0.9"),
        (["10.32.0.9", "10.32.0.12"], "10.32.0.9 to 10.32.0.12"),
        (["10.32.4.0/24", "--take"], "10.32.4.0 to 10.32.4.255"),
    ],
)
def test_conflicts_resolve_takes_an_address_two_or_a_subnet(
    run: Run, book: Book, arguments: list[str], shown: str
) -> None:
    assert run("conflicts", "resolve", *arguments, "--yes").out == f"no longer in doubt: {shown}\n"
    (asked,) = book.asked
    assert isinstance(asked, Resolve)
    assert asked.take == ("--take" in arguments)
    answer = json.loads(run("conflicts", "resolve", *arguments, "--yes", "--json").out)
    assert " to ".join(dict.fromkeys(answer["resolved"])) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["remove-peer", "--yes"],
        ["conflicts", "resolve", "--yes"],
        ["conflicts", "resolve", "there", "--yes"],
        ["conflicts", "resolve", "10.32.0.9", "10.32.0.1", "--yes"],
        ["conflicts", "resolve", "10.32.0.9", "fd00::1", "--yes"],
        ["leave", "--timeout", "0", "--yes"],
    ],
    ids=" ".join,
)
def test_a_wrong_argument_is_one_line_and_asks_nothing(run: Run, book: Book, arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("ringipam: ")
    assert done.err.count("\n") == 1
    assert changes(book) == []


@pytest.mark.parametrize("error", [RequestError("host2 is alive"), RequestTimeoutError("host2 could not be removed")])
@pytest.mark.parametrize("command", [command for command in DANGEROUS if command[0] != "conflicts"], ids=" ".join)
def test_what_the_daemon_refuses_is_one_line_and_exit_status_1(
    run: Run, book: Book, command: list[str], error: Exception
) -> None:
    book.refusal = error

    done = run(*command, "--yes")

    assert (done.status, done.out, done.err) == (1, "", f"ringipam: {error}\n")


# ── two ranges ────────────────────────────────────────────────────────────────────────────────────


def test_what_becomes_of_each_of_two_ranges_is_told(run: Run, book: Book) -> None:
    book.two_ranges = True
    run("allocate", "c1")

    assert run("leave", "--yes").out.splitlines() == [
        *("IPv4:", "HEIR   ADDRESSES", "host2  4,096", "host3  4,096"),
        *("IPv6:", "HEIR   ADDRESSES", "host2  4,096", "host3  4,096"),
        "this host has left the ring: its daemon can be stopped",
    ]
    assert run("remove-peer", "host2", "--yes").out.splitlines() == [
        "IPv4: removed host2: 64 addresses taken over",
        "IPv6: removed host2: 64 addresses taken over",
    ]
    assert run("remove-peer", "host2", "--dry-run").out.splitlines() == [
        f"{family}: {line}"
        for family in ("IPv4", "IPv6")
        for line in ("would remove host2", "would take over 64 addresses, as seen from here", "must answer: host3")
    ]
    rejoined = run("rejoin", "--yes").out.splitlines()
    assert rejoined[0] == "IPv4: host1.3f9a would become a new peer; 1 lease: kept"
    assert rejoined[-1] == "IPv6: now host1.77c1; next, here: remove it"


def test_a_ring_that_a_verb_does_not_concern_is_not_said_to_be_changed(
    run: Run, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = {"removed": [], "taken": 0, "without": [], "also": []}
    plan = {"would_remove": [], "would_take": 0, "must_answer": [], "unreachable": []}
    stays = {"from": "host1.3f9a", "to": "host1.3f9a", "leases": [], "becomes": "", "next": ""}

    async def ask(verb: Verb) -> Answer:
        answer = await Book.ask(book, verb)
        assert isinstance(answer, dict)
        if isinstance(verb, Rejoin):
            return {**stays, "ipv6": answer}
        assert isinstance(verb, RemovePeers)
        return {**answer, "ipv6": plan if verb.dry_run else none}

    monkeypatch.setattr(book, "ask", ask)

    assert run("remove-peer", "host2", "--dry-run").out.splitlines()[-1] == "IPv6: none of them is a member"
    assert run("remove-peer", "host2", "--yes").out == "IPv4: removed host2: 64 addresses taken over\n"
    assert run("rejoin", "--yes").out.splitlines() == [
        "IPv4: host1.3f9a stays as it is, a member in good standing",
        "IPv6: host1.3f9a would become a new peer; 0 leases: kept",
        "IPv6: now host1.77c1; next, here: remove it",
    ]
