"""What two rings answered, as one answer that hides neither. Plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from ringipam.core.events import LeaseList
from ringipam.errors import NotFoundError, RequestError, RingIpamError
from ringipam.runtime.driver import Outcome

Told = Mapping[int, Outcome | RingIpamError]
"""By family, 4 before 6: what each ring that was asked said."""

WORST_FIRST = ("fenced", "refusing", "electing", "idle", "ready")


def refusals(told: Told) -> dict[int, RingIpamError]:
    return {family: answer for family, answer in told.items() if isinstance(answer, RingIpamError)}


def unknown(answer: object) -> bool:
    """Whether a ring merely knows no such lease or peer; an ambiguous name is not unknown."""
    return isinstance(answer, NotFoundError) and "peers" not in answer.details


def refusal(told: Told, done: Callable[[Outcome], str]) -> RingIpamError:
    """One error that says what became of both: who hears of one only would take the other to be the same.

    Its kind and details are those of the first refusal; `done` puts into words what a ring has done.
    """
    errors = refusals(told)
    first = next(iter(errors.values()))
    if len(told) == len(errors) and len({error.message for error in errors.values()}) == 1:
        return type(first)(first.message, **first.details)
    said = [
        f"IPv{family}: {answer.message if isinstance(answer, RingIpamError) else done(answer)}"
        for family, answer in told.items()
    ]
    return type(first)("; ".join(said), **first.details)


def of_one(family: int, error: RingIpamError) -> RingIpamError:
    """The refusal of one ring, before either was touched."""
    return type(error)(f"nothing was done: IPv{family}: {error.message}", **error.details)


def lease_lists(told: Told) -> LeaseList:
    lists = [answer for answer in told.values() if isinstance(answer, LeaseList)]
    leases = tuple(lease for answer in lists for lease in answer.leases)
    return LeaseList(leases, tuple(sorted({host for answer in lists for host in answer.unreachable})))


def beside(told: Told) -> dict[str, object]:
    """The answer of the IPv4 ring with that of the other under `ipv6`."""
    first, second = (cast("dict[str, object]", told[family]) for family in (4, 6))
    return {**first, "ipv6": second}


def statuses(told: Told) -> dict[str, object]:
    """The status of the IPv4 ring with that of the other under `ipv6`.

    What says whether all is well is that of both: the worse state, every reason and warning, and `serving` only if both
    serve.
    """
    merged = beside(told)
    first, second = (cast("dict[str, object]", told[family]) for family in (4, 6))
    states = (str(first["state"]), str(second["state"]))
    reasons = [f"IPv{family}: {part['reason']}" for family, part in ((4, first), (6, second)) if part["reason"]]
    mine, others = (cast("list[str]", part["warnings"]) for part in (first, second))
    merged["state"] = min(states, key=WORST_FIRST.index)
    merged["reason"] = "; ".join(reasons) or None
    merged["serving"] = bool(first["serving"] and second["serving"])
    merged["warnings"] = [*mine, *(f"IPv6: {text}" for text in others if text not in mine)]
    return merged


# ── what a ring has done, in words ────────────────────────────────────────────────────────────────


def in_words(answer: Outcome) -> str:
    """For an error that tells of the other ring."""
    if isinstance(answer, LeaseList):
        return f"released {', '.join(str(lease.address) for lease in answer.leases)}"
    if not isinstance(answer, dict):
        return "done"
    if "heirs" in answer:
        return "this host has left the ring"
    if "removed" in answer:
        return f"removed {', '.join(map(str, cast('list[object]', answer['removed'])))}"
    return f"this host is {answer['to']} now" if answer.get("to") else "nothing stands in the way"


def nothing_removed(dry_run: bool) -> dict[str, object]:
    """What a ring says of a removal in which none of its members is named."""
    if dry_run:
        return {"would_remove": [], "would_take": 0, "must_answer": [], "unreachable": []}
    return {"removed": [], "taken": 0, "without": [], "also": []}


def stays(status: Mapping[str, object]) -> dict[str, object]:
    """What a ring says of a rejoin that it does not need: `to` is who the host is already."""
    named = cast("dict[str, object]", status["peer"])
    peer = f"{named['name']}.{named['uid']}"
    return {"from": peer, "to": peer, "leases": [], "becomes": "what they are, as it is in good standing", "next": ""}


def needs_no_rejoin(answer: object) -> bool:
    return type(answer) is RequestError
