"""A node: a peer with its disk, its connections and its time, and the verbs it offers to the program it lives in."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import trio

from ringipam.address import Address, Network, parse_address, parse_interface, parse_subnet
from ringipam.config import Config, format_endpoint, parse_endpoint
from ringipam.core.durable import PutMeta, Stored
from ringipam.core.events import (
    Allocate,
    ClaimAddress,
    Connect,
    Forget,
    Leased,
    LeaseList,
    Leases,
    Prime,
    Release,
    Show,
    Verb,
)
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import name_of
from ringipam.errors import NotReadyError, RequestError, StoreError
from ringipam.lease import Lease, check_id, check_labels
from ringipam.runtime.clock import Clock
from ringipam.runtime.driver import Driver, Outcome
from ringipam.runtime.hostroutes import overlaps
from ringipam.runtime.identity import first_facts, settings
from ringipam.runtime.ratelimit import RateLimitedLog
from ringipam.runtime.tls import Contexts, contexts, doubt
from ringipam.runtime.transport import Transport, bound_to, open_listeners
from ringipam.store.store import Store
from ringipam.store.writer import Writer

TIMEOUT_S = 30.0
TIMEOUT_S_MAX = 86_400.0
RETRY_S_MIN = 0.5
RETRY_S_MAX = 5.0

logger = logging.getLogger("ringipam")


@asynccontextmanager
async def open_node(config: Config, store_type: type[Store] = Store) -> AsyncIterator[Node]:
    """A node that runs in the background of the `async with` block.

    Raises RequestError if it cannot listen or its credentials are no good, StoreError if the data directory cannot
    be used or is another peer's. At the end of the block requests under way get NotReadyError, and what was decided
    is made durable.
    """
    async with _opened_disk(config, store_type) as (store, stored):
        pair = await trio.to_thread.run_sync(contexts, config)
        listeners = await open_listeners(config.listen_on)
        failure: BaseException | None = None
        try:
            writer = Writer(store)
            node = Node(config, store, writer, listeners, pair)
            async with trio.open_nursery() as nursery:
                try:
                    await nursery.start(node.run, stored)
                    yield node
                except trio.Cancelled:
                    raise
                except BaseException as error:
                    # Raised outside of the nursery, which would wrap the caller's own error in a group.
                    failure = error
                finally:
                    await node.close()
                    nursery.cancel_scope.cancel()
