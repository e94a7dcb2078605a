"""The verbs of the plugin: what each asks of the node, and what it prints (SPEC, section 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import trio

from ringipam.address import Cidr, parse_cidr, to_address
from ringipam.core.events import Allocate, ClaimAddress, Leased, LeaseList, Leases, Release, Show, View
from ringipam.errors import NoSpaceError, NotFoundError, RequestError, RequestTimeoutError, RingIpamError
from ringipam.integrations.cni import results
from ringipam.integrations.cni.attachments import Attachment, valid_attachments
from ringipam.integrations.cni.call import (
    Call,
    Network,
    asked_version,
    brief,
    check_names,
    parse_call,
    read_network,
)
from ringipam.integrations.cni.errors import (
    BAD_CONFIG,
    BAD_ENVIRONMENT,
    BAD_NETNS,
    DEFECT,
    DIFFERS,
    LIMITED_CONNECTIVITY,
    UNAVAILABLE,
    UNKNOWN_CONTAINER,
    CniError,
    cni_error,
)
from ringipam.integrations.cni.labels import BOOT, INTERFACE, NETNS, NETWORK, SAME, SET, is_of, is_ours, labels_of
from ringipam.integrations.cni.netns import Machine, is_quick
from ringipam.integrations.cni.ranges import Pool, Pools, member, read_sets, text
from ringipam.integrations.cni.requested import Requested, by_set, read_args, read_requested
from ringipam.integrations.cni.resolvconf import read_dns
from ringipam.integrations.cni.tombstones import Tombstones
from ringipam.integrations.cni.turns import Turns
from ringipam.lease import Lease, network
from ringipam.server.connection import caller_process, came_over_tcp
from ringipam.server.fields import Arguments
from ringipam.server.http import Response
from ringipam.server.routes import Asker

ADD_MS = 10_000
"""How long an ADD waits for space from other hosts; runtimes give a plugin a minute or more."""
ALTERNATIVE_MS = 2_000
"""How long for one range of a set while there is another."""
UNDO_S = 10.0
READS_AT_ONCE = 8
"""Of files that calls name: those that wait for a disk or a network that hangs keep nobody else waiting."""
STATUS_S = 2.0
EXHAUSTED_S = 30.0
"""So long after an ADD that found no address STATUS says so, unless something was released or found since."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One set of an ADD: one address comes from it."""

    pools: Pools
    address: Requested | None
    labels: dict[str, str]


