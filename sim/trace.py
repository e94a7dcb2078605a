"""What happened, as a digest that two equal runs share, and as JSON lines for a person."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TextIO

from ringipam.core.durable import Change, DropLease, PutLease, PutTokens
from ringipam.core.events import Asked, Effect, Event, Leased, LeaseList, Persist, Received, Reply, Send
from ringipam.lease import Lease
from ringipam.messages import Envelope, Message

LINES_MAX = 512


class Trace:
    """Every step of every host goes in; what it asked to be kept and what it answered in full, messages by kind."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._hash = blake2b(digest_size=16)
        self._lines: list[str] = []

    def step(self, time: int, host: str, event: Event | None, effects: list[Effect]) -> None:
        said = _event(event)
        done = [_effect(effect) for effect in effects]
        self._add(f"{time} {host} {said} {' '.join(done)}")
        if self._file is not None:
            self._file.write(json.dumps({"ms": time, "host": host, "event": said, "effects": done}) + "\n")

    def note(self, time: int, host: str, what: str) -> None:
        self._add(f"{time} {host} {what}")
        if self._file is not None:
            self._file.write(json.dumps({"ms": time, "host": host, "event": what}) + "\n")

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) > LINES_MAX:
            self._flush()

    def _flush(self) -> None:
        self._hash.update("\n".join(self._lines).encode())
        self._lines.clear()

    @property
    def digest(self) -> str:
        self._flush()
        return self._hash.hexdigest()


def _event(event: Event | None) -> str:
    if type(event) is Received:
        return f"{event.link}<{_message(event.message)}"
    if type(event) is Asked:
        return f"Asked {event.request} {type(event.verb).__name__}"
    return type(event).__name__


def _effect(effect: Effect) -> str:
    kind = type(effect)
    if kind is Send:
        return f"{effect.link}>{_message(effect.message)}"  # type: ignore[union-attr]
    if kind is Persist:
        return "Persist " + " ".join(map(_change, effect.changes))  # type: ignore[union-attr]
    if kind is Reply:
        return f"Reply {effect.request} {_answer(effect.answer)}"  # type: ignore[union-attr]
    return kind.__name__


def _change(change: Change) -> str:
    """Leases by address and number: their other parts follow from what was asked."""
    match change:
        case PutTokens(removed, put):
            claims = [f"{start}:{c.epoch}.{c.version}.{c.owner}.{c.writer}" for start, c in put]
            return f"tokens -{removed} +{','.join(claims)}"
        case PutLease(lease):
            return f"+{_lease(lease)}"
        case DropLease(number):
            return f"-{number}"
        case _:
            return repr(change)


def _answer(answer: object) -> str:
    match answer:
        case Leased(lease, new):
            return f"{_lease(lease)} {new}"
        case LeaseList(leases, unreachable):
            return f"{[_lease(lease) for lease in leases]} {unreachable}"
        case _:
            return str(answer)


def _lease(lease: Lease) -> str:
    return f"{lease.lease}@{int(lease.address)} for {lease.id}"


def _message(message: Message) -> str:
    if type(message) is Envelope:
        return f"{type(message.body).__name__} {message.origin} {message.target} {message.serial}"
    return type(message).__name__
