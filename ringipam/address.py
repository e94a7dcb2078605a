"""Addresses as plain integers: ranges, subnets and the universe. Knows nothing of owners or leases.

An address is an `int` everywhere inside ringipam, so that IPv4 and IPv6 run through the same code;
text appears only at the surfaces. Ranges are half-open, `[start, end)`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NamedTuple

from ringipam.errors import RequestError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SUBNET_SIZE_MIN = 4
"""The smallest subnet, a /30 or a /126: two addresses to issue between the two that never are."""


class Range(NamedTuple):
    """The addresses `start`, …, `end - 1`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.start <= address < self.end

    def intersect(self, other: Range) -> Range | None:
        """The part both have, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Range(start, end) if start < end else None

    def covers(self, other: Range) -> bool:
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, slots=True)
class Cidr:
    """A block of addresses of one family, `10.32.0.0/12` or `fd00:10::/64`; the universe is one."""

    family: int
    """4 or 6."""
    start: int
    prefix_len: int

    @property
    def bits(self) -> int:
        return 32 if self.family == 4 else 128

    @property
    def size(self) -> int:
        return 1 << (self.bits - self.prefix_len)

    @property
    def range(self) -> Range:
        return Range(self.start, self.start + self.size)

    @property
    def issuable(self) -> Range:
        """What may be allocated in this subnet: never its network or broadcast address.

        IPv6 has no broadcast; its first address is the subnet-router anycast address (RFC 4291, 2.6.1).
        """
        return Range(self.start + 1, self.start + self.size - (1 if self.family == 4 else 0))

    def text(self, address: int) -> str:
        """`address` written in this family."""
        return str(to_address(self.family, address))

    def __str__(self) -> str:
        return f"{self.text(self.start)}/{self.prefix_len}"


def to_address(family: int, address: int) -> Address:
    """The standard library's object for `address`; raises ValueError outside the family."""
    return ipaddress.IPv4Address(address) if family == 4 else ipaddress.IPv6Address(address)


def parse_address(text: str) -> tuple[int, int]:
    """`(family, address)` of a bare address; raises RequestError."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        raise RequestError(f"not an IP address: {text!r}") from None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        raise RequestError(f"an address with a scope cannot be managed: {text!r}")
    return parsed.version, int(parsed)


def parse_cidr(text: str) -> Cidr:
    """`ADDRESS/LEN` whose bits after the prefix are all zero; raises RequestError."""
    family, address, prefix_len = parse_interface(text)
    cidr = Cidr(family, address, prefix_len)
    if address % cidr.size:
        meant = Cidr(family, address - address % cidr.size, prefix_len)
        raise RequestError(f"bits after the network prefix are not all zero: {text!r} (did you mean {meant}?)")
    return cidr


def parse_span(first: str, last: str | None) -> tuple[int, Range]:
    """The family, and the addresses from `first` to `last`, both in it; a CIDR or one address if `last` is None.

    Raises RequestError.
    """
    if last is None and "/" in first:
        cidr = parse_cidr(first)
        return cidr.family, cidr.range
    family, start = parse_address(first)
    last_family, end = parse_address(first if last is None else last)
    if family != last_family or end < start:
        raise RequestError(f"not a range of addresses: {first} to {last}")
    return family, Range(start, end + 1)


def parse_subnet(text: str) -> Cidr:
    """A CIDR with room for addresses in it; raises RequestError."""
    cidr = parse_cidr(text)
    if cidr.size < SUBNET_SIZE_MIN:
        raise RequestError(f"subnet smaller than the minimum of {SUBNET_SIZE_MIN} addresses: {text!r}")
    return cidr


def parse_interface(text: str) -> tuple[int, int, int]:
    """`(family, address, prefix_len)` of `ADDRESS/LEN`; raises RequestError."""
    host, slash, length = text.partition("/")
    family, address = parse_address(host)
    written = slash and length.isascii() and length.isdecimal() and len(length) <= 3  # int() raises on thousands
    if not written or int(length) > (32 if family == 4 else 128):
        raise RequestError(f"not of the form ADDRESS/LEN: {text!r}")
    return family, address, int(length)


def enclosing(family: int, address: int, prefix_len: int) -> Cidr:
    """The CIDR of `prefix_len` bits that `address` lies in."""
    size = 1 << ((32 if family == 4 else 128) - prefix_len)
    return Cidr(family, address - address % size, prefix_len)
