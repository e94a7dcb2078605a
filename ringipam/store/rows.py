"""Rows as the values they stand for, each one checked. Opens nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_pton
from sys import intern
from typing import Any, NamedTuple

from ringipam.address import Address, Range, parse_cidr, to_address
from ringipam.claim import NOBODY, Claim
from ringipam.core.durable import Conflict, Membered, Pledge, PutAcceptor, Recorded, Round, Stored
from ringipam.errors import RequestError
from ringipam.lease import NO_LABELS, made, parse_network
from ringipam.messages import Ballot, Founding, Point, Standing
from ringipam.store.checksum import summing
from ringipam.store.statements import standing_text

Row = tuple[Any, ...]
Table = Callable[[str], Iterable[Row]]
"""Gives the rows of a table by its name, each with its checksum as the last value."""


class Fault(NamedTuple):
    """Something in a table that ringipam never wrote, or wrote and does not find again."""

    table: str
    row: object
    """The first value of the row; None where it is the table as a whole."""
    what: str
    miscounted: bool = False
    """The rows of the table are all there, by their checksums: only the number that is noted of them is wrong."""

    def __str__(self) -> str:
        where = f"table {self.table}" if self.row is None else f"table {self.table}, row {self.row!r:.80}"
        return f"{where}: {self.what}"


def read_all(table: Table, family: int) -> tuple[Stored, list[Fault]]:
    """Everything the tables hold, but for the rows that are named as faults."""
    stored = Stored()
    sums = {name: (rows, total) for name, rows, total in table("sums")}
    faults: list[Fault] = []
    for name, read in _READERS.items():
        faults += _read_table(name, table(name), partial(read, stored, family), sums.get(name))
    return stored, faults + list(_misplaced_tokens(stored, family))


def read_history(table: Table, family: int) -> tuple[list[Recorded], list[Fault]]:
    """The audit log, oldest line first, but for the rows that are named as faults."""
    lines: list[Recorded] = []
    sums = {name: (rows, total) for name, rows, total in table("sums")}
    faults = _read_table(
        "history", table("history"), lambda row: lines.append(recorded(family, row)), sums.get("history")
    )
    return lines, faults


def _read_table(
    name: str, rows: Iterable[Row], read: Callable[[Row], None], expected: tuple[int, int] | None
) -> list[Fault]:
    faults: list[Fault] = []
    row_sum = summing(name)
    count = total = 0
    for row in rows:
        values, found = row[:-1], row[-1]
        count += 1
        try:
            total ^= found
            if row_sum(values) != found:
                raise ValueError("it is not what was written: its checksum does not fit")
            read(values)
        except (ValueError, TypeError, OverflowError, RequestError) as error:
            faults.append(Fault(name, values[0], str(error)))
    if expected is None:
        faults.append(Fault("sums", name, "it is missing"))
    elif total != expected[1]:
        what = "rows were exchanged" if count == expected[0] else f"of {expected[0]} rows {count} are there"
        faults.append(Fault(name, None, f"{what}, by its sum"))
    elif count != expected[0]:
        faults.append(Fault(name, None, f"its sum speaks of {expected[0]} rows, and {count} are there", True))
    return faults


def _misplaced_tokens(stored: Stored, family: int) -> Iterable[Fault]:
    """The ring has a token at the first address of the universe, and none outside."""
    if "universe" not in stored.meta:
        return
    try:
        universe = parse_cidr(stored.meta["universe"])
    except RequestError as error:
        yield Fault("meta", "universe", error.message)
        return
    if not stored.tokens and "cluster" not in stored.meta:
        return
    if universe.family != family or universe.start not in stored.tokens:
        yield Fault("tokens", None, f"there is none at the first address of {universe}")
    for first in sorted(stored.tokens):
        if first not in universe.range:
            yield Fault("tokens", str(to_address(family, first)), f"it lies outside {universe}")


def _read_meta(stored: Stored, family: int, row: Row) -> None:
    key, value = row
    stored.meta[key] = value


def _read_token(stored: Stored, family: int, row: Row) -> None:
    first, *fields = row
    claim = Claim(*fields)
    start = _address(family, first)
    if claim.epoch < 0 or claim.version < 0 or (not (claim.owner and claim.writer) and claim != NOBODY):
        raise ValueError(f"not a claim: {claim}")
    if start in stored.tokens:
        raise ValueError("it stands there twice")
    stored.tokens[start] = claim


def _read_lease(stored: Stored, family: int, row: Row) -> None:
    lease_id, holder, address, prefix_len, subnet, class_, host, since, labels = row
    parsed, bits = (_parsed(6, address), 128) if ":" in address else (_parsed(4, address), 32)
    if not 0 <= prefix_len <= bits:
        raise ValueError(f"no such prefix length: {prefix_len}")
    if not lease_id or not holder:
        raise ValueError("it names nobody")
    # few different classes, hosts and labels in many leases
    shared = NO_LABELS if labels == "{}" else _labels(labels)
    stored.leases[lease_id] = made(
        lease_id, holder, parsed, prefix_len, parse_network(subnet), intern(class_), intern(host), _time(since), shared
    )


def _read_member(stored: Stored, family: int, row: Row) -> None:
    peer, address, standing = row
    if standing not in _STANDINGS:
        raise ValueError(f"no such standing: {standing!r:.80}")
    stored.members[peer] = Membered(address, _STANDINGS[standing])


def _read_acceptor(stored: Stored, family: int, row: Row) -> None:
    _, promised_round, promised_proposer, accepted_round, accepted_proposer, cluster, members = row
    absent = [value is None for value in (accepted_round, accepted_proposer, cluster, members)]
    if any(absent) and not all(absent):
        raise ValueError("half of what was accepted is missing")
    promised = Ballot(promised_round, promised_proposer)
    if all(absent):
        stored.acceptor = PutAcceptor(promised, None, None)
    else:
        founding = Founding(cluster, _texts(members))
        stored.acceptor = PutAcceptor(promised, Ballot(accepted_round, accepted_proposer), founding)


def _read_answered(stored: Stored, family: int, row: Row) -> None:
    asker, number = row
    stored.answered[asker] = number


def _read_rest(stored: Stored, family: int, row: Row) -> None:
    first, last, until_ms = row
    start, end = _extent(family, first, last)
    stored.quarantine[start] = (end, until_ms)


def _read_conflict(stored: Stored, family: int, row: Row) -> None:
    first, last, peers, since_ms, source = row
    start, end = _extent(family, first, last)
    stored.conflicts[start, end] = Conflict(start, end, _texts(peers), since_ms, source)


def _read_boot(stored: Stored, family: int, row: Row) -> None:
    nonce, first = row
    stored.boots[nonce] = first


def _read_published(stored: Stored, family: int, row: Row) -> None:
    number, head = row
    stored.published[number] = head


def _read_point(stored: Stored, family: int, row: Row) -> None:
    peer, *point = row
    stored.points[peer] = Point(*point)


def _read_pledge(stored: Stored, family: int, row: Row) -> None:
    coordinator, epoch, targets = row
    stored.pledges[coordinator] = Pledge(epoch, _texts(targets))


def _read_round(stored: Stored, family: int, row: Row) -> None:
    epoch, targets, done, taken = row
    if done not in (0, 1):
        raise ValueError(f"neither done nor not: {done}")
    stored.rounds[epoch] = Round(_texts(targets), bool(done), _ranges(family, taken))


def _read_suspended(stored: Stored, family: int, row: Row) -> None:
    start, end = _extent(family, *row)
    stored.suspended[start] = end


def recorded(family: int, row: Row) -> Recorded:
    _, at_ms, first, last, was, epoch, version, owner, writer, source = row
    return Recorded(at_ms, *_extent(family, first, last), was, Claim(epoch, version, owner, writer), source)


_STANDINGS = {standing_text(standing): standing for standing in Standing}
_READERS: dict[str, Callable[[Stored, int, Row], None]] = {
    "meta": _read_meta,
    "tokens": _read_token,
    "leases": _read_lease,
    "peers": _read_member,
    "paxos": _read_acceptor,
    "answered": _read_answered,
    "quarantine": _read_rest,
    "conflicts": _read_conflict,
    "boots": _read_boot,
    "published": _read_published,
    "points": _read_point,
    "pledges": _read_pledge,
    "rounds": _read_round,
    "suspended": _read_suspended,
}


# ── values ────────────────────────────────────────────────────────────────────────────────────────


def _address(family: int, text: str) -> int:
    return int(_parsed(family, text))


def _parsed(family: int, text: str) -> Address:
    """As strict as the standard library's own parser and three times as fast, at the start of a full node."""
    try:
        packed = inet_pton(AF_INET if family == 4 else AF_INET6, text)
    except OSError:
        raise ValueError(f"not an IPv{family} address: {text!r:.80}") from None
    return IPv4Address(packed) if family == 4 else IPv6Address(packed)


def _extent(family: int, first: str, last: str) -> tuple[int, int]:
    start, end = _address(family, first), _address(family, last) + 1
    if start >= end:
        raise ValueError(f"not a range: {first} to {last}")
    return start, end


@lru_cache(maxsize=1024)
def _time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is not UTC:
        raise ValueError(f"not a time in UTC: {text!r}")
    return when


def _labels(text: str) -> Mapping[str, str]:
    """Labels as they were taken; what may be asked for is checked at the door, and may change."""
    labels = json.loads(text)
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError(f"not labels: {text!r:.80}")
    return labels


def _texts(text: str) -> tuple[str, ...]:
    values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"not a list of texts: {text!r:.80}")
    return tuple(values)


def _ranges(family: int, text: str) -> tuple[Range, ...]:
    values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, list) and len(value) == 2 for value in values):
        raise ValueError(f"not a list of ranges: {text!r:.80}")
    return tuple(Range(*_extent(family, first, last)) for first, last in values)
