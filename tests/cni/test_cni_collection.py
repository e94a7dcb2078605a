"""GC releases what the runtime does not list, of this network, and nothing where nobody said what is valid."""

from __future__ import annotations

from typing import Any

import pytest
from calling import Host, conf


def attachment(container: str, interface: str = "eth0") -> dict[str, str]:
    return {"containerID": container, "ifname": interface}


async def collect(cni: Host, **more: Any) -> None:
    said = await cni("GC", conf("1.1.0", **more), container="", netns="", interface="")
    assert (said.status, said.text) == (200, "")


async def holders(cni: Host) -> list[tuple[str, str, str]]:
    found = [
        (lease.id, lease.labels["ringipam.interface"], lease.labels["ringipam.network"]) for lease in await cni.leases()
    ]
    return sorted(found)


@pytest.fixture
async def used(cni: Host) -> Host:
    """Two containers on two interfaces, one in another network as well."""
    for container in ("c1", "c2"):
        for interface in ("eth0", "eth1"):
            await cni("ADD", container=container, interface=interface)
    await cni("ADD", conf(name="other"), container="c2")
    return cni


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
async def test_gc_keeps_what_is_listed_and_other_networks(used: Host, key: str) -> None:
    await collect(used, **{key: [attachment("c1", "eth1"), attachment("unknown")]})

    assert await holders(used) == [("c1", "eth1", "net"), ("c2", "eth0", "other")]


async def test_both_keys_count_together(used: Host) -> None:
    listed = {"cni.dev/valid-attachments": [attachment("c1")], "cni.dev/attachments": [attachment("c2")]}

    await collect(used, **listed)

    assert await holders(used) == [("c1", "eth0", "net"), ("c2", "eth0", "net"), ("c2", "eth0", "other")]


async def test_an_empty_list_means_that_nothing_is_valid(used: Host) -> None:
    await collect(used, **{"cni.dev/valid-attachments": []})

    assert await holders(used) == [("c2", "eth0", "other")]


@pytest.mark.parametrize("more", [{}, {"cni.dev/valid-attachments": None}])
async def test_without_a_list_nothing_is_released(used: Host, more: dict[str, Any]) -> None:
    await collect(used, **more)

    assert len(await used.leases()) == 5


async def test_with_disablegc_nothing_is_released(used: Host) -> None:
    await collect(used, disableGC=True, **{"cni.dev/valid-attachments": []})

    assert len(await used.leases()) == 5


async def test_gc_leaves_alone_what_was_not_leased_through_cni(used: Host) -> None:
    lease = await used.node.allocate("by-hand", labels={"ringipam.network": "net"})

    await collect(used, **{"cni.dev/valid-attachments": []})

    assert lease in await used.leases()


@pytest.mark.parametrize(
    "more",
    [
        *({"cni.dev/valid-attachments": value} for value in ({}, "x", 7, True, [7], [None], [[]], [{}], ["c1"])),
        *({"cni.dev/valid-attachments": [{"containerID": value, "ifname": "eth0"}]} for value in (7, "", None, [])),
        *({"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": value}]} for value in (7, "", None, [])),
        *({"disableGC": value, "cni.dev/valid-attachments": []} for value in ("yes", 1, [], {})),
        {"cni.dev/valid-attachments": [], "cni.dev/attachments": 7},
    ],
)
async def test_a_list_that_is_not_all_clear_is_7_and_releases_nothing(used: Host, more: dict[str, Any]) -> None:
    said = await used("GC", conf("1.1.0", **more))

    assert said.number == 7
    assert len(await used.leases()) == 5
