"""Connections over loopback: listening, dialling, TLS, and what strangers cannot do."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from ringipam.codec import frame
from ringipam.config import Config, format_endpoint
from ringipam.core.events import DialFailed, LinkDown, LinkUp, Received
from ringipam.errors import RequestError
from ringipam.messages import Envelope, Hello, Offer, Refused
from ringipam.runtime import link as link_module
from ringipam.runtime import strangers as strangers_module
from ringipam.runtime import tls, transport
from ringipam.runtime.link import LinkEvent
from ringipam.runtime.ratelimit import RateLimitedLog
from ringipam.runtime.transport import Transport, bound_to, open_listeners

HELLO = Hello(1, 1, "host2.77c1", "10.0.0.0/8", "", ":6783", 1, False, 1)
LARGE = Envelope(bytes(8), Offer(tuple(range(2**62, 2**62 + 9_000))))
E_ = TypeVar("E_", bound=LinkEvent)


class Side:
    """A transport and what it delivered."""

    def __init__(self, listener: trio.SocketListener, contexts: tls.Contexts | None) -> None:
        self.host, self.port = bound_to(listener)
        self.contexts = contexts
        self.address = format_endpoint(self.host, self.port)
        self.transport = Transport([listener], lambda: contexts, RateLimitedLog(logging.getLogger("ringipam")))
        self.delivered: list[LinkEvent] = []
        self._news = trio.Event()

    def deliver(self, event: LinkEvent) -> None:
        self.delivered.append(event)
        self._news.set()
        self._news = trio.Event()

    async def until(self, kind: type[E_], wanted: Callable[[E_], bool] = lambda _: True) -> E_:
        """The first event of this kind that is wanted, as soon as it is there."""
        with trio.fail_after(10):
            while True:
                for event in self.delivered:
                    if isinstance(event, kind) and wanted(event):
                        return event
                await self._news.wait()

    async def stranger(self) -> trio.SocketStream:
        """A bare connection to this side."""
        return await trio.open_tcp_stream(self.host, self.port)


@asynccontextmanager
async def side(contexts: tls.Contexts | None = None) -> AsyncIterator[Side]:
    (listener,) = await open_listeners("127.0.0.1:0")
    async with listener, trio.open_nursery() as nursery:
        this = Side(listener, contexts)
        await nursery.start(this.transport.run, this.deliver)
        yield this
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def linked(a: Side, b: Side) -> AsyncIterator[tuple[int, int]]:
    """`a` has dialled `b` and said hello; gives both ends' numbers of the link."""
    a.transport.dial(b.address)
    near = (await a.until(LinkUp)).link
    a.transport.send(near, HELLO)
    yield near, (await b.until(LinkUp)).link


async def closed(stream: trio.SocketStream) -> None:
    """Returns when the other side has ended the connection."""
    with trio.fail_after(10):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
    await stream.aclose()


def credentials(directory: Path, password: str) -> tls.Contexts:
    directory.mkdir()
    (directory / "password").write_text(password)
    pair = tls.contexts(Config("10.0.0.0/8", data_dir=directory, password_file=directory / "password"))
    assert pair is not None
    return pair


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> tls.Contexts | None:
    return credentials(tmp_path / "node", "correct horse") if request.param == "tls" else None


# ── two correct sides ─────────────────────────────────────────────────────────────────────────────


async def test_messages_go_both_ways(secured: tls.Contexts | None) -> None:
    async with side(secured) as a, side(secured) as b, linked(a, b) as (near, far):
        b.transport.send(far, Refused("hello yourself"))

        assert (await b.until(Received)).message == HELLO
        assert (await a.until(Received)).message == Refused("hello yourself")
        assert a.delivered[0] == LinkUp(near, b.address, "127.0.0.1")
        assert b.delivered[0] == LinkUp(far, "", "127.0.0.1")


async def test_closing_lets_the_last_message_arrive(secured: tls.Contexts | None) -> None:
    async with side(secured) as a, side(secured) as b, linked(a, b) as (near, far):
        for _ in range(100):  # unread data at the closing side must not destroy what it said last
            a.transport.send(near, HELLO)
        b.transport.send(far, Refused("not you"))
        b.transport.close(far, "another ring")

        assert (await a.until(Received)).message == Refused("not you")
        assert (await a.until(LinkDown)).reason == "the other side closed the connection"
        assert (await b.until(LinkDown)) == LinkDown(far, "another ring")


