"""What the page shows of a run: the recorder's findings in words and numbers, no more of them than a page can hold."""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

from ringipam.core.events import DeadlinePassed, Leased
from ringipam.errors import RingIpamError
from ringipam.messages import Envelope, Message, Rumour
from sim.cluster import Request
from sim.faults import KINDS, Fault
from sim.history import History, doubled, mentioned
from sim.record import Held, Recorder, Sent, Step, View
from sim.scale import Scale
from sim.words import Words, kind_of, name_of

DETAIL_BYTES_MAX = 1_400_000
"""So much text of steps, and so much again of messages; what is older is drawn without its contents."""
TEXT_MAX = 1_200
MESSAGES_MAX = 12_000
VIEWS_MAX = 12_000
LEASES_MAX = 4_000
REQUESTS_MAX = 4_000
HOSTS_MAX = 40
ZOOM_MS = (300, 5_000)
ZOOM_EVENTS = 40

GROUPS: tuple[tuple[str, str, bool, tuple[str, ...]], ...] = (
    ("space", "space: requests, grants, denials", True, ("SpaceRequest", "Grant", "Denied")),
    ("election", "election of the ring", True, ("Prepare", "Promise", "Accept", "Accepted", "Rejected", "Nudge")),
    ("news", "news of the ring", True, ("Rumour", "Ranges")),
    ("other", "other", True, ()),
    ("greeting", "greetings and introductions", False, ("Hello", "Refused", "Introduce", "Introduced")),
    ("gossip", "gossip: offers, comparing, members", False, ("Offer", "Want", "Digest", "Compare", "Members")),
    ("probes", "probes: are you alive?", False, ("Ping", "Ack", "PingRequest")),
    ("leases", "lease listings", False, ("LeaseQuery", "LeasePage")),
)
"""Key, label, shown at first, kinds of messages; `other` takes what has no place."""


Lasting = TypeVar("Lasting", View, Held)


