"""Routes of the host that lie across the universe."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringipam.config import Config
from ringipam.runtime import hostroutes

V4 = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000A200A	00000000	0001	0	0	0	00FFFFFF	0	0	0
cni0	0000200A	00000000	0001	0	0	0	0000F0FF	0	0	0
veth1	0500210A	00000000	0005	0	0	0	FFFFFFFF	0	0	0
eth1	0000A8C0	00000000	0001	0	0	0	0000FFFF	0	0	0
odd line
"""
V6 = """\
fd000010000000000000000000000000 20 00000000000000000000000000000000 00 \
00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
"""


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("V4_TABLE", V4), ("V6_TABLE", V6)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(hostroutes, name, tmp_path / name)


def test_a_route_inside_the_universe_is_named_with_its_device() -> None:
    (warning,) = hostroutes.overlaps(Config("10.32.0.0/12"))

    assert "10.32.10.0/24 (device eth0)" in warning
    assert "--exclude" in warning


def test_an_excluded_route_is_no_news() -> None:
    assert hostroutes.overlaps(Config("10.32.0.0/12", exclude=("10.32.10.0/24",))) == []


def test_a_route_around_the_universe_overlaps_too() -> None:
    (warning,) = hostroutes.overlaps(Config("192.168.7.0/24"))

    assert "192.168.0.0/16 (device eth1)" in warning


def test_ipv6_routes_are_read_too() -> None:
    (warning,) = hostroutes.overlaps(Config("fd00:10::/48"))

    assert "fd00:10::/32 (device eth0)" in warning


def test_a_host_that_does_not_tell_its_routes_gives_no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostroutes, "V4_TABLE", Path("/nowhere"))

    assert hostroutes.overlaps(Config("10.32.0.0/12")) == []
