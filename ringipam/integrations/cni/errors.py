"""The error results of CNI (SPEC, section 5, "Error"): which number, in which version, and what a release waits for."""

from __future__ import annotations

import json

from ringipam.errors import RingIpamError

INCOMPATIBLE_VERSION = 1
UNKNOWN_CONTAINER = 3
BAD_ENVIRONMENT = 4
IO_FAILURE = 5
UNDECODABLE = 6
BAD_CONFIG = 7
BAD_NETNS = 8
TRY_LATER = 11
UNAVAILABLE = 50
LIMITED_CONNECTIVITY = 51
DIFFERS = 100
"""Our own, as SPEC leaves everything from 100 on to plugins: a CHECK found other addresses than prevResult tells of."""
DEFECT = 999
"""What libcni's own wrapper prints for errors without a number."""

NUMBERS = {
    "bad_request": BAD_CONFIG,
    "out_of_range": BAD_CONFIG,
    "in_use": TRY_LATER,
    "no_space": TRY_LATER,
    "timeout": TRY_LATER,
    "not_ready": TRY_LATER,
    "fenced": TRY_LATER,
    "disk": IO_FAILURE,
}
"""What a refusal of the node is in CNI. An exhausted subnet is 11, "some transient condition that should clear up"
(SPEC): every release makes room, and so does any host that joins; so is an address that somebody else holds for now."""

MESSAGE_LENGTH_MAX = 500

_encode = json.JSONEncoder(separators=(",", ":")).encode


class CniError(RingIpamError):
    """What a runtime is told on standard output.

    `later` is for a DEL: nothing is wrong with it, it has to be done when that can be.
    """

    code = "cni"

    def __init__(self, number: int, message: str, *, code: str = "bad_request", later: bool = False) -> None:
        super().__init__(message)
        self.number = number
        self.code = code
        self.later = later
        self.version = ""
        """The configuration's cniVersion, where it could be read."""

    def as_json(self) -> bytes:
        version = {"cniVersion": self.version} if self.version else {}
        return _encode({**version, "code": self.number, "msg": one_line(self.message)}).encode() + b"\n"


def one_line(text: str) -> str:
    """`text` as a line that a runtime's log can take, whatever stands in it."""
    shown = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return shown if len(shown) <= MESSAGE_LENGTH_MAX else f"{shown[: MESSAGE_LENGTH_MAX - 1]}…"


def cni_error(error: RingIpamError, version: str, *, later: bool = False) -> CniError:
    """`error` as a runtime is told it; `later` unless it is the request that is wrong."""
    if not isinstance(error, CniError):
        number = NUMBERS.get(error.code, DEFECT)
        error = CniError(number, error.message, code=error.code, later=later and number != BAD_CONFIG)
    error.version = error.version or version
    return error
