"""Frees what Docker has forgotten, and holds the gateways of its networks: compares the leases with Docker's own API.

Docker tells a driver once that an address is not needed any more, and drops what it cannot tell: a `network rm` while
this daemon was down frees nothing, a killed engine says nothing, and an answer that was lost leaves a lease that nobody
knows of. Whatever is in doubt is kept. Nothing here runs within a call of the plugin: Docker answers nothing about a
network that it waits for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from ringipam.address import Cidr
from ringipam.core.events import LeaseList, Leases, Release, Show
from ringipam.errors import InUseError, NotFoundError, RingIpamError
from ringipam.integrations.apiclient import ApiError
from ringipam.integrations.docker.driver import BLOCK, DOCKER, GATEWAY, POOL, ROLE, Driver
from ringipam.integrations.docker.driver import Gateway as GatewayKey
from ringipam.integrations.docker.engine import Engine, Network, Snapshot
from ringipam.integrations.docker.pools import LOCAL, Pool
from ringipam.lease import VIA, Lease
from ringipam.server.routes import Asker

LOOK_S = 60.0
RETRY_S = 5.0
"""After a look at which Docker did not answer."""
SOON_S = 1.0
"""After a gateway was given back: the network is gone by then, unless Docker is busy."""
GRACE_S = 120.0
"""Longer than an address takes from this daemon to where Docker lists it: containers that start, networks with many
addresses, requests that waited for other hosts."""
HOLD_TIMEOUT_MS = 5_000
HOLD_S = 10.0
"""So often gateways are claimed anew, sooner than a freed address has rested: who leased one may be removed."""

_log = logging.getLogger(__name__)


class Keeper:
    """`run` looks every minute, and soon after `wake`."""

    def __init__(self, asker: Asker, engine: Engine, name: str, engine_file: Path) -> None:
        self._asker = asker
        self._engine = engine
        self._engine_file = engine_file
        """Which engine's containers the leases are for."""
        self._names = (DRIVER, name)
        self._woken = trio.Event()
        self._missing: dict[str, float] = {}
        """Number of a lease that Docker does not know → when that was first seen."""
        self._problem: str | None = None
        self._concerned = False
        """Docker was there, or something is leased for it: a host without Docker has no problem."""
        self._disputed: set[str] = set()
        self._held: dict[GatewayKey, Pool] = {}
        self.stranger = ""
        """What an operator must know if another engine answers than the one whose containers have the leases."""

    def wake(self) -> None:
        """A gateway was given back."""
        self._woken.set()

    async def run(self, driver: Driver) -> None:
        """Until cancelled. Raises nothing else: what fails is tried again."""
        while True:
            began = trio.current_time()
            looked = await self._try_look(driver)
            due = began + (LOOK_S if looked else RETRY_S)
            while trio.current_time() < due and not self._woken.is_set():
                with trio.move_on_at(min(due, trio.current_time() + HOLD_S)):
                    await self._woken.wait()
                    await trio.sleep(SOON_S)
                await self._hold_again(driver)
            self._woken = trio.Event()

    async def _try_look(self, driver: Driver) -> bool:
        """Whether Docker was there and everything could be done."""
        try:
            await self.look(driver)
        except ApiError as error:
            if self._concerned and self._is_news(str(error)):
                _log.info("Docker's API does not answer: %s; what its containers hold is kept", error)
        except RingIpamError as error:
            if self._is_news(error.message):
                _log.info("the leases of Docker cannot be compared with its containers: %s", error.message)
        else:
            if self._problem is not None and self._is_news(None):
                _log.info("Docker's API answers again")
            return True
        return False

    def _is_news(self, problem: str | None) -> bool:
        was, self._problem = self._problem, problem
        return problem != was

    async def look(self, driver: Driver) -> None:
        """One comparison; raises ApiError or RingIpamError, and then nothing more was freed than is right."""
        given_back = set(driver.returned)
        answer = await self._asker.ask(Leases())  # before Docker's side: what was leased since is not judged
        assert isinstance(answer, LeaseList)
        leases = [lease for lease in answer.leases if lease.labels.get(VIA) == DOCKER]
        self._concerned |= bool(leases)
        snapshot = await self._engine.snapshot()
        self._concerned = True
        await self._recognise(snapshot, held=any(not _is_gateway(lease) for lease in leases))
        driver.taken([lease.id for lease in leases if _is_block(lease) and _known(lease, snapshot)])
        unknown = [] if self.stranger else [lease for lease in leases if not _known(lease, snapshot)]
        await self._free_given_back(driver, given_back, unknown)
        await self._free_forgotten(driver, unknown)
        blocks = {_subnet(lease): (lease.id, lease.lease) for lease in leases if _is_block(lease)}
        await self._hold_gateways(driver, snapshot, blocks)

    async def _recognise(self, snapshot: Snapshot, *, held: bool) -> None:
        """Whether this is the engine whose containers have the leases.

        A second dockerd, one on another data directory, or Podman under that name knows none of them, and they would
        all be freed while they are in use.
        """
        try:
            known = await trio.to_thread.run_sync(_read, self._engine_file)
            if known in ("", snapshot.engine) or not held:
                self.stranger = ""
                if known != snapshot.engine:
                    await trio.to_thread.run_sync(_replace, self._engine_file, snapshot.engine)
                return
        except OSError as error:
            raise ApiError(f"{self._engine_file}: {error.strerror}") from None
        if not self.stranger:
            self.stranger = (
                "Docker's API is answered by another engine than the one whose containers have addresses from here, and"
                f" nothing of them is freed; if their engine is gone for good, remove {self._engine_file}"
            )
            _log.warning("%s", self.stranger)

    # ── freeing ──────────────────────────────────────────────────────────────────────────────────

    async def _free_given_back(self, driver: Driver, given_back: set[GatewayKey], unknown: Sequence[Lease]) -> None:
        """The gateways that Docker gave back and no network of it uses; the rest is looked at like all others."""
        gateways = [lease for lease in unknown if _is_gateway(lease) and _gateway_key(lease) in given_back]
        if gateways and await self._alone():
            for lease in gateways:
                if _gateway_key(lease) in driver.returned:  # no network asked for it again meanwhile
                    await self._free(lease)
        driver.returned -= given_back

    async def _free_forgotten(self, driver: Driver, unknown: Sequence[Lease]) -> None:
        """What has been unknown to Docker for a while, at every look."""
        now = trio.current_time()
        self._missing = {lease.lease: self._missing.get(lease.lease, now) for lease in unknown}
        for lease in unknown:
            asked = driver.gateways.get(_gateway_key(lease), -GRACE_S) if _is_gateway(lease) else -GRACE_S
            if now - max(asked, self._missing[lease.lease]) < GRACE_S:
                continue
            if _is_gateway(lease) and not _in_block(lease) and not await self._alone():
                continue
            _log.info("freed %s, which no container or network of Docker has any more", lease.interface)
            await self._free(lease)
            driver.taken([lease.id])

    async def _alone(self) -> bool:
        """Whether no other host is in the ring: only then does nobody else's bridge use a gateway that is leased here.

        Others have it without a lease, so that nothing shows whether they do. On a ring of several hosts a gateway
        stays leased until `ringipam release` frees it.
        """
        status = await self._asker.ask(Show.STATUS)
        assert isinstance(status, dict)
        second = status.get("ipv6")  # with two ranges, each is a ring of its own
        return not any(_others(ring) for ring in (status, second) if isinstance(ring, dict))

    async def _free(self, lease: Lease) -> None:
        with suppress(NotFoundError):  # Docker gave it back at this moment
            await self._asker.ask(Release(lease.id, lease=lease.lease))
        self._missing.pop(lease.lease, None)

    # ── holding ──────────────────────────────────────────────────────────────────────────────────

    async def _hold_gateways(self, driver: Driver, snapshot: Snapshot, blocks: Mapping[Cidr, tuple[str, str]]) -> None:
        """Claim the gateways of the networks here, so that they stay taken when the host that leased them goes."""
        held = dict(self._gateways(snapshot))
        self._held = {key: Pool(LOCAL, key[0], block=blocks.get(key[0])) for key in held}
        disputed = set()
        for key, named in held.items():
            if key in driver.returned:
                continue  # since Docker was asked
            try:
                await driver.hold_gateway(self._held[key], key[1], HOLD_TIMEOUT_MS)
            except InUseError as error:
                disputed.add(error.message)
                if named and error.message not in self._disputed:
                    _log.warning("a network of Docker has a gateway that is not its own: %s", error.message)
            except RingIpamError as error:
                _log.info("a gateway of Docker is not held here yet: %s", error.message)
        self._disputed = disputed
        old = trio.current_time() - GRACE_S
        for key in [key for key, asked in driver.gateways.items() if key not in held and asked < old]:
            del driver.gateways[key]

    async def _hold_again(self, driver: Driver) -> None:
        """Those of the last look that Docker has not given back since."""
        for key, pool in self._held.items():
            if key in driver.gateways and key not in driver.returned:
                with suppress(RingIpamError):  # the next look tells
                    await driver.hold_gateway(pool, key[1], HOLD_TIMEOUT_MS)

    def _gateways(self, snapshot: Snapshot) -> Iterator[tuple[GatewayKey, bool]]:
        """Those of networks whose addresses come from here, and whether they were named, not chosen."""
        for network in snapshot.networks:
            if network.ipam in self._names:
                yield from _gateways_of(network)