class Plugin:
    """Answers what the program passes on. Requests about one container are carried out one after another."""

    def __init__(self, asker: Asker, turns: Turns, tombstones: Path, machine: Machine, boot: str) -> None:
        self.tombstones = Tombstones(tombstones, self.replay)
        self._asker = asker
        self._turns = turns
        self._machine = machine
        self._boot = boot
        self._own_netns = machine.own()
        self._processes = machine.processes()
        self._reads = trio.CapacityLimiter(READS_AT_ONCE)
        self._default: Cidr | None = None
        self._exhausted: dict[str, tuple[float, str]] = {}
        """By network: until when it counts, and what the last ADD was told."""
        self._verbs: dict[str, Callable[[Call, Network], Awaitable[bytes]]] = {
            "ADD": self._add,
            "DEL": self._delete,
            "CHECK": self._check,
            "STATUS": self._status,
            "GC": self._collect,
        }

    async def respond(self, asker: Asker, arguments: Arguments) -> Response:
        """The route: what is printed on standard output; raises CniError for what is printed before exit status 1.

        Not for those who come over TCP, as a configuration names files that this daemon then opens.
        """
        if came_over_tcp():
            raise CniError(BAD_ENVIRONMENT, "the CNI plugin is served on the daemon's unix socket only")
        return Response(HTTPStatus.OK, await self.answer(parse_call(arguments.body)))

    async def answer(self, call: Call) -> bytes:
        """What a call prints; raises CniError."""
        if call.command == "VERSION":
            return results.versions(asked_version(call.stdin))
        network = read_network(call.stdin, call.command)
        try:
            if call.command not in ("STATUS", "GC"):
                check_names(call)
            return await self._verbs[call.command](call, network)
        except RingIpamError as error:
            raise cni_error(error, network.version, later=call.command == "DEL") from error

    async def replay(self, body: bytes) -> None:
        """Carry out a DEL that was left as a tombstone; raises CniError."""
        call = parse_call(body)
        if call.command != "DEL":
            raise CniError(BAD_CONFIG, f"only a DEL can be left for later, not {brief(call.command)}")
        await self.answer(replace(call, late=True))

    # ── ADD ──────────────────────────────────────────────────────────────────────────────────────

    async def _add(self, call: Call, network: Network) -> bytes:
        if not self.tombstones.settled:
            await self.tombstones.clear()
        ipam = _ipam(network)
        args = read_args(call.args)
        sets = read_sets(network, ipam, self._default or await self._default_subnet())
        requested = by_set(sets, read_requested(network, args))
        routes = results.read_routes(ipam)
        resolv_conf = text(ipam, "resolvConf", "ipam.")
        dns = {} if resolv_conf is None else await self._read_dns(resolv_conf)
        labels = labels_of(call, network.name, args, self._boot, await self._namespace(call), self._processes)
        wanted = [
            _Wanted(pools, address, {**labels, SET: str(index)})
            for index, (pools, address) in enumerate(zip(sets, requested, strict=True))
        ]
        async with self._turns.of(call.container):
            issued = await self._issue(call, network, wanted)
        return results.result(network, issued, routes, dns)

    async def _read_dns(self, path: str) -> dict[str, object]:
        """Whoever hangs up leaves it to a thread that ends some day."""
        return await trio.to_thread.run_sync(read_dns, path, abandon_on_cancel=True, limiter=self._reads)

    async def _namespace(self, call: Call) -> str:
        """Which namespace the container has, if that can be told for sure; raises CniError 8 if it is the host's."""
        caller = caller_process()
        if caller == 0:
            return ""  # whoever called is not seen from here, so neither are its containers
        if is_quick(call.netns):
            found = self._machine.identify(call.netns, caller)
        else:
            found = await trio.to_thread.run_sync(self._machine.identify, call.netns, caller)
        if found and found == self._own_netns and not call.shares_netns:
            raise CniError(BAD_NETNS, f"CNI_NETNS {call.netns} is the network namespace of the host, not a container's")
        return found

    async def _default_subnet(self) -> Cidr:
        status = await self._asker.ask(Show.STATUS)
        assert isinstance(status, dict)
        self._default = parse_cidr(str(status["subnet"]))
        return self._default

    async def _issue(self, call: Call, network: Network, wanted: Sequence[_Wanted]) -> list[results.Issued]:
        """An address of every set, or of none: what this call got is given back if it does not get all."""
        before: list[Lease] = []
        if any(want.address is not None or len(want.pools) > 1 for want in wanted):
            before = await self._held(call, network)
        got: dict[int, tuple[Leased, Pool]] = {}
        try:
            if len(wanted) == 1:
                got[0] = await self._lease(call, wanted[0], before)
            else:
                await self._lease_all(call, wanted, before, got)
            await trio.lowlevel.checkpoint_if_cancelled()  # whoever asked may be gone: then nobody learns of these
        except BaseException as error:
            with trio.move_on_after(UNDO_S, shield=True):
                await self._release([answer.lease for answer, _ in got.values() if answer.new])
            if isinstance(error, NoSpaceError | RequestTimeoutError):
                self._note_exhausted(network.name, error.message)
            raise
        self._exhausted.pop(network.name, None)
        await self._release(_replaced(before, wanted, got))
        chosen = [got[index] for index in range(len(wanted))]
        return [(pool.subnet.family, str(answer.lease.address), pool) for answer, pool in chosen]

    def _note_exhausted(self, name: str, why: str) -> None:
        now_s = trio.current_time()
        fresh = {network: told for network, told in self._exhausted.items() if told[0] > now_s}
        self._exhausted = {**fresh, name: (now_s + EXHAUSTED_S, why)}

    async def _lease_all(
        self, call: Call, wanted: Sequence[_Wanted], before: Sequence[Lease], got: dict[int, tuple[Leased, Pool]]
    ) -> None:
        """All sets at the same time, so that they share a commit; raises the first error there is."""
        errors: list[RingIpamError] = []

        async def one(index: int) -> None:
            try:
                got[index] = await self._lease(call, wanted[index], before)
            except RingIpamError as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for index in range(len(wanted)):
                nursery.start_soon(one, index)
        if errors:
            raise errors[0]

    async def _lease(self, call: Call, want: _Wanted, before: Sequence[Lease]) -> tuple[Leased, Pool]:
        if want.address is not None:
            pool = next(pool for pool in want.pools if pool.holds(*want.address))
            claim = ClaimAddress(
                call.container,
                *want.address,
                pool.subnet.prefix_len,
                ADD_MS,
                labels=want.labels,
                class_="container",
                same=SAME,
            )
            return await self._leased(claim), pool
        *others, last = _in_order(want, before)
        for pool in others:
            try:
                return await self._leased(_allocation(call, want, pool, ALTERNATIVE_MS)), pool
            except (NoSpaceError, RequestTimeoutError):
                continue
        return await self._leased(_allocation(call, want, last, ADD_MS)), last

    async def _leased(self, verb: Allocate | ClaimAddress) -> Leased:
        answer = await self._asker.ask(verb)
        assert isinstance(answer, Leased)
        return answer

    # ── DEL ──────────────────────────────────────────────────────────────────────────────────────

    async def _delete(self, call: Call, network: Network) -> bytes:
        """Needs the names only; success also if nothing is held (SPEC: "should complete a DEL without error")."""
        async with self._turns.of(call.container):
            held = await self._held(call, network)
            await self._release([lease for lease in held if not (call.late and self._is_of_a_later_add(lease, call))])
        self._exhausted.pop(network.name, None)
        return b""

    def _is_of_a_later_add(self, lease: Lease, call: Call) -> bool:
        """Whether the attachment is in another namespace by now, in this very boot: a DEL of before is not about that.

        All that is left is carried out before an ADD; but only what is left where this daemon looks.
        """
        labels = lease.labels
        return (
            labels.get(BOOT) == self._boot != "" and call.netns != "" and labels.get(NETNS, "") not in ("", call.netns)
        )

    async def _held(self, call: Call, network: Network) -> list[Lease]:
        answer = await self._asker.ask(Leases(call.container))
        assert isinstance(answer, LeaseList)
        return [lease for lease in answer.leases if is_of(lease, network.name, call.interface)]

    async def _release(self, leases: Sequence[Lease]) -> None:
        """All at the same time, so that they share a commit; raises RingIpamError if one is not released."""
        if len(leases) == 1:
            await self._release_one(leases[0])
            return
        errors: list[RingIpamError] = []

        async def one(lease: Lease) -> None:
            try:
                await self._release_one(lease)
            except RingIpamError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for lease in leases:
                nursery.start_soon(one, lease)
        if errors:
            raise errors[0]

    async def _release_one(self, lease: Lease) -> None:
        with suppress(NotFoundError):  # somebody else was faster
            await self._asker.ask(Release(lease.id, lease=lease.lease))

    # ── CHECK, STATUS, GC ────────────────────────────────────────────────────────────────────────

    async def _check(self, call: Call, network: Network) -> bytes:
        """Compare with prevResult what is held here: addresses that other plugins gave are not looked at."""
        told = results.told_before(network)
        sets = read_sets(network, _ipam(network), self._default or await self._default_subnet())
        async with self._turns.of(call.container):
            held = await self._held(call, network)
        if not held:
            raise CniError(
                UNKNOWN_CONTAINER, f"{call.container} holds no address of {network.name} on {call.interface}"
            )
        ours: list[Requested] = [(lease.address.version, int(lease.address)) for lease in held]
        for family, address in ours:
            if (family, address) not in told:
                shown = to_address(family, address)
                raise CniError(DIFFERS, f"{call.container} holds {shown}, of which prevResult does not tell")
        for family, address in told:
            if (family, address) not in ours and any(pool.holds(family, address) for pools in sets for pool in pools):
                shown = to_address(family, address)
                raise CniError(DIFFERS, f"{call.container} does not hold {shown}, which prevResult has")
        return b""

    async def _status(self, call: Call, network: Network) -> bytes:
        """Nothing if an ADD could be served; raises CniError 50 or 51 with the reason, or 7."""
        sets = read_sets(network, _ipam(network), self._default or await self._default_subnet())
        for family in sorted({pool.subnet.family for pools in sets for pool in pools}):
            status = await self._status_of(family)
            if status["state"] == "fenced":
                raise CniError(LIMITED_CONNECTIVITY, f"this host issues nothing: {status['reason']}", code="fenced")
            if not status["serving"]:
                raise CniError(UNAVAILABLE, f"no address can be issued now: {status['reason']}", code="not_ready")
            _check_inside(sets, parse_cidr(str(status["universe"])))
        try:
            await self.tombstones.clear()
        except CniError as error:
            raise CniError(UNAVAILABLE, error.message, code=error.code) from None
        until_s, why = self._exhausted.get(network.name, (0.0, ""))
        if trio.current_time() < until_s:
            raise CniError(UNAVAILABLE, why, code="no_space")
        return b""

    async def _status_of(self, family: int) -> dict[str, object]:
        """How the node of this family is; raises CniError 50 if it does not answer, 7 if there is none."""
        try:
            with trio.fail_after(STATUS_S):
                status = await self._asker.ask(View(Show.STATUS, family))
        except trio.TooSlowError:  # an answer waits for the commits before it
            raise CniError(UNAVAILABLE, f"the disk has not answered for {STATUS_S:.0f} s") from None
        except RequestError:
            raise  # there is no range of this family
        except RingIpamError as error:
            raise CniError(UNAVAILABLE, error.message, code=error.code) from None
        assert isinstance(status, dict)
        return status

    async def _collect(self, call: Call, network: Network) -> bytes:
        """GC: release what this network holds here for attachments that the runtime does not know."""
        valid = valid_attachments(network)
        if valid is None:
            return b""
        answer = await self._asker.ask(Leases())
        assert isinstance(answer, LeaseList)
        stale = [lease for lease in answer.leases if _is_stale(lease, network.name, valid)]
        for container in sorted({lease.id for lease in stale}):
            async with self._turns.of(container):
                answer = await self._asker.ask(Leases(container))
                assert isinstance(answer, LeaseList)
                await self._release([lease for lease in stale if lease in answer.leases])
        self._exhausted.pop(network.name, None)
        return b""


