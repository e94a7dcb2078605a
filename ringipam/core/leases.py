"""The leases of this host, found by their own number, by holder and by address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from ipaddress import IPv4Address
from itertools import islice

from sortedcontainers import SortedDict

from ringipam.address import Range
from ringipam.lease import BLOCK, Lease
from ringipam.ring.intervals import Intervals

IPV6 = 1 << 128
"""Added to what an address of IPv6 is found by: leases outside the universe may be of the other family."""


def _key(lease: Lease) -> int:
    """For IPv4 the very number that the address holds, so that it takes no memory."""
    address = lease.address
    return int(address) if type(address) is IPv4Address else int(address) + IPV6


class LeaseBook:
    """An index; what may be leased is not decided here."""

    def __init__(self, leases: Iterable[Lease] = ()) -> None:
        found = list(leases)
        # A start waits for this: each index is made as a whole, which takes half as long as lease by lease.
        self.by_number: MutableMapping[str, Lease] = SortedDict({lease.lease: lease for lease in found})
        self._by_id: dict[str, tuple[Lease, ...]] = {}
        """Oldest first; nearly always one, for which a tuple takes the least memory."""
        self._by_address: dict[int, Lease] = {_key(lease): lease for lease in found}
        self._blocks = SortedDict()
        """Start of each leased block → (its range, its lease)."""
        self._blocked = Intervals()
        """What lies in any of them: blocks are mostly side by side, so these are few."""
        assert len(self._by_address) == len(found), "no address is leased twice"
        for lease in found:
            self._by_id[lease.id] = (*self._by_id[lease.id], lease) if lease.id in self._by_id else (lease,)
            if lease.class_ == BLOCK:
                self._index_block(lease)

    def __len__(self) -> int:
        return len(self.by_number)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self.by_number.values())

    def add(self, lease: Lease) -> None:
        self._index(lease)
        self.by_number[lease.lease] = lease

    def _index(self, lease: Lease) -> None:
        key = _key(lease)
        assert key not in self._by_address, f"{lease.address} is leased already"
        self._by_id[lease.id] = (*self._by_id.get(lease.id, ()), lease)
        self._by_address[key] = lease
        if lease.class_ == BLOCK:
            self._index_block(lease)

    def _index_block(self, lease: Lease) -> None:
        block = block_of(lease)
        self._blocks[block.start] = block, lease
        self._blocked.add(*block)

    def replace(self, lease: Lease) -> None:
        """`lease` in the place of the one that has its number, address, id and class."""
        self.by_number[lease.lease] = self._by_address[_key(lease)] = lease
        self._by_id[lease.id] = tuple(lease if of.lease == lease.lease else of for of in self._by_id[lease.id])

    def remove(self, lease: Lease) -> None:
        del self.by_number[lease.lease]
        del self._by_address[_key(lease)]
        left = tuple(other for other in self._by_id[lease.id] if other.lease != lease.lease)
        if left:
            self._by_id[lease.id] = left
        else:
            del self._by_id[lease.id]
        if lease.class_ == BLOCK:
            del self._blocks[int(lease.address)]
            self._blocked.discard(*block_of(lease))

    def of(self, holder: str) -> list[Lease]:
        """The leases of one id, oldest first."""
        return list(self._by_id.get(holder, ()))

    def page(self, after: str, size: int) -> list[Lease]:
        """Up to `size` leases in the order of their numbers, from behind `after` on; O(size + log n)."""
        numbers = self.by_number.irange(after, None, inclusive=(False, True))  # type: ignore[attr-defined]
        return [self.by_number[number] for number in islice(numbers, size)]

    def addresses(self, family: int) -> Iterable[int]:
        """What is leased of a family, in no order."""
        if family == 4:
            return (key for key in self._by_address if key < IPV6)
        return (key - IPV6 for key in self._by_address if key >= IPV6)

    def at(self, family: int, address: int) -> Lease | None:
        return self._by_address.get(address if family == 4 else address + IPV6)

    # ── blocks ───────────────────────────────────────────────────────────────────────────────────

    def blocks_within(self, lo: int, hi: int) -> list[tuple[Range, Lease]]:
        """The leased blocks that overlap `[lo, hi)`, whole and in order; O(log n + blocks found)."""
        if not self._blocks:
            return []
        first = max(0, self._blocks.bisect_right(lo) - 1)
        starts = self._blocks.irange(minimum=self._blocks.keys()[first], maximum=hi - 1)
        return [(block, lease) for block, lease in map(self._blocks.__getitem__, starts) if block.end > lo]

    def blocked(self, lo: int, hi: int) -> list[Range]:
        """What of `[lo, hi)` lies in leased blocks, those side by side as one; O(log n + ranges found)."""
        return list(self._blocked.within(lo, hi))

    def barred(self, subnet: Range) -> list[Range]:
        """What of a subnet lies in the blocks of others: who asks for an address of it gets none of theirs.

        A block belongs to those who name it, or a subnet inside it.
        """
        over = self.block_over(subnet.start)
        return [] if over is not None and block_of(over).covers(subnet) else self.blocked(*subnet)

    def block_over(self, address: int) -> Lease | None:
        """The lease of the block that an address lies in."""
        return next((lease for _, lease in self.blocks_within(address, address + 1)), None)


def block_of(lease: Lease) -> Range:
    """What a lease of class `block` holds."""
    start = int(lease.address)
    return Range(start, start + lease.subnet.num_addresses)
