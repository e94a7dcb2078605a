"""Where addresses come from: the sets of ranges in a configuration, with host-local's meaning and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TypeVar

from ringipam.address import SUBNET_SIZE_MIN, Cidr, Range, parse_address, parse_cidr, to_address
from ringipam.errors import RequestError
from ringipam.integrations.cni.call import Network, brief
from ringipam.integrations.cni.errors import BAD_CONFIG, CniError

SETS_MAX = 32
RANGES_MAX = 64
"""More than anybody needs; what overlaps is looked for in pairs."""
ONE_OF_A_FAMILY = ("0.1.0", "0.2.0")
"""Their results have room for one address of each family."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pool:
    """An element of a set: the part of a subnet that addresses come from, and its gateway."""

    subnet: Cidr
    span: Range
    """What may be issued: never the subnet's first address, nor the broadcast address of IPv4."""
    gateway: tuple[int, int] | None
    """(family, address)."""

    @property
    def gateway_text(self) -> str | None:
        return None if self.gateway is None else str(to_address(*self.gateway))

    @property
    def avoid(self) -> tuple[int, ...]:
        """The gateway is nobody's address."""
        if self.gateway is None or self.gateway[0] != self.subnet.family:
            return ()
        return (self.gateway[1],)

    def holds(self, family: int, address: int) -> bool:
        return family == self.subnet.family and address in self.span


Pools = tuple[Pool, ...]
"""A set: one address comes from it, from the first of its ranges that has one."""


def wrong(name: str, kind: str, value: object) -> CniError:
    return CniError(BAD_CONFIG, f"{name} is {kind}, not {brief(value)}")


def member(data: Mapping[str, object], name: str, kind: type[T], what: str, where: str = "") -> T | None:
    """The member `name` of an object; None if it is absent or null. Raises CniError 7."""
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise wrong(f"{where}{name}", what, value)
    return value


def text(data: Mapping[str, object], name: str, where: str) -> str | None:
    """A member that is a string; None if it is absent or empty. Raises CniError 7."""
    return member(data, name, str, "a string", where) or None


def read_sets(network: Network, ipam: Mapping[str, object], default: Cidr) -> tuple[Pools, ...]:
    """The sets of ranges, in order: those of runtimeConfig, the single one, those of `ranges`; else the default subnet.

    Raises CniError 7.
    """
    runtime = member(network.data, "runtimeConfig", dict, "an object") or {}
    named = [*_sets(runtime, "ipRanges", "runtimeConfig."), *_single(ipam), *_sets(ipam, "ranges", "ipam.")]
    if not named:
        named = [((_pool_of({**ipam, "subnet": str(default)}, "ipam", named=False)),)]
    if len(named) > SETS_MAX or sum(map(len, named)) > RANGES_MAX:
        raise CniError(BAD_CONFIG, f"more than {SETS_MAX} sets or {RANGES_MAX} ranges")
    _check_overlaps(named)
    if network.version in ONE_OF_A_FAMILY:
        families = [pools[0].subnet.family for pools in named]
        if len(set(families)) != len(families):
            raise CniError(BAD_CONFIG, f"cniVersion {network.version} has one address of a family, these sets are more")
    return tuple(named)


def _single(ipam: Mapping[str, object]) -> list[Pools]:
    """The form of one range, whose keys stand in `ipam` itself."""
    return [(_pool_of(ipam, "ipam"),)] if text(ipam, "subnet", "ipam.") is not None else []


def _sets(data: Mapping[str, object], name: str, where: str) -> list[Pools]:
    found: list[Pools] = []
    for index, ranges in enumerate(member(data, name, list, "a list of lists of ranges", where) or []):
        place = f"{where}{name}[{index}]"
        if not isinstance(ranges, list) or not ranges:
            raise wrong(place, "a list of ranges", ranges)
        pools = []
        for number, item in enumerate(ranges[: RANGES_MAX + 1]):
            if not isinstance(item, dict):
                raise wrong(f"{place}[{number}]", "an object", item)
            pools.append(_pool_of(item, f"{place}[{number}]"))
        if len({pool.subnet.family for pool in pools}) > 1:
            raise CniError(BAD_CONFIG, f"{place} has ranges of both families: one set is one address")
        found.append(tuple(pools))
    return found


def _pool_of(data: Mapping[str, object], where: str, *, named: bool = True) -> Pool:
    subnet, first, last, gateway = (
        text(data, name, f"{where}.") for name in ("subnet", "rangeStart", "rangeEnd", "gateway")
    )
    if subnet is None:
        raise CniError(BAD_CONFIG, f"{where}.subnet is missing")
    try:
        return _pool(subnet, first, last, gateway, named)
    except RequestError as error:
        raise CniError(BAD_CONFIG, f"{where}: {error.message}") from None


@lru_cache(maxsize=512)
def _pool(subnet_text: str, first: str | None, last: str | None, gateway_text: str | None, named: bool) -> Pool:
    """The range that these texts name; the gateway of a named subnet is its first address, unless it is given.

    Raises RequestError. Cached, as every ADD of a network says the same.
    """
    subnet = parse_cidr(subnet_text)
    if subnet.size < SUBNET_SIZE_MIN:
        raise RequestError(f"the network {subnet} is too small to allocate from")
    if gateway_text is not None:
        gateway: tuple[int, int] | None = parse_address(gateway_text)
    else:
        gateway = (subnet.family, subnet.start + 1) if named else None
    start = subnet.issuable.start if first is None else _bound(subnet, "rangeStart", first)
    end = subnet.issuable.end if last is None else _bound(subnet, "rangeEnd", last) + 1
    span = Range(start, end).intersect(subnet.issuable) if start < end else None
    if span is None:
        raise RequestError(f"rangeStart and rangeEnd leave no address of {subnet}")
    return Pool(subnet, span, gateway)


def _bound(subnet: Cidr, name: str, value: str) -> int:
    family, address = parse_address(value)
    if family != subnet.family or address not in subnet.range:
        raise RequestError(f"{name} {value} is not in {subnet}")
    return address


def _check_overlaps(sets: Sequence[Pools]) -> None:
    for one, other in combinations([pool for pools in sets for pool in pools], 2):
        both = one.span.intersect(other.span) if one.subnet.family == other.subnet.family else None
        if both is not None:
            first, last = one.subnet.text(both.start), one.subnet.text(both.end - 1)
            raise CniError(BAD_CONFIG, f"two ranges overlap: {first} to {last} is in both")
