"""Reconciling: what a list of those who are there says about those it does not name, and what it does not say."""

from __future__ import annotations

from collections.abc import Mapping

from solo import Solo

from ringipam.address import parse_cidr
from ringipam.core.events import Allocate, AllocateBlock, ClaimAddress, LeaseList, Leases, Reconcile
from ringipam.lease import Lease

CONTAINER = "4f" * 32


def allocated(solo: Solo, holder: str, **labels: str) -> None:
    solo.answer(Allocate(holder, None, 5_000, labels={key.replace("_", "."): text for key, text in labels.items()}))


def reconciled(
    solo: Solo, *live: str, older_than_s: int = 60, labels: Mapping[str, str] | None = None, dry_run: bool = False
) -> list[str]:
    answer = solo.answer(Reconcile(frozenset(live), older_than_s * 1000, labels or {}, dry_run))
    assert isinstance(answer, LeaseList)
    return [lease.id for lease in answer.leases]


def held(solo: Solo) -> list[str]:
    answer = solo.answer(Leases())
    assert isinstance(answer, LeaseList)
    return sorted(lease.id for lease in answer.leases)


def test_a_holder_that_is_not_in_the_list_loses_all_its_leases_durably() -> None:
    solo = Solo()
    for holder in ("here", "gone"):
        solo.allocate(holder)
        solo.allocate(holder, "10.0.0.0/28")
    solo.wait(60_000)

    assert reconciled(solo, "here") == ["gone", "gone"]

    solo.restart()
    assert held(solo) == ["here", "here"]


def test_a_lease_that_is_younger_than_the_list_may_be_stays() -> None:
    solo = Solo()
    solo.allocate("old")
    solo.wait(59_000)
    solo.allocate("new")
    solo.wait(1_000)

    assert reconciled(solo) == ["old"]
    assert held(solo) == ["new"]

    assert reconciled(solo, older_than_s=0) == ["new"]


def test_claimed_addresses_blocks_and_leases_of_integrations_stay() -> None:
    solo = Solo()
    solo.answer(ClaimAddress("claimed", 4, parse_cidr("10.0.0.9/32").start, 24, 5_000))
    solo.answer(AllocateBlock("block", 28, None, 5_000))
    allocated(solo, "cni", ringipam_via="cni")
    solo.allocate("plain")
    solo.wait(60_000)

    assert reconciled(solo) == ["plain"]
    assert held(solo) == ["block", "claimed", "cni"]


def test_with_labels_only_leases_that_carry_them_all_are_looked_at() -> None:
    solo = Solo()
    allocated(solo, "mine", runtime="a", pool="x")
    allocated(solo, "partly", runtime="a")
    allocated(solo, "other", runtime="b", pool="x")
    solo.wait(60_000)

    assert reconciled(solo, labels={"runtime": "a", "pool": "x"}) == ["mine"]


def test_the_short_id_of_a_container_in_the_list_stands_for_the_container() -> None:
    solo = Solo()
    solo.allocate(CONTAINER)
    solo.allocate("web-frontend-2")
    solo.wait(60_000)

    assert reconciled(solo, CONTAINER[:12], "web-frontend") == ["web-frontend-2"]


def test_a_dry_run_says_the_same_and_releases_nothing() -> None:
    solo = Solo()
    solo.allocate("gone")
    solo.wait(60_000)

    assert reconciled(solo, dry_run=True) == ["gone"]
    assert held(solo) == ["gone"]


def test_a_released_address_rests_like_any_other() -> None:
    solo = Solo("10.0.0.0/29")
    gone: Lease = solo.allocate("gone")
    solo.wait(60_000)

    reconciled(solo)

    assert solo.allocate("next").address != gone.address


def test_when_nobody_is_gone_nothing_is_written() -> None:
    solo = Solo()
    solo.allocate("here")
    solo.wait(60_000)

    assert reconciled(solo, "here", "and another") == []
    assert [type(effect).__name__ for effect in solo.effects] == ["Reply"]
