"""Changes as SQL statements, and rows as the values they stand for, each one checked. Opens nothing.

Times of leases are kept to the second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, assert_never

from ringipam.address import Address, Network, parse_cidr, to_address
from ringipam.claim import NOBODY, Claim
from ringipam.core.durable import (
    Change,
    Conflict,
    DropLease,
    PutAcceptor,
    PutAnswered,
    PutConflict,
    PutLease,
    PutMember,
    PutMeta,
    PutTokens,
    Stored,
)
from ringipam.errors import RequestError
from ringipam.lease import Lease
from ringipam.messages import Ballot, Founding
from ringipam.ring.space import Rows

Row = tuple[Any, ...]

PUT_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
PUT_TOKEN = "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?, ?)"
DROP_TOKEN = "DELETE FROM tokens WHERE first = ?"
PUT_LEASE = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
DROP_LEASE = "DELETE FROM leases WHERE lease = ?"
PUT_MEMBER = "INSERT OR REPLACE INTO peers VALUES (?, ?)"
PUT_ACCEPTOR = "INSERT OR REPLACE INTO paxos VALUES (1, ?, ?, ?, ?, ?, ?)"
PUT_ANSWERED = "INSERT OR REPLACE INTO answered VALUES (?, ?)"
PUT_REST = "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?)"
DROP_REST = "DELETE FROM quarantine WHERE first = ?"
PUT_CONFLICT = "INSERT OR REPLACE INTO conflicts VALUES (?, ?, ?, ?, ?)"


class BadRowError(Exception):
    """A row that ringipam never wrote."""


# ── changes to rows ───────────────────────────────────────────────────────────────────────────────


def statements(change: Change, family: int) -> Iterator[tuple[str, list[Row]]]:
    """What makes `change` in the tables, in order: a statement, and the rows it is run with."""
    match change:
        case PutLease(lease):
            yield PUT_LEASE, [_lease_row(lease)]
        case DropLease(lease_id):
            yield DROP_LEASE, [(lease_id,)]
        case Rows(dropped, put):
            yield DROP_REST, [(_text(family, first),) for first in dropped]
            yield PUT_REST, [(_text(family, first), _text(family, end - 1), until) for first, end, until in put]
        case PutTokens(removed, tokens):
            yield DROP_TOKEN, [(_text(family, first),) for first in removed]
            yield PUT_TOKEN, [(_text(family, first), *claim) for first, claim in tokens]
        case PutMeta(key, value):
            yield PUT_META, [(key, value)]
        case PutMember(peer, address):
            yield PUT_MEMBER, [(peer, address)]
        case PutAcceptor():
            yield PUT_ACCEPTOR, [_acceptor_row(change)]
        case PutAnswered(asker, number):
            yield PUT_ANSWERED, [(asker, number)]
        case PutConflict((start, end, peers, since_ms, source)):
            row = (_text(family, start), _text(family, end - 1), json.dumps(peers), since_ms, source)
            yield PUT_CONFLICT, [row]
        case _:
            assert_never(change)


def _text(family: int, address: int) -> str:
    return str(to_address(family, address))


def _lease_row(lease: Lease) -> Row:
    return (
        lease.lease,
        lease.id,
        str(lease.address),
        lease.prefix_len,
        str(lease.subnet),
        lease.class_,
        lease.host,
        lease.since.isoformat(timespec="seconds").replace("+00:00", "Z"),
        json.dumps(dict(lease.labels)) if lease.labels else "{}",
    )


def _acceptor_row(acceptor: PutAcceptor) -> Row:
    ballot, value = acceptor.accepted_ballot, acceptor.accepted
    return (
        *acceptor.promised,
        *(ballot or (None, None)),
        value.cluster if value else None,
        json.dumps(value.members) if value else None,
    )


# ── rows to what they stand for ───────────────────────────────────────────────────────────────────


def read_all(table: Callable[[str], Iterator[Row]], family: int) -> Stored:
    """Everything the tables hold; `table` gives the rows of one by its name. Raises BadRowError."""
    stored = Stored()
    readers: dict[str, Callable[[Stored, int, Row], None]] = {
        "meta": _read_meta,
        "tokens": _read_token,
        "leases": _read_lease,
        "peers": _read_member,
        "paxos": _read_acceptor,
        "answered": _read_answered,
        "quarantine": _read_rest,
        "conflicts": _read_conflict,
    }
    for name, read in readers.items():
        for row in table(name):
            try:
                read(stored, family, row)
            except (ValueError, TypeError, RequestError) as error:
                raise BadRowError(f"table {name}, row {row[0]!r:.80}: {error}") from None
    _check_tokens(stored, family)
    return stored


def _check_tokens(stored: Stored, family: int) -> None:
    """The ring has a token at the first address of the universe, and none outside."""
    if "universe" not in stored.meta:
        return
    try:
        universe = parse_cidr(stored.meta["universe"])
    except RequestError as error:
        raise BadRowError(f"table meta, row 'universe': {error.message}") from None
    if not stored.tokens and "cluster" not in stored.meta:
        return
    if universe.family != family or universe.start not in stored.tokens:
        raise BadRowError(f"table tokens: there is none at the first address of {universe}")
    outside = [first for first in stored.tokens if first not in universe.range]
    if outside:
        raise BadRowError(f"table tokens, row '{_text(family, outside[0])}': outside {universe}")


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
    parsed = _parsed(6 if ":" in address else 4, address)
    if not 0 <= prefix_len <= parsed.max_prefixlen:
        raise ValueError(f"no such prefix length: {prefix_len}")
    if not lease_id or not holder:
        raise ValueError("it names nobody")
    stored.leases[lease_id] = Lease(
        lease_id, holder, parsed, prefix_len, _network(subnet), class_, host, _time(since), _labels(labels)
    )


def _read_member(stored: Stored, family: int, row: Row) -> None:
    peer, address = row
    stored.members[peer] = address


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
def _network(text: str) -> Network:
    return ip_network(text)


def _time(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is not UTC:
        raise ValueError(f"not a time in UTC: {text!r}")
    return when


def _labels(text: str) -> dict[str, str]:
    """Labels as they were taken; what may be asked for is checked at the door, and may change."""
    labels = {} if text == "{}" else json.loads(text)
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError(f"not labels: {text!r:.80}")
    return labels


def _texts(text: str) -> tuple[str, ...]:
    values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"not a list of texts: {text!r:.80}")
    return tuple(values)
