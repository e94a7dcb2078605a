"""Broken variants of what users are answered, and of how space is looked for and granted."""

from __future__ import annotations

from ringipam.core.allocator import Allocator
from ringipam.core.donor import Donor
from ringipam.core.search import Searches
from ringipam.core.state import State
from sim.mutants.mutant import Edit, Mutant, Shown

_COPIES = "copies,stale-copies,disorder,slow-network"

MUTANTS = (
    Mutant(
        "claim-grants-a-leased-address",
        "S7",
        "A donor grants an address that is claimed without looking whether it is leased.",
        ("LeasesInsidePossession", "NoAddressLeasedTwice"),
        (Edit(Donor._give_exactly, "if held is not None:", "if False:"),),
        shown=Shown(1),
    ),
    Mutant(
        "claim-without-owning",
        "S7",
        "A claim succeeds whoever owns the address.",
        ("LeasesInsidePossession", "NoAddressLeasedTwice"),
        (Edit(Allocator._claim, "if state.owns(*wanted):", "if True:"),),
    ),
    Mutant(
        "claim-of-the-same-id-elsewhere",
        "S7",
        "A claim succeeds if the host that has the address leased it to the same id.",
        ("LeasesInsidePossession", "NoAddressLeasedTwice"),
        (
            Edit(
                Allocator._claim,
                "        if denied is not None and denied.reason is Denial.IN_USE:",
                "        if denied is not None and denied.holder == holder:\n"
                "            lease = self._issue(verb.id, verb.family, verb.address, subnet, 'static', {})\n"
                "            return Leased(lease, new=True)\n"
                "        if denied is not None and denied.reason is Denial.IN_USE:",
            ),
        ),
        shown=Shown(19),
    ),
    Mutant(
        "asking-again-is-a-new-request",
        "design, idempotence",
        "Who asks again for the same id and subnet gets a second lease.",
        ("OneAllocationEach", "SameAnswerAgain"),
        (Edit(Allocator._allocate, "if verb.id != ANONYMOUS:", "if False:"),),
    ),
    Mutant(
        "cancelled-callers-are-served",
        "S18",
        "A request goes on although its caller is gone.",
        (
            "NothingGrowsWithoutBound",
            "EveryLeaseWasAskedFor",
        ),
        (Edit(Allocator.cancel, "self._waiting.pop(request, None)", "None"),),
        shown=Shown(2),
    ),
    Mutant(
        "release-of-another-lease",
        "S22",
        "A release that names a lease frees whatever the id holds.",
        ("ReleasesFreeTheirOwn",),
        (Edit(Allocator.release, "and verb.lease in (None, lease.lease)", ""),),
    ),
    Mutant(
        "granted-again",
        "S16",
        "A request for space that comes twice is granted twice.",
        ("SpaceIsGrantedOnce",),
        (Edit(Donor.asked, "request.number <= state.answered.get(asker, 0)", "False"),),
        shown=Shown(1, seconds=20, faults=_COPIES),
    ),
    Mutant(
        "granted-again-after-a-denial",
        "S16",
        "A copy of a request that was denied is granted, though nobody waits for it any more.",
        ("SpaceIsGrantedOnce",),
        (Edit(Donor._deny, "state.answered[asker] = request.number", "pass"),),
        shown=Shown(3, seconds=20, faults=_COPIES),
        standard=False,
    ),
    Mutant(
        "answered-number-not-durable",
        "S16",
        "The number of a request is not of the record of its grant.",
        ("SpaceIsGrantedOnce",),
        (Edit(Donor.give, "state.change(PutAnswered(asker, number))", "pass"),),
    ),
    Mutant(
        "answered-numbers-lost-by-restart",
        "S16",
        "A restarted donor does not know which requests it has granted.",
        ("SpaceIsGrantedOnce",),
        (Edit(State.__init__, "dict(stored.answered)", "{}"),),
        shown=Shown(68, seconds=30, hosts=3, faults="stale-copies,restart"),
        standard=False,
    ),
    Mutant(
        "boots-not-counted",
        "S13, S16",
        "A restarted peer numbers its requests as its former process did.",
        ("StartsAreCounted",),
        (Edit(State.__init__, 'int(stored.meta.get("boots", "0")) + 1', "1"),),
        shown=Shown(1),
    ),
    Mutant(
        "prefetch-takes-the-last",
        "S17",
        "The last free address goes to one who asks ahead of need.",
        ("PrefetchLeavesSome",),
        (Edit(Donor._give_some, "request.urgent", "True"),),
        shown=Shown(1),
    ),
    Mutant(
        "one-refusal-is-enough",
        "S17",
        "There is no space as soon as one donor says so.",
        ("NoSpaceIsTrue",),
        (
            Edit(
                Searches.open_donors,
                "    return [",
                "    if seeker.refused:\n        return []\n    return [",
            ),
        ),
        shown=Shown(1, faults="none"),
    ),
    Mutant(
        "no-space-while-searching",
        "S17",
        "There is no space as soon as there is none here, while donors are still being asked.",
        ("NoSpaceIsTrue",),
        (
            Edit(
                Allocator._allocate,
                "if self._searches.open_donors(issuable, waiting.seeker) or not self._searches.complete(issuable):",
                "if not self._searches.complete(issuable):",
            ),
        ),
        shown=Shown(1, faults="none"),
    ),
    Mutant(
        "silent-donor-is-waited-for",
        "weave #1005",
        "A donor that does not answer is waited for without end.",
        ("NoSpaceIsTrue",),
        (
            Edit(
                Searches.tick,
                "(asking.due_ms <= state.now or not state.members.reachable(asking.donor))",
                "False",
            ),
            Edit(Searches.deadline, "due = min(due, search.asking.due_ms)", "pass"),
        ),
        shown=Shown(97, seconds=60, faults="loss,lose-grants,lose-denials,gone-for-good,crash"),
        standard=False,
    ),
    Mutant(
        "free-figure-is-believed",
        "weave #2083",
        "A peer stops over a figure of free addresses that does not fit what it knows of the ring.",
        ("exception",),
        (
            Edit(
                Searches._choose,
                "    weights.append(",
                "    assert member is None or member.free <= owners.get(peer, 0)\n        weights.append(",
            ),
        ),
    ),
    Mutant(
        "nobody-looks-at-the-time",
        "design, time-outs",
        "Requests wait beyond their caller's time.",
        ("EveryRequestAnswered",),
        (
            Edit(Allocator.tick, "if waiting.due_ms <= state.now:", "if False:"),
            Edit(Allocator.deadline, "min(due, waiting.due_ms, ", "min(due, "),
        ),
        shown=Shown(2),
    ),
    Mutant(
        "waiting-requests-not-looked-at",
        "design, waiting",
        "Who waits for space is not served when it comes.",
        ("NoSpaceIsTrue", "EveryRequestAnswered", "NothingGrowsWithoutBound"),
        (
            Edit(Allocator.retry, "self._attempt(request, waiting)", "pass"),
            Edit(Allocator.tick, "self._attempt(request, waiting)", "pass"),
        ),
        shown=Shown(8, seconds=30, hosts=2, faults="none"),
        standard=False,
    ),
    Mutant(
        "waiting-list-leaks",
        "design, bounds",
        "What was answered stays in the list of what waits.",
        ("NothingGrowsWithoutBound", "EveryLeaseWasAskedFor", "exception"),
        (Edit(Allocator._finish, "self._waiting.pop(request)", "self._waiting[request]"),),
    ),
)
