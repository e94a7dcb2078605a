"""The calls of an IPAM driver as verbs of a node. Remembers nothing that a restart of this daemon would miss."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from ringipam.address import Cidr, parse_address
from ringipam.core.allocator import ANONYMOUS
from ringipam.core.events import Allocate, AllocateBlock, ClaimAddress, Leased, LeaseList, Leases, Release
from ringipam.errors import InUseError, NoSpaceError, NotFoundError, RequestError
from ringipam.integrations.docker.messages import AddressRequest, AddressReturn, PoolRequest
from ringipam.integrations.docker.pools import Pool, block_wanted, named_pool, parse_pool_id, part_of
from ringipam.lease import VIA, Lease
from ringipam.server.routes import Asker

TIMEOUT_MS = 30_000
"""Docker itself waits for ever."""
UNTAKEN_MAX = 32
"""Blocks that were chosen for networks, and given to none yet. Docker takes a block only if it overlaps no route of its
host, keeps those that do, and asks again with the same words (`--subnet` missing): without a limit for ever."""
POOL, ROLE = "ringipam.pool", "ringipam.role"
"""Labels of the leases made here, besides `VIA`."""
DOCKER = "docker"
GATEWAY, ENDPOINT, BLOCK = "gateway", "endpoint", "pool"
"""What a lease is for."""

Gateway = tuple[Cidr, int]


class Driver:
    """Each call raises RingIpamError, which Docker shows to its user; then nothing was leased or freed."""

    def __init__(self, asker: Asker, ranges: Sequence[Cidr], wake: Callable[[], None] = lambda: None) -> None:
        self._asker = asker
        self._ranges = ranges
        self._wake = wake
        self._untaken: set[str] = set()
        """Ids of blocks that no request for an address has named yet."""
        self.gateways: dict[Gateway, float] = {}
        """Those of networks here, also such that another host holds the lease of; and when each was last asked for."""
        self.returned: set[Gateway] = set()
        """Docker has given these back; whoever can see whether another network still uses them frees them."""

    # ── pools ────────────────────────────────────────────────────────────────────────────────────

    async def request_pool(self, request: PoolRequest) -> Pool:
        """The pool of a network to be made: the one named, or a block that nobody else gets, another one each time."""
        if request.pool:
            return named_pool(request, self._ranges)
        whole, prefix_len = block_wanted(request, self._ranges)
        if len(self._untaken) >= UNTAKEN_MAX:
            raise NoSpaceError(
                f"Docker took none of the last {UNTAKEN_MAX} blocks of {whole}: routes or networks of this host overlap"
                " them; name a subnet with --subnet"
            )
        holder = f"docker-{secrets.token_hex(8)}"  # of its own each time: Docker holds those it does not take meanwhile
        labels = {VIA: DOCKER, ROLE: BLOCK}
        part = part_of(whole, prefix_len, len(self._untaken))
        try:
            lease = await self._leased(AllocateBlock(holder, prefix_len, part, TIMEOUT_MS, labels))
        except NoSpaceError:
            if part == whole:
                raise
            lease = await self._leased(AllocateBlock(holder, prefix_len, whole, TIMEOUT_MS, labels))
        block = Cidr(whole.family, int(lease.address), lease.prefix_len)
        self._untaken.add(holder)
        return Pool(request.space, block, block=(holder, lease.lease))

    async def release_pool(self, pool_id: str) -> None:
        """Free a block; a pool that its user named is not held by anybody."""
        pool = parse_pool_id(pool_id)
        if pool.block is None:
            return
        holder, number = pool.block
        self._untaken.discard(holder)
        await self._free(holder, number)

    def taken(self, blocks: Sequence[str]) -> None:
        """Networks have these blocks, or nobody has them any more; by the ids of their holders."""
        self._untaken.difference_update(blocks)

    # ── addresses ────────────────────────────────────────────────────────────────────────────────

    async def request_address(self, request: AddressRequest) -> str:
        """`ADDRESS/LEN` for a container, a gateway, or whatever else a network keeps an address for."""
        pool = parse_pool_id(request.pool_id)
        address = _inside(pool, request.address) if request.address else None
        if pool.block is not None:
            self._untaken.discard(pool.block[0])
        if request.for_gateway:
            return await self._request_gateway(pool, pool.gateway if address is None else address)
        labels = _labels(pool, ENDPOINT)
        if address is not None:
            return await self._claim(pool, address, labels)
        verb = Allocate(
            ANONYMOUS, pool.subnet, TIMEOUT_MS, labels=labels, span=pool.issuable, avoid=self._gateways_of(pool)
        )
        return (await self._leased(verb)).interface

    def _gateways_of(self, pool: Pool) -> tuple[int, ...]:
        """What the bridges of a pool have, be it leased or not.

        After a start that is unknown until Docker was looked at, or for ever if it must not be; and the host with the
        lease may be gone by then. So it counts as what is usual.
        """
        return tuple(gateway for subnet, gateway in self.gateways if subnet == pool.subnet) or (pool.gateway,)

    async def release_address(self, request: AddressReturn) -> None:
        """Free an address that was given to Docker from this pool; whatever else it may be stays as it is."""
        pool = parse_pool_id(request.pool_id)
        family, address = parse_address(request.address)
        if family == pool.subnet.family and (pool.subnet, address) in self.gateways:
            self.returned.add((pool.subnet, address))  # also one that is leased by another host
        for lease in await self._leases(pool.subnet.text(address) if family == pool.subnet.family else request.address):
            if lease.labels.get(VIA) == DOCKER and lease.labels.get(POOL) == str(pool):
                await self._free(lease.id, lease.lease)
        for lease in await self._leases(pool.gateway_holder):
            if (lease.address.version, int(lease.address)) == (family, address) and lease.labels.get(VIA) == DOCKER:
                await self._release_gateway(pool, address, lease)

    async def _claim(self, pool: Pool, address: int, labels: dict[str, str]) -> str:
        """An address that the user named. As Docker is not asked to repeat requests, whoever has it keeps it."""
        shown = pool.subnet.text(address)
        verb = ClaimAddress(
            *(ANONYMOUS, pool.subnet.family, address, pool.subnet.prefix_len, TIMEOUT_MS),
            labels=labels,
            class_="container",
            same=tuple(labels),  # what is filed under the address by somebody else is not touched
        )
        try:
            answer = await self._asker.ask(verb)
        except InUseError as error:
            raise _in_use(shown, shown, error) from None
        assert isinstance(answer, Leased)
        if not answer.new:
            raise InUseError(f"{shown} is in use by another container or network of this host's Docker")
        return answer.lease.interface

    # ── gateways ─────────────────────────────────────────────────────────────────────────────────

    async def _request_gateway(self, pool: Pool, address: int) -> str:
        self.returned.discard((pool.subnet, address))
        await self.hold_gateway(pool, address, TIMEOUT_MS)
        return f"{pool.subnet.text(address)}/{pool.subnet.prefix_len}"

    async def hold_gateway(self, pool: Pool, address: int, timeout_ms: int) -> bool:
        """See that nobody is issued this gateway; whether the lease is this host's. Raises InUseError if somebody was.

        The bridges of one subnet have one gateway on every host. The first host to ask leases it, and the others, who
        find it leased under that very id, use it as well.
        """
        key = (pool.subnet, address)
        self.gateways[key] = trio.current_time()
        verb = ClaimAddress(
            *(pool.gateway_holder, pool.subnet.family, address, pool.subnet.prefix_len, timeout_ms),
            labels=_labels(pool, GATEWAY),
        )
        try:
            await self._asker.ask(verb)
        except InUseError as error:
            if _holder(error) == pool.gateway_holder:
                return False
            self.gateways.pop(key, None)
            shown = pool.subnet.text(address)
            refused = _in_use(f"the gateway {shown} of {pool.subnet}", shown, error)
            raise InUseError(f"{refused.message}: name another with --gateway", **refused.details) from None
        if key in self.gateways:  # else Docker gave it back meanwhile
            self.gateways[key] = trio.current_time()
        return True

    async def _release_gateway(self, pool: Pool, address: int, lease: Lease) -> None:
        """Free the gateway of a block at once; any other when it is certain that nobody has it (`keeper`).

        Other hosts may have networks in the same subnet, whose bridges use the gateway without a lease of their own;
        and so may another network here: Docker asks for the gateway of a network that it then refuses to make because
        its subnet is taken, and gives it back.
        """
        key = (pool.subnet, address)
        self.returned.add(key)  # this process may not know it as a gateway yet
        if pool.block is not None:
            self.gateways.pop(key, None)
            await self._free(lease.id, lease.lease)
            return
        self._wake()

    # ── asking ───────────────────────────────────────────────────────────────────────────────────

    async def _leased(self, verb: Allocate | AllocateBlock) -> Lease:
        answer = await self._asker.ask(verb)
        assert isinstance(answer, Leased)
        return answer.lease

    async def _leases(self, holder: str) -> tuple[Lease, ...]:
        answer = await self._asker.ask(Leases(holder))
        assert isinstance(answer, LeaseList)
        return answer.leases

    async def _free(self, holder: str, number: str) -> None:
        with suppress(NotFoundError):  # it was freed before
            await self._asker.ask(Release(holder, lease=number))


def _labels(pool: Pool, role: str) -> dict[str, str]:
    return {VIA: DOCKER, POOL: str(pool), ROLE: role}


def _inside(pool: Pool, text: str) -> int:
    """The address of `text` if a network on this pool may have it, also outside of `--ip-range`; else RequestError.

    Docker gives up a whole network over one auxiliary address that is refused.
    """
    family, address = parse_address(text)
    if family != pool.subnet.family or address not in pool.subnet.issuable:
        raise RequestError(f"{text} is no address for a host in {pool.subnet}")
    return address


def _holder(error: InUseError) -> str:
    holder = error.details.get("holder")
    return str(holder["id"]) if isinstance(holder, dict) else ""


def _in_use(what: str, address: str, error: InUseError) -> InUseError:
    """`error` in words for `what`; a lease that is filed under its own address says nothing by that."""
    holder = error.details.get("holder")
    if not isinstance(holder, dict):
        return error
    whom = "" if holder["id"] == address else f" by {holder['id']}"
    return InUseError(f"{what} is in use{whom} on {holder['host']}", **error.details)
