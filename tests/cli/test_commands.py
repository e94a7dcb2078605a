"""What the commands print, where, and with which exit status (docs/cli.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from asking import Book
from running import Run

from ringipam.core.events import Show, View
from ringipam.errors import NoSpaceError, StoreError


def test_allocate_claim_and_lookup_print_one_address_a_line(run: Run, book: Book) -> None:
    assert run("allocate", "c1").out == "10.32.0.1/12\n"
    assert run("allocate", "c1").out == "10.32.0.1/12\n"
    assert run("claim", "c1", "10.32.0.9/12").out == "10.32.0.9/12\n"
    assert run("allocate", "c1", "--subnet", "10.32.4.0/24", "--timeout", "5").out == "10.32.4.1/24\n"
    found = run("lookup", "c1")
    assert (found.status, found.out) == (0, "10.32.0.1/12\n10.32.0.9/12\n10.32.4.1/24\n")


def test_lookup_of_an_unknown_id_prints_nothing_and_fails(run: Run, book: Book) -> None:
    done = run("lookup", "c9")

    assert (done.status, done.out, done.err) == (1, "", "")


def test_release_frees_everything_or_one_address(run: Run, book: Book) -> None:
    run("allocate", "c1")
    run("claim", "c1", "10.32.0.9/12")

    assert run("release", "c1", "10.32.0.9").status == 0
    assert run("lookup", "c1").out == "10.32.0.1/12\n"
    assert run("release", "c1").status == 0
    assert not book.leases


def test_release_of_an_unknown_id_says_so_and_fails(run: Run, book: Book) -> None:
    done = run("release", "c9")

    assert (done.status, done.out, done.err) == (1, "", "ringipam: no addresses for c9\n")


def test_json_is_a_lease_or_a_list_of_leases(run: Run, book: Book) -> None:
    lease = json.loads(run("allocate", "c1", "--json").out)

    assert lease["address"] == "10.32.0.1"
    assert json.loads(run("claim", "c1", "10.32.0.1/12", "--json").out) == lease
    assert json.loads(run("lookup", "c1", "--json").out) == {"leases": [lease]}
    assert json.loads(run("list", "--json").out) == {"leases": [lease]}
    assert json.loads(run("release", "c1", "--json").out) == {"leases": [lease]}
    assert json.loads(run("list", "--json").out) == {"leases": []}


def test_list_shows_who_where_and_since_when_in_columns(run: Run, book: Book) -> None:
    run("claim", "a-longer-name", "10.32.0.10/12")
    run("allocate", "c1")

    lines = run("list").out.splitlines()

    assert lines[0].split() == ["ADDRESS", "ID", "HOST", "SINCE", "CLASS", "SUBNET"]
    assert lines[1].split()[:3] == ["10.32.0.1/12", "c1", "host1"]
    assert "2026-11-21 09:00:00Z" in lines[1]
    assert [line.index("host1") for line in lines[1:]] == [lines[0].index("HOST")] * 2


def test_an_incomplete_list_says_whose_leases_are_missing(run: Run, book: Book) -> None:
    done = run("list", "--cluster", "--json")

    assert done.status == 0
    assert json.loads(done.out) == {"leases": []}
    assert done.err == "ringipam: incomplete: no answer from host9\n"


@pytest.mark.parametrize("view", ["status", "ring", "peers", "conflicts"])
def test_views_as_json_are_what_the_daemon_says(run: Run, book: Book, view: str) -> None:
    keys = {
        "status": {
            *("peer", "universe", "subnet", "cluster", "state", "reason", "serving", "leases", "owned", "free"),
            *("peers", "pending", "warnings"),
        },
        "ring": {"universe", "cluster", "tokens"},
        "peers": {"peers"},
        "conflicts": {"conflicts"},
    }

    done = run(view, "--json")

    assert done.status == 0
    assert json.loads(done.out).keys() == keys[view]


def test_status_is_a_short_summary(run: Run, book: Book) -> None:
    out = run("status").out

    assert "host1 (uid 3f9a)" in out
    assert "524,288 addresses owned here" in out
    assert "2 alive, 0 suspect, 1 dead" in out
    assert "c7 in 10.32.4.0/24, for host2" in out
    assert "warning  the clock went backwards" in out
    assert "next" not in out


@pytest.mark.parametrize("state", ["idle", "electing", "refusing", "fenced"])
def test_status_says_why_the_node_does_not_issue_and_what_to_do_next(run: Run, book: Book, state: str) -> None:
    book.state = state

    out = run("status").out

    assert f"{state}: waits for host2" in out
    assert "\nnext " in out


def test_ring_peers_and_conflicts_are_tables(run: Run, book: Book) -> None:
    assert "10.32.0.0  10.47.255.255  1,048,576  host1.3f9a" in run("ring").out
    assert "host2  77c1  192.0.2.2:6783  alive" in run("peers").out
    assert "3 s ago" in run("peers").out
    conflicts = run("conflicts").out
    assert "host1.3f9a, host2.77c1" in conflicts
    assert conflicts.endswith("move one of the two\n")


@pytest.mark.parametrize("view", [Show.RING, Show.PEERS, Show.CONFLICTS])
def test_a_view_may_be_of_the_ipv6_range(run: Run, book: Book, view: Show) -> None:
    assert run(view.value, "--ipv6").status == 0
    assert json.loads(run(view.value, "--ipv6", "--json").out)["family"] == 6
    assert run(view.value).status == 0

    assert book.asked == [View(view, 6), View(view, 6), view]


def test_status_of_two_ranges_shows_both(run: Run, book: Book) -> None:
    book.two_ranges = True

    lines = run("status").out.splitlines()

    assert [line.split()[0] for line in lines if line] == [
        *("peer", "state", "range", "cluster", "space", "leases", "peers", "waiting"),
        *("IPv6", "range", "cluster", "space", "leases", "peers", "waiting"),
        "warning",
    ]
    assert "IPv6     host1 (uid 3f9a), ready" in lines


def test_prime_connect_and_forget_are_quiet(run: Run, book: Book) -> None:
    for command in (["prime", "--timeout", "2"], ["connect", "host2:6783"], ["forget", "host2"]):
        done = run(*command)
        assert (done.status, done.out, done.err) == (0, "", ""), command


@pytest.mark.parametrize(
    "error", [NoSpaceError("no free address:\nhost2 owns 128"), StoreError("no free address: host2 owns 128")]
)
def test_a_refusal_is_one_line_on_stderr_and_exit_status_1(run: Run, book: Book, error: Exception) -> None:
    book.refusal = error

    done = run("allocate", "c1")

    assert (done.status, done.out, done.err) == (1, "", "ringipam: no free address: host2 owns 128\n")


def test_no_daemon_is_one_line_on_stderr_and_exit_status_3(run: Run, tmp_path: Path) -> None:
    done = run("lookup", "c1", "--socket", str(tmp_path / "nobody"))

    assert (done.status, done.out) == (3, "")
    assert done.err.startswith(f"ringipam: no daemon answers at {tmp_path}/nobody")
    assert done.err.count("\n") == 1


def test_the_option_comes_before_the_environment(run: Run, book: Book, tmp_path: Path) -> None:
    assert run("list", "--socket", str(tmp_path / "nobody")).status == 3
    assert run("list").status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["allocate"],
        ["allocate", "two words"],
        ["allocate", "c1", "--subnet", "10.32.0.1/24"],
        ["allocate", "c1", "--timeout", "0"],
        ["allocate", "c1", "--timeout", "nan"],
        ["allocate", "c1", "--frobnicate"],
        ["claim", "c1"],
        ["claim", "c1", "10.32.0.9"],
        ["release", "c1", "there"],
        ["leave"],
        ["remove-peer", "host2"],
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_status_2(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("ringipam: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["allocate", "--help"], ["launch", "--help"], ["--version"]])
def test_help_and_version_are_shown(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)

    assert done.status == 0
    assert "ringipam" in done.out


def test_a_reader_that_has_seen_enough_is_no_error(book: Book) -> None:
    for number in range(2000):
        book._put(f"c{number}", 4, 0x0A200001 + number, 12, "10.32.0.0/12", "container", {})
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run([sys.executable, "-m", "ringipam", "list"], stdout=write, stderr=subprocess.PIPE, check=False)

    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_command_imports_nothing_that_only_the_daemon_needs(book: Book) -> None:
    heavy = {"trio", "cryptography", "prometheus_client", "msgpack", "sortedcontainers", "asyncio", "logging"}
    program = f"import sys; from ringipam.cli import main; print(main(['lookup', 'c9']), *{heavy} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1"]


def test_reconcile_releases_the_leases_of_those_whom_the_list_does_not_name(
    run: Run, book: Book, tmp_path: Path
) -> None:
    for holder in ("c1", "c2", "c3"):
        run("allocate", holder)
    (tmp_path / "ids").write_text("# docker ps -aq --no-trunc\n\n  c1  \nc7\n")

    planned = run("reconcile", "--live-ids", str(tmp_path / "ids"), "--dry-run")
    kept = run("reconcile", "--live-ids", str(tmp_path / "ids"), "--label", "runtime=a")
    young = run("reconcile", "--live-ids", str(tmp_path / "ids"), "--older-than", "3600", "--json")
    done = run("reconcile", "--live-ids", str(tmp_path / "ids"))

    assert planned.out == "would release 10.32.0.2/12 of c2\nwould release 10.32.0.3/12 of c3\n"
    assert (kept.status, kept.out) == (0, "")
    assert json.loads(young.out) == {"leases": []}
    assert done.out == planned.out.replace("would release", "released")
    assert [lease.id for lease in book.leases.values()] == ["c1"]


def test_reconcile_reads_standard_input(run: Run, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    run("allocate", "c1")
    run("allocate", "c2")
    monkeypatch.setattr("sys.stdin", StringIO("c2\n"))

    released = json.loads(run("reconcile", "--live-ids", "-", "--json").out)["leases"]

    assert [lease["id"] for lease in released] == ["c1"]


def test_an_empty_list_releases_everything_only_if_that_is_meant(
    run: Run, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("allocate", "c1")

    monkeypatch.setattr("sys.stdin", StringIO("# nobody\n"))
    refused = run("reconcile", "--live-ids", "-")
    left = len(book.leases)
    looked = run("reconcile", "--live-ids", os.devnull, "--dry-run")
    meant = run("reconcile", "--live-ids", os.devnull, "--yes")

    assert (refused.status, refused.out, left) == (2, "", 1)
    assert "the list has no id at all" in refused.err
    assert looked.out == "would release 10.32.0.1/12 of c1\n"
    assert meant.out == "released 10.32.0.1/12 of c1\n"


@pytest.mark.parametrize("content", [b"c1\nCONTAINER ID   IMAGE\n", b"c1\n" + b"x" * 257, b"\xff\xfe", b"c\x001"])
def test_a_list_that_is_no_list_of_ids_is_refused_and_changes_nothing(
    run: Run, book: Book, tmp_path: Path, content: bytes
) -> None:
    run("allocate", "c9")
    (tmp_path / "ids").write_bytes(content)

    done = run("reconcile", "--live-ids", str(tmp_path / "ids"), "--yes")

    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert book.leases


@pytest.mark.parametrize(
    "arguments",
    [
        ["reconcile"],
        ["reconcile", "--live-ids", "-", "--older-than", "-1"],
        ["reconcile", "--live-ids", "-", "--older-than", "nan"],
        ["reconcile", "--live-ids", "-", "--older-than", "a while"],
        ["reconcile", "--live-ids", "-", "--label", "runtime"],
    ],
)
def test_wrong_usage_of_reconcile_is_one_line_and_changes_nothing(run: Run, book: Book, arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert not book.asked


def test_a_list_that_cannot_be_read_is_named(run: Run, book: Book, tmp_path: Path) -> None:
    done = run("reconcile", "--live-ids", str(tmp_path / "none"))

    assert (done.status, done.err) == (
        1,
        f"ringipam: cannot read the ids in {tmp_path}/none: No such file or directory\n",
    )
