"""Bytes to requests: whole or in pieces, honest or not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringipam.server.http import BODY_SIZE_MAX, HEAD_SIZE_MAX, Request, RequestParser, Response, render

PUT = b"PUT /ip/c1/10.32.0.9/12?check-alive=true HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
GET = b"GET /ring HTTP/1.1\r\n\r\n"


def parsed(*pieces: bytes) -> tuple[list[Request], str | None]:
    parser = RequestParser()
    for piece in pieces:
        if parser.fault is None:
            parser.feed(piece)
    return list(parser.complete), parser.fault


def test_a_request_has_its_method_path_query_headers_and_body() -> None:
    [request], fault = parsed(PUT)

    assert fault is None
    assert (request.method, request.path, request.query) == ("PUT", "/ip/c1/10.32.0.9/12", "check-alive=true")
    assert request.headers[b"host"] == b"x"
    assert request.body == b"abc"
    assert request.keep_alive


def test_pipelined_requests_come_out_in_order() -> None:
    requests, fault = parsed(PUT + GET + PUT)

    assert [request.method for request in requests] == ["PUT", "GET", "PUT"]
    assert fault is None


@given(st.integers(1, len(PUT + GET) - 1), st.integers(1, len(PUT + GET) - 1))
def test_it_does_not_matter_where_the_bytes_are_cut(first: int, second: int) -> None:
    low, high = sorted((first, second))
    data = PUT + GET

    assert parsed(data[:low], data[low:high], data[high:]) == parsed(data)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_bytes_whatsoever_raise_an_error(pieces: list[bytes]) -> None:
    parsed(*pieces)


@given(st.binary(max_size=60), st.integers(0, len(PUT)))
def test_garbage_inside_a_request_raises_no_error(garbage: bytes, at: int) -> None:
    requests, fault = parsed(PUT[:at] + garbage + PUT[at:], GET)

    assert fault is None or isinstance(fault, str)
    assert all(len(request.body) <= BODY_SIZE_MAX for request in requests)


def test_what_was_complete_before_the_garbage_is_still_served() -> None:
    requests, fault = parsed(GET + b"\0\0\0 nonsense\r\n\r\n")

    assert [request.path for request in requests] == ["/ring"]
    assert fault


def test_a_head_that_is_too_large_is_refused_in_one_piece_or_in_many() -> None:
    line = b"X-%d: " + b"v" * 1000 + b"\r\n"
    head = b"GET / HTTP/1.1\r\n" + b"".join(line % number for number in range(17))

    assert parsed(head)[1]
    assert parsed(*(head[at : at + 100] for at in range(0, len(head), 100)))[1]


def test_one_header_that_never_ends_is_refused() -> None:
    requests, fault = parsed(b"GET / HTTP/1.1\r\nX: ", *[b"v" * 1024] * (HEAD_SIZE_MAX // 1024 + 1))

    assert not requests
    assert fault


def test_a_target_that_never_ends_is_refused() -> None:
    assert parsed(b"GET /", *[b"a" * 1024] * (HEAD_SIZE_MAX // 1024 + 1))[1]


def test_a_body_that_is_announced_too_large_is_refused_before_it_arrives() -> None:
    assert parsed(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_SIZE_MAX + 1))[1]
    assert parsed(b"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")[1]


def test_a_chunked_body_is_put_together_and_bounded() -> None:
    head = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n" % 60_000 + b"a" * 60_000 + b"\r\n"

    [request], _ = parsed(head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n")
    assert request.body == b"abcde"
    assert parsed(head, *[chunk] * (BODY_SIZE_MAX // 60_000 + 1))[1]


def test_a_trailer_that_never_ends_is_refused_and_one_that_ends_is_ignored() -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"

    [request], _ = parsed(head, b"Host: evil\r\n\r\n")
    assert request.headers[b"host"] == b"a"
    assert parsed(head, b"X: ", *[b"v" * 16_384] * (BODY_SIZE_MAX // 16_384 + 2))[1]


def test_two_hosts_are_refused_as_one_of_them_may_be_a_lie() -> None:
    assert parsed(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")[1]


def test_a_length_beside_chunks_is_refused() -> None:
    smuggled = b"PUT / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"

    assert parsed(smuggled)[1]


def test_an_upgrade_is_not_followed_and_ends_the_connection() -> None:
    [request], _ = parsed(b"GET /ring HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")

    assert request.path == "/ring"
    assert not request.keep_alive


def test_http_1_0_and_connection_close_end_the_connection() -> None:
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"):
        [request], _ = parsed(data)
        assert not request.keep_alive


def test_an_answer_says_how_long_it_is_and_nothing_else_it_need_not() -> None:
    assert render(Response(200, b"{}"), keep_alive=True) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert render(Response(204), keep_alive=True) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert b"Connection: close\r\n" in render(Response(200), keep_alive=False)
    assert b"Allow: GET\r\n" in render(Response(405, allow="GET"), keep_alive=True)
