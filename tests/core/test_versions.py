"""Peers of different releases: what a link speaks, what is ignored, and who is refused (docs/design.md, "Gossip")."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from solo import Solo

from ringipam.core.events import Close, Effect, LinkUp, Log, NotUnderstood, Received, Send, Show
from ringipam.errors import PeerError
from ringipam.messages import PROTOCOL_MAX, PROTOCOL_MIN, Hello, Refused

PEER = "h2.00000000bbbb"
NEW = PROTOCOL_MAX + 1
KIND = 4_711


def greet(solo: Solo, lowest: int, highest: int, link: int = 1) -> list[Effect]:
    """`PEER` says hello over a new link, with these protocols."""
    solo.step(LinkUp(link, "", "192.0.2.9"))
    hello = Hello(lowest, highest, PEER, solo.universe, solo.peer.cluster, "h2:6783", 1, False, link)
    return solo.step(Received(link, hello))


def ring_of_one() -> Solo:
    solo = Solo()
    solo.allocate("c1")
    return solo


def shown(solo: Solo) -> dict[str, object]:
    """What `peers` says of the only other one."""
    peers = solo.answer(Show.PEERS)
    assert isinstance(peers, dict)
    assert isinstance(peers["peers"], list)
    [peer] = peers["peers"]
    assert isinstance(peer, dict)
    return peer


def logged(effects: Sequence[Effect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Log)]


@pytest.mark.parametrize("highest", [PROTOCOL_MAX, NEW, NEW + 7])
def test_a_link_speaks_the_newest_protocol_that_both_ends_know(highest: int) -> None:
    solo = ring_of_one()

    greet(solo, PROTOCOL_MIN, highest)

    assert shown(solo)["protocol"] == PROTOCOL_MAX


def test_what_only_a_newer_peer_knows_is_ignored_counted_and_told_once() -> None:
    solo = ring_of_one()
    greet(solo, PROTOCOL_MIN, NEW)

    told = [text for _ in range(100) for text in logged(solo.step(NotUnderstood(1, KIND)))]

    assert len(told) == 1
    assert f"speaks protocol {NEW}" in told[0]
    assert shown(solo)["ignored"] == 100
    assert shown(solo)["linked"] is True


def test_a_peer_of_our_own_protocol_has_no_unknown_kinds() -> None:
    solo = ring_of_one()
    greet(solo, PROTOCOL_MIN, PROTOCOL_MAX)

    with pytest.raises(PeerError, match=str(KIND)):
        solo.step(NotUnderstood(1, KIND))


def test_nothing_unknown_is_taken_before_the_greeting() -> None:
    solo = ring_of_one()
    solo.step(LinkUp(1, "", "192.0.2.9"))

    with pytest.raises(PeerError):
        solo.step(NotUnderstood(1, KIND))


def test_what_comes_over_a_link_that_is_gone_is_nobodys_fault() -> None:
    assert ring_of_one().step(NotUnderstood(9, KIND)) == []


@pytest.mark.parametrize(
    ("lowest", "highest", "older", "newer"), [(NEW, NEW + 1, "me", "h2"), (0, PROTOCOL_MIN - 1, "h2", "me")]
)
def test_hosts_with_no_protocol_in_common_are_told_which_of_them_to_upgrade(
    lowest: int, highest: int, older: str, newer: str
) -> None:
    solo = ring_of_one()

    effects = greet(solo, lowest, highest)

    [said] = [effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, Refused)]
    assert f"upgrade ringipam on {older}, or put back on {newer}" in said.reason
    assert any(isinstance(effect, Close) for effect in effects)
    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert status["state"] == "refusing"
    assert said.reason in str(status["reason"])
    assert status["serving"] is True, "its own containers are served all the same"


def test_the_other_side_of_a_refusal_shows_the_same_reason() -> None:
    solo = ring_of_one()
    greet(solo, PROTOCOL_MIN, PROTOCOL_MAX)

    solo.step(Received(1, Refused("upgrade ringipam on me")))

    status = solo.answer(Show.STATUS)
    assert isinstance(status, dict)
    assert "h2" in str(status["reason"])
    assert "upgrade ringipam on me" in str(status["reason"])
