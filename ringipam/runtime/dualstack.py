"""Two nodes, one of each family, behind the verbs of one (docs/design.md, "Two families").

Decides which ring a verb is for, and asks both where it names none. Knows nothing of how a ring works.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, assert_never

import trio

from ringipam.address import Address, parse_address
from ringipam.config import Config, next_port
from ringipam.core.events import (
    Allocate,
    AllocateBlock,
    ClaimAddress,
    Connect,
    Forget,
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
from ringipam.core.leaving import LEFT
from ringipam.errors import NotFoundError, RequestError, RingIpamError
from ringipam.lease import Lease
from ringipam.runtime.driver import Outcome
from ringipam.runtime.node import MACHINE, Node, logger, open_node
from ringipam.runtime.outside import Outside
from ringipam.runtime.twofold import (
    Told,
    beside,
    in_words,
    lease_lists,
    needs_no_rejoin,
    nothing_removed,
    of_one,
    refusal,
    refusals,
    statuses,
    stays,
    unknown,
)
from ringipam.runtime.verbs import Verbs

FAMILIES = (4, 6)
IPV4_PREFIX_LEN_MAX = 32


@asynccontextmanager
async def open_dual_stack(config: Config, outside: Outside = MACHINE) -> AsyncIterator[DualStack]:
    """The nodes of `iprange` and of `iprange6`, which live in the background of the `async with` block.

    Raises what `open_node` raises, for either; then neither runs.
    """
    async with (
        open_node(config.of_family(4), outside) as first,
        open_node(config.of_family(6), outside, _Marked(logger)) as second,
    ):
        both = DualStack(config, first, second)
        await both.look_for_strays()
        yield both


class _Marked(logging.LoggerAdapter[logging.Logger]):
    """Marks a line as one of the second ring."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        return f"IPv6: {msg}", kwargs


