"""Broken variants of how a ring begins, and of how it keeps apart from others."""

from __future__ import annotations

from ringipam.core.election import Election
from ringipam.core.links import Links
from ringipam.core.peer import Peer
from ringipam.core.routing import Router
from sim.mutants.mutant import Edit, Mutant, Shown

_TWO_RINGS = (
    "OneRingIsFormed",
    "NoAddressLeasedTwice",
    "NoAddressPossessedTwice",
    "NobodyIsContested",
    "Convergence",
    "ConvergesInTime",
)

_ELECTIONS = "split,isolate,pair,power-loss,crash,isolate-founder,crash-at-promise,slow-network,bridge,flap"

MUTANTS = (
    Mutant(
        "half-is-a-quorum",
        "S5",
        "Half of the electors are enough to found a ring.",
        _TWO_RINGS,
        (Edit(Election._quorum, "terms.electors // 2 + 1", "max(1, terms.electors // 2)"),),
        shown=Shown(2, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "electors-are-those-met",
        "S5, weave #1463",
        "The number of electors is how many a peer has met, not what it was launched with.",
        _TWO_RINGS,
        (Edit(Election._terms, "self._init.electors, ()", "1 + len(self._electors()), ()"),),
        shown=Shown(15, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "listed-peers-may-be-missing",
        "S5",
        "Without --init, a peer founds a ring with those of its listed peers that it has met.",
        _TWO_RINGS,
        (
            Edit(Election._terms, "if not all(self._linked(peer) for peer in listed):", "if False:"),
            Edit(Election._terms, "peer for peer in listed if", "peer for peer in listed if self._linked(peer) and"),
        ),
        shown=Shown(11, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "terms-not-compared",
        "S5, weave #3891",
        "An elector answers a ballot of another number of electors than its own.",
        _TWO_RINGS,
        (Edit(Election._objection, "if mine == message.terms:", "if mine is not None:"),),
        shown=Shown(1121, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "observers-vote",
        "S5",
        "Observers count as electors.",
        _TWO_RINGS,
        (
            Edit(
                Election._electors,
                "if not self._links.hello(peer).cluster and not self._links.hello(peer).observer",
                "if not self._links.hello(peer).cluster",
            ),
            Edit(
                Election._objection,
                "if mine == message.terms:",
                "if mine == message.terms or self._init.mode is Mode.OBSERVER:",
            ),
        ),
        shown=Shown(24, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "own-address-is-a-peer",
        "weave #1881",
        "A peer that finds its own address among its listed peers goes on counting it as another host.",
        ("Convergence", "ConvergesInTime", "EveryRequestAnswered"),
        (Edit(Links.greeted, "self._listed.pop(entry.dialled, None)", "pass"),),
        shown=Shown(32, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "accepted-value-ignored",
        "S5",
        "A proposer does not take over a value that may have been chosen already.",
        _TWO_RINGS,
        (Edit(Election._propose_value, "    if accepted:", "    if False:"),),
        shown=Shown(2, seconds=12, faults=_ELECTIONS),
    ),
    Mutant(
        "older-ballots-accepted",
        "S5",
        "An elector accepts a ballot older than the one it has promised.",
        _TWO_RINGS,
        (Edit(Election._accept, "if message.ballot < mine.promised:", "if False:"),),
        shown=Shown(211, seconds=12, faults=_ELECTIONS),
        standard=False,
    ),
    Mutant(
        "one-acceptance-is-enough",
        "S5",
        "A proposer founds the ring on the first acceptance, its own.",
        _TWO_RINGS,
        (Edit(Election.accepted, "if len(proposal.accepted) >= self._quorum(proposal.terms):", "if True:"),),
        shown=Shown(2, seconds=12, faults=_ELECTIONS),
    ),
    Mutant(
        "rings-are-merged",
        "S6",
        "Nobody compares cluster ids: not in greetings, not in messages, not before gossiping.",
        (
            "NoAddressPossessedTwice",
            "NobodyIsContested",
            "Convergence",
            "ConvergesInTime",
            "LeasesInsidePossession",
        ),
        (
            Edit(
                Links._objection, "if state.cluster and hello.cluster and hello.cluster != state.cluster:", "if False:"
            ),
            Edit(Links.neighbours, "self.hello(peer).cluster == cluster", "self.hello(peer).cluster"),
            Edit(
                Router.received,
                "    if not envelope.origin:\n        return envelope.mark == state.mark",
                "    if not envelope.origin:\n        return True",
            ),
            Edit(Peer._greeted, "if hello.cluster and hello.cluster == state.cluster:", "if hello.cluster:"),
        ),
        shown=Shown(0, seconds=20, faults="foreign-ring"),
    ),
)
