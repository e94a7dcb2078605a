"""The steps of a way through a world, in words."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ringipam.claim import Segment
from ringipam.core.events import Allocate, ClaimAddress, Leave
from ringipam.core.settings import name_of
from ringipam.messages import Envelope, Message, Rest
from sim.explore.node import Commit, Crash, Deliver, Die, Happening, Mourn, Relink, Say, Wait
from sim.explore.worlds import Ask, GoAway, LetGo, RemoveDead, World


class Step(NamedTuple):
    place: int
    happening: Happening
    note: str = ""


def describe(world: World, step: Step) -> str:
    """One line."""
    name = world.names[step.place]
    note = f" ({step.note})" if step.note else ""
    match step.happening:
        case Deliver(_, packet):
            return f"{world.names[packet.sender]} → {name}: {_message(world, packet.message)}{note}"
        case Commit():
            return f"{name}: the commit under way is durable"
        case Wait(0):
            return f"{name}: wakes, as something is due{note}"
        case Wait(ms):
            return f"{name}: {ms} ms pass{note}"
        case Say(_, RemoveDead(), dead):
            return f"{name}: remove {' and '.join(map(name_of, dead))}{note}"
        case Say(_, ask):
            return f"{name}: {_ask(world, ask)}{note}"
        case Crash(finished):
            how = ", its commit just finished," if finished else ""
            return f"{name}: crashes{how} and restarts"
        case Relink(other):
            return f"{name} and {world.names[other]} are linked"
        case Mourn(other, _):
            return f"{name} notices that {world.names[other]} is dead"
        case Die():
            return f"{name} stops for good"


def _ask(world: World, ask: Ask) -> str:
    match ask:
        case Allocate():
            return f"allocate {ask.id}"
        case ClaimAddress():
            return f"claim {world.universe.text(ask.address)} for {ask.id}"
        case LetGo(holder, nth):
            return f"release {holder}, lease number {nth + 1} of those it was told of"
        case GoAway(holder, _):
            return f"the caller of {holder} goes away"
        case Leave():
            return "leave"
        case _:
            return repr(ask)


def _message(world: World, message: Message) -> str:
    if not isinstance(message, Envelope):
        return f"{type(message).__name__}"
    body = message.body
    names = dict(zip(world.peers, world.names, strict=True))
    slots = type(body).__slots__
    fields = ", ".join(f"{slot} {_value(world, names, getattr(body, slot))}" for slot in slots)
    relayed = "" if not message.serial else f" of {names[message.origin]} for {names[message.target]}"
    return f"{type(body).__name__}{relayed}{f' ({fields})' if fields else ''}"


def _value(world: World, names: dict[str, str], value: object) -> str:
    match value:
        case Segment(start, end, claim):
            owner = names.get(claim.owner, "nobody")
            epoch = f"epoch {claim.epoch}, " if claim.epoch else ""
            return f"{_range(world, start, end)} is {owner}'s, {epoch}version {claim.version}"
        case Rest(start, end, left):
            return f"{_range(world, start, end)} rests for {left} ms"
        case tuple():
            return f"[{'; '.join(_value(world, names, item) for item in value)}]"
        case Enum():
            return value.name
        case bytes():
            return value.hex()[:6]
        case str():
            return names.get(value, value)
        case int() if value in world.universe.range or value == world.universe.range.end:
            return world.universe.text(value)
        case _:
            return str(value)


def _range(world: World, start: int, end: int) -> str:
    first, last = world.universe.text(start), world.universe.text(end - 1)
    return first if start + 1 == end else f"{first} to {last}"
