"""What happened, as a digest that two equal runs share, and as JSON lines for a person."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TextIO

from ringipam.core.events import Effect, Event, Persist, Received, Reply, Send
from ringipam.messages import Envelope, Message


class Trace:
    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._hash = blake2b(digest_size=16)

    def step(self, time: int, host: str, event: Event | None, effects: list[Effect]) -> None:
        said = _event(event)
        done = [_effect(effect) for effect in effects]
        self._hash.update(f"{time} {host} {said} {done}\n".encode())
        if self._file is not None:
            self._file.write(json.dumps({"ms": time, "host": host, "event": said, "effects": done}) + "\n")

    def note(self, time: int, host: str, what: str) -> None:
        self._hash.update(f"{time} {host} {what}\n".encode())
        if self._file is not None:
            self._file.write(json.dumps({"ms": time, "host": host, "event": what}) + "\n")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _event(event: Event | None) -> str:
    if isinstance(event, Received):
        return f"{event.link}<{_message(event.message)}"
    return type(event).__name__


def _effect(effect: Effect) -> str:
    match effect:
        case Send(link, message):
            return f"{link}>{_message(message)}"
        case Persist(changes):
            return f"Persist {changes}"
        case Reply(request, answer):
            return f"Reply {request} {answer}"
        case _:
            return type(effect).__name__


def _message(message: Message) -> str:
    if isinstance(message, Envelope):
        return f"{type(message.body).__name__} {message.origin} {message.target}"
    return type(message).__name__
