"""Broken variants of removal and leaving that exploration finds: each needs an order of events seldom drawn."""

from __future__ import annotations

from ringipam.core.donor import Donor
from ringipam.core.leaving import Leaving
from ringipam.core.pledges import Pledges
from ringipam.core.removal import Removals
from ringipam.core.state import State
from sim.mutants.mutant import Edit, Explored, Mutant

_BY = ("explore",)

MUTANTS = (
    Mutant(
        "suspended-not-durable",
        "S1",
        "What a peer must not possess, as a dead one wrote it, is kept in memory only.",
        _BY,
        (Edit(State.suspend, "self.change(Suspensions(", "bool(Suspensions("),),
        explored=Explored("late-grant", 15, "(if it restarts) both possess"),
    ),
    Mutant(
        "what-the-dead-wrote-is-possessed",
        "S1",
        "Who has promised a removal possesses what the dead peer wrote, whenever it learns of it.",
        _BY,
        (Edit(State._changed, "source != self.me and self.fences(new.writer)", "False"),),
        explored=Explored("late-grant", 14, "both possess"),
    ),
    Mutant(
        "epoch-not-balloted",
        "S9",
        "A coordinator takes the epoch above those that its own ring shows, and members promise any.",
        _BY,
        (
            Edit(Removals._begin, "state.epoch + 1", "1 + max(claim.epoch for _, claim in state.ring.tokens())"),
            Edit(Pledges._objection, "if ask.epoch <= state.epoch:", "if False:"),
            Edit(Pledges._objection, "if state.epoch > ask.epoch else None", "if False else None"),
        ),
        explored=Explored("removal-upon-removal", 14, "a conflict was recorded"),
    ),
    Mutant(
        "bound-to-many",
        "S9",
        "A member promises one round after the other, whoever it is bound to.",
        _BY,
        (Edit(Pledges.other, "return other", "continue"),),
        explored=Explored("removal", 10, "both possess"),
    ),
    Mutant(
        "coordinator-asks-nobody",
        "design, removal",
        "A coordinator does not wait for the members' answers.",
        _BY,
        (Edit(Removals._conclude, "if missing:", "if False:"),),
        explored=Explored("late-grant", 10, "both possess"),
    ),
    Mutant(
        "grants-of-the-dead-are-passed-over",
        "S8",
        "A takeover covers what the dead own, and not what they wrote and nobody possesses.",
        _BY,
        (Edit(Removals._to_take, "for start, end in held:", "for start, end in ((segment.start, segment.end),):"),),
        explored=Explored("late-grant-known", 18, "never possesses it", ends_well=True),
    ),
    Mutant(
        "unfinished-rounds-are-kept",
        "S9",
        "A restarted coordinator does not abort what it had not committed.",
        _BY,
        (Edit(Removals.start, "if not found.done", "if False"),),
        explored=Explored("removal-and-crash", 5, "exception"),
    ),
    Mutant(
        "unbound-before-the-takeover",
        "S9",
        "Members are bound no longer when they hear that a round was done, before they have joined what came of it.",
        _BY,
        (Edit(Pledges.over, "if message.done:", "if False:"),),
        explored=Explored("late-grant", 16, "both possess"),
    ),
    Mutant(
        "gone-before-the-heirs-have-it",
        "S11",
        "A leaver does not wait until its heirs have confirmed what they were given.",
        _BY,
        (Edit(Leaving._advance, "if not self._missing(going) and not self._owned() and", "if not self._owned() and"),),
        explored=Explored("leave", 8, "stranded", ends_well=True),
    ),
    Mutant(
        "leavers-are-granted-space",
        "S11",
        "A member that has promised a leaver no more space grants it some.",
        _BY,
        (
            Edit(
                Donor.eligible,
                "and self._state.members.standing(peer) is Standing.MEMBER",
                "",
            ),
        ),
        explored=Explored("leave", 14, "stranded", ends_well=True),
    ),
)
