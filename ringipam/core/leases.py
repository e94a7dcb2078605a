"""The leases of this host, found by their own number, by holder and by address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from itertools import islice

from sortedcontainers import SortedDict

from ringipam.address import Range
from ringipam.lease import BLOCK, Lease

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
        self._blocks = SortedDict()
        """Start of each leased block → (its range, its lease)."""
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
        if lease.class_ == BLOCK:
            block = block_of(lease)
            self._blocks[block.start] = block, lease

    def replace(self, lease: Lease) -> None:
        """`lease` in the place of the one that has its number, address, id and class."""
        self.by_number[lease.lease] = self._by_id[lease.id][lease.lease] = self._by_address[key_of(lease)] = lease

    def remove(self, lease: Lease) -> None:
        del self.by_number[lease.lease]
        del self._by_address[key_of(lease)]
        of_id = self._by_id[lease.id]
        del of_id[lease.lease]
        if not of_id:
            del self._by_id[lease.id]
        if lease.class_ == BLOCK:
            del self._blocks[int(lease.address)]

    def of(self, holder: str) -> list[Lease]:
        """The leases of one id, oldest first."""
        return list(self._by_id.get(holder, {}).values())

    def page(self, after: str, size: int) -> list[Lease]:
        """Up to `size` leases in the order of their numbers, from behind `after` on; O(size + log n)."""
        numbers = self.by_number.irange(after, None, inclusive=(False, True))  # type: ignore[attr-defined]
        return [self.by_number[number] for number in islice(numbers, size)]

    def at(self, family: int, address: int) -> Lease | None:
        return self._by_address.get((family, address))

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────

    def blocks_within(self, lo: int, hi: int) -> list[tuple[Range, Lease]]:
        """The leased blocks that overlap `[lo, hi)`, whole and in order; O(log n + blocks found)."""
        if not self._blocks:
            return []
        first = max(0, self._blocks.bisect_right(lo) - 1)
        found = (self._blocks[start] for start in islice(self._blocks.irange(maximum=hi - 1), first, None))
        return [(block, lease) for block, lease in found if block.end > lo]

    def barred(self, subnet: Range) -> list[Range]:
        """The blocks of others in a subnet: who asks for an address of it gets none of theirs.

        A block belongs to those who name it, or a subnet inside it.
        """
        found = [block for block, _ in self.blocks_within(*subnet)]
        return [] if found and found[0].covers(subnet) else found


def block_of(lease: Lease) -> Range:
    """What a lease of class `block` holds."""
    start = int(lease.address)
    return Range(start, start + lease.subnet.num_addresses)
