"""A run as a file: the plan, its faults and its requests, to be replayed, shortened and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ringipam.address import Cidr, parse_address, parse_cidr, to_address
from ringipam.core.events import Allocate, ClaimAddress, Leases, Release, Verb
from ringipam.errors import RequestError
from sim.faults import KINDS, Fault
from sim.run import Plan, Result, Run
from sim.workload import Ask

VERSION = 1

SEED_MAX = 1 << 64
HOSTS_MAX = 10_000
SECONDS_MAX = 1_000_000
TIME_MAX_MS = 1_000 * SECONDS_MAX
FOR_MAX_MS = 12_000
STRENGTH_MAX = 30
"""What `sim.faults.draw` never exceeds: after the healing has begun, no fault may go on."""

_T = TypeVar("_T")


def save(path: Path, run: Run, result: Result) -> None:
    """Write down what makes this run; raises OSError."""
    path.write_text(dump(run, result))


def dump(run: Run, result: Result) -> str:
    """What makes this run, its faults and requests in full, as JSON."""
    plan = run.plan
    data = {
        "ringipam_run": VERSION,
        "seed": plan.seed,
        "hosts": plan.hosts,
        "seconds": plan.seconds,
        "mutant": plan.mutant or None,
        "without": list(plan.without),
        "violation": result.violation,
        "digest": result.digest,
        "faults": [fault.as_json() for fault in run.faults],
        "requests": None if plan.asks is None else [_ask_as_json(ask) for ask in run.users.asked],
    }
    return json.dumps(data, indent=1) + "\n"


def load(path: Path) -> Plan:
    """The plan of a saved run; raises RequestError with one line that says what is wrong with the file."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RequestError(f"{path} is not a saved run: not JSON") from None
    try:
        return _plan(data)
    except KeyError as error:
        raise RequestError(f"{path} is not a saved run: {error} is missing") from None
    except RequestError as error:
        raise RequestError(f"{path} is not a saved run: {error}") from None


def _plan(data: object) -> Plan:
    if not isinstance(data, dict) or data.get("ringipam_run") != VERSION:
        raise RequestError(f"not one of this version ({VERSION})")
    requests = data["requests"]
    plan = Plan(
        seed=_number(data, "seed", SEED_MAX, least=-SEED_MAX),
        hosts=_number(data, "hosts", HOSTS_MAX, least=1),
        seconds=_number(data, "seconds", SECONDS_MAX, least=2),
        faults="saved",
        only=tuple(_fault(fault) for fault in _list(data["faults"], "faults", dict)),
        asks=None if requests is None else tuple(_ask(ask) for ask in _list(requests, "requests", dict)),
        without=_names(data, "without"),
        mutant=_text(data, "mutant") if data.get("mutant") is not None else "",
    )
    late = [fault for fault in plan.only or () if fault.at_ms >= plan.faulty_ms]
    if late:
        raise RequestError(f"{late[0].kind} at {late[0].at_ms} ms: faults end at {plan.faulty_ms} ms")
    if not {f"h{number}" for number in range(1, plan.hosts + 1)} > {*plan.without}:
        raise RequestError("without has all hosts, or one that there is not")
    return plan


def _fault(data: Mapping[str, Any]) -> Fault:
    kind = _text(data, "kind")
    if kind not in KINDS:
        raise RequestError(f"there is no fault {kind!r}")
    return Fault(
        _number(data, "at_ms", TIME_MAX_MS),
        kind,
        _names(data, "hosts"),
        _number(data, "for_ms", FOR_MAX_MS),
        _number(data, "strength", STRENGTH_MAX),
    )


def _ask_as_json(ask: Ask) -> dict[str, object]:
    data: dict[str, object] = {"at_ms": ask.at_ms, "host": ask.host}
    match ask.verb:
        case Allocate(holder, subnet, timeout_ms):
            data |= {"verb": "allocate", "id": holder, "subnet": str(subnet or ""), "timeout_ms": timeout_ms}
        case ClaimAddress(holder, family, address, prefix_len, timeout_ms):
            shown = f"{to_address(family, address)}"
            data |= {"verb": "claim", "id": holder, "address": shown, "len": prefix_len, "timeout_ms": timeout_ms}
        case Release(holder):
            data |= {"verb": "release", "id": holder, "named": ask.named, "late": ask.late}
        case Leases(_, cluster):
            data |= {"verb": "list", "cluster": cluster}
        case _:
            raise TypeError(f"users do not ask {ask.verb}")
    if ask.cancel_ms is not None:
        data["cancel_ms"] = ask.cancel_ms
    return data


def _ask(data: Mapping[str, Any]) -> Ask:
    return Ask(
        _number(data, "at_ms", TIME_MAX_MS),
        _text(data, "host"),
        _verb(data),
        _flag(data, "named") if data["verb"] == "release" else False,
        _number(data, "cancel_ms", TIME_MAX_MS) if data.get("cancel_ms") is not None else None,
        _flag(data, "late") if "late" in data else False,
    )


def _verb(data: Mapping[str, Any]) -> Verb:
    match data["verb"]:
        case "allocate":
            subnet: Cidr | None = parse_cidr(_text(data, "subnet")) if data["subnet"] else None
            return Allocate(_text(data, "id"), subnet, _number(data, "timeout_ms", TIME_MAX_MS))
        case "claim":
            family, address = parse_address(_text(data, "address"))
            prefix_len = _number(data, "len", 32 if family == 4 else 128)
            return ClaimAddress(
                _text(data, "id"), family, address, prefix_len, _number(data, "timeout_ms", TIME_MAX_MS)
            )
        case "release":
            return Release(_text(data, "id"))
        case "list":
            return Leases(cluster=_flag(data, "cluster"))
        case other:
            raise RequestError(f"there is no verb {other!r}")


def _number(data: Mapping[str, Any], name: str, most: int, *, least: int = 0) -> int:
    value = data[name]
    if type(value) is not int or not least <= value <= most:
        raise RequestError(f"{name} is not a number from {least} to {most}")
    return value


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data[name]
    if not isinstance(value, str) or not value.isprintable():
        raise RequestError(f"{name} is not a line of text")
    return value


def _flag(data: Mapping[str, Any], name: str) -> bool:
    value = data[name]
    if not isinstance(value, bool):
        raise RequestError(f"{name} is neither true nor false")
    return value


def _names(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    names = _list(data[name], name, str)
    if len({*names}) < len(names):
        raise RequestError(f"{name} has a name twice")
    return tuple(names)


def _list(value: object, name: str, kind: type[_T]) -> list[_T]:
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise RequestError(f"{name} is not a list of what belongs there")
    return value
