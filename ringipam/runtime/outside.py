"""What a node takes from the process and the machine it runs in, so that a test can give it something else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, TypeVarTuple

import trio

from ringipam.store.store import Store
from ringipam.store.writer import Writer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InThread(Protocol):
    """Calls a function that may take a while, so that nobody else waits for it."""

    async def __call__(
        self, function: Callable[[*Ts], T], /, *arguments: *Ts, abandon_on_cancel: bool = False
    ) -> T: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """The defaults are the real thing. Sockets are not among it: trio has `set_custom_socket_factory`."""

    wall_s: Callable[[], float] = time.time
    """Seconds since 1970."""
    random_bits: Callable[[int], int] = secrets.randbits
    in_thread: InThread = trio.to_thread.run_sync
    store_type: type[Store] = Store
    writer_type: Callable[[Store], Writer] = Writer
