"""News reaches everybody soon, and nearly everybody just once."""

from __future__ import annotations

from math import log2

from ringipam.claim import Claim, Segment
from ringipam.core.rng import Rng
from ringipam.gossip.rumours import KEPT_MS, OFFERS_MAX, PATIENCE_MS, Rumours
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
            found = peers[name].offers(rng.drawn(others), now * 100) if peers[name].hot else []
            offers += [(name, *offer) for offer in found]
        wants = [(name, to, peers[to].offered(name, offer, now * 100)) for name, to, offer in offers]
        for name, to, want in wants:
            for rumour in peers[name].wanted(want):
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

    [(_, offer)] = donor.offers(["b.2"], 0)

    assert grantee.offered("a.1", offer, 0) == Want(())


def test_what_is_on_its_way_is_not_asked_for_twice_until_it_is_late() -> None:
    rumours = Rumours()
    assert rumours.offered("a.1", Offer((7,)), 0) == Want((7,))

    assert rumours.offered("b.2", Offer((7,)), PATIENCE_MS - 1) == Want(())
    assert rumours.offered("c.3", Offer((7,)), PATIENCE_MS) == Want((7,))


def test_a_rumour_is_offered_to_some_neighbours_once_each_and_then_no_more() -> None:
    rumours = Rumours()
    rumours.begin(NEWS, ())
    everybody = [f"h{n}.{n:x}" for n in range(100)]
    asked: list[str] = []
    now = 0
    while found := rumours.offers(everybody, now):
        asked += [neighbour for neighbour, _ in found]
        now += 100

    assert len(asked) == len(set(asked)) == OFFERS_MAX
    assert not rumours.hot


def test_whoever_told_of_a_rumour_is_not_offered_it() -> None:
    rumours = Rumours()
    rumours.begin(NEWS, (), source="a.1")
    [(first, offer)] = rumours.offers(["a.1", "b.2"], 0)

    assert first == "b.2"
    assert rumours.offers(["a.1", "b.2"], 100) == []
    assert len(offer.rumours) == 1


def test_a_rumour_can_be_asked_for_a_while_after_its_last_offer_and_is_then_forgotten() -> None:
    rumours = Rumours()
    rumours.begin(NEWS, ())
    [(_, offer)] = rumours.offers(["b.2"], 0)
    want = Want(offer.rumours)
    assert rumours.offers(["b.2"], 100) == []

    late = rumours.wanted(want)
    rumours.begin((Segment(8, 9, Claim(0, 3, "a.1", "b.2")),), ())
    rumours.offers(["b.2"], 200)
    rumours.offers(["b.2"], 100 + KEPT_MS)

    assert [rumour.segments for rumour in late] == [NEWS]
    assert rumours.wanted(want) == []
