"""The index of this host's leases says the same, whether it was made of them at a start or lease by lease."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from random import Random

import pytest

from ringipam.core.leases import LeaseBook
from ringipam.lease import BLOCK, Lease

FAMILIES = {4: "10.0.0.0/16", 6: "fd00::/112"}
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def lease(number: int, holder: str, address: str, class_: str = "container") -> Lease:
    version = ip_address(address).version
    subnet = ip_network(f"{address}/{28 if version == 4 else 124}" if class_ == BLOCK else FAMILIES[version])
    return Lease(f"{number:04}", holder, ip_address(address), subnet.prefixlen, subnet, class_, "h1", SINCE)


def many() -> list[Lease]:
    """Of both families, in any order; some holders have several, some hold whole blocks."""
    random = Random(1)
    found = [
        lease(number, f"c{number % 150}", str(ip_network(FAMILIES[random.choice((4, 6))])[16 * number]), class_)
        for number in range(300)
        for class_ in [BLOCK if number % 10 == 0 else "container"]
    ]
    return random.sample(found, len(found))


def test_a_book_of_many_leases_says_what_one_says_to_which_they_were_added() -> None:
    leases = many()
    whole, added = LeaseBook(leases), LeaseBook()

    for each in leases:
        added.add(each)

    assert list(whole) == list(added) == sorted(leases, key=lambda each: each.lease)
    assert whole.page("0100", 20) == added.page("0100", 20)
    for each in leases:
        assert whole.of(each.id) == added.of(each.id)
        assert whole.at(each.address.version, int(each.address)) == each
    everywhere = (0, 1 << 129)
    assert whole.blocks_within(*everywhere) == added.blocks_within(*everywhere)
    assert len(whole.blocks_within(*everywhere)) == 30


@pytest.mark.parametrize("family", [4, 6])
def test_a_book_tells_the_addresses_of_each_family(family: int) -> None:
    leases = many()

    addresses = LeaseBook(leases).addresses(family)

    assert sorted(addresses) == sorted(int(each.address) for each in leases if each.address.version == family)


def test_no_address_is_leased_twice_in_a_book() -> None:
    with pytest.raises(AssertionError, match="twice"):
        LeaseBook([lease(1, "c1", "10.0.0.1"), lease(2, "c2", "10.0.0.1")])
