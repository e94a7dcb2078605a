"""A run as a file: the plan, its faults and its requests, to be replayed, shortened and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ringipam.address import Cidr, parse_address, parse_cidr, to_address
from ringipam.core.events import Allocate, ClaimAddress, Leases, Release, Verb
from ringipam.errors import RequestError
from sim.faults import KINDS, Fault
from sim.run import Plan, Result, Run
from sim.workload import Ask

VERSION = 1


def save(path: Path, run: Run, result: Result) -> None:
    """Write down what makes this run, its faults and requests in full; raises OSError."""
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
    path.write_text(json.dumps(data, indent=1) + "\n")


def load(path: Path) -> Plan:
    """The plan of a saved run; raises RequestError with one line that says what is wrong with the file."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise RequestError(f"{path} is not a saved run: not JSON") from None
    try:
        if not isinstance(data, dict) or data.get("ringipam_run") != VERSION:
            raise RequestError(f"not a run saved by this version ({VERSION})")
        requests = data["requests"]
        return Plan(
            seed=int(data["seed"]),
            hosts=int(data["hosts"]),
            seconds=int(data["seconds"]),
            faults="saved",
            only=tuple(_fault(fault) for fault in data["faults"]),
            asks=None if requests is None else tuple(_ask(ask) for ask in requests),
            without=tuple(map(str, data["without"])),
            mutant=data.get("mutant") or "",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{path} is not a saved run: {type(error).__name__} {error}") from None
    except RequestError as error:
        raise RequestError(f"{path} is not a saved run: {error}") from None


def _fault(data: Mapping[str, Any]) -> Fault:
    fault = Fault(
        int(data["at_ms"]),
        str(data["kind"]),
        tuple(map(str, data["hosts"])),
        int(data["for_ms"]),
        int(data["strength"]),
    )
    if fault.kind not in KINDS:
        raise RequestError(f"there is no fault {fault.kind!r}")
    return fault


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
    cancel_ms = data.get("cancel_ms")
    named, late = bool(data.get("named", False)), bool(data.get("late", False))
    cancelled = None if cancel_ms is None else int(cancel_ms)
    return Ask(int(data["at_ms"]), str(data["host"]), _verb(data), named, cancelled, late)


def _verb(data: Mapping[str, Any]) -> Verb:
    match data["verb"]:
        case "allocate":
            subnet: Cidr | None = parse_cidr(data["subnet"]) if data["subnet"] else None
            return Allocate(str(data["id"]), subnet, int(data["timeout_ms"]))
        case "claim":
            family, address = parse_address(data["address"])
            return ClaimAddress(str(data["id"]), family, address, int(data["len"]), int(data["timeout_ms"]))
        case "release":
            return Release(str(data["id"]))
        case "list":
            return Leases(cluster=bool(data["cluster"]))
        case other:
            raise RequestError(f"there is no verb {other!r}")
