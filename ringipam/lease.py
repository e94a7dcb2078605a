"""What a user holds: an address, for an identifier, on a host. The one form every surface shows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ringipam.address import Address, Cidr, Network
from ringipam.errors import RequestError

ID_LENGTH_MAX = 256
LABELS_MAX = 32
LABEL_LENGTH_MAX = 256
VIA = "ringipam.via"
"""The label that names the integration which made a lease, and which releases it."""
CONTAINER_ID_LENGTH = 64
SHORT_ID_LENGTH = 12
"""Docker and Podman name a container by 64 hexadecimal digits, and show 12 of them unless asked for all."""
NO_LABELS: Mapping[str, str] = {}
"""One for all leases that have none: there may be a hundred thousand."""
BLOCK = "block"
"""The class of a lease that holds its whole subnet, not its address alone."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One address held under one identifier. Immutable; a change makes a new lease."""

    lease: str
    """Unique for ever, and in the order of issue; naming it in a release makes a retry harmless (safety.md S22)."""
    id: str
    """The caller's name for the holder."""
    address: Address
    prefix_len: int
    subnet: Network
    class_: str
    host: str
    """The name of the host that issued it."""
    since: datetime
    """UTC."""
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)

    def __hash__(self) -> int:
        return hash(self.lease)

    @property
    def interface(self) -> str:
        """`ADDRESS/LEN`, as a network interface is configured with it."""
        return f"{self.address}/{self.prefix_len}"

    def as_json(self) -> dict[str, object]:
        return {
            "lease": self.lease,
            "id": self.id,
            "address": str(self.address),
            "prefix_len": self.prefix_len,
            "subnet": network_text(self.subnet),
            "class": self.class_,
            "host": self.host,
            "since": time_text(self.since),
            "labels": dict(self.labels),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Lease:
        """The lease a daemon printed; raises KeyError or ValueError on anything else."""
        labels = data.get("labels")
        if not isinstance(labels, dict):
            raise ValueError("labels is not an object")
        return cls(
            lease=str(data["lease"]),
            id=str(data["id"]),
            address=ipaddress.ip_address(str(data["address"])),
            prefix_len=int(str(data["prefix_len"])),
            subnet=parse_network(str(data["subnet"])),
            class_=str(data["class"]),
            host=str(data["host"]),
            since=_parse_time(str(data["since"])),
            labels={str(key): str(value) for key, value in labels.items()},
        )


class _Unfrozen:
    """The fields of a lease that is being made."""

    __slots__ = Lease.__slots__

    def __init__(
        self,
        lease: str,
        id: str,  # noqa: A002  # as in Lease
        address: Address,
        prefix_len: int,
        subnet: Network,
        class_: str,
        host: str,
        since: datetime,
        labels: Mapping[str, str],
    ) -> None:
        self.lease = lease
        self.id = id
        self.address = address
        self.prefix_len = prefix_len
        self.subnet = subnet
        self.class_ = class_
        self.host = host
        self.since = since
        self.labels = labels


def made(
    lease: str,
    holder: str,
    address: Address,
    prefix_len: int,
    subnet: Network,
    class_: str,
    host: str,
    since: datetime,
    labels: Mapping[str, str],
) -> Lease:
    """`Lease(…)` in a third of the time, where a hundred thousand are made at once.

    A frozen dataclass sets each of its fields by a call; this one sets them as any other object does, then freezes.
    """
    fields: Any = _Unfrozen(lease, holder, address, prefix_len, subnet, class_, host, since, labels)
    fields.__class__ = Lease
    frozen: Lease = fields
    return frozen


@lru_cache(maxsize=1024)
def network(subnet: Cidr) -> Network:
    """The standard library's object for a subnet; cached, as building one costs more than an allocation."""
    kind = ipaddress.IPv4Network if subnet.family == 4 else ipaddress.IPv6Network
    return kind((subnet.start, subnet.prefix_len))


@lru_cache(maxsize=1024)
def parse_network(text: str) -> Network:
    """A subnet as `network_text` writes it; raises ValueError. Cached, as many leases have few."""
    return ipaddress.ip_network(text)


@lru_cache(maxsize=64)
def _parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@lru_cache(maxsize=1024)
def network_text(subnet: Network) -> str:
    return str(subnet)


@lru_cache(maxsize=64)
def time_text(at: datetime) -> str:
    """RFC 3339, to the second, of a time that is in UTC; cached, as what is made in one second has one time."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_id(holder: str) -> str:
    """`holder` if it can name a holder; raises RequestError.

    Control characters and spaces would make the line-oriented outputs ambiguous.
    """
    if not holder or len(holder) > ID_LENGTH_MAX:
        raise RequestError(f"an id has 1 to {ID_LENGTH_MAX} characters, this one has {len(holder)}")
    if not holder.isprintable() or " " in holder:
        raise RequestError(f"an id has printable characters and no spaces: {holder!r}")
    return holder


def check_ids(holders: Iterable[str]) -> frozenset[str]:
    """`holders` if each can name one; raises RequestError."""
    if isinstance(holders, str):
        raise RequestError(f"a list of ids is wanted, not the text {holders[:60]!r}")  # its letters would be the ids
    return frozenset(map(check_id, holders))


def is_listed(holder: str, ids: Set[str]) -> bool:
    """Whether `ids` name this holder, be it a container of which they have the short form.

    Who lists short ids and allocated for the full ones means the same containers.
    """
    return holder in ids or (len(holder) == CONTAINER_ID_LENGTH and holder[:SHORT_ID_LENGTH] in ids)


def check_labels(labels: object) -> dict[str, str]:
    """`labels` as a dictionary of short strings; raises RequestError."""
    if not isinstance(labels, Mapping) or len(labels) > LABELS_MAX:
        raise RequestError(f"labels is an object of at most {LABELS_MAX} strings")
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str) or len(key) + len(value) > LABEL_LENGTH_MAX:
            raise RequestError(f"a label is a string of at most {LABEL_LENGTH_MAX} characters with its key")
        if not (key.isprintable() and value.isprintable()):
            raise RequestError(f"a label has printable characters only: {key!r}: {value!r}")
    return dict(labels)
