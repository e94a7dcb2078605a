"""A distributed IP address manager: hosts share a range as a gossiped token ring, never issuing an address twice.

Everything is imported on first use: the command line starts quickly, and the core stays free of what does I/O.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringipam.client import AsyncClient, Client
    from ringipam.config import Config
    from ringipam.errors import (
        DaemonUnreachableError,
        FencedError,
        InUseError,
        NoSpaceError,
        NotFoundError,
        NotReadyError,
        OutOfRangeError,
        PeerError,
        RequestError,
        RequestTimeoutError,
        RingIpamError,
        StoreError,
    )
    from ringipam.lease import Lease
    from ringipam.runtime.dualstack import DualStack, open_dual_stack
    from ringipam.runtime.node import Node, open_node

__all__ = [
    "AsyncClient",
    "Client",
    "Config",
    "DaemonUnreachableError",
    "DualStack",
    "FencedError",
    "InUseError",
    "Lease",
    "NoSpaceError",
    "Node",
    "NotFoundError",
    "NotReadyError",
    "OutOfRangeError",
    "PeerError",
    "RequestError",
    "RequestTimeoutError",
    "RingIpamError",
    "StoreError",
    "open_dual_stack",
    "open_node",
]

_HOMES = {
    "AsyncClient": "client",
    "Client": "client",
    "Config": "config",
    "DualStack": "runtime.dualstack",
    "Lease": "lease",
    "Node": "runtime.node",
    "open_dual_stack": "runtime.dualstack",
    "open_node": "runtime.node",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
