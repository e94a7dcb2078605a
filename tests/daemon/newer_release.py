"""`ringipam` as a later release might be, run as a program: the same code, except for what it says to other hosts.

It speaks the protocols `OLDEST` to `NEWEST`, adds elements behind the known ones of arrays that may grow, and says
something of a kind of its own before everything that it says to a host after the greeting: once as a body in an
envelope, once as a message. It understands both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import msgpack

from ringipam import messages

OLDEST, NEWEST = (int(text) for text in os.environ["RINGIPAM_TEST_PROTOCOLS"].split())
messages.PROTOCOL_MIN, messages.PROTOCOL_MAX = OLDEST, NEWEST  # before anybody else takes their values

from ringipam import codec  # noqa: E402
from ringipam.cli import main  # noqa: E402
from ringipam.codec import bodies, values  # noqa: E402
from ringipam.codec import messages as framed  # noqa: E402
from ringipam.codec.wire import Kind  # noqa: E402
from ringipam.core.links import Links  # noqa: E402
from ringipam.messages import Envelope, Message  # noqa: E402
from ringipam.runtime import link  # noqa: E402

MORE: list[object] = [{"a later release": [1, [2]]}, None, "what else there is"]
KIND = 4_711
GROWING = ("put_member", "put_ballot", "put_terms", "put_founding", "put_rest", "put_span", "put_lease")


def _grown(encode: Callable[..., list[object]]) -> Callable[..., list[object]]:
    return lambda *arguments: [*encode(*arguments), *MORE]


def _each_grown(encode: Callable[..., list[list[object]]]) -> Callable[..., list[list[object]]]:
    return lambda *arguments: [[*item, *MORE] for item in encode(*arguments)]


def _replace(name: str, how: Callable[..., Callable[..., object]]) -> None:
    replacement = how(getattr(values, name))
    for module in (values, bodies):
        if hasattr(module, name):
            setattr(module, name, replacement)


def _understand(links: Links, link: int, kind: int) -> None:
    assert kind == KIND


def _grow(tables: tuple[dict[type, Kind], ...]) -> None:
    for table in tables:
        for of_type, kind in table.items():
            table[of_type] = kind._replace(encode=_grown(kind.encode))


def _with_news(message: Message) -> bytes:
    """The frames of `message`, and of what only a later release understands."""
    known = codec.frame(message)
    if not isinstance(message, Envelope):
        return known
    body = msgpack.packb([3, message.mark, [], [], [KIND, *MORE]])
    alone = msgpack.packb([KIND, *MORE])
    return b"".join(len(payload).to_bytes(codec.HEADER_BYTES, "big") + payload for payload in (body, alone)) + known


if __name__ == "__main__":
    for name in GROWING:
        _replace(name, _grown)
    _replace("put_segments", _each_grown)
    _grow((bodies.BODY_OF_TYPE, framed.MESSAGE_OF_TYPE))
    link.frame = _with_news
    Links.not_understood = _understand  # type: ignore[method-assign]
    sys.exit(main())
