"""One connection to a peer: frames in, frames out, and why it ended. Knows nothing of dialling or listening."""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Callable

import trio

from ringipam.codec import HEADER_BYTES, UnknownKindError, decode, frame, frame_length
from ringipam.core.events import DialFailed, LinkDown, LinkUp, NotUnderstood, Received
from ringipam.errors import PeerError
from ringipam.messages import Message
from ringipam.runtime.pace import Pace
from ringipam.runtime.tls import explain

LinkEvent = LinkUp | LinkDown | DialFailed | Received | NotUnderstood
Deliver = Callable[[LinkEvent], None]
"""Where events go. It may refuse what was received with a PeerError, which ends that link."""

FIRST_FRAME_S = 3.0
"""Within this a new connection must have said something that makes sense."""
FLUSH_S = 1.0
QUEUE_BYTES_MAX = 8 << 20
CHUNK_BYTES = 64 << 10
FRAMES_PER_S, FRAMES_BURST = 2_000, 10_000
BYTES_PER_S, BYTES_BURST = 4 << 20, 16 << 20
"""What one peer may say; faster ones are read no faster, so that they wait and nobody else does."""
TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How an alert and a greeting of TLS begin, read where a frame's length was expected."""


class Link:
    """Delivers `LinkUp`, then what is received, then `LinkDown` exactly once.

    A connection that others made is introduced only by its first good frame: whoever just connects, or
    talks nonsense, never reaches the core.
    """

    def __init__(self, number: int, stream: trio.abc.Stream, host: str, dialled: str, deliver: Deliver) -> None:
        self.number = number
        self._stream = stream
        self._host = host
        self._dialled = dialled
        self._deliver = deliver
        self._introduced = False
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0  # with what the writer has in its hands
        self._wake = trio.Event()
        self._closing = False
        self._reason: str | None = None
        self._fault: PeerError | None = None
        self._first_frame: Callable[[], object] | None = None
        self._scope = trio.CancelScope()
        self._frames = Pace(FRAMES_PER_S, FRAMES_BURST)
        self._bytes = Pace(BYTES_PER_S, BYTES_BURST)

    async def run(self, first_frame: Callable[[], object]) -> None:
        """Serve the connection until it ends. `first_frame` is called when the other side has said one.

        Raises PeerError, after `LinkDown`, if it ended because the other side broke the protocol.
        """
        self._first_frame = first_frame
        if self._dialled:
            self._introduce()
        self._scope.deadline = trio.current_time() + FIRST_FRAME_S
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
        finally:
            await trio.aclose_forcefully(self._stream)
        if self._reason is None:  # the deadline of the first frame
            self._blame(PeerError(f"it said nothing for {FIRST_FRAME_S:.0f} s"))
        if self._introduced:
            self._deliver(LinkDown(self.number, self._reason or ""))
        if self._fault is not None:
            raise self._fault

    def send(self, message: Message) -> None:
        """Queue a message; a peer that does not take what is queued for it loses the connection."""
        if self._closing or self._reason is not None:
            return
        data = frame(message)
        self._queue_bytes += len(data)
        if self._queue_bytes > QUEUE_BYTES_MAX:
            self.drop(f"it took nothing while {QUEUE_BYTES_MAX >> 20} MiB were queued for it")
            return
        self._queue.append(data)
        self._wake.set()

    def close(self, reason: str) -> None:
        """Send what is queued, within `FLUSH_S`, then end; nothing more is delivered but `LinkDown`."""
        if self._closing or self._reason is not None:
            return
        self._closing = True
        self._reason = reason
        self._scope.deadline = trio.current_time() + FLUSH_S
        self._wake.set()

    def drop(self, reason: str) -> None:
        """End at once; what is queued is lost."""
        if self._reason is None:
            self._reason = reason
        self._scope.cancel()

    def _blame(self, fault: PeerError) -> None:
        self._fault = fault
        self.drop(fault.message)

    def _introduce(self) -> None:
        self._introduced = True
        self._deliver(LinkUp(self.number, self._dialled, self._host))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        buffer = bytearray()
        try:
            while chunk := await self._stream.receive_some(CHUNK_BYTES):
                # After `close` this only waits for the other side's end: closing a socket with unread bytes
                # would reset the connection, and the last frames sent would be lost on their way.
                if not self._closing:
                    buffer += chunk
                    await self._take_frames(buffer)
            self.drop("the other side closed the connection")
        except PeerError as error:
            self._blame(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.drop(lost(error))

    async def _take_frames(self, buffer: bytearray) -> None:
        """Deliver the whole frames at the start of `buffer`, one a turn: a busy link holds up no other."""
        while (size := _frame_size(buffer)) is not None and not self._closing and self._reason is None:
            payload = bytes(buffer[HEADER_BYTES:size])
            del buffer[:size]
            self._received(self._event(payload))
            # After a frame, not before it: a wait is a frame's worth, too short for the sender's kernel to give up.
            pause_s = max(self._frames.spend(1), self._bytes.spend(size))
            if pause_s:
                await trio.sleep(pause_s)
            elif len(buffer) >= HEADER_BYTES:
                await trio.lowlevel.checkpoint()

    def _event(self, payload: bytes) -> Received | NotUnderstood:
        """Raises PeerError. What opens a conversation must be known; whether anything later must, the core decides."""
        try:
            return Received(self.number, decode(payload))
        except UnknownKindError as error:
            if self._first_frame is not None:
                raise
            return NotUnderstood(self.number, error.kind)

    def _received(self, event: Received | NotUnderstood) -> None:
        if self._first_frame is not None:
            self._scope.deadline = math.inf
            first_frame, self._first_frame = self._first_frame, None
            first_frame()
        if not self._introduced:
            self._introduce()
        self._deliver(event)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    async def _write(self) -> None:
        try:
            while self._queue or not self._closing:
                if not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                    continue
                batch = b"".join(self._queue)
                self._queue.clear()
                await self._stream.send_all(batch)
                self._queue_bytes -= len(batch)
            await self._send_end()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.drop(lost(error))

    async def _send_end(self) -> None:
        """Let the other side read what was sent and then the end; the reader waits for its end in return."""
        raw = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        assert isinstance(raw, trio.abc.HalfCloseableStream)
        await raw.send_eof()


def _frame_size(buffer: bytearray) -> int | None:
    """The size of the frame at the start of `buffer` with its header, or None if more must come; raises PeerError."""
    if len(buffer) < HEADER_BYTES:
        return None
    if bytes(buffer[:2]) in TLS_RECORDS:
        raise PeerError("it speaks TLS and this node runs without credentials")
    size = HEADER_BYTES + frame_length(bytes(buffer[:HEADER_BYTES]))
    return size if len(buffer) >= size else None


def lost(error: BaseException) -> str:
    """Why a connection broke, in an operator's words."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return explain(cause)
    if isinstance(cause, OSError) and cause.strerror:
        return f"connection lost: {cause.strerror.lower()}"
    return "connection lost"
