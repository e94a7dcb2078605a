"""News reaches everybody soon, and nearly everybody just once."""

from __future__ import annotations

from math import log2

from ringipam.claim import Claim, Segment
from ringipam.core.rng import Rng
from ringipam.gossip.rumours import PATIENCE_MS, Rumours
from ringipam.messages import Offer, Want

NEWS = (Segment(0, 8, Claim(0, 2, "a.1", "b.2")),)
PEERS = 256
COPIES_MAX = 1.5


def test_a_rumour_reaches_everybody_within_twice_log2_rounds_and_nearly_everybody_once() -> None:
    rng = Rng(1)
    names = [f"h{n}.{n:x}" for n in range(PEERS)]
    peers = {name: Rumours() for name in names}
    peers[names[0]].begin(NEWS, ())
    holders = {names[0]: 0}
    copies = now = 0
    while any(rumours.hot for rumours in peers.values()):
        now += 1
        # All offer at once, and only then what is wanted arrives: the worst case for copies.
        offers = []
        for name in names:
            others = [other for other in names if other != name]
            found = peers[name].offers(rng.drawn(others), len(others)) if peers[name].hot else []
            offers += [(name, *offer) for offer in found]
        wants = [(name, to, offer, peers[to].offered(name, offer, now * 100)) for name, to, offer in offers]
        for name, to, offer, want in wants:
            for rumour in peers[name].wanted(to, offer, want):
                copies += 1
                if holders.setdefault(to, now) == now:
                    peers[to].add(rumour, name)

    assert len(holders) == PEERS
    assert max(holders.values()) <= 2 * log2(PEERS)
    assert copies / (PEERS - 1) <= COPIES_MAX


def test_the_same_news_is_one_rumour_whoever_begins_it() -> None:
    donor, grantee = Rumours(), Rumours()
    donor.begin(NEWS, ())
    grantee.begin(NEWS, ())

    [(_, offer)] = donor.offers(["b.2"], 1)

    assert grantee.offered("a.1", offer, 0) == Want(())


def test_what_is_on_its_way_is_not_asked_for_twice_until_it_is_late() -> None:
    rumours = Rumours()
    assert rumours.offered("a.1", Offer((7,)), 0) == Want((7,))

    assert rumours.offered("b.2", Offer((7,)), PATIENCE_MS - 1) == Want(())
    assert rumours.offered("c.3", Offer((7,)), PATIENCE_MS) == Want((7,))


def test_a_rumour_that_everybody_asked_knows_already_is_offered_no_more() -> None:
    rumours = Rumours()
    rumours.begin(NEWS, ())
    everybody = [f"h{n}.{n:x}" for n in range(100)]
    asked = 0
    while found := rumours.offers(everybody, len(everybody)):
        asked += len(found)
        for neighbour, offer in found:
            rumours.wanted(neighbour, offer, Want(()))

    assert asked < 10
    assert not rumours.hot
