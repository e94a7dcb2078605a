"""Bytes from the daemon to one status and body; and whether an idle connection can still be used. No I/O but a poll."""

from __future__ import annotations

import select

from httptools import HttpParserError, HttpResponseParser

from ringipam.errors import RingIpamError


class AnswerParser:
    """Reads the answers on one connection, one after the other."""

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self.complete = False
        self.reusable = False
        """With `complete`: the connection stays open for another call."""
        self.status = 0
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Until `complete`; raises RingIpamError if this is not HTTP."""
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise RingIpamError(f"what answers at the socket does not speak HTTP: {error}") from None

    def take(self) -> tuple[int, bytes]:
        """The status and body of the complete answer; ready for the next."""
        taken = self.status, b"".join(self._body)
        self._begin()
        return taken

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        self.complete = True
        self.reusable = self._parser.should_keep_alive()


def is_stale(fd: int) -> bool:
    """Whether an idle connection was closed by the daemon: nothing but its end can be waiting there."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
