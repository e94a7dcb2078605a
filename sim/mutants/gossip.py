"""Broken variants of how news spreads, who is known, and who is spoken to."""

from __future__ import annotations

from ringipam.core.donor import Donor
from ringipam.core.links import Links
from ringipam.core.spreading import Spreading
from ringipam.core.state import State
from ringipam.gossip.membership import Membership
from ringipam.gossip.rumours import Rumours
from ringipam.ring.fingerprint import content, digest_of
from sim.mutants.mutant import Edit, Mutant, Shown

_PARTLY_LINKED = "slow-link,pair,split,bridge,swizzle-clog,slow-network,one-way,delay-tail"

MUTANTS = (
    Mutant(
        "news-not-broadcast",
        "weave #2068, #3444",
        "A peer tells nobody what it changed in the ring; it waits to be asked.",
        ("NewsTravelsFast",),
        (Edit(State.join, "self.spread(joined.segments, (), source)", "pass"),),
        shown=Shown(1, seconds=24, faults="none"),
    ),
    Mutant(
        "rumours-not-passed-on",
        "design, gossip",
        "Who hears news does not pass it on.",
        ("NewsTravelsFast",),
        (
            Edit(State.join, "self.rumours.add(rumour, source)", "pass"),
            Edit(State.learn, "self.rumours.add(rumour, source)", "pass"),
        ),
        shown=Shown(3, seconds=22, hosts=18, faults="none"),
        standard=False,
    ),
    Mutant(
        "rumours-never-cool",
        "design, gossip",
        "A rumour is kept for spreading although everybody has it.",
        ("NothingGrowsWithoutBound",),
        (
            Edit(
                Rumours.offers,
                "if hot.offers >= OFFERS_MAX]",
                "if hot.offers < 0]",
            ),
            Edit(Rumours.offers, "for number in list(self._hot):", "for number in ():"),
        ),
        shown=Shown(1),
    ),
    Mutant(
        "nothing-is-reconciled",
        "design, anti-entropy",
        "There is no anti-entropy: what a rumour missed is missed for ever.",
        ("NoSpaceIsTrue", "ConvergesInTime", "Convergence"),
        (Edit(Spreading.reconcile, "    self._router.send(", "    (lambda *_: None)("),),
    ),
    Mutant(
        "fingerprint-of-starts-only",
        "design, anti-entropy",
        "A fingerprint covers where ranges start and not who owns them since when.",
        ("NoSpaceIsTrue", "ConvergesInTime", "Convergence"),
        (
            Edit(
                content,
                'b"".join(map(_encoded, starts, claims))',
                'b"".join(start.to_bytes(ADDRESS_SIZE, "big") for start in starts)',
            ),
        ),
    ),
    Mutant(
        "fingerprints-unsalted",
        "S21",
        "Each exchange has the same salt. (Fingerprints have one bit here, as a collision in 64 is not to be waited"
        " for; with a salt for each exchange the core stands that.)",
        ("NoSpaceIsTrue", "ConvergesInTime", "Convergence"),
        (
            Edit(digest_of, "key=salt).digest()", "key=salt).digest()[:1].translate(bytes(n & 1 for n in range(256)))"),
            Edit(Spreading.reconcile, 'self._state.rng.bits64().to_bytes(8, "big")', 'b"the same"'),
        ),
        shown=Shown(1, seconds=30),
    ),
    Mutant(
        "members-not-durable",
        "S4",
        "Whoever vouches for a newcomer does not write down that it is there.",
        ("NewcomersAreVouchedFor",),
        (Edit(State.learn, "self.change(PutMember(found.peer, found.address, found.standing))", "pass"),),
        shown=Shown(1, seconds=12, faults=_PARTLY_LINKED),
    ),
    Mutant(
        "newcomers-not-vouched-for",
        "S4",
        "A newcomer is granted space before a second member knows it.",
        ("NewcomersAreVouchedFor",),
        (Edit(Donor._vouched, "return not self._others(asker)", "return True"),),
        shown=Shown(4, seconds=12, faults=_PARTLY_LINKED),
        standard=False,
    ),
    Mutant(
        "the-dead-stay-dead",
        "SWIM, refutation",
        "A peer that hears that it is dead does not contradict.",
        ("NoSpaceIsTrue", "ConvergesInTime", "Convergence"),
        (Edit(Membership.merge, "if member.stamp > self.me.stamp:", "if False:"),),
        shown=Shown(35),
    ),
    Mutant(
        "dialled-once",
        "design, links",
        "An address that did not answer is never dialled again.",
        ("NewsTravelsFast", "ConvergesInTime", "Convergence"),
        (
            Edit(
                Links._back_off,
                "target.due_ms = self._state.now + delay // 2 + self._state.rng.below(delay // 2 + 1)",
                "target.due_ms = NEVER",
            ),
        ),
        shown=Shown(8),
    ),
    Mutant(
        "ringless-not-greeted-again",
        "design, joining",
        "Who has no ring is told of it once over a link; if that is lost, never again.",
        ("ConvergesInTime", "Convergence"),
        (Edit(Links.greet_ringless, "if not self.hello(peer).cluster:", "if False:"),),
        shown=Shown(443, seconds=16, hosts=3, faults="loss"),
        standard=False,
    ),
)