class Scene:
    """Everything the page shows, drawn from a recorder."""

    def __init__(self, recorder: Recorder, faults: Sequence[Fault], violation: str | None) -> None:
        world = recorder.world
        self._recorder = recorder
        self._world = world
        self._end = world.elapsed_ms
        self._faults = [fault for fault in faults if fault.at_ms <= self._end]
        self._violation = _parsed(recorder, violation) if violation else None
        self._words = Words(world.universe, recorder.links)
        text = self._violation["text"] if self._violation else ""
        self._focus = mentioned(text, world.universe) or doubled(recorder.doubles)
        self._hosts = _shown(list(world.hosts), text)
        self._place = {name: place for place, name in enumerate(self._hosts)}
        self._owners: dict[str, int] = {}
        self._detail_from = 0
        self._notes: list[str] = []

    def as_json(self) -> dict[str, Any]:
        if len(self._hosts) < len(self._world.hosts):
            self._notes.append(f"{len(self._hosts)} of the {len(self._world.hosts)} hosts are shown.")
        views, cuts = self._views()
        steps, messages = self._steps(), self._messages()
        if self._detail_from:
            self._notes.append(
                f"Steps and the contents of messages are kept from {self._detail_from / 1000:.3f} s on;"
                " before that only the messages that matter to the protocol are drawn."
            )
        return {
            "end": self._end,
            "universe": str(self._world.universe),
            "zoom": self._zoom(messages),
            "detail": self._detail_from,
            "notes": self._notes,
            "violation": self._violation,
            "focus": ", ".join(self._words.range(*focus) for focus in self._focus),
            "history": History(self._recorder, self._words, self._focus).rows() if self._violation else [],
            "hosts": [self._host(name) for name in self._hosts],
            "owners": [self._owner(owner) for owner in self._owners],
            "faults": [self._fault(fault) for fault in self._faults],
            "groups": [{"key": key, "label": label, "shown": shown} for key, label, shown, _ in GROUPS],
            "messages": messages,
            "steps": steps,
            "requests": self._requests(),
            "cuts": cuts,
            **views,
        }

    # ── hosts and faults ─────────────────────────────────────────────────────────────────────────

    def _host(self, name: str) -> dict[str, Any]:
        lives = self._recorder.lives[name]
        return {
            "name": name,
            "lives": [[life.span.since, life.span.until] for life in lives],
            "pauses": [[pause.since, pause.until] for life in lives for pause in life.pauses],
        }

    def _fault(self, fault: Fault) -> dict[str, Any]:
        return {
            "at": fault.at_ms,
            "for": fault.for_ms,
            "kind": fault.kind,
            "hosts": list(fault.hosts[: KINDS[fault.kind].hosts]),
            "strength": fault.strength,
        }

    def _owner(self, peer: str) -> dict[str, Any]:
        """A host that lost its disk comes back under another uid: two owners of one name."""
        name = name_of(peer)
        same = [owner for owner in self._owners if owner and name_of(owner) == name]
        return {"name": name if len(same) == 1 else peer, "place": self._place.get(name, -1), "peer": peer}

    # ── what happened ────────────────────────────────────────────────────────────────────────────

    def _steps(self) -> list[list[Any]]:
        """The latest, as many as there is room for; a deadline that led to nothing is left out."""
        found: list[list[Any]] = []
        room = DETAIL_BYTES_MAX
        for step in reversed(self._recorder.steps):
            if step.host not in self._place or (isinstance(step.event, DeadlinePassed) and not step.effects):
                continue
            row = self._step(step)
            room -= 20 + len(row[2]) + sum(len(effect) + 3 for effect in row[3])
            if room < 0:
                self._detail_from = max(self._detail_from, step.at)
                break
            found.append(row)
        else:
            self._detail_from = max(self._detail_from, _forgotten(self._recorder.steps))
        return found[::-1]

    def _step(self, step: Step) -> list[Any]:
        effects = [_short(self._words.effect(effect)) for effect in step.effects]
        return [step.at, self._place[step.host], _short(self._words.event(step.event)), effects]

    def _messages(self) -> list[list[Any]]:
        """`[sent, due, received, source, target, group, kind, contents]`, the times -1 where there is none."""
        found: list[list[Any]] = []
        room = DETAIL_BYTES_MAX
        for sent in reversed(self._recorder.messages):
            if sent.source not in self._place or sent.target not in self._place:
                continue
            group = _group(sent.message)
            text = ""
            if room > 0:
                text = _short(self._words.message(sent.message))
                room -= 40 + len(text)
                if room <= 0:
                    self._detail_from = max(self._detail_from, sent.at)
            elif not GROUPS[group][2]:
                continue
            if len(found) == MESSAGES_MAX:
                self._notes.append(f"Messages before {sent.at / 1000:.3f} s are left out.")
                break
            found.append(self._message(sent, group, text))
        else:
            if forgotten := _forgotten(self._recorder.messages):
                self._notes.append(f"Messages before {forgotten / 1000:.3f} s are left out.")
        return found[::-1]

    def _message(self, sent: Sent, group: int, text: str) -> list[Any]:
        times = [sent.at, *(-1 if time is None else time for time in (sent.arrives, sent.received))]
        return [*times, self._place[sent.source], self._place[sent.target], group, kind_of(sent.message), text]

    def _requests(self) -> list[list[Any]]:
        """`[asked, answered or -1, host, words, outcome, answer]`."""
        known = [request for request in self._recorder.requests if request.host in self._place]
        if len(known) > REQUESTS_MAX:
            since = self._recorder.since_begin(known[-REQUESTS_MAX].asked_ms)
            self._notes.append(f"Requests before {since / 1000:.3f} s are left out.")
        return [self._request(request) for request in known[-REQUESTS_MAX:]]

    def _request(self, request: Request) -> list[Any]:
        since_begin = self._recorder.since_begin
        answered = -1 if request.answered_ms is None else since_begin(request.answered_ms)
        outcome, answer = self._outcome(request)
        words = f"{self._words.verb(request.verb)}{f' → {outcome}' if outcome else ''}"
        mood = "ok"
        if answered < 0:
            mood = "lost" if request.lost else "left" if request.cancelled else "open"
        elif isinstance(request.answer, RingIpamError):
            mood = "error"
        return [since_begin(request.asked_ms), answered, self._place[request.host], words, mood, answer]

    def _outcome(self, request: Request) -> tuple[str, str]:
        """In a word or two, and in full."""
        if request.answered_ms is None:
            if request.lost:
                return "never answered", "The host was down, or crashed before it answered; either outcome is right."
            return ("caller left", "The caller went away.") if request.cancelled else ("", "No answer yet.")
        full = _short(self._words.answer(request.answer))
        if isinstance(request.answer, RingIpamError):
            return request.answer.code.replace("_", " "), full
        return (str(request.answer.lease.address) if isinstance(request.answer, Leased) else "done"), full

    def _zoom(self, messages: list[list[Any]]) -> list[int]:
        """The last moments: as far back as it takes to show what led here, within reason."""
        if self._violation is None:
            return [0, self._end]
        shown = sorted(
            [message[0] for message in messages if GROUPS[message[5]][2]]
            + [self._recorder.since_begin(request.asked_ms) for request in self._recorder.requests]
        )
        begun = min((life.span.since for lives in self._recorder.lives.values() for life in lives), default=0)
        first = shown[-ZOOM_EVENTS] if len(shown) >= ZOOM_EVENTS else begun
        shortest, longest = ZOOM_MS
        return [max(0, min(max(first, self._end - longest), self._end - shortest)), self._end]

    # ── who owned what ───────────────────────────────────────────────────────────────────────────

    def _views(self) -> tuple[dict[str, Any], list[list[Any]]]:
        """The bars, what two hosts had at once, and the leases; and the addresses beside them."""
        recorder, universe = self._recorder, self._world.universe
        views = self._latest(
            [view for view in recorder.views if view.host in self._place], VIEWS_MAX, "Views of the ring"
        )
        held = [one for one in recorder.held if one.host in self._place and int(one.lease.address) in universe.range]
        held = self._latest(held, LEASES_MAX, "Leases")
        boundaries = [edge for view in views for edge in (view.start, view.end)]
        scale = Scale(universe.range, boundaries, [int(one.lease.address) for one in held], self._focus)
        rows = [
            [
                view.span.since,
                -1 if view.span.until is None else view.span.until,
                self._place[view.host],
                scale.y(view.start),
                scale.y(view.end),
                self._owners.setdefault(view.owner, len(self._owners)),
                int(view.down),
                self._words.range(view.start, view.end),
            ]
            for view in views
        ]
        doubles = [
            {
                "since": double.span.since,
                "until": double.span.until,
                "hosts": list(double.hosts),
                "how": double.how,
                "range": self._words.range(double.start, double.end),
                "y": [scale.y(double.start), scale.y(double.end)],
            }
            for double in recorder.doubles
            if double.span.since != double.span.until
        ]
        leases = [
            [
                one.span.since,
                -1 if one.span.until is None else one.span.until,
                self._place[one.host],
                scale.middle(int(one.lease.address)),
                str(one.lease.address),
                one.lease.id,
            ]
            for one in held
        ]
        cuts = [[scale.y(cut), self._words.address(cut)] for cut in scale.cuts if cut < universe.range.end]
        return {"views": rows, "doubles": doubles, "leases": leases}, cuts

    def _latest(self, things: list[Lasting], at_most: int, what: str) -> list[Lasting]:
        """What ended last, or lasts still, in the old order."""
        if len(things) <= at_most:
            return things
        ends = [self._end if thing.span.until is None else thing.span.until for thing in things]
        last = sorted(ends)[-at_most]
        self._notes.append(f"{what} that ended before {last / 1000:.3f} s are left out.")
        return [thing for thing, end in zip(things, ends, strict=True) if end >= last][-at_most:]


