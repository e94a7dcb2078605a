"""One connection, over streams in memory: what is delivered, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from ringipam.codec import FRAME_BYTES_MAX, frame
from ringipam.core.events import LinkDown, LinkUp, NotUnderstood, Received
from ringipam.errors import PeerError
from ringipam.messages import Envelope, Hello, Offer, Refused
from ringipam.runtime.link import (
    BYTES_BURST,
    FRAMES_BURST,
    FRAMES_PER_S,
    QUEUE_BYTES_MAX,
    Link,
    LinkEvent,
)

HELLO = Hello(1, 1, "host2.77c1", "10.0.0.0/8", "", ":6783", 1, False, 1)
NEWS = b"\x92\x2a\x01"
"""A message of a kind that no release has."""
NEW_BODY = b"\x95\x03\xc4\x00\x90\x90\x92\x2a\x01"
"""An envelope around a body of such a kind."""
LARGE = Envelope(bytes(8), Offer(tuple(range(2**62, 2**62 + 9_000))))


class Conversation:
    """A link, what it delivered, and the far end of its stream in the test's hands."""

    def __init__(self, dialled: str = "", *, lockstep: bool = False) -> None:
        near, self.far = lockstep_stream_pair() if lockstep else memory_stream_pair()
        self.delivered: list[LinkEvent] = []
        self.refuse = False
        self.link = Link(1, near, "192.0.2.2", dialled, self._deliver)
        self.fault: PeerError | None = None

    def _deliver(self, event: LinkEvent) -> None:
        if self.refuse and isinstance(event, Received):
            raise PeerError("no such message here")
        self.delivered.append(event)

    async def run(self) -> None:
        try:
            await self.link.run(first_frame=lambda: None)
        except PeerError as error:
            self.fault = error

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The block runs beside the link, and ends when the link does."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            await trio.testing.wait_all_tasks_blocked()
            yield

    async def heard(self) -> bytes:
        """Everything the link sends until its end."""
        said = b""
        while chunk := await self.far.receive_some():
            said += chunk
        return said


async def test_a_link_tells_what_it_hears_between_its_coming_and_its_going() -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(frame(HELLO) + frame(Refused("one")))
        await talk.far.send_all(frame(Refused("two")))
        await talk.far.aclose()

    assert talk.delivered == [
        LinkUp(1, "", "192.0.2.2"),
        Received(1, HELLO),
        Received(1, Refused("one")),
        Received(1, Refused("two")),
        LinkDown(1, "the other side closed the connection"),
    ]
    assert talk.fault is None


async def test_a_frame_may_come_byte_by_byte() -> None:
    talk = Conversation()

    async with talk.running():
        for byte in frame(HELLO):
            await talk.far.send_all(bytes([byte]))
        await talk.far.aclose()

    assert Received(1, HELLO) in talk.delivered


async def test_a_dialled_link_is_introduced_before_anything_is_heard() -> None:
    talk = Conversation("host2:6783")

    async with talk.running():
        assert talk.delivered == [LinkUp(1, "host2:6783", "192.0.2.2")]
        await talk.far.aclose()


async def test_whoever_talks_nonsense_never_reaches_the_core() -> None:
    random = Random(7)
    for _ in range(10_000):
        talk = Conversation()
        body = random.randbytes(random.randrange(1, 80))
        await talk.far.send_all(len(body).to_bytes(4, "big") + body)

        await talk.run()

        assert talk.delivered == []
        assert talk.fault is not None


async def test_nonsense_after_a_good_frame_ends_the_link_and_says_why() -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(frame(HELLO) + b"\x00\x00\x00\x04nope")

    assert talk.fault is not None
    assert talk.delivered == [
        LinkUp(1, "", "192.0.2.2"),
        Received(1, HELLO),
        LinkDown(1, talk.fault.message),
    ]


@pytest.mark.parametrize("payload", [NEWS, NEW_BODY])
async def test_what_a_newer_peer_may_mean_is_left_to_the_core_to_judge(payload: bytes) -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(frame(HELLO) + len(payload).to_bytes(4, "big") + payload + frame(Refused("one")))
        await talk.far.aclose()

    assert talk.delivered[1:4] == [Received(1, HELLO), NotUnderstood(1, 42), Received(1, Refused("one"))]
    assert talk.fault is None


@pytest.mark.parametrize("payload", [NEWS, NEW_BODY])
async def test_a_conversation_does_not_open_with_an_unknown_kind(payload: bytes) -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(len(payload).to_bytes(4, "big") + payload)

    assert talk.delivered == []
    assert "unknown kind of message: 42" in str(talk.fault)


async def test_what_the_core_refuses_ends_the_link() -> None:
    talk = Conversation()
    talk.refuse = True

    async with talk.running():
        await talk.far.send_all(frame(HELLO) + frame(HELLO))

    assert talk.delivered[1:] == [LinkDown(1, "no such message here")]


async def test_an_oversize_frame_is_refused_by_its_header() -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))

    assert talk.delivered == []
    assert talk.fault is not None