def _read(file: Path) -> str:
    return file.read_text(errors="replace").strip() if file.exists() else ""


def _replace(file: Path, text: str) -> None:
    """At once and whole; an older one that comes back with the power is told by its engine from a newer one."""
    fresh = file.with_name(f".{file.name}")
    fresh.write_text(f"{text}\n")
    fresh.replace(file)


DRIVER = "ringipam"
"""What networks call this driver, unless the plugin's file has another name."""


def _gateways_of(network: Network) -> Iterator[tuple[GatewayKey, bool]]:
    for part in network.parts:
        named = part.gateway is not None
        yield (part.subnet, Pool(LOCAL, part.subnet).gateway if part.gateway is None else part.gateway), named


def _known(lease: Lease, snapshot: Snapshot) -> bool:
    """Whether Docker has what the lease is of, or may have: of a swarm a host sees its own part only."""
    role = lease.labels.get(ROLE)
    if not lease.labels.get(POOL, f"{LOCAL}:").startswith(f"{LOCAL}:"):
        return True
    if role in (GATEWAY, BLOCK):
        subnet = _subnet(lease)
        return any(part.subnet == subnet for network in snapshot.networks for part in network.parts)
    return (lease.address.version, int(lease.address)) in snapshot.addresses


def _others(status: Mapping[str, object]) -> bool:
    peers = status["peers"]
    assert isinstance(peers, dict)
    return any(peers.values())


def _is_block(lease: Lease) -> bool:
    return lease.labels.get(ROLE) == BLOCK


def _is_gateway(lease: Lease) -> bool:
    return lease.labels.get(ROLE) == GATEWAY


def _in_block(lease: Lease) -> bool:
    """Whether the gateway is that of a block, where no other host has a network."""
    return "#" in lease.labels.get(POOL, "")


def _subnet(lease: Lease) -> Cidr:
    return Cidr(lease.address.version, int(lease.subnet.network_address), lease.subnet.prefixlen)


def _gateway_key(lease: Lease) -> GatewayKey:
    return _subnet(lease), int(lease.address)
