"""A plain way to speak HTTP to a surface under test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from ringipam.client.answers import AnswerParser


@dataclass
class Answer:
    status: int
    text: str
    head: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        code: str = self.json["error"]["code"]
        return code


@dataclass
class Speaker:
    """Sends one request on a connection of its own."""

    path: Path

    async def __call__(
        self, method: str, target: str, body: object = None, headers: str = "", raw: bytes | None = None
    ) -> Answer:
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(sent)}\r\n\r\n"
        async with await trio.open_unix_socket(self.path) as stream:
            await stream.send_all(head.encode() + sent)
            answers, got = AnswerParser(), b""
            while not answers.complete and (data := await stream.receive_some()):
                got += data
                if method == "HEAD":
                    return Answer(int(got[9:12]), got.partition(b"\r\n\r\n")[2].decode(), got.decode())
                answers.feed(data)
            status, content = answers.take()
            return Answer(status, content.decode(), got.partition(b"\r\n\r\n")[0].decode())