@pytest.mark.parametrize("record", [b"\x16\x03\x01\x02", b"\x15\x03\x03\x00"])
async def test_a_peer_that_speaks_tls_to_a_node_without_is_called_that(record: bytes) -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(record)

    assert "speaks TLS" in str(talk.fault)


async def test_a_silent_connection_is_closed(autojump_clock: MockClock) -> None:
    talk = Conversation()
    began = trio.current_time()

    await talk.run()

    assert "said nothing" in str(talk.fault)
    assert trio.current_time() - began == pytest.approx(3.0)


async def test_half_a_frame_is_as_good_as_silence(autojump_clock: MockClock) -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(frame(HELLO)[:-1])

    assert "said nothing" in str(talk.fault)


async def test_a_known_peer_may_be_silent_for_as_long_as_it_likes(autojump_clock: MockClock) -> None:
    talk = Conversation()

    async with talk.running():
        await talk.far.send_all(frame(HELLO))
        await trio.sleep(86_400)
        await talk.far.aclose()

    assert talk.fault is None


async def test_close_sends_what_is_queued_first() -> None:
    talk = Conversation("host2:6783")

    async with talk.running():
        talk.link.send(HELLO)
        talk.link.send(Refused("not you"))
        talk.link.close("refused")
        talk.link.send(Refused("too late"))
        assert await talk.heard() == frame(HELLO) + frame(Refused("not you"))
        await talk.far.aclose()

    assert talk.delivered[-1] == LinkDown(1, "refused")


async def test_nothing_is_delivered_after_close() -> None:
    talk = Conversation("host2:6783")

    async with talk.running():
        talk.link.close("refused")
        await talk.far.send_all(frame(HELLO))
        await talk.far.aclose()

    assert talk.delivered[1:] == [LinkDown(1, "refused")]


async def test_close_does_not_wait_for_a_peer_that_takes_nothing(autojump_clock: MockClock) -> None:
    talk = Conversation("host2:6783", lockstep=True)
    began = trio.current_time()

    async with talk.running():
        talk.link.send(HELLO)
        talk.link.close("refused")

    assert talk.delivered[-1] == LinkDown(1, "refused")
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_a_peer_that_takes_nothing_loses_the_connection() -> None:
    talk = Conversation("host2:6783", lockstep=True)

    async with talk.running():
        for _ in range(QUEUE_BYTES_MAX // len(frame(LARGE)) + 1):
            talk.link.send(LARGE)

    assert talk.delivered[1:] == [LinkDown(1, "it took nothing while 8 MiB were queued for it")]


async def test_many_frames_at_once_let_other_tasks_have_their_turn() -> None:
    talk = Conversation()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await talk.far.send_all(frame(HELLO) * 500)
        await talk.far.aclose()
        await talk.run()
        nursery.cancel_scope.cancel()

    assert turns >= 499


async def test_a_peer_that_floods_is_read_at_its_pace_and_keeps_its_link(mock_clock: MockClock) -> None:
    talk, other = Conversation(), Conversation()
    flood = frame(Refused("")) * (FRAMES_BURST + 3 * FRAMES_PER_S)

    async with talk.running(), other.running():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.far.send_all, flood)
            await trio.testing.wait_all_tasks_blocked()
            # The clock stands still: the flood has used up what it may say at once.
            assert FRAMES_BURST <= len(talk.delivered) <= FRAMES_BURST + 2

            await other.far.send_all(frame(HELLO))
            await trio.testing.wait_all_tasks_blocked()
            assert other.delivered[-1] == Received(1, HELLO)

            for _ in range(3 * FRAMES_PER_S):
                mock_clock.jump(1 / FRAMES_PER_S)
                await trio.testing.wait_all_tasks_blocked()
        await talk.far.aclose()
        await other.far.aclose()

    assert talk.delivered.count(Received(1, Refused(""))) == FRAMES_BURST + 3 * FRAMES_PER_S
    assert talk.delivered[-1] == LinkDown(1, "the other side closed the connection")


async def test_a_flood_of_bytes_is_held_back_too(mock_clock: MockClock) -> None:
    talk = Conversation()
    allowed = BYTES_BURST // len(frame(LARGE))

    async with talk.running():
        await talk.far.send_all(frame(LARGE) * (allowed + 20))
        await trio.testing.wait_all_tasks_blocked()
        assert allowed <= talk.delivered.count(Received(1, LARGE)) <= allowed + 1
        talk.link.drop("the test is over")


async def test_what_waits_is_bounded_while_a_flood_is_held_back(mock_clock: MockClock) -> None:
    """Back-pressure: the stream is not read while its sender has to wait."""
    talk = Conversation(lockstep=True)
    flood = frame(Refused("x")) * (2 * FRAMES_BURST)
    sent = trio.Event()

    async def send() -> None:
        await talk.far.send_all(flood)
        sent.set()

    async with talk.running() as _, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert not sent.is_set()
        nursery.cancel_scope.cancel()
        talk.link.drop("the test is over")
