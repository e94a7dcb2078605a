"""Changes as SQL statements. Opens nothing, reads nothing.

Times of leases are kept to the second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ringipam.address import to_address
from ringipam.core.durable import (
    BeginAnew,
    Change,
    DropConflict,
    DropLease,
    DropPledge,
    DropRound,
    PutAcceptor,
    PutAnswered,
    PutBoot,
    PutConflict,
    PutLease,
    PutMember,
    PutMeta,
    PutPledge,
    PutPoint,
    PutPublished,
    PutRound,
    PutTokens,
    Record,
    Suspensions,
)
from ringipam.lease import Lease, network_text, time_text
from ringipam.messages import Standing
from ringipam.ring.space import Rows
from ringipam.store.checksum import SQL_NAME, row_sum

Row = tuple[Any, ...]
Part = tuple[str, Sequence[Row]]
"""A statement, and the rows it is run with."""

HISTORY_ROWS_MAX = 100_000
"""The audit log forgets what is older than so many lines."""

COLUMNS = {
    "meta": 2,
    "tokens": 5,
    "leases": 9,
    "peers": 3,
    "paxos": 7,
    "answered": 2,
    "quarantine": 3,
    "conflicts": 5,
    "boots": 2,
    "published": 2,
    "points": 4,
    "pledges": 3,
    "rounds": 4,
    "suspended": 2,
}
"""The tables that make up the state, and how many values a row has besides its checksum."""

KEYS = {
    "meta": "key",
    "tokens": "first",
    "leases": "lease",
    "peers": "peer",
    "paxos": "the_only",
    "answered": "asker",
    "quarantine": "first",
    "boots": "nonce",
    "published": "number",
    "points": "peer",
    "pledges": "coordinator",
    "rounds": "epoch",
    "suspended": "first",
}
"""Of the tables whose key is their first column."""

_PUT = {
    table: f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * columns)}, ?)"
    for table, columns in COLUMNS.items()
}
_DROP = {table: f"DELETE FROM {table} WHERE {key} = ?" for table, key in KEYS.items()}
PUTS = {_PUT[table]: table for table in KEYS}
DROPS = {statement: table for table, statement in _DROP.items()}
"""Which table a statement puts rows into, or drops rows from, by key; all others are of their own kind."""
_VALUES = "number, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"
_RECORD = f"""INSERT INTO history SELECT {_VALUES}, {SQL_NAME}('history', {_VALUES}) FROM
    (SELECT coalesce(max(number), 0) + 1 AS number FROM history)"""
_FORGET = f"DELETE FROM history WHERE number <= (SELECT max(number) FROM history) - {HISTORY_ROWS_MAX}"
_FORMERLY = f"""INSERT OR REPLACE INTO meta
    SELECT 'formerly', value, {SQL_NAME}('meta', 'formerly', value) FROM meta WHERE key = 'peer'"""
_DIAL = f"""INSERT OR REPLACE INTO meta SELECT 'dial', addresses, {SQL_NAME}('meta', 'dial', addresses) FROM
    (SELECT coalesce(group_concat(address, ' '), '') AS addresses FROM
        (SELECT DISTINCT address FROM peers WHERE address <> '' AND standing NOT IN ('left', 'removed')
         ORDER BY address))"""
_UNKNOWN = "DELETE FROM meta WHERE key NOT IN ('universe', 'formerly', 'dial')"
_ONCE: Sequence[Row] = ((),)


def statements(change: Change, family: int) -> Iterator[Part]:
    """What makes `change` in the tables, in order."""
    return _MAKERS[type(change)](change, family)


# ── what each kind of change is ───────────────────────────────────────────────────────────────────


def _put_meta(change: PutMeta, family: int) -> Iterator[Part]:
    yield _put("meta", [(change.key, change.value)])


def _put_tokens(change: PutTokens, family: int) -> Iterator[Part]:
    yield _drop("tokens", (_text(family, first) for first in change.removed))
    yield _put("tokens", ((_text(family, first), *claim) for first, claim in change.put))


def _put_lease(change: PutLease, family: int) -> Iterator[Part]:
    yield _put("leases", [_lease_row(change.lease)])


def _drop_lease(change: DropLease, family: int) -> Iterator[Part]:
    yield _drop("leases", [change.lease])


def _rests(change: Rows, family: int) -> Iterator[Part]:
    yield _drop("quarantine", (_text(family, first) for first in change.dropped))
    yield _put("quarantine", ((*_ends(family, first, end), until) for first, end, until in change.put))


def _put_member(change: PutMember, family: int) -> Iterator[Part]:
    yield _put("peers", [(change.peer, change.address, standing_text(change.standing))])


def _put_acceptor(change: PutAcceptor, family: int) -> Iterator[Part]:
    ballot, value = change.accepted_ballot, change.accepted
    accepted = (value.cluster, json.dumps(value.members)) if value else (None, None)
    yield _put("paxos", [(1, *change.promised, *(ballot or (None, None)), *accepted)])


def _put_answered(change: PutAnswered, family: int) -> Iterator[Part]:
    yield _put("answered", [(change.asker, change.number)])


def _put_conflict(change: PutConflict, family: int) -> Iterator[Part]:
    start, end, peers, since_ms, source = change.conflict
    row = (*_ends(family, start, end), json.dumps(peers), since_ms, source)
    yield _PUT["conflicts"], [summed("conflicts", row)]


def _drop_conflict(change: DropConflict, family: int) -> Iterator[Part]:
    yield "DELETE FROM conflicts WHERE first = ? AND last = ?", [_ends(family, change.start, change.end)]


def _put_boot(change: PutBoot, family: int) -> Iterator[Part]:
    yield _put("boots", [(change.nonce, change.first)])


def _put_published(change: PutPublished, family: int) -> Iterator[Part]:
    yield _drop("published", change.dropped)
    yield _put("published", [(change.number, change.head)])


def _put_point(change: PutPoint, family: int) -> Iterator[Part]:
    yield _put("points", [(change.peer, *change.point)])


def _put_pledge(change: PutPledge, family: int) -> Iterator[Part]:
    yield _put("pledges", [(change.coordinator, change.pledge.epoch, json.dumps(change.pledge.targets))])


def _drop_pledge(change: DropPledge, family: int) -> Iterator[Part]:
    yield _drop("pledges", [change.coordinator])


def _put_round(change: PutRound, family: int) -> Iterator[Part]:
    targets, done, taken = change.round
    ranges = json.dumps([_ends(family, *part) for part in taken])
    yield _put("rounds", [(change.epoch, json.dumps(targets), int(done), ranges)])


def _drop_round(change: DropRound, family: int) -> Iterator[Part]:
    yield _drop("rounds", [change.epoch])


def _suspensions(change: Suspensions, family: int) -> Iterator[Part]:
    yield _drop("suspended", (_text(family, first) for first in change.dropped))
    yield _put("suspended", (_ends(family, *part) for part in change.put))


def _record(change: Record, family: int) -> Iterator[Part]:
    yield (
        _RECORD,
        [
            (at_ms, *_ends(family, start, end), before, *claim, source)
            for at_ms, start, end, before, claim, source in change.lines
        ],
    )
    yield _FORGET, _ONCE


def _begin_anew(change: BeginAnew, family: int) -> Iterator[Part]:
    yield _FORMERLY, _ONCE
    yield _DIAL, _ONCE
    yield _UNKNOWN, _ONCE
    yield _put("meta", [("peer", change.peer)])
    for table in COLUMNS:
        if table not in ("meta", "leases"):
            yield f"DELETE FROM {table}", _ONCE


_MAKERS: dict[type[Any], Callable[[Any, int], Iterator[Part]]] = {
    PutMeta: _put_meta,
    PutTokens: _put_tokens,
    PutLease: _put_lease,
    DropLease: _drop_lease,
    Rows: _rests,
    PutMember: _put_member,
    PutAcceptor: _put_acceptor,
    PutAnswered: _put_answered,
    PutConflict: _put_conflict,
    DropConflict: _drop_conflict,
    PutBoot: _put_boot,
    PutPublished: _put_published,
    PutPoint: _put_point,
    PutPledge: _put_pledge,
    DropPledge: _drop_pledge,
    PutRound: _put_round,
    DropRound: _drop_round,
    Suspensions: _suspensions,
    Record: _record,
    BeginAnew: _begin_anew,
}


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────


def standing_text(standing: Standing) -> str:
    return standing.name.lower()


def summed(table: str, row: Row) -> Row:
    """A row as it is written, with its checksum."""
    return (*row, row_sum(table, row))


def _put(table: str, rows: Iterable[Row]) -> Part:
    """Rows of a table of `KEYS`, without their checksums: of several with one key only the last is written."""
    return _PUT[table], list(rows)


def _drop(table: str, values: Iterable[str | int]) -> Part:
    return _DROP[table], [(value,) for value in values]


def _text(family: int, address: int) -> str:
    return str(to_address(family, address))


def _ends(family: int, start: int, end: int) -> tuple[str, str]:
    return _text(family, start), _text(family, end - 1)


def _lease_row(lease: Lease) -> Row:
    return (
        lease.lease,
        lease.id,
        str(lease.address),
        lease.prefix_len,
        network_text(lease.subnet),
        lease.class_,
        lease.host,
        time_text(lease.since),
        json.dumps(dict(lease.labels)) if lease.labels else "{}",
    )
