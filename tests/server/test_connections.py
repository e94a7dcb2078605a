"""Connections over a real socket: in order, bounded, and the waiting are withdrawn when their client goes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from asking import UNIVERSE, Book
from speaking import Speaker

from ringipam.core.events import Allocate
from ringipam.server.connection import CONNECTIONS_MAX, IDLE_S, SEND_S, Door, Server
from ringipam.server.http import TEXT, Request, Response
from ringipam.server.listener import tcp_listener, unix_listener
from ringipam.server.surface import open_surface

POST = b"POST /ip/%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def read_all(stream: trio.SocketStream) -> bytes:
    return b"".join([data async for data in stream])


async def trickle(stream: trio.SocketStream) -> None:
    while True:
        await trio.sleep(1)
        await stream.send_all(b"X: y\r\n")


async def test_pipelined_requests_are_answered_in_order(http: Speaker) -> None:
    async with await trio.open_unix_socket(http.path) as stream:
        await stream.send_all(POST % b"a" + POST % b"b" + b"GET /healthz HTTP/1.0\r\n\r\n")

        got = await read_all(stream)

    assert got.index(b"10.32.0.1/12") < got.index(b"10.32.0.2/12") < got.index(b"ok")
    assert got.count(b"HTTP/1.1 200 OK") == 3


async def test_a_connection_serves_one_request_after_another(http: Speaker) -> None:
    async with await trio.open_unix_socket(http.path) as stream:
        for number in range(1, 4):
            await stream.send_all(POST % str(number).encode())
            assert (await stream.receive_some()).endswith(b"10.32.0.%d/12" % number)


async def test_garbage_gets_400_and_the_connection_is_closed(http: Speaker) -> None:
    async with await trio.open_unix_socket(http.path) as stream:
        await stream.send_all(b"\x16\x03\x01 hello\r\n\r\n")

        assert (await read_all(stream)).startswith(b"HTTP/1.1 400 Bad Request")


async def test_a_client_that_hangs_up_withdraws_its_request(http: Speaker, book: Book) -> None:
    book.holding = trio.Event()
    stream = await trio.open_unix_socket(http.path)
    await stream.send_all(POST % b"c1")
    await book.waiting.wait()

    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()

    assert [type(verb) for verb in book.withdrawn] == [Allocate]
    assert not book.leases


async def test_a_client_that_hangs_up_over_tcp_withdraws_its_request(book: Book, tmp_path: Path) -> None:
    book.holding = trio.Event()
    port = _free_port()
    async with open_surface(book, tmp_path / "s", f"127.0.0.1:{port}", UNIVERSE, "0"):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(POST % b"c1")
        await book.waiting.wait()

        await stream.aclose()
        while not book.withdrawn:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def test_a_client_that_only_stops_sending_still_gets_its_answer(http: Speaker) -> None:
    async with await trio.open_unix_socket(http.path) as stream:
        await stream.send_all(POST % b"c1")
        await stream.send_eof()

        assert (await read_all(stream)).endswith(b"10.32.0.1/12")


async def test_a_slow_request_is_cut_off_however_steadily_it_trickles(
    http: Speaker, autojump_clock: trio.testing.MockClock
) -> None:
    async with await trio.open_unix_socket(http.path) as stream:
        began = trio.current_time()
        await stream.send_all(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await trickle(stream)

    assert trio.current_time() - began <= IDLE_S + 2


async def test_an_idle_connection_is_closed_but_a_waiting_request_is_not(
    http: Speaker, book: Book, autojump_clock: trio.testing.MockClock
) -> None:
    book.holding = trio.Event()
    async with await trio.open_unix_socket(http.path) as waiting, await trio.open_unix_socket(http.path) as idle:
        await waiting.send_all(POST % b"c1")
        assert await read_all(idle) == b""
        assert trio.current_time() >= IDLE_S

        book.holding.set()
        assert (await waiting.receive_some()).endswith(b"10.32.0.1/12")


async def test_an_answer_that_nobody_reads_does_not_hold_the_connection_for_ever(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def flood(request: Request) -> Response:
        return Response(200, b"x" * 10_000_000, TEXT)

    with unix_listener(tmp_path / "s") as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server().serve, [Door(listener, flood)])
            async with await trio.open_unix_socket(tmp_path / "s") as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                await trio.sleep(SEND_S + 1)
                assert len(await read_all(stream)) < 10_000_000
            nursery.cancel_scope.cancel()


async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    async def answer(request: Request) -> Response:
        return Response(200)

    with unix_listener(tmp_path / "s") as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(connections_max=2).serve, [Door(listener, answer)])
            async with await trio.open_unix_socket(tmp_path / "s") as first:
                async with (
                    await trio.open_unix_socket(tmp_path / "s"),
                    await trio.open_unix_socket(tmp_path / "s") as third,
                ):
                    assert b"503 Service Unavailable" in await read_all(third)
                await first.send_all(b"GET / HTTP/1.1\r\n\r\n")
                assert b"200 OK" in await first.receive_some()
            nursery.cancel_scope.cancel()
    assert CONNECTIONS_MAX >= 256


async def test_a_client_that_holds_its_body_back_is_told_to_go_on(http: Speaker) -> None:
    head = b"POST /v1/leases HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"
    async with await trio.open_unix_socket(http.path) as stream:
        await stream.send_all(head)
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"

        await stream.send_all(b'{"id":"c1"}')
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 201 Created")


async def test_at_the_end_requests_under_way_are_answered_and_idle_connections_closed(
    book: Book, tmp_path: Path
) -> None:
    book.holding = trio.Event()
    got: list[bytes] = []
    async with trio.open_nursery() as nursery, open_surface(book, tmp_path / "s", None, UNIVERSE, "0"):
        busy, idle = await trio.open_unix_socket(tmp_path / "s"), await trio.open_unix_socket(tmp_path / "s")
        await busy.send_all(POST % b"c1")
        await book.waiting.wait()

        async def at_the_end() -> None:
            got.append(await read_all(idle))
            assert book.holding is not None
            book.holding.set()
            got.append(await read_all(busy))

        nursery.start_soon(at_the_end)

    assert got[0] == b""
    assert got[1].endswith(b"10.32.0.1/12")
    assert b"Connection: close" in got[1]
    await busy.aclose()
    await idle.aclose()


async def test_at_the_end_a_request_that_goes_on_waiting_is_withdrawn(
    book: Book, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    book.holding = trio.Event()
    async with open_surface(book, tmp_path / "s", None, UNIVERSE, "0"):
        stream = await trio.open_unix_socket(tmp_path / "s")
        await stream.send_all(POST % b"c1")
        await book.waiting.wait()

    assert len(book.withdrawn) == 1
    await stream.aclose()


async def test_web_pages_do_not_reach_the_api_on_tcp(book: Book, tmp_path: Path) -> None:
    port = _free_port()
    async with open_surface(book, tmp_path / "s", f"localhost:{port}", UNIVERSE, "0"):
        for headers, status in (
            (f"Host: 127.0.0.1:{port}", b"200"),
            ("Host: localhost", b"200"),
            (f"Host: [::1]:{port}", b"200"),
            ("Host: evil.example", b"400"),
            ("Host: evil.example\r\nX: 127.0.0.1", b"400"),
            ("Host: localhost\r\nOrigin: https://evil.example", b"400"),
            ("Host: localhost\r\nOrigin: null", b"400"),
            (f"Host: localhost\r\nOrigin: http://localhost:{port}", b"200"),
        ):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(f"POST /ip/c1 HTTP/1.1\r\n{headers}\r\n\r\n".encode())
                assert (await stream.receive_some()).split()[1] == status, headers


def _free_port() -> int:
    with tcp_listener("127.0.0.1:0") as listener:
        port: int = listener.getsockname()[1]
        return port


def test_listening_sockets_do_not_block() -> None:
    with tcp_listener("127.0.0.1:0") as listener, pytest.raises(BlockingIOError):
        listener.accept()
    assert listener.family == socket.AF_INET
