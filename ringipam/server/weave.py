"""The paths of weave's own API, answered as weave answers, so that its clients work unchanged.

Differences, on purpose (docs/http.md): nothing is confirmed before it is durable, `_` never takes over an
address that a named container holds, and a request that waits ends after `TIMEOUT_S`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus

from ringipam.address import Cidr, parse_address, parse_interface, parse_subnet, to_address
from ringipam.config import TIMEOUT_S_MAX
from ringipam.core.allocator import ANONYMOUS
from ringipam.core.events import Allocate, ClaimAddress, Leased, LeaseList, Leases, Prime, Release, RemovePeers
from ringipam.errors import NotFoundError, RequestError, RequestTimeoutError, RingIpamError
from ringipam.lease import Lease, check_id
from ringipam.server.fields import Arguments
from ringipam.server.http import TEXT, Response
from ringipam.server.routes import Asker, Respond, Route


def text_response(status: int, text: str) -> Response:
    return Response(status, text.encode(), TEXT)


def refusal(error: RingIpamError) -> Response:
    """Weave knows one status for every no, and says why in one line."""
    return text_response(HTTPStatus.BAD_REQUEST, f"{error.message}\n")


async def _allocate(asker: Asker, arguments: Arguments) -> Response:
    subnet = _subnet_of(arguments)
    answer = await asker.ask(Allocate(check_id(arguments.path["id"]), subnet, arguments.timeout_ms()))
    assert isinstance(answer, Leased)
    return text_response(HTTPStatus.OK, answer.lease.interface)


async def _claim(asker: Asker, arguments: Arguments) -> Response:
    path = arguments.path
    family, address, prefix_len = parse_interface(f"{path['ip']}/{path['len']}")
    holder = check_id(path["id"])
    try:
        await asker.ask(ClaimAddress(holder, family, address, prefix_len, arguments.timeout_ms(), outside=True))
    except RingIpamError as error:
        raise RequestError(f"Unable to claim: {error.message}") from error
    return Response(HTTPStatus.NO_CONTENT)


async def _release(asker: Asker, arguments: Arguments) -> Response:
    holder = check_id(arguments.path["id"])
    try:
        await asker.ask(Release(holder))
    except NotFoundError:
        raise RequestError(f"Delete: no addresses for {holder}") from None
    return Response(HTTPStatus.NO_CONTENT)


async def _release_one(asker: Asker, arguments: Arguments) -> Response:
    family, address = parse_address(arguments.path["ip"])
    shown = str(to_address(family, address))
    holder = check_id(arguments.path["id"])
    try:
        await asker.ask(Release(shown if holder == ANONYMOUS else holder, (family, address)))
    except NotFoundError:
        raise RequestError(f"Unable to free: Free: address {shown} not found for {holder}") from None
    return Response(HTTPStatus.NO_CONTENT)


async def _owned(asker: Asker, arguments: Arguments) -> Response:
    by_holder: dict[str, list[str]] = {}
    for lease in await _leases(asker, Leases()):
        by_holder.setdefault(lease.id, []).append(lease.interface)
    owned = [{"containerid": holder, "addrs": addresses} for holder, addresses in by_holder.items()]
    return Response(HTTPStatus.OK, json.dumps({"owned": owned}).encode() + b"\n")


async def _remove(asker: Asker, arguments: Arguments) -> Response:
    peer = arguments.path["id"]
    try:
        answer = await asker.ask(RemovePeers((peer,), arguments.timeout_ms()))
    except NotFoundError:
        return text_response(HTTPStatus.OK, f"0 IPs taken over from {peer}\n")
    assert isinstance(answer, dict)
    return text_response(HTTPStatus.OK, f"{answer['taken']} IPs taken over from {peer}\n")


async def _ring(asker: Asker, arguments: Arguments) -> Response:
    while True:
        try:
            await asker.ask(Prime(round(TIMEOUT_S_MAX * 1000)))
            return text_response(HTTPStatus.OK, "")
        except RequestTimeoutError:
            pass  # this path blocks until there is a ring, or its client gives up


async def _leases(asker: Asker, verb: Leases) -> tuple[Lease, ...]:
    answer = await asker.ask(verb)
    assert isinstance(answer, LeaseList)
    return answer.leases


def _subnet_of(arguments: Arguments) -> Cidr | None:
    path = arguments.path
    return parse_subnet(f"{path['net']}/{path['len']}") if "net" in path else None


def _lookup_in(default_subnet: Cidr) -> Respond:
    async def lookup(asker: Asker, arguments: Arguments) -> Response:
        subnet = _subnet_of(arguments) or default_subnet
        leases = await _leases(asker, Leases(check_id(arguments.path["id"])))
        return text_response(HTTPStatus.OK, " ".join(lease.interface for lease in _inside(subnet, leases)))

    return lookup


def _inside(subnet: Cidr, leases: Iterable[Lease]) -> Iterable[Lease]:
    for lease in leases:
        if lease.address.version == subnet.family and int(lease.address) in subnet.range:
            yield lease


def _told(text: str) -> Respond:
    async def tell(asker: Asker, arguments: Arguments) -> Response:
        return text_response(HTTPStatus.OK, text)

    return tell


def _route(method: str, path: str, verb: str, about: str, respond: Respond, answers: dict[int, str]) -> Route:
    return Route(method, path, verb, f"weave: {about}", respond, refusal, answers, lenient=True)


_PLAIN = {200: "text/plain"}
_EMPTY = {204: ""}


def routes(default_subnet: Cidr) -> tuple[Route, ...]:
    """Weave's paths on a node whose default subnet is this one."""
    lookup = _lookup_in(default_subnet)
    return (
        _route("POST", "/ip/{id}", "allocate", "allocate in the default subnet.", _allocate, _PLAIN),
        _route("POST", "/ip/{id}/{net}/{len}", "allocate", "allocate in this subnet.", _allocate, _PLAIN),
        _route("GET", "/ip/{id}", "lookup", "addresses in the default subnet.", lookup, _PLAIN),
        _route("GET", "/ip/{id}/{net}/{len}", "lookup", "addresses in this subnet.", lookup, _PLAIN),
        _route("PUT", "/ip/{id}/{ip}/{len}", "claim", "claim this address.", _claim, _EMPTY),
        _route("DELETE", "/ip/{id}", "release", "release all addresses of a container.", _release, _EMPTY),
        _route("DELETE", "/ip/{id}/{ip}", "release", "release one address.", _release_one, _EMPTY),
        _route("GET", "/ip", "lookup", "all containers and their addresses.", _owned, {200: "application/json"}),
        _route("GET", "/ring", "prime", "wait until there is a ring.", _ring, _PLAIN),
        _route("DELETE", "/peer/{id}", "remove", "take over what a dead peer owns.", _remove, _PLAIN),
        _route("GET", "/ipinfo/defaultsubnet", "status", "the default subnet.", _told(str(default_subnet)), _PLAIN),
    )
