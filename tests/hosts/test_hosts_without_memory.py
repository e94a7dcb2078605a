"""Disks that went back, were copied, or are gone: each is noticed on first contact (S12, S13, S23)."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from lab import Host, Lab, assert_no_address_twice, fill, leases_of, rings_equal, until

pytestmark = pytest.mark.root

SMALL = "10.32.0.0/26"


def two(make_lab: Callable[..., Lab], hosts: int = 2) -> Lab:
    """h1 and h2 with a lease each; any further host is not launched."""
    lab = make_lab(hosts, SMALL)
    for host in lab.hosts[:2]:
        host.launch(
            "--init", "consensus=2", *(other.endpoint for other in lab.hosts[:2] if other is not host), wait=False
        )
    for host in lab.hosts[:2]:
        until(f"{host.name} answers: {host.log}", host.answers)
        host.cli("allocate", f"{host.name}-c")
    until("they see each other", lambda: all(host.alive() == 1 for host in lab.hosts[:2]))
    return lab


def rows(host: Host, query: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{host.data}/ringipam.db?mode=ro", uri=True)) as db:
        return db.execute(query, values).fetchall()


def known_of(witness: Host, host: str) -> int:
    """How far the history of `host` had come, as `witness` has it on its disk."""
    found = rows(witness, "SELECT number FROM points WHERE peer = ?", host)
    return int(str(found[0][0])) if found else 0


def rolled_back(lab: Lab) -> set[str]:
    """h1 is stopped, on an older copy of its disk; two leases were made since. The ring is the same.

    Their addresses, one of which was held when the copy was made.
    """
    h1, h2 = lab.hosts[:2]
    peer, copy = h1.peer, h1.directory / "copy"
    h1.stop()
    shutil.copytree(h1.data, copy)
    h1.launch(h2.endpoint)
    ring, before = h1.view("ring"), known_of(h2, peer)
    for number in range(2):
        h1.cli("allocate", f"lost-{number}")
    until("h2 has heard that h1 went on, and has it on its disk", lambda: known_of(h2, peer) > before)
    assert h1.view("ring") == ring
    held = {lease["address"] for lease in leases_of(h1)}
    h1.stop()
    shutil.rmtree(h1.data)
    copy.rename(h1.data)
    return held


def test_a_disk_that_went_back_by_leases_alone_is_noticed_on_first_contact(make_lab: Callable[..., Lab]) -> None:
    lab = two(make_lab)
    h1, h2 = lab.hosts
    held = rolled_back(lab)

    h1.launch(h2.endpoint)

    until("it has fenced itself", lambda: h1.state() == "fenced")
    assert "went back to an earlier state" in h1.view("status")["reason"]
    status, why = h1.fails("allocate", "new")
    assert status == 1
    assert "this host issues nothing" in why
    assert [lease["id"] for lease in leases_of(h1)] == ["h1-c"]
    fill(h2)
    assert not held & {lease["address"] for lease in leases_of(h2)}, "what was forgotten is issued to nobody"

    former, kept = h1.peer, leases_of(h1)
    h1.cli("rejoin", "--yes")
    h2.cli("remove-peer", former, "--yes")
    until("its lease is at home", lambda: not h1.in_doubt() and not h2.in_doubt())
    assert leases_of(h1) == kept
    assert h1.cli("allocate", "h1-after", "--timeout", "10").strip()


def test_with_verify_nothing_is_issued_before_somebody_has_confirmed_the_disk(make_lab: Callable[..., Lab]) -> None:
    lab = two(make_lab)
    h1, h2 = lab.hosts
    h1.stop()
    h1.cut()
    h1.launch("--on-restart", "verify", h2.endpoint)

    status, why = h1.fails("allocate", "early", "--timeout", "2")
    assert status == 1
    assert "waiting for one peer to confirm that this host's data is current" in why
    h1.mend()
    assert h1.cli("allocate", "confirmed", "--timeout", "10").strip()

    rolled_back(lab)
    h1.cut()
    h1.launch("--on-restart", "verify", h2.endpoint)

    status, _ = h1.fails("allocate", "new", "--timeout", "2")
    assert status == 1
    h1.mend()
    until("it has fenced itself", lambda: h1.state() == "fenced")
    assert {lease["id"] for lease in leases_of(h1)} == {"h1-c", "confirmed"}


@pytest.mark.parametrize("first", ["h1", "its copy"])
def test_of_two_hosts_on_copies_of_one_disk_at_least_one_issues_nothing_after_the_contact(
    make_lab: Callable[..., Lab], first: str
) -> None:
    lab = two(make_lab, 3)
    h1, h2, twin = lab.hosts
    h1.stop()
    shutil.copytree(h1.data, twin.data)
    for host in (h1, twin):
        host.cut()
        host.launch("--name", "h1", h2.endpoint)
    assert h1.peer == twin.peer
    one, other = (h1, twin) if first == "h1" else (twin, h1)

    one.mend()
    until("h2 sees it", lambda: one.alive() == 1)
    other.mend()
    until("one of them has fenced itself", lambda: "fenced" in (h1.state(), twin.state()))

    issuing = [host for host in (h1, twin) if host.state() == "ready"]
    assert len(issuing) <= 1
    for host in (h1, h2, twin):
        status, _ = host.http("POST", "/v1/leases", '{"id": "new", "timeout_s": 5}')
        assert (status == 201) == (host is h2 or host in issuing)
    twins = {lease["address"] for lease in leases_of(h1)} & {lease["address"] for lease in leases_of(twin)}
    assert len(twins) == 1, "only what both held from the beginning"


def test_a_host_that_lost_its_disk_is_a_new_peer_and_its_old_self_can_be_removed(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    h1, h2 = lab.hosts
    lab.launch_all("--init", "consensus=2")
    for host in lab.hosts:
        host.cli("allocate", f"{host.name}-c")
    lost = h2.peer
    h2.stop()
    shutil.rmtree(h2.data)
    h2.launch(h1.endpoint)
    assert h2.peer != lost

    advice = f"`ringipam remove-peer {lost}` frees its ranges"
    until("h1 proposes the removal", lambda: any(advice in said for said in h1.view("status")["warnings"]), 30)
    assert h1.owned(lost) > 0
    h1.cli("remove-peer", lost, "--yes")

    until("the rings are equal", lambda: rings_equal(lab.hosts), 10)
    assert h1.owned(lost) == 0
    assert h1.view("status")["warnings"] == []
    assert h2.state() == "ready", "its new self is not meant"
    assert h2.cli("allocate", "h2-again", "--timeout", "10").strip()
    assert assert_no_address_twice(lab.hosts) == 2