def refuse(error: RingIpamError) -> Response:
    """The error result of CNI. 503 lets a DEL be left as a tombstone: it is to be done, and cannot be now."""
    shown = error if isinstance(error, CniError) else CniError(DEFECT, error.message, code=error.code, later=True)
    status = HTTPStatus.SERVICE_UNAVAILABLE if shown.later else HTTPStatus.BAD_REQUEST
    return Response(status, shown.as_json())


def _ipam(network: Network) -> Mapping[str, object]:
    ipam = member(network.data, "ipam", dict, "an object")
    if ipam is None:
        raise CniError(BAD_CONFIG, "ipam is missing in the network configuration")
    return ipam


def _allocation(call: Call, want: _Wanted, pool: Pool, timeout_ms: int) -> Allocate:
    return Allocate(
        call.container,
        pool.subnet,
        timeout_ms,
        labels=want.labels,
        span=pool.span,
        avoid=pool.avoid,
        same=SAME,
    )


def _in_order(want: _Wanted, before: Sequence[Lease]) -> Sequence[Pool]:
    """The ranges of a set, first the one that this attachment has its address from already."""
    subnets = [lease.subnet for lease in before if lease.labels.get(SET) == want.labels[SET]]
    return sorted(want.pools, key=lambda pool: network(pool.subnet) not in subnets) if subnets else want.pools


def _replaced(
    before: Sequence[Lease], wanted: Sequence[_Wanted], got: Mapping[int, tuple[Leased, Pool]]
) -> list[Lease]:
    """What the attachment held of these sets, and holds another address for now, as another one was requested."""
    kept = {answer.lease.lease for answer, _ in got.values()}
    sets = {want.labels[SET] for want in wanted}
    return [lease for lease in before if lease.lease not in kept and lease.labels.get(SET) in sets]


def _is_stale(lease: Lease, network_name: str, valid: set[Attachment]) -> bool:
    labels = lease.labels
    return is_ours(lease) and labels.get(NETWORK) == network_name and (lease.id, labels.get(INTERFACE)) not in valid


def _check_inside(sets: Sequence[Pools], universe: Cidr) -> None:
    """Raises CniError 7 where an ADD would."""
    for pool in (pool for pools in sets for pool in pools):
        if pool.subnet.family == universe.family and not universe.range.covers(pool.subnet.range):
            raise CniError(BAD_CONFIG, f"the subnet {pool.subnet} does not lie inside {universe}", code="out_of_range")
