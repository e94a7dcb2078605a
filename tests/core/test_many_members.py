"""With many members a peer does not do more than with few."""

from __future__ import annotations

from solo import Solo

from ringipam.core.events import Asked, Leases, LinkDown, Received, Send
from ringipam.core.routing import FLOOD_MAX, HOPS_MAX
from ringipam.messages import Envelope, Health, LeaseQuery, Member, Members, Ping

B = "b.00000000bbbb"
C = "c.00000000cccc"
D = "d.00000000dddd"


def known(solo: Solo, *peers: str, address: str = "somewhere:6783") -> None:
    """`B`, who is linked, tells of members."""
    solo.hear(B, Members(tuple(Member(peer, address, 1, Health.ALIVE, 0) for peer in peers), ()))


def probed(solo: Solo, ms: int) -> list[str]:
    """Whom the peer pings during so long."""
    solo.sent.clear()
    solo.wait(ms)
    return [target for target, body in solo.sent if isinstance(body, Ping)]


def test_linked_peers_are_probed_and_others_are_left_to_whoever_is_linked_to_them() -> None:
    solo = Solo()
    solo.meet(B)
    known(solo, C, D)

    assert set(probed(solo, 5_000)) == {B}


def test_a_peer_whose_link_broke_is_probed_next() -> None:
    solo = Solo()
    solo.meet(B)
    solo.meet(C)
    solo.wait(300)

    solo.step(LinkDown(2, "the connection timed out"))

    assert C in probed(solo, 2_000)


def test_a_member_that_nobody_can_dial_is_probed_too() -> None:
    solo = Solo()
    solo.meet(B)
    known(solo, C, address="")

    assert C in probed(solo, 5_000)


def test_a_relay_with_many_neighbours_passes_on_only_what_it_knows_a_way_for() -> None:
    solo = Solo()
    for number in range(FLOOD_MAX + 2):
        solo.meet(f"n{number}.00000000{number:04x}")

    def relayed_to(target: str, serial: int) -> int:
        envelope = Envelope(solo.mark(), LeaseQuery(1, ""), "far.0f", target, serial, HOPS_MAX)
        sends = [effect for effect in solo.step(Received(1, envelope)) if isinstance(effect, Send)]
        return len(sends)

    assert relayed_to("nobody.00", 1) == 0
    assert relayed_to("n5.000000000005", 2) == 1


def test_a_relay_with_few_neighbours_asks_them_all() -> None:
    solo = Solo()
    for peer in (B, C, D):
        solo.meet(peer)

    envelope = Envelope(solo.mark(), LeaseQuery(1, ""), B, "nobody.00", 1, HOPS_MAX)
    sends = [effect for effect in solo.step(Received(1, envelope)) if isinstance(effect, Send)]

    assert [effect.link for effect in sends] == [2, 3]


def test_the_first_message_to_a_peer_goes_to_a_few_of_many_neighbours_and_the_next_to_all() -> None:
    """A hundred hosts that ask one for space at once would else send some sixty copies of each request."""
    solo = Solo()
    neighbours = [f"n{number}.00000000{number:04x}" for number in range(60)]
    for peer in neighbours:
        solo.meet(peer)
    solo.hear(neighbours[0], Members((Member(D, "d:6783", 1, Health.ALIVE, 0),), ()))

    def copies(number: int) -> int:
        """How many neighbours are handed a question to `D`."""
        effects = solo.step(Asked(number, Leases(cluster=True)))
        messages = [effect.message for effect in effects if isinstance(effect, Send)]
        return sum(isinstance(message, Envelope) and message.target == D for message in messages)

    first, second = copies(1_001), copies(1_002)

    assert 1 <= first <= 10
    assert second == len(neighbours)
