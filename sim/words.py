"""Events, effects, messages and requests in words for a reader of a run: addresses as text, peers by their host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from ringipam.address import Cidr
from ringipam.claim import Segment
from ringipam.core.durable import DropLease, PutLease, PutTokens
from ringipam.core.events import (
    Allocate,
    Answer,
    Asked,
    Cancelled,
    ClaimAddress,
    Close,
    DeadlinePassed,
    Dial,
    DialFailed,
    Effect,
    Event,
    Leased,
    LeaseList,
    Leases,
    LinkDown,
    LinkUp,
    Log,
    NotUnderstood,
    Persist,
    Rebuild,
    Received,
    Release,
    Reply,
    Send,
    Verb,
)
from ringipam.errors import RingIpamError
from ringipam.messages import Denied, Envelope, Grant, Message, Ranges, Rumour, SpaceRequest

PIECES_MAX = 12
"""Of a longer list, so many are written out."""


class Words:
    """`universe` gives addresses their family, `links` the host at the other end of a link."""

    def __init__(self, universe: Cidr, links: Mapping[int, str]) -> None:
        self._universe = universe
        self._links = links

    # ── addresses and peers ──────────────────────────────────────────────────────────────────────

    def address(self, address: int) -> str:
        return self._universe.text(address)

    def range(self, start: int, end: int) -> str:
        """`10.0.0.4 to 10.0.0.7`, or the one address there is."""
        if end - start == 1:
            return self.address(start)
        return f"{self.address(start)} to {self.address(end - 1)}"

    def segments(self, segments: tuple[Segment, ...]) -> str:
        return _listed([f"{self.range(s.start, s.end)} is {name_of(s.claim.owner) or 'nobody'}'s" for s in segments])

    # ── events and effects ───────────────────────────────────────────────────────────────────────

    def event(self, event: Event | None) -> str:
        match event:
            case None:
                return "starts from what its disk holds"
            case Asked(request, verb):
                return f"a user asks (request {request}): {self.verb(verb)}"
            case Cancelled(request):
                return f"the caller of request {request} is gone"
            case LinkUp(link, dialled, host):
                return f"link {link} to {host} stands" + (", as dialled" if dialled else ", dialled by the other side")
            case LinkDown(link, reason):
                return f"link {link} to {self._links.get(link, '?')} is down: {reason}"
            case DialFailed(address, reason):
                return f"could not connect to {address}: {reason}"
            case Received(link, message):
                return f"receives from {self._links.get(link, '?')}: {self.message(message)}"
            case NotUnderstood(link, kind):
                return f"receives from {self._links.get(link, '?')} what only a newer peer knows: kind {kind}"
            case DeadlinePassed():
                return "a deadline of its own has passed"

    def effect(self, effect: Effect) -> str:
        match effect:
            case Persist(changes):
                return "writes to disk: " + "; ".join(self._change(change) for change in changes)
            case Send(link, message):
                return f"sends to {self._links.get(link, '?')}: {self.message(message)}"
            case Reply(request, answer):
                return f"answers request {request}: {self.answer(answer)}"
            case Close(link, reason):
                return f"closes link {link} to {self._links.get(link, '?')}: {reason}"
            case Dial(address):
                return f"dials {address}"
            case Log(level, text):
                return f"logs ({level}): {text}"
            case Rebuild():
                return "begins again from the disk, as another peer"

    def _change(self, change: object) -> str:
        match change:
            case PutTokens(removed, put):
                said = [f"from {self.address(start)} on {name_of(claim.owner) or 'nobody'}" for start, claim in put]
                gone = [f"no token at {self.address(start)}" for start in removed]
                return f"ring: {_listed([*said, *gone])}"
            case PutLease(lease):
                return f"lease {lease.lease}: {lease.address} for {lease.id}"
            case DropLease(lease_id):
                return f"lease {lease_id} is dropped"
            case _:
                return self.thing(change)

    # ── users ────────────────────────────────────────────────────────────────────────────────────

    def verb(self, verb: Verb) -> str:
        match verb:
            case Allocate(holder, subnet):
                return f"allocate {holder}" + (f" in {subnet}" if subnet is not None else "")
            case ClaimAddress(holder, _, address):
                return f"claim {self.address(address)} for {holder}"
            case Release(holder):
                return f"release {holder}"
            case Leases(holder):
                return f"list the leases of {holder}" if holder else "list the leases here"
            case _:
                return self.thing(verb)

    def answer(self, answer: Answer) -> str:
        match answer:
            case Leased(lease, new):
                return str(lease.address) if new else f"{lease.address}, as before"
            case LeaseList(leases):
                return _listed([f"{lease.id} has {lease.address}" for lease in leases]) or "none"
            case RingIpamError():
                return answer.message
            case _:
                return self.thing(answer)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────

    def message(self, message: Message) -> str:
        if not isinstance(message, Envelope):
            return self.thing(message)
        relayed = ""
        if message.serial:
            relayed = f" (relayed, {name_of(message.origin)} to {name_of(message.target)})"
        return self._body(message.body) + relayed

    def _body(self, body: object) -> str:
        match body:
            case SpaceRequest():
                kind = "all of" if body.exact else f"{body.want} of"
                urgent = ", somebody waits" if body.urgent else ", ahead of need"
                return (
                    f"SpaceRequest {_number(body.number)}: may I have {kind} {self.range(body.start, body.end)}{urgent}"
                )
            case Grant(number, segments):
                given = _listed([f"{self.range(s.start, s.end)} for {name_of(s.claim.owner)}" for s in segments])
                return f"Grant {_number(number)}: {given}" if number else f"Grant, unasked: {given}"
            case Denied(number, reason, holder, segments, owned):
                why = reason.name.lower().replace("_", " ") + (f" by {holder}" if holder else "")
                known = f"; it knows {self.segments(segments)}" if segments else ""
                return f"Denied {_number(number)}: {why}; the donor owns {owned} of it{known}"
            case Rumour(_, segments, members) if segments and not members:
                return f"Rumour: {self.segments(segments)}"
            case Ranges(segments, answer):
                return f"Ranges: {self.segments(segments)}{'; and what do you know?' if answer else ''}"
            case _:
                return self.thing(body)

    # ── anything ─────────────────────────────────────────────────────────────────────────────────

    def thing(self, thing: object) -> str:
        """A value by the names of its fields; what has a `start` and an `end` is shown as a range."""
        if isinstance(thing, Segment):
            return self.segments((thing,))
        if isinstance(thing, Enum):
            return thing.name.lower().replace("_", " ")
        if isinstance(thing, bytes):
            return thing.hex()
        if isinstance(thing, Mapping):
            return _listed([f"{key}: {self.thing(value)}" for key, value in thing.items()])
        names = _names(thing)
        if names is not None:
            return f"{type(thing).__name__} {self._fields(thing, names)}".strip()
        if isinstance(thing, tuple | list):
            return "[" + _listed([self.thing(value) for value in thing]) + "]"
        return str(thing)

    def _fields(self, thing: object, names: tuple[str, ...]) -> str:
        said = []
        if "start" in names and "end" in names:
            said.append(self.range(*(getattr(thing, name) for name in ("start", "end"))))
            names = tuple(name for name in names if name not in ("start", "end"))
        said += [f"{name}={self.thing(getattr(thing, name))}" for name in names]
        return " ".join(said)


def kind_of(message: Message) -> str:
    """`Grant`, `Hello`, …: what an envelope carries, or the greeting itself."""
    return type(message.body if isinstance(message, Envelope) else message).__name__


def name_of(peer: str) -> str:
    """The host of a peer id `name.uid`."""
    return peer.rpartition(".")[0] or peer


def _number(number: int) -> str:
    """Space requests are numbered from the count of the asker's starts on: start, then request."""
    return f"{number >> 32}.{number & 0xFFFFFFFF}"


def _names(thing: object) -> tuple[str, ...] | None:
    if is_dataclass(thing):
        return tuple(field.name for field in fields(thing))
    return getattr(thing, "_fields", None)


def _listed(texts: list[str]) -> str:
    more = len(texts) - PIECES_MAX
    return ", ".join([*texts[:PIECES_MAX], f"and {more} more"] if more > 0 else texts)
