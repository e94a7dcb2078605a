"""A lease is one and the same thing, however it was made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest

from ringipam.lease import Lease, made

VALUES = (
    *("l1", "c1", ip_address("10.0.0.1"), 24, ip_network("10.0.0.0/24")),
    *("container", "h1", datetime(2026, 1, 1, tzinfo=UTC), {"a": "b"}),
)


def test_a_lease_made_quickly_is_as_any_other() -> None:
    quick, plain = made(*VALUES), Lease(*VALUES)

    assert type(quick) is Lease
    assert quick == plain
    assert hash(quick) == hash(plain)
    assert repr(quick) == repr(plain)
    assert [getattr(quick, each.name) for each in fields(Lease)] == list(VALUES)


def test_a_lease_made_quickly_cannot_be_changed() -> None:
    quick = made(*VALUES)

    with pytest.raises(FrozenInstanceError):
        quick.host = "h2"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del quick.host
