"""Pools: what a network of Docker takes its addresses from. A pool's id says all of it, so that nothing is remembered.

Docker keeps the id for as long as it knows the network, and hands it back after restarts of itself and of this daemon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringipam.address import Cidr, Range, parse_cidr, parse_subnet
from ringipam.errors import OutOfRangeError, RequestError
from ringipam.integrations.docker.messages import PoolRequest

LOCAL, GLOBAL = "local", "global"
SPACES = (LOCAL, GLOBAL)
"""Docker's word for where a pool may not be given twice. Here both are the one range that all hosts share."""
PREFIX_OPTIONS = {4: "ringipam.prefix-len", 6: "ringipam.prefix-len6"}
"""With `--ipam-opt`: how large the block is that a network without `--subnet` gets."""
PREFIX_LENS = {4: (24, 4), 6: (64, 8)}
"""By family: the size of such a block; and so many bits are left to count blocks where the range is small."""
PARTS_BITS = 5
"""Where Docker does not take a block, others are looked for in other parts of the range, so many bits of them."""
POOL_ID = re.compile(
    r"(?P<space>local|global):(?P<subnet>[0-9a-f.:]+/[0-9]{1,3})(,(?P<part>[0-9a-f.:]+/[0-9]{1,3}))?"
    r"(#(?P<block>[0-9a-z-]{1,64}):(?P<lease>[0-9A-Z]{1,32}))?"
)


@dataclass(frozen=True, slots=True)
class Pool:
    space: str
    subnet: Cidr
    part: Cidr | None = None
    """Addresses come out of this part unless they are named (`--ip-range`)."""
    block: tuple[str, str] | None = None
    """Holder and number of the lease of the whole subnet, if this daemon has chosen it."""

    def __str__(self) -> str:
        part = f",{self.part}" if self.part else ""
        return f"{self.space}:{self.subnet}{part}" + (f"#{self.block[0]}:{self.block[1]}" if self.block else "")

    @property
    def issuable(self) -> Range:
        """Not empty: `check_pool` sees to it."""
        whole = self.subnet.issuable
        return whole if self.part is None else self.part.range.intersect(whole) or Range(whole.start, whole.start)

    @property
    def gateway(self) -> int:
        """The gateway where the user names none: the first address, as people expect it."""
        return self.subnet.issuable.start

    @property
    def gateway_holder(self) -> str:
        """Under which id a gateway is claimed: the same on every host that has a network in this subnet."""
        return f"gateway:{self.subnet}"


def parse_pool_id(text: str) -> Pool:
    """The pool that an id stands for; raises RequestError."""
    match = POOL_ID.fullmatch(text)
    if match is None:
        raise RequestError(f"not a pool of ringipam: {text[:80]!r}")
    part = parse_cidr(match["part"]) if match["part"] else None
    block = (match["block"], match["lease"]) if match["block"] else None
    return _checked(Pool(match["space"], parse_subnet(match["subnet"]), part, block))


def named_pool(request: PoolRequest, ranges: Sequence[Cidr]) -> Pool:
    """The pool of `--subnet`; raises RequestError if there is none such in `ranges`."""
    pool = Pool(_space(request), parse_subnet(request.pool), parse_cidr(request.subpool) if request.subpool else None)
    subnet = pool.subnet
    if (subnet.family == 6) != request.v6:
        raise RequestError(f"{subnet} is no subnet of IPv{6 if request.v6 else 4}")
    if not any(subnet.family == whole.family and whole.range.covers(subnet.range) for whole in ranges):
        raise OutOfRangeError(f"the subnet {subnet} does not lie inside {' or '.join(map(str, ranges))}")
    for option in request.options:
        if option in PREFIX_OPTIONS.values():
            if option == PREFIX_OPTIONS[subnet.family]:
                raise RequestError(f"{option} is about networks without --subnet")
        else:
            raise _unknown(option)
    return _checked(pool)


def block_wanted(request: PoolRequest, ranges: Sequence[Cidr]) -> tuple[Cidr, int]:
    """Of which range, and how large, a block is that a network without `--subnet` gets; raises RequestError."""
    _space(request)
    if request.subpool:
        raise RequestError("--ip-range needs --subnet")
    family = 6 if request.v6 else 4
    whole = next((whole for whole in ranges if whole.family == family), None)
    if whole is None:
        raise RequestError(f"this host has no range of IPv{family}: its range is {' and '.join(map(str, ranges))}")
    for option in request.options:
        if option not in PREFIX_OPTIONS.values():
            raise _unknown(option)
    usual, bits = PREFIX_LENS[family]
    told = _prefix_len(request.options, family, whole)
    return whole, told or min(max(usual, whole.prefix_len + bits), whole.bits - 2)


def part_of(whole: Cidr, prefix_len: int, number: int) -> Cidr:
    """Where the block is looked for after `number` others were not taken: at first anywhere, then all over the range.

    A network of this host that Docker found in the way may be as large as thousands of blocks.
    """
    bits = min(PARTS_BITS, prefix_len - whole.prefix_len)
    if number == 0 or bits == 0:
        return whole
    size = whole.size >> bits
    return Cidr(whole.family, whole.start + (number % (1 << bits)) * size, whole.prefix_len + bits)


def _prefix_len(options: Mapping[str, str], family: int, whole: Cidr) -> int | None:
    option = PREFIX_OPTIONS[family]
    text = options.get(option)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,3}", text) or not whole.prefix_len <= int(text) <= whole.bits - 2:
        raise RequestError(f"{option} is {whole.prefix_len} to {whole.bits - 2} in {whole}, not {text[:20]!r}")
    return int(text)


def _space(request: PoolRequest) -> str:
    if request.space not in SPACES:
        raise RequestError(f"the address space is {' or '.join(SPACES)}, not {request.space[:40]!r}")
    return request.space


def _unknown(option: str) -> RequestError:
    known = ", ".join(PREFIX_OPTIONS.values())
    return RequestError(f"unknown option {option[:60]!r}; known are: {known}")


def _checked(pool: Pool) -> Pool:
    part = pool.part
    if part is not None:
        if part.family != pool.subnet.family or not pool.subnet.range.covers(part.range):
            raise RequestError(f"--ip-range {part} does not lie inside {pool.subnet}")
        if not pool.issuable.size:
            raise RequestError(f"--ip-range {part} has no address that may be issued in {pool.subnet}")
    return pool
