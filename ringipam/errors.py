"""Every error that ringipam raises on purpose, split by whose fault it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class RingIpamError(Exception):
    """The base of them all; its text is one line that says what to do.

    `code` is the machine-readable word of `docs/http.md`, `details` what the JSON error carries besides.
    """

    code = "internal"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = MappingProxyType(details)


class RequestError(RingIpamError):
    """The caller asked for what cannot be; nothing was changed."""

    code = "bad_request"


class NoSpaceError(RequestError):
    """No free address in the subnet; `details["holders"]` says who owns it."""

    code = "no_space"


class InUseError(RequestError):
    """The address is taken; `details["holder"]` says by whom and where."""

    code = "in_use"


class NotFoundError(RequestError):
    """There is no such lease, identifier or peer."""

    code = "not_found"


class OutOfRangeError(RequestError):
    """The address or subnet lies outside the universe."""

    code = "out_of_range"


class RequestTimeoutError(RequestError):
    """No answer within the caller's time; no lease was made and none will be."""

    code = "timeout"


class NotReadyError(RingIpamError):
    """The node has no ring yet, or is shutting down; try again later."""

    code = "not_ready"


class FencedError(RingIpamError):
    """The node has fenced itself off and issues nothing; its `status` says why."""

    code = "fenced"


class StoreError(RingIpamError):
    """The data directory cannot be used, or a commit failed."""

    code = "disk"


class PeerError(RingIpamError):
    """A peer sent what no correct peer sends; its connection is closed, no state was touched."""

    code = "peer"


class DaemonUnreachableError(RingIpamError):
    """No daemon answers at the socket."""

    code = "unreachable"


def error_from_code(code: str, message: str, details: Mapping[str, object] | None = None) -> RingIpamError:
    """The error a daemon's JSON error stands for; an unknown code gives the base class."""
    for kind in _kinds(RingIpamError):
        if kind.code == code:
            return kind(message, **(details or {}))
    return RingIpamError(message, **(details or {}))


def _kinds(root: type[RingIpamError]) -> list[type[RingIpamError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]
