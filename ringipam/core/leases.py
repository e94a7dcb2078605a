"""The leases of this host, found by their own number, by holder and by address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from itertools import islice

from sortedcontainers import SortedDict

from ringipam.lease import Lease

Key = tuple[int, int]
"""(family, address): leases outside the universe may be of the other family."""


def key_of(lease: Lease) -> Key:
    return lease.address.version, int(lease.address)


class LeaseBook:
    """An index; what may be leased is not decided here."""

    def __init__(self, leases: Iterable[Lease] = ()) -> None:
        self.by_number: MutableMapping[str, Lease] = SortedDict()
        self._by_id: dict[str, dict[str, Lease]] = {}
        self._by_address: dict[Key, Lease] = {}
        for lease in leases:
            self.add(lease)

    def __len__(self) -> int:
        return len(self.by_number)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self.by_number.values())

    def add(self, lease: Lease) -> None:
        assert key_of(lease) not in self._by_address, f"{lease.address} is leased already"
        self.by_number[lease.lease] = lease
        self._by_id.setdefault(lease.id, {})[lease.lease] = lease
        self._by_address[key_of(lease)] = lease

    def remove(self, lease: Lease) -> None:
        del self.by_number[lease.lease]
        del self._by_address[key_of(lease)]
        of_id = self._by_id[lease.id]
        del of_id[lease.lease]
        if not of_id:
            del self._by_id[lease.id]

    def of(self, holder: str) -> list[Lease]:
        """The leases of one id, oldest first."""
        return list(self._by_id.get(holder, {}).values())

    def page(self, after: str, size: int) -> list[Lease]:
        """Up to `size` leases in the order of their numbers, from behind `after` on; O(size + log n)."""
        numbers = self.by_number.irange(after, None, inclusive=(False, True))  # type: ignore[attr-defined]
        return [self.by_number[number] for number in islice(numbers, size)]

    def at(self, family: int, address: int) -> Lease | None:
        return self._by_address.get((family, address))
