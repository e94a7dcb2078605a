"""Broken variants of what is kept, when it may be seen, and what a restart finds."""

from __future__ import annotations

from ringipam.core.election import Election
from ringipam.core.outbox import Outbox
from ringipam.core.state import State
from sim.host import Host
from sim.mutants.mutant import Edit, Mutant, Shown

_HASTY = (
    "    while self._queue and not isinstance(self._queue[0], Persist):",
    "    out = [effect for effect in self._queue if isinstance(effect, {kind})]\n"
    "    self._queue = deque(effect for effect in self._queue if not isinstance(effect, {kind}))\n"
    "    while self._queue and not isinstance(self._queue[0], Persist):",
)

_ELECTIONS = "split,isolate,pair,power-loss,crash,isolate-founder,crash-at-promise,slow-network,bridge,flap"

MUTANTS = (
    Mutant(
        "grant-before-durable",
        "design, output commit",
        "Messages do not wait for the record they follow from.",
        ("NoAddressPossessedTwice", "NobodyIsContested", "OneRingIsFormed"),
        (Edit(Outbox.visible, _HASTY[0], _HASTY[1].format(kind="Send")),),
        shown=Shown(3),
    ),
    Mutant(
        "reply-before-commit",
        "design, output commit",
        "Answers to users do not wait for the record they follow from.",
        ("AcknowledgedIsDurable",),
        (Edit(Outbox.visible, _HASTY[0], _HASTY[1].format(kind="Reply")),),
    ),
    Mutant(
        "lists-pass-the-queue",
        "S15",
        "A list of leases goes out at once, past the changes it was computed from.",
        ("AcknowledgedIsDurable",),
        (
            Edit(
                Outbox.push,
                "self._queue.extend(effects)",
                "effects = list(effects)\n"
                "    if len(effects) == 1 and hasattr(getattr(effects[0], 'answer', None), 'unreachable'):\n"
                "        self._queue.extendleft(effects)\n"
                "    else:\n"
                "        self._queue.extend(effects)",
            ),
        ),
        shown=Shown(0, seconds=20, faults="disk-slow,disk-stalls"),
        standard=False,
    ),
    Mutant(
        "a-record-for-each-change",
        "S19",
        "What one message changed is as many durable records as it has changes.",
        ("OneRecordAStep",),
        (
            Edit(
                State.drain,
                "effects.insert(0, Persist(tuple(self._changes)))",
                "effects[:0] = [Persist((change,)) for change in self._changes]",
            ),
        ),
    ),
    Mutant(
        "record-behind-its-effects",
        "design, output commit",
        "The record of a step follows the effects of the step instead of leading them.",
        ("OneRecordAStep",),
        (Edit(State.drain, "effects.insert(0, Persist(", "effects.append(Persist("),),
    ),
    Mutant(
        "failed-commits-pass",
        "S14",
        "A commit that failed is taken for a good one: memory and messages run ahead of the disk.",
        (
            "DiskHoldsWhatMemoryDoes",
            "AcknowledgedIsDurable",
            "NoAddressPossessedTwice",
            "NobodyIsContested",
            "OneRingIsFormed",
        ),
        (Edit(Host._committed, "elif ok:", "elif True:"),),
        shown=Shown(0, seconds=20, faults="disk-fails,disk-full"),
    ),
    Mutant(
        "restamps-in-memory-only",
        "weave #2344",
        "A version that is raised without a change of owner is not persisted.",
        ("DiskHoldsWhatMemoryDoes",),
        (
            Edit(
                State.join,
                "self.change(PutTokens(joined.removed, joined.put))",
                "if source != self.me or any(old.owner != new.owner for *_, old, new in joined.changed):\n"
                "        self.change(PutTokens(joined.removed, joined.put))",
            ),
        ),
        shown=Shown(1),
    ),
    Mutant(
        "news-in-memory-only",
        "S19",
        "What others own now is not persisted.",
        ("DiskHoldsWhatMemoryDoes", "NoAddressPossessedTwice", "NobodyIsContested"),
        (
            Edit(
                State.join,
                "self.change(PutTokens(joined.removed, joined.put))",
                "if any(self.me in (old.owner, new.owner) for *_, old, new in joined.changed):\n"
                "        self.change(PutTokens(joined.removed, joined.put))",
            ),
        ),
    ),
    Mutant(
        "restart-on-gossip",
        "weave #678",
        "A restarted peer does not read its ring but learns it back from the others, who may be behind.",
        (
            "NoAddressPossessedTwice",
            "NobodyIsContested",
            "DiskHoldsWhatMemoryDoes",
            "LeasesInsidePossession",
            "RisesFromEveryRecord",
        ),
        (Edit(State._load, "Ring.from_tokens(self.extent, sorted(stored.tokens.items()))", "Ring(self.extent)"),),
        shown=Shown(1),
    ),
    Mutant(
        "same-id-without-memory",
        "weave #2809",
        "A host that lost its disk comes back under its old id, and is given what it had as if it were free.",
        (
            "NobodyWasToldTwice",
            "NoAddressPossessedTwice",
            "NobodyIsContested",
            "NoAddressLeasedTwice",
            "SpaceIsGrantedOnce",
            "StartsAreCounted",
        ),
        (Edit(Host.reborn, "replace(self.settings, peer=peer, init=init)", "replace(self.settings, init=init)"),),
        shown=Shown(0, seconds=20, faults="lost-disk"),
        standard=False,
    ),
    Mutant(
        "restart-loses-leases",
        "design, durability",
        "A restarted peer has its ranges, and issues again what is leased.",
        ("NobodyWasToldTwice", "DiskHoldsWhatMemoryDoes", "RisesFromEveryRecord", "NoAddressLeasedTwice"),
        (Edit(State.__init__, "LeaseBook(stored.leases.values())", "LeaseBook()"),),
        shown=Shown(1),
    ),
    Mutant(
        "restart-frees-leased-addresses",
        "design, durability",
        "A restarted peer has its leases, and their addresses are among the free ones.",
        ("exception", "NothingLeaks", "NoAddressLeasedTwice", "RisesFromEveryRecord"),
        (Edit(State._fill_space, "self.space.remove_all(leased)", "pass"),),
        shown=Shown(1),
    ),
    Mutant(
        "acceptor-forgets",
        "S5",
        "What an elector promised and accepted is kept in memory only.",
        ("OneRingIsFormed",),
        (Edit(Election._remember, "self._state.change(acceptor)", "pass"),),
        shown=Shown(2, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
)