async def test_a_megabyte_in_large_messages_arrives_whole(secured: tls.Contexts | None) -> None:
    async with side(secured) as a, side(secured) as b, linked(a, b) as (near, far):
        for _ in range(20):
            a.transport.send(near, LARGE)
        a.transport.send(near, Refused("the end"))

        await b.until(Received, lambda event: event.message == Refused("the end"))
        assert b.delivered.count(Received(far, LARGE)) == 20


async def test_the_end_of_one_side_is_noticed_by_the_other(secured: tls.Contexts | None) -> None:
    async with side(secured) as a:
        async with side(secured) as b, linked(a, b):
            pass

        assert "connection" in (await a.until(LinkDown)).reason


async def test_the_kernel_is_told_to_notice_a_cut() -> None:
    async with side() as a:
        stream = await a.stranger()
        transport._notice_cuts(stream.socket)

        assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
        await stream.aclose()


# ── dialling what is not there, or not ours ───────────────────────────────────────────────────────


async def test_a_closed_port_fails_with_the_reason() -> None:
    async with side() as a:
        async with side() as b:
            pass
        a.transport.dial(b.address)

        assert await a.until(DialFailed) == DialFailed(b.address, "connection refused")


async def test_nobody_is_dialled_when_the_end_has_come() -> None:
    """The driver outlives the connections for as long as its last commit takes."""
    async with side() as b:
        async with side() as a:
            pass
        a.transport.dial(b.address)
        await trio.testing.wait_all_tasks_blocked()

        assert a.delivered == b.delivered == []


@pytest.mark.parametrize("address", ["host.invalid:6783", ":6783", f"{'x' * 70}.example:1", "no port"])
async def test_a_name_that_leads_nowhere_fails_with_the_reason(address: str) -> None:
    async with side() as a:
        a.transport.dial(address)

        assert (await a.until(DialFailed)).reason


async def test_a_wrong_password_is_told_on_both_sides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = credentials(tmp_path / "a", "correct horse"), credentials(tmp_path / "b", "battery staple")
    async with side(ours) as a, side(theirs) as b:
        a.transport.dial(b.address)

        assert "TLS handshake failed: wrong password or certificate" in (await a.until(DialFailed)).reason
        await logged(caplog, "closed a connection from 127.0.0.1: the TLS handshake failed")
        assert b.delivered == []


async def test_a_peer_without_tls_is_told_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = credentials(tmp_path / "a", "correct horse")
    async with side(ours) as a, side() as b:
        a.transport.dial(b.address)
        assert "does not speak TLS" in (await a.until(DialFailed)).reason
        await logged(caplog, "it speaks TLS and this node runs without credentials")

        b.transport.dial(a.address)
        b.transport.send((await b.until(LinkUp)).link, HELLO)
        await logged(caplog, "the other side does not speak TLS")
        await b.until(LinkDown)


async def test_a_port_in_use_is_named() -> None:
    async with side() as a:
        with pytest.raises(RequestError, match=f"cannot listen on {a.address}: address already in use"):
            await open_listeners(a.address)


async def test_a_host_that_is_not_ours_cannot_be_listened_on() -> None:
    with pytest.raises(RequestError, match=r"cannot listen on 192\.0\.2\.1:1: cannot assign requested address"):
        await open_listeners("192.0.2.1:1")


async def test_a_host_name_that_cannot_be_one_is_a_reason_not_to_listen() -> None:
    with pytest.raises(RequestError, match=r"cannot listen on a\.\.b:0: .*label empty or too long"):
        await open_listeners("a..b:0")