class DualStack(Verbs):
    """What `open_dual_stack` gives: the surface of a `Node`.

    A verb that names a subnet or an address goes to the ring of its family. Without one, an allocation and a view go to
    the IPv4 ring, everything else to both. What both are asked succeeds if both have done it; else the error says what
    became of each.
    """

    def __init__(self, config: Config, first: Node, second: Node) -> None:
        self.config = config
        self.notices = first.notices
        """Warnings that come and go: asked for each `status`."""
        self._nodes: Mapping[int, Node] = {4: first, 6: second}
        self._strays: list[Lease] = []
        self.notices.append(self._stray_warnings)

    @property
    def warnings(self) -> list[str]:
        """What an operator should know of this host; part of `status`."""
        return [text for node in self._nodes.values() for text in node.warnings]

    @property
    def listening(self) -> str:
        """`HOST:PORT` of the first ring, as bound."""
        return self._nodes[4].listening

    def node(self, family: int) -> Node:
        """The node of one family, 4 or 6."""
        return self._nodes[family]

    async def history(self, address: str | Address) -> dict[str, object]:
        """Who gave the range with `address` to whom, as in `ringipam history --json`; also while the disk is full."""
        return await self._nodes[parse_address(str(address))[0]].history(address)

    async def close(self) -> None:
        """Take no more requests; returns when what was decided is durable and everybody has an answer."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes.values():
                nursery.start_soon(node.close)

    async def ask(self, verb: Verb) -> Outcome:  # noqa: C901  # a line or two for each verb
        """What all other verbs come down to; raises the RingIpamError that is the answer."""
        match verb:
            case Allocate(subnet=subnet):
                return await self._nodes[subnet.family if subnet else 4].ask(verb)
            case AllocateBlock(subnet=subnet, prefix_len=prefix_len):
                family = subnet.family if subnet else 6 if prefix_len > IPV4_PREFIX_LEN_MAX else 4
                return await self._nodes[family].ask(verb)
            case ClaimAddress(family=family):
                return await self._nodes[family].ask(verb)
            case Resolve(family=family):
                return await self._nodes[family or 4].ask(verb)
            case View(family=family):
                return await self._nodes[family].ask(verb)
            case Show.STATUS:
                return statuses(await self._agreed(self._same(verb)))
            case Show():
                return await self._nodes[4].ask(verb)
            case Leases():
                return lease_lists(await self._agreed(self._same(verb), done=_listed))
            case Release():
                return await self._release(verb)
            case Reconcile():
                return lease_lists(await self._agreed(self._same(verb)))
            case Prime():
                await self._agreed(self._same(verb))
                return None
            case Connect(address):
                await self._agreed({4: verb, 6: Connect(next_port(address))})
                return None
            case Forget():
                await self._forget(verb)
                return None
            case Leave():
                return await self._leave(verb)
            case RemovePeers():
                return await self._remove(verb)
            case Rejoin():
                return await self._rejoin(verb)
            case _:
                assert_never(verb)

    # ── asking both ──────────────────────────────────────────────────────────────────────────────

    def _same(self, verb: Verb) -> dict[int, Verb]:
        return dict.fromkeys(FAMILIES, verb)

    async def _each(self, verbs: Mapping[int, Verb]) -> dict[int, Outcome | RingIpamError]:
        """What each ring says, both asked at once; an error is an answer like others."""
        told: dict[int, Outcome | RingIpamError] = {}

        async def ask(family: int, verb: Verb) -> None:
            try:
                told[family] = await self._nodes[family].ask(verb)
            except RingIpamError as error:
                told[family] = error

        async with trio.open_nursery() as nursery:
            for family, verb in verbs.items():
                nursery.start_soon(ask, family, verb)
        return dict(sorted(told.items()))

    async def _agreed(self, verbs: Mapping[int, Verb], done: Callable[[Outcome], str] = in_words) -> Told:
        told = await self._each(verbs)
        if refusals(told):
            raise refusal(told, done)
        return told

    # ── leases ───────────────────────────────────────────────────────────────────────────────────

    async def _release(self, verb: Release) -> LeaseList:
        """Both are asked even if it names an address: one of the other family may be filed outside of the range."""
        told = await self._each(self._same(verb))
        for family, error in refusals(told).items():
            # A ring that refuses everything, as its disk fails, must not keep a holder that has nothing there.
            if not unknown(error) and not await self._may_hold(family, verb):
                told[family] = NotFoundError(f"no addresses for {verb.id}")
        errors = refusals(told)
        if errors and (len(errors) == len(told) or not all(map(unknown, errors.values()))):
            known = {family: answer for family, answer in told.items() if not unknown(answer)}
            raise refusal(known or told, in_words)
        return lease_lists(told)

    async def _may_hold(self, family: int, verb: Release) -> bool:
        try:
            found = await self._nodes[family].ask(Leases(verb.id))
        except RingIpamError:
            return True
        assert isinstance(found, LeaseList)
        return bool(found.leases)

    async def look_for_strays(self) -> None:
        """Leases of IPv6 addresses that were filed, outside of the only range, before there was one for them."""
        found = await self._nodes[4].ask(Leases())
        assert isinstance(found, LeaseList)
        second = self._nodes[6].config.universe
        self._strays = [
            lease for lease in found.leases if lease.address.version == 6 and int(lease.address) in second.range
        ]

    def _stray_warnings(self) -> list[str]:
        return [
            f"{lease.address} of {lease.id} was claimed when there was no range for it here, and may be issued to"
            f" another: release it, claim it again, and restart"
            for lease in self._strays
        ]

    # ── members ──────────────────────────────────────────────────────────────────────────────────

    async def _forget(self, verb: Forget) -> None:
        """Not found only if neither ring knows it; an address is that of the first ring, or the second's own."""
        told = await self._each({4: verb, 6: Forget(_in_second(verb.peer))})
        if unknown(told[6]):
            told |= await self._each({6: verb})
        errors = refusals(told)
        if errors and (len(errors) == len(told) or not all(map(unknown, errors.values()))):
            raise refusal(told, in_words)

    async def _leave(self, verb: Leave) -> dict[str, object]:
        """Refused as a whole where either ring would refuse: to leave one of two cannot be taken back."""
        families = await self._with_ring()
        for family in families:
            if await self._clings(family, verb):
                await self._leave_first(family, verb)
        told = await self._each(dict.fromkeys(families, verb))
        left = {family for family, error in refusals(told).items() if error.message == LEFT}
        if left != set(told):
            told |= {family: {"heirs": {}} for family in left}  # by this command, or an earlier one
        if refusals(told):
            raise refusal(told, in_words)
        return beside({family: told.get(family, {"heirs": {}}) for family in FAMILIES})

    async def _clings(self, family: int, verb: Leave) -> bool:
        """Whether a ring is likely to refuse that it is left."""
        node = self._nodes[family]
        doubts, status = await node.ask(Show.CONFLICTS), await self._status(family)
        found = await node.ask(Leases())
        assert isinstance(doubts, dict)
        assert isinstance(found, LeaseList)
        held = bool(found.leases and not verb.drop_leases)
        return held or bool(doubts["conflicts"]) or status["state"] == "fenced" or not status["serving"]

    async def _leave_first(self, family: int, verb: Leave) -> None:
        """Let the ring that may refuse say so before the other is asked."""
        try:
            await self._nodes[family].ask(verb)
        except RingIpamError as error:
            if error.message != LEFT:
                raise of_one(family, error) from None

    async def _remove(self, verb: RemovePeers) -> dict[str, object]:
        """Each ring is asked about those of its members that are named; both must find it possible first."""
        named = await self._named(verb)
        verbs = {family: replace(verb, peers=peers) for family, peers in named.items() if peers}
        if not verb.dry_run:
            for family, error in refusals(
                await self._each({family: replace(asked, dry_run=True) for family, asked in verbs.items()})
            ).items():
                raise of_one(family, error)
        told = await self._agreed(verbs)
        return beside({family: told.get(family, nothing_removed(verb.dry_run)) for family in FAMILIES})

    async def _named(self, verb: RemovePeers) -> dict[int, tuple[str, ...]]:
        """By ring, the names that it knows, as a `NAME.UID` is of one of them; raises for what none knows."""
        families = await self._with_ring()
        named: dict[int, tuple[str, ...]] = dict.fromkeys(families, ())
        for peer in verb.peers:
            told = await self._each({family: replace(verb, peers=(peer,), dry_run=True) for family in families})
            errors = refusals(told)
            if len(errors) == len(told) or not all(map(unknown, errors.values())):
                known = {family: error for family, error in errors.items() if not unknown(error)}
                if len(known) == 1:
                    raise of_one(*known.popitem())
                raise refusal(known or errors, in_words)
            for family in told.keys() - errors.keys():
                named[family] += (peer,)
        return named

    async def _with_ring(self) -> list[int]:
        """The families that have a ring; both if none has, so that they say so."""
        told = await self._agreed({family: View(Show.STATUS, family) for family in FAMILIES})
        formed = [family for family, status in told.items() if isinstance(status, dict) and status["cluster"]]
        return formed or list(FAMILIES)

    async def _rejoin(self, verb: Rejoin) -> dict[str, object]:
        """Those that need it rejoin; refused if neither does, or if one that does cannot."""
        plans = await self._each(self._same(replace(verb, dry_run=True)))
        errors = refusals(plans)
        if len(errors) == len(plans) or not all(map(needs_no_rejoin, errors.values())):
            raise refusal(plans, in_words)
        told = await self._agreed(dict.fromkeys(plans.keys() - errors.keys(), verb))
        return beside({**told, **{family: stays(await self._status(family)) for family in errors}})

    async def _status(self, family: int) -> dict[str, object]:
        status = await self._nodes[family].ask(Show.STATUS)
        assert isinstance(status, dict)
        return status


def _listed(answer: Outcome) -> str:
    assert isinstance(answer, LeaseList)
    return f"{len(answer.leases)} leases"


def _in_second(peer: str) -> str:
    """What is said of a peer, as the second ring knows it: an address with the next port, a name as it is."""
    try:
        return next_port(peer) if ":" in peer else peer
    except RequestError:
        return peer
