"""The verbs of the library: checks what callers say, asks, and unpacks the answer. Shared by whatever can `ask`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Interface, IPv6Interface

from ringipam.address import Address, Network, parse_address, parse_interface, parse_span, parse_subnet
from ringipam.config import OLDER_THAN_S, TIMEOUT_S, TIMEOUT_S_MAX, check_age, peer_endpoint
from ringipam.core.events import (
    Allocate,
    ClaimAddress,
    Connect,
    Forget,
    Leased,
    LeaseList,
    Leases,
    Leave,
    Prime,
    Reconcile,
    Rejoin,
    Release,
    RemovePeers,
    Resolve,
    Show,
    Verb,
    View,
)
from ringipam.errors import RequestError
from ringipam.lease import Lease, check_id, check_ids, check_labels
from ringipam.runtime.driver import Outcome


class Verbs(ABC):
    """Each verb raises RequestError for arguments that cannot be, and otherwise what the answer is.

    An answer has been made durable before it is returned.
    """

    @abstractmethod
    async def ask(self, verb: Verb) -> Outcome:
        """What all others come down to."""

    async def allocate(
        self,
        id: str,  # noqa: A002  # the users' word for it
        subnet: str | Network | None = None,
        timeout: float = TIMEOUT_S,
        labels: Mapping[str, str] | None = None,
        class_: str = "container",
    ) -> Lease:
        """An address for `id`; asked again for the same subnet, the same address.

        Waits up to `timeout` seconds for space from other hosts, and for a ring if there is none. Raises NoSpaceError
        or RequestTimeoutError, which say what stood in the way.
        """
        wanted = None if subnet is None else parse_subnet(str(subnet))
        return await self._leased(
            Allocate(check_id(id), wanted, _milliseconds(timeout), class_, check_labels(labels or {}))
        )

    async def claim(
        self,
        id: str,  # noqa: A002
        interface: str | IPv4Interface | IPv6Interface,
        timeout: float = TIMEOUT_S,
        labels: Mapping[str, str] | None = None,
    ) -> Lease:
        """Exactly this address, `10.32.0.9/12`, for `id`. Raises InUseError, which names the holder."""
        family, address, prefix_len = parse_interface(str(interface))
        return await self._leased(
            ClaimAddress(
                check_id(id),
                family,
                address,
                prefix_len,
                _milliseconds(timeout),
                labels=check_labels(labels or {}),
            )
        )

    async def lookup(self, id: str) -> list[Lease]:  # noqa: A002
        """What `id` holds on this host; nothing if it is not known."""
        return await self._lease_list(Leases(id=check_id(id)))

    async def release(
        self,
        id: str,  # noqa: A002
        address: str | Address | None = None,
        lease: str | None = None,
    ) -> list[Lease]:
        """Give up all that `id` holds here, or one address, or exactly one lease; returns what was freed.

        Naming the lease makes a retry harmless (safety.md S22). Raises NotFoundError if there is nothing to free.
        """
        wanted = None if address is None else parse_address(str(address))
        return await self._lease_list(Release(check_id(id), wanted, lease))

    async def reconcile(
        self,
        live_ids: Iterable[str],
        older_than: float = OLDER_THAN_S,
        labels: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> list[Lease]:
        """Release the leases of this host whose holder is not among `live_ids`; returns them. All or none, durably.

        Stays: what is younger than `older_than` seconds, as its container may have come after the list was made;
        what was claimed; whole blocks; leases that an integration of ringipam made; and, if `labels` are given,
        leases that do not carry them all. With `dry_run` nothing is released. Who is about to start a container
        under an id it had before puts that id into the list. No id at all releases all that is left by these rules.
        """
        live = check_ids(live_ids)
        age_ms = round(check_age(older_than) * 1000)
        return await self._lease_list(Reconcile(live, age_ms, check_labels(labels or {}), dry_run))

    async def leases(self, cluster: bool = False) -> list[Lease]:
        """All leases of this host, or of every host that can be reached."""
        return await self._lease_list(Leases(cluster=cluster))

    async def status(self) -> dict[str, object]:
        """How the node is, as in `ringipam status --json`."""
        return await self._view(Show.STATUS)

    async def ring(self, family: int | None = None) -> dict[str, object]:
        """Who owns which range, as in `ringipam ring --json`; `family` is 4 or 6 where there are two ranges."""
        return await self._view(view(Show.RING, family))

    async def peers(self, family: int | None = None) -> dict[str, object]:
        """The members known, as in `ringipam peers --json`."""
        return await self._view(view(Show.PEERS, family))

    async def conflicts(self, family: int | None = None) -> dict[str, object]:
        """Addresses in doubt, as in `ringipam conflicts --json`."""
        return await self._view(view(Show.CONFLICTS, family))

    async def prime(self, timeout: float = TIMEOUT_S) -> None:
        """Found the ring now if there is none, and wait for it."""
        await self.ask(Prime(_milliseconds(timeout)))

    async def connect(self, address: str) -> None:
        """Dial `HOST:PORT` from now on."""
        await self.ask(Connect(peer_endpoint(address)))

    async def forget(self, peer: str) -> None:
        """Stop dialling a peer; it stays a member (safety.md S4)."""
        await self.ask(Forget(peer))

    async def leave(self, drop_leases: bool = False, timeout: float = TIMEOUT_S) -> dict[str, object]:
        """Give all ranges to other hosts and leave the ring; returns `heirs`, how many addresses each host got.

        Raises RequestTimeoutError, which says who is missing, if it takes longer; it goes on all the same, over
        restarts too.
        """
        return await self._view(Leave(_milliseconds(timeout), drop_leases))

    async def remove_peers(
        self, *peers: str, force: bool = False, dry_run: bool = False, timeout: float = TIMEOUT_S
    ) -> dict[str, object]:
        """Take over what dead peers own, for good; returns `removed`, `taken`, `without` and `also`.

        Raises RequestTimeoutError, which names who stands in the way; nothing was removed then.
        """
        return await self._view(RemovePeers(peers, _milliseconds(timeout), force, dry_run))

    async def resolve(self, first: str, last: str | None = None, take: bool = False) -> dict[str, object]:
        """Say that nobody but their owner uses these addresses; with `take` this host becomes their owner."""
        family, (start, end) = parse_span(first, last)
        return await self._view(Resolve(start, end, take, family))

    async def rejoin(self, dry_run: bool = False, drop_leases: bool = False) -> dict[str, object]:
        """Make a fenced host, or one of a foreign ring, a new peer; returns what becomes of its leases."""
        return await self._view(Rejoin(dry_run, drop_leases))

    async def _leased(self, verb: Allocate | ClaimAddress) -> Lease:
        answer = await self.ask(verb)
        assert isinstance(answer, Leased)
        return answer.lease

    async def _lease_list(self, verb: Leases | Reconcile | Release) -> list[Lease]:
        answer = await self.ask(verb)
        assert isinstance(answer, LeaseList)
        return list(answer.leases)

    async def _view(self, verb: Verb) -> dict[str, object]:
        answer = await self.ask(verb)
        assert isinstance(answer, dict)
        return answer


def view(what: Show, family: int | None) -> Show | View:
    """The verb that shows this; raises RequestError for what is no family."""
    if family not in (None, 4, 6):
        raise RequestError(f"a family is 4 or 6, not {family!r}")
    return what if family is None else View(what, family)


def _milliseconds(timeout_s: float) -> int:
    if not (math.isfinite(timeout_s) and 0 < timeout_s <= TIMEOUT_S_MAX):
        raise RequestError(f"a timeout is more than 0 and at most {TIMEOUT_S_MAX:.0f} seconds, not {timeout_s}")
    return max(1, round(timeout_s * 1000))
