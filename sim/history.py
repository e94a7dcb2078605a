"""How it came to a violation: what happened to the addresses in question, in words."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from ringipam.address import Cidr, Range
from ringipam.core.durable import PutMeta
from ringipam.messages import Envelope, Grant
from sim.host import persisted
from sim.record import Double, Recorder
from sim.words import Words, name_of

ROWS_MAX = 16

Row = tuple[int, str]
"""When, and what."""


ADDRESS = r"([0-9a-f]*[.:][0-9a-f.:]*[0-9a-f:])(?![0-9a-f.:]*/)"
"""What looks like an address and is not the beginning of a subnet."""


def mentioned(text: str, universe: Cidr) -> list[Range]:
    """The addresses and `A to B` of a violation's words."""
    found = []
    for first, last in re.findall(rf"{ADDRESS}(?: to {ADDRESS})?", text):
        ends = [_address(part, universe) for part in (first, last or first)]
        if ends[0] is not None and ends[1] is not None and ends[0] <= ends[1]:
            found.append(Range(ends[0], ends[1] + 1))
    return sorted(set(found))


def _address(text: str, universe: Cidr) -> int | None:
    try:
        address = ipaddress.ip_address(text.rstrip(":") if text.endswith(":") and not text.endswith("::") else text)
    except ValueError:
        return None
    return int(address) if address.version == universe.family and int(address) in universe.range else None


def doubled(doubles: Sequence[Double]) -> list[Range]:
    """What two hosts still have at once when all is over."""
    return sorted({Range(double.start, double.end) for double in doubles if double.span.until is None})


class History:
    """`focus` are the addresses in question; without any, lives and clusters are told."""

    def __init__(self, recorder: Recorder, words: Words, focus: Sequence[Range]) -> None:
        self._recorder = recorder
        self._words = words
        self._focus = focus

    def rows(self) -> list[Row]:
        """The latest last. What befell the addresses comes first when there is no room for everything."""
        told = _latest(
            [*self._views(), *self._grants(), *self._leases(), *self._doubles(), *self._last_step()], ROWS_MAX
        )
        return _latest([*_latest([*self._lives(), *self._clusters()], ROWS_MAX - len(told)), *told], ROWS_MAX)

    def _lives(self) -> Iterator[Row]:
        for name, lives in self._recorder.lives.items():
            for number, life in enumerate(lives):
                if number:
                    yield life.span.since, f"{name} starts again from its disk"
                if life.span.until is not None:
                    yield life.span.until, f"{name} crashes"

    def _clusters(self) -> Iterator[Row]:
        for step in self._recorder.steps:
            for change in persisted(step.effects):
                if isinstance(change, PutMeta) and change.key == "cluster":
                    yield step.at, f"{step.host} has a ring from now on (cluster {change.value})"

    def _doubles(self) -> Iterator[Row]:
        for double in self._recorder.doubles:
            if self._in_focus(double.start, double.end):
                yield double.span.since, self._double(double)

    def _double(self, double: Double) -> str:
        both = " and ".join(double.hosts)
        what = self._words.range(double.start, double.end)
        match double.how:
            case "possess":
                return f"both {both} now believe that they own {what}: each may give it to a user"
            case "possess on disk":
                return f"both {both} would own {what} if they restarted now"
            case "lease":
                return f"both {both} have {what} leased"

    def _views(self) -> Iterator[Row]:
        if not self._focus:
            return
        address = self._focus[0].start
        before: dict[str, str] = {}
        for view in self._recorder.views:
            if view.start <= address < view.end and not view.down:
                was = before.get(view.host)
                if was != view.owner and (view.owner or was):
                    owner = name_of(view.owner) or "nobody"
                    whose = "it" if owner == view.host else owner
                    then = f" (before: {name_of(was) or 'nobody'})" if was is not None else ""
                    yield (
                        view.span.since,
                        f"{view.host} now believes that {whose} owns {self._words.address(address)}{then}",
                    )
                before[view.host] = view.owner

    def _grants(self) -> Iterator[Row]:
        for sent in self._recorder.messages:
            body = sent.message.body if isinstance(sent.message, Envelope) else None
            if isinstance(body, Grant) and any(self._in_focus(part.start, part.end) for part in body.segments):
                said = f"{sent.source} → {sent.target}: {self._words.message(sent.message)}"
                yield sent.at, said + ("" if sent.arrives is not None else " (lost)")

    def _leases(self) -> Iterator[Row]:
        for held in self._recorder.held:
            address = int(held.lease.address)
            if self._in_focus(address, address + 1):
                yield held.span.since, f"{held.host} leases {held.lease.address} to {held.lease.id}"
                if held.span.until is not None:
                    yield held.span.until, f"{held.host} no longer leases {held.lease.address} to {held.lease.id}"

    def _last_step(self) -> Iterator[Row]:
        if self._recorder.steps:
            step = self._recorder.steps[-1]
            yield step.at, f"the last step before the violation: {step.host} {self._words.event(step.event)}"

    def _in_focus(self, start: int, end: int) -> bool:
        return any(start < focus.end and focus.start < end for focus in self._focus)


def _latest(rows: list[Row], at_most: int) -> list[Row]:
    ordered = sorted(rows, key=lambda row: row[0])
    return ordered[max(0, len(ordered) - at_most) :]
