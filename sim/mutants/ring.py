"""Broken variants of the ring: its join, its normal form, and what an owner writes into it."""

from __future__ import annotations

from ringipam.core.donor import Donor
from ringipam.core.state import State
from ringipam.ring import ring
from ringipam.ring.ring import Ring
from sim.mutants.mutant import Edit, Mutant, Shown

MUTANTS = (
    Mutant(
        "last-arrival-wins",
        "join",
        "A peer takes over whatever arrives, be its stamp older.",
        ("NoAddressPossessedTwice", "NobodyIsContested", "RingsJoinInAnyOrder"),
        (Edit(Ring._compare, "if mine < claim:", "if claim.owner:"),),
        shown=Shown(1),
    ),
    Mutant(
        "version-not-raised",
        "S19, weave #3632",
        "A grant keeps the version: one version, two owners.",
        ("NoAddressPossessedTwice", "NobodyIsContested", "Convergence", "ConvergesInTime", "RingsJoinInAnyOrder"),
        (Edit(ring._restamped, "for segment in run) + 1", "for segment in run)"),),
    ),
    Mutant(
        "version-above-the-first-only",
        "S19",
        "A grant over several tokens is stamped above the first of them, not above the newest.",
        ("NoAddressPossessedTwice", "NobodyIsContested", "RingsJoinInAnyOrder"),
        (
            Edit(
                ring._restamped,
                "max(segment.claim.version for segment in run) + 1",
                "run[0].claim.version + 1",
            ),
        ),
        shown=Shown(59, faults="none"),
        standard=False,
    ),
    Mutant(
        "merged-by-owner",
        "S3",
        "Neighbouring tokens become one when they have one owner, whatever their version and writer.",
        (
            "RingsJoinInAnyOrder",
            "Convergence",
            "ConvergesInTime",
            "DiskHoldsWhatMemoryDoes",
            "NoAddressPossessedTwice",
            "NobodyIsContested",
        ),
        (Edit(Ring._splice, "if claim != left:", "if left is None or claim.owner != left.owner:"),),
        shown=Shown(3),
    ),
    Mutant(
        "compared-by-stamp",
        "S3",
        "Neighbouring segments of one message become one when their stamps are equal, whoever owns them.",
        ("NoAddressPossessedTwice", "NobodyIsContested", "RingsJoinInAnyOrder", "Convergence", "ConvergesInTime"),
        (Edit(Ring._canonical, "claim == last_claim", "claim.stamp == last_claim.stamp"),),
        shown=Shown(2),
    ),
    Mutant(
        "start-only-deltas",
        "design, closed ranges",
        "The receiver of a delta guesses where its ranges end: at its own next token.",
        ("NoAddressPossessedTwice", "NobodyIsContested", "RingsJoinInAnyOrder"),
        (
            Edit(
                State.join,
                "    joined = self.ring.join(segments)",
                "    if source != self.me:\n"
                "        ends = {s: next((t for t, _ in self.ring.tokens() if t > s), self.extent.end)"
                " for s, _, _ in segments}\n"
                "        segments = [Segment(s, max(e, ends[s]), c) for s, e, c in segments]\n"
                "    joined = self.ring.join(segments)",
            ),
        ),
    ),
    Mutant(
        "range-across-zero",
        "weave #3693",
        "Whoever owns the end of the universe also has its first address, as if the last range went on there.",
        (
            "NoAddressPossessedTwice",
            "NobodyIsContested",
        ),
        (
            Edit(
                Ring.ranges_of,
                "    return found",
                "    if found and found[-1].end == self.universe.end != found[0].end and lo is None:\n"
                "        found.insert(0, Range(self.universe.start, self.universe.start + 1))\n"
                "    return found",
            ),
        ),
        shown=Shown(1),
    ),
    Mutant(
        "restamps-what-is-anothers",
        "S2",
        "Housekeeping coalesces neighbouring tokens whoever owns them.",
        (
            "NoAddressPossessedTwice",
            "NobodyIsContested",
        ),
        (
            Edit(Ring.coalescible, "(segment.claim.owner, segment.claim.epoch)", "segment.claim.epoch"),
            Edit(Ring.coalescible, "if len(run) > 1 and run[0].claim.owner == owner", "if len(run) > 1"),
            Edit(Donor.tick, "state.possessed()", "[state.extent]"),
        ),
    ),
    Mutant(
        "grants-what-it-does-not-own",
        "S2",
        "A donor grants an address that is claimed without looking whether it is its own.",
        (
            "NoAddressPossessedTwice",
            "NobodyIsContested",
        ),
        (
            Edit(Donor._give_exactly, "if not state.owns(request.start, request.end):", "if False:"),
            Edit(Donor.give, "assert state.owns(block.start, block.end)", "pass"),
            Edit(Ring.grant, "if segment.claim.owner != writer:", "if False:"),
        ),
        shown=Shown(13),
    ),
    Mutant(
        "donor-keeps-what-it-grants",
        "design, grants",
        "A donor forgets to take what it grants out of its own ring.",
        (
            "NoAddressPossessedTwice",
            "NobodyIsContested",
        ),
        (Edit(Donor.give, "state.join(segments, state.me)", "pass"),),
    ),
    Mutant(
        "donor-goes-on-issuing",
        "design, possession",
        "What a peer lost by a join stays among its free addresses.",
        ("LeasesInsidePossession", "NoAddressLeasedTwice", "NothingLeaks", "exception", "RisesFromEveryRecord"),
        (Edit(State._changed, "if mine:\n            self.rows(self.space.remove(start, end))", "pass"),),
    ),
    Mutant(
        "stale-news-is-an-error",
        "weave #1962",
        "News older than what a peer has written since is an error that cuts the link, not a thing to pass over.",
        ("exception",),
        (
            Edit(
                State.join,
                "    joined = self.ring.join(segments)",
                "    segments = list(segments)\n"
                "    for s, e, c in segments:\n"
                "        if source != self.me and any(m.owner == self.me and m.stamp > c.stamp"
                " for m in self.ring.columns(s, e)[1]):\n"
                "            raise PeerError('received an update for a range I own')\n"
                "    joined = self.ring.join(segments)",
            ),
        ),
    ),
)
