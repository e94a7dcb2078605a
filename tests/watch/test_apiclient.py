"""The client of a runtime's API reads what real runtimes send, and gives up in one line on everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from taped import END, answering, chunked

from ringipam.integrations import apiclient
from ringipam.integrations.apiclient import ApiClient, ApiError, RefusedError

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


async def lines_of(path: Path) -> list[bytes]:
    async with ApiClient(path).stream("/events") as lines:
        return [line async for line in lines]


async def test_a_body_with_a_length_is_got_whole(path: Path) -> None:
    async with answering(path, [PLAIN]) as requests:
        assert await ApiClient(path).get("/containers/json?all=1") == b"[]"

    assert requests[0].startswith(b"GET /containers/json?all=1 HTTP/1.1\r\nHost: ")


async def test_a_chunked_body_is_got_whole_however_it_is_cut(path: Path) -> None:
    whole = b"".join([*chunked(b'[{"Id": "1"},', b'{"Id": "2"}]'), END])
    async with answering(path, [whole[i : i + 1] for i in range(len(whole))]):
        assert await ApiClient(path).get("/") == b'[{"Id": "1"},{"Id": "2"}]'


async def test_lines_come_as_they_are_complete_half_ones_wait_and_empty_ones_are_none(path: Path) -> None:
    parts = b'{"a": 1}\n{"b"', b": 2}\r\n\n", b'{"c": 3}\n{"d": 4}\n', b'{"e": 5}'
    async with answering(path, [*chunked(*parts), END]):
        assert await lines_of(path) == [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}', b'{"d": 4}', b'{"e": 5}']


async def test_a_line_is_there_before_the_stream_goes_on(path: Path) -> None:
    async with (
        answering(path, [*chunked(b"one\n"), None]),
        ApiClient(path).stream("/events") as lines,
    ):
        assert await anext(lines) == b"one"


async def test_a_hint_before_the_answer_is_not_the_answer(path: Path) -> None:
    async with answering(path, [b"HTTP/1.1 103 Early Hints\r\n\r\n", PLAIN]):
        assert await ApiClient(path).get("/") == b"[]"


async def test_a_refusal_carries_its_status_and_what_was_said(path: Path) -> None:
    body = b'{"message":"No such\ncontainer"}'
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with answering(path, [refusal], [refusal]):
        with pytest.raises(RefusedError, match=r"it answered 404: .*No such container") as caught:
            await ApiClient(path).get("/")
        with pytest.raises(RefusedError, match="it answered 404"):
            await lines_of(path)

    assert caught.value.status == 404


async def test_nobody_at_the_socket_is_said_in_one_line(path: Path) -> None:
    with pytest.raises(ApiError, match="cannot connect: No such file or directory"):
        await ApiClient(path).get("/")


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([], "closed the connection"),
        ([b"HTTP/1.1 200 OK\r\nContent-"], "closed the connection"),
        ([PLAIN[:-1]], "closed the connection"),
        (chunked(b"[")[:-1], "closed the connection"),
        ([*chunked(b"["), b"x\r\n"], "does not speak HTTP"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "does not speak HTTP"),
        ([b"\x00\xff" * 100], "does not speak HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * (apiclient.HEAD_SIZE_MAX + 1), None], "has no end of headers"),
    ],
)
async def test_what_is_cut_short_or_is_not_http_is_said_in_one_line(
    path: Path, pieces: list[bytes | None], why: str
) -> None:
    async with answering(path, pieces, pieces):
        with pytest.raises(ApiError, match=why):
            await ApiClient(path).get("/")
        with pytest.raises(ApiError, match=why):
            await lines_of(path)


async def test_a_body_and_a_line_have_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiclient, "BODY_SIZE_MAX", 99)
    monkeypatch.setattr(apiclient, "LINE_SIZE_MAX", 99)
    endless = [*chunked(*[b"x" * 10] * 10), None]
    async with answering(path, endless, endless):
        with pytest.raises(ApiError, match="has more than 99 bytes"):
            await ApiClient(path).get("/")
        with pytest.raises(ApiError, match="a line of its answer has more than 99 bytes"):
            await lines_of(path)


@pytest.mark.parametrize("pieces", [[None], [*chunked(b"[1,"), None]])
async def test_an_answer_that_does_not_come_to_its_end_is_given_up(
    path: Path, pieces: list[bytes | None], autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(path, pieces):
        with pytest.raises(ApiError, match="no answer within 30 s"):
            await ApiClient(path).get("/")


@pytest.mark.parametrize("pieces", [[None], [*chunked(), None]])
async def test_a_stream_may_be_silent_for_as_long_as_it_likes_before_its_head_too(
    path: Path, pieces: list[bytes | None], autojump_clock: trio.testing.MockClock
) -> None:
    async with answering(path, pieces):
        with trio.move_on_after(3600) as an_hour:
            await lines_of(path)

    assert an_hour.cancelled_caught