# ── strangers ─────────────────────────────────────────────────────────────────────────────────────


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Returns when a line with `text` has been logged."""
    with trio.fail_after(10):
        while text not in caplog.text:
            await trio.lowlevel.checkpoint()


async def test_garbage_closes_the_connection_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with side() as a:
        for _ in range(50):
            stream = await a.stranger()
            await stream.send_all(b"\x00\x00\x00\x04nope")
            await closed(stream)

        assert a.delivered == []
        assert caplog.text.count("closed a connection from 127.0.0.1") == 1


async def test_a_stranger_that_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch, caplog: object) -> None:
    monkeypatch.setattr(link_module, "FIRST_FRAME_S", 0.05)
    async with side() as a:
        await closed(await a.stranger())

        assert a.delivered == []


async def test_a_stranger_that_never_finishes_tls_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_S", 0.05)
    async with side(credentials(tmp_path / "a", "correct horse")) as a:
        await closed(await a.stranger())

        assert a.delivered == []


async def test_silent_strangers_do_not_keep_a_peer_out(secured: tls.Contexts | None) -> None:
    async with side(secured) as a, side(secured) as b:
        strangers = [await b.stranger() for _ in range(strangers_module.PLACE_STRANGERS_MAX + 20)]
        async with linked(a, b):
            assert (await b.until(Received)).message == HELLO

        for stranger in strangers:
            await stranger.aclose()


async def test_no_more_than_so_many_links(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(transport, "LINKS_MAX", 1)
    async with side() as a, side() as b, linked(a, b):
        stranger = await b.stranger()
        await closed(stranger)

        assert "there are 1 links already" in caplog.text


async def test_a_peer_that_reads_nothing_holds_up_nobody() -> None:
    async with side() as a, side() as b:
        stuck = await a.stranger()
        await stuck.send_all(frame(HELLO))
        stuck_link = (await a.until(LinkUp)).link
        for _ in range(100):
            a.transport.send(stuck_link, LARGE)

        b.transport.dial(a.address)
        near = (await b.until(LinkUp)).link
        b.transport.send(near, HELLO)
        far = (await a.until(LinkUp, lambda event: event.link != stuck_link)).link
        a.transport.send(far, Refused("quick"))

        assert (await b.until(Received)).message == Refused("quick")
        await stuck.aclose()


async def test_a_peer_that_floods_holds_up_nobody_and_keeps_its_link(secured: tls.Contexts | None) -> None:
    async with side(secured) as a, side(secured) as b, side(secured) as c, linked(a, c) as (near, far):

        async def flood() -> None:
            while True:
                for _ in range(500):  # 500 at once, and more as they leave: its own queue stays short of its limit
                    a.transport.send(near, HELLO)
                while a.transport._links[near]._queue_bytes:
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            for number in range(20):
                async with linked(b, c) as (other, _):
                    b.transport.send(other, Refused(f"message {number}"))
                    await c.until(Received, lambda event, text=f"message {number}": event.message == Refused(text))
                    b.transport.close(other, "done")
                    await b.until(LinkDown, lambda event, other=other: event.link == other)
                    b.delivered.clear()
            nursery.cancel_scope.cancel()

        assert LinkDown not in [type(event) for event in c.delivered if event.link == far]


async def test_one_host_cannot_take_the_places_of_another(tmp_path: Path) -> None:
    """The stranger that came first, from elsewhere, is served although another host opens all it can."""
    async with side(credentials(tmp_path / "node", "correct horse")) as a:
        first = await trio.open_tcp_stream(a.host, a.port, local_address="127.0.0.2")
        flood = [await a.stranger() for _ in range(strangers_module.STRANGERS_MAX + 20)]
        for stream in flood[:20]:
            await closed(stream)

        assert a.contexts is not None
        secured = trio.SSLStream(first, a.contexts[1], https_compatible=True)
        await secured.send_all(frame(HELLO))

        assert (await a.until(Received)).message == HELLO
        await trio.aclose_forcefully(secured)
        for stream in flood[20:]:
            await trio.aclose_forcefully(stream)


async def test_a_host_that_connects_without_end_waits_for_its_turn_and_another_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strangers_module, "PLACE_BURST", 3)
    monkeypatch.setattr(strangers_module, "PLACE_RATE", 1e-6)
    async with side() as a:
        hasty = [await a.stranger() for _ in range(5)]
        for stream in hasty:
            await stream.send_all(frame(HELLO))
        other = await trio.open_tcp_stream(a.host, a.port, local_address="127.0.0.2")
        await other.send_all(frame(Refused("from elsewhere")))

        await a.until(Received, lambda event: event.message == Refused("from elsewhere"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sum(event == LinkUp(event.link, "", "127.0.0.1") for event in a.delivered if type(event) is LinkUp) == 3
        for stream in (*hasty, other):
            await stream.aclose()


async def test_one_host_has_no_more_than_so_many_links(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(strangers_module, "PLACE_LINKS_MAX", 1)
    async with side() as a, side() as b, linked(a, b):
        await closed(await b.stranger())
        assert "there are 1 links from 127.0.0.1 already" in caplog.text

        elsewhere = await trio.open_tcp_stream(b.host, b.port, local_address="127.0.0.2")
        await elsewhere.send_all(frame(HELLO))
        await b.until(LinkUp, lambda event: event.host == "127.0.0.2")
        await elsewhere.aclose()


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_a_host_of_ipv6_is_counted_by_its_network(host: str, place: str) -> None:
    assert strangers_module.place_of(host) == place
