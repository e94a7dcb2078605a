"""For programs that talk to a running daemon: `Client` blocks, `AsyncClient` is for trio; their verbs are a node's.

Each is imported when it is first used, so that the command line starts without trio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringipam.client.blocking import Client
    from ringipam.client.concurrent import AsyncClient

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> object:
    if name == "Client":
        from ringipam.client.blocking import Client

        return Client
    if name == "AsyncClient":
        from ringipam.client.concurrent import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