def _parsed(recorder: Recorder, violation: str) -> dict[str, str]:
    checker, _, text = violation.partition(": ")
    text = re.sub(r"^at \d+ ms: ", "", text)
    if checker == "exception":
        return {"checker": checker, "text": text, "property": "the protocol's code raises nothing, whatever happens"}
    for known in recorder.world.checkers:
        if type(known).__name__ == checker:
            said = type(known).__doc__ or ""
            module = sys.modules[type(known).__module__].__doc__ or said
            return {"checker": checker, "text": text, "property": " ".join(_plain(module).split())}
    return {"checker": checker, "text": text, "property": "see docs/simulator.md"}


def _plain(text: str) -> str:
    """Without the numbers of rules, which say nothing to a newcomer."""
    return re.sub(r" \((?:safety\.md )?[A-Z]\d+\)", "", text)


def _shown(names: list[str], text: str) -> list[str]:
    """All hosts; of very many those that the violation names, and the first ones."""
    if len(names) <= HOSTS_MAX:
        return names
    spoken = set(re.findall(r"[\w.-]+", text))
    wanted = [name for name in names if name in spoken] + [name for name in names if name not in spoken]
    first = set(wanted[:HOSTS_MAX])
    return [name for name in names if name in first]


def _forgotten(kept: deque[Step] | deque[Sent]) -> int:
    """Before which moment the recorder has none of them any more; 0 if it has all."""
    return kept[0].at if len(kept) == kept.maxlen else 0


def _group(message: Message) -> int:
    kind = kind_of(message)
    if isinstance(message, Envelope) and isinstance(message.body, Rumour) and not message.body.segments:
        kind = "Members"
    for place, (_, _, _, kinds) in enumerate(GROUPS):
        if kind in kinds:
            return place
    return next(place for place, group in enumerate(GROUPS) if group[0] == "other")


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
