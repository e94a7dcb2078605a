"""The JSON API, version 1: each operation turns its arguments into a verb and the answer into JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from ringipam.address import parse_address, parse_interface, parse_span, parse_subnet
from ringipam.config import peer_endpoint
from ringipam.core.events import (
    Allocate,
    Answer,
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
    View,
)
from ringipam.errors import RequestError, RingIpamError
from ringipam.lease import check_id, check_ids
from ringipam.server.fields import Arguments, Field, Kind
from ringipam.server.http import Response
from ringipam.server.routes import Asker, Respond, Route

STATUS_OF_ERROR = {
    "bad_request": HTTPStatus.BAD_REQUEST,
    "not_found": HTTPStatus.NOT_FOUND,
    "in_use": HTTPStatus.CONFLICT,
    "out_of_range": HTTPStatus.UNPROCESSABLE_ENTITY,
    "not_ready": HTTPStatus.SERVICE_UNAVAILABLE,
    "fenced": HTTPStatus.SERVICE_UNAVAILABLE,
    "disk": HTTPStatus.SERVICE_UNAVAILABLE,
    "timeout": HTTPStatus.GATEWAY_TIMEOUT,
    "no_space": HTTPStatus.INSUFFICIENT_STORAGE,
}

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=str).encode


def json_response(status: int, data: object) -> Response:
    return Response(status, _encode(data).encode() + b"\n")


def refusal(error: RingIpamError) -> Response:
    """The JSON error for `error`, with its status."""
    status = STATUS_OF_ERROR.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return error_response(status, error.code, error.message, error.details)


def error_response(status: int, code: str, message: str, details: Mapping[str, object] | None = None) -> Response:
    return json_response(status, {"error": {**(details or {}), "code": code, "message": message}})


async def allocate(asker: Asker, arguments: Arguments) -> Response:
    subnet = arguments.text("subnet")
    verb = Allocate(
        id=check_id(arguments.text("id") or ""),
        subnet=None if subnet is None else parse_subnet(subnet),
        timeout_ms=arguments.timeout_ms(),
        class_=arguments.text("class") or "container",
        labels=arguments.labels(),
    )
    return _leased(await asker.ask(verb))


async def claim(asker: Asker, arguments: Arguments) -> Response:
    path = arguments.path
    family, address, prefix_len = parse_interface(f"{path['address']}/{path['len']}")
    verb = ClaimAddress(check_id(path["id"]), family, address, prefix_len, arguments.timeout_ms())
    return _leased(await asker.ask(verb))


async def leases(asker: Asker, arguments: Arguments) -> Response:
    holder = arguments.text("id")
    verb = Leases(None if holder is None else check_id(holder), arguments.flag("cluster"))
    answer = await asker.ask(verb)
    assert isinstance(answer, LeaseList)
    data = _lease_list(answer)
    if verb.cluster:
        data["unreachable"] = list(answer.unreachable)
    return json_response(HTTPStatus.OK, data)


async def release(asker: Asker, arguments: Arguments) -> Response:
    path = arguments.path
    address = parse_address(path["address"]) if "address" in path else None
    answer = await asker.ask(Release(check_id(path["id"]), address, arguments.text("lease")))
    assert isinstance(answer, LeaseList)
    return json_response(HTTPStatus.OK, _lease_list(answer))


async def reconcile(asker: Asker, arguments: Arguments) -> Response:
    live = check_ids(arguments.ids("live"))
    verb = Reconcile(live, arguments.older_than_ms(), arguments.labels(), arguments.flag("dry_run"))
    answer = await asker.ask(verb)
    assert isinstance(answer, LeaseList)
    return json_response(HTTPStatus.OK, _lease_list(answer))


async def history(asker: Asker, arguments: Arguments) -> Response:
    address = arguments.text("address")
    if address is None:
        raise RequestError("address is missing in the query")
    return json_response(HTTPStatus.OK, await asker.history(address))


async def prime(asker: Asker, arguments: Arguments) -> Response:
    await asker.ask(Prime(arguments.timeout_ms()))
    return json_response(HTTPStatus.OK, {})


async def connect(asker: Asker, arguments: Arguments) -> Response:
    await asker.ask(Connect(peer_endpoint(arguments.text("address") or "")))
    return json_response(HTTPStatus.OK, {})


async def forget(asker: Asker, arguments: Arguments) -> Response:
    await asker.ask(Forget(arguments.path["peer"]))
    return json_response(HTTPStatus.OK, {})


async def leave(asker: Asker, arguments: Arguments) -> Response:
    answer = await asker.ask(Leave(arguments.timeout_ms(), arguments.flag("drop_leases")))
    return json_response(HTTPStatus.OK, answer)


async def remove(asker: Asker, arguments: Arguments) -> Response:
    names = tuple(arguments.path["peer"].split(","))
    verb = RemovePeers(names, arguments.timeout_ms(), arguments.flag("force"), arguments.flag("dry_run"))
    return json_response(HTTPStatus.OK, await asker.ask(verb))


async def resolve(asker: Asker, arguments: Arguments) -> Response:
    family, (start, end) = parse_span(arguments.text("first") or "", arguments.text("last"))
    return json_response(HTTPStatus.OK, await asker.ask(Resolve(start, end, arguments.flag("take"), family)))


async def rejoin(asker: Asker, arguments: Arguments) -> Response:
    verb = Rejoin(arguments.flag("dry_run"), arguments.flag("drop_leases"))
    return json_response(HTTPStatus.OK, await asker.ask(verb))


def _show(view: Show) -> Respond:
    async def show(asker: Asker, arguments: Arguments) -> Response:
        family = arguments.text("family")
        return json_response(HTTPStatus.OK, await asker.ask(view if family is None else View(view, int(family))))

    return show


def _leased(answer: Answer) -> Response:
    assert isinstance(answer, Leased)
    return json_response(HTTPStatus.CREATED if answer.new else HTTPStatus.OK, answer.lease.as_json())


def _lease_list(answer: LeaseList) -> dict[str, object]:
    return {"leases": [lease.as_json() for lease in answer.leases]}


_TIMEOUT = Field("timeout_s", Kind.SECONDS, "How long the caller waits, in seconds; 30 if not given.")
_LEASE = Field("lease", Kind.TEXT, "Release exactly this lease, so that a late retry frees nobody else's address.")
_NEW_LEASE = (
    Field("id", Kind.TEXT, "The caller's name for the holder. The same id and subnet again get the same lease.", True),
    Field("subnet", Kind.TEXT, "Where the address comes from, as a CIDR; the node's default subnet if not given."),
    Field("class", Kind.TEXT, "What holds the address.", choices=("container", "static")),
    Field("labels", Kind.LABELS, "Whatever the caller wants to find again."),
    _TIMEOUT,
)
_DROP_LEASES = Field("drop_leases", Kind.FLAG, "Release all leases of this host: their containers are gone.")
_DRY_RUN = Field("dry_run", Kind.FLAG, "Say what would be done, and do nothing.")
_REMOVAL = (
    Field("force", Kind.FLAG, "Go on without members that do not answer, and even if the peer seems to be alive."),
    _DRY_RUN,
    _TIMEOUT,
)
_DOUBTFUL = (
    Field("first", Kind.TEXT, "The first address that is no longer in doubt.", True),
    Field("last", Kind.TEXT, "The last one; the first if not given."),
    Field("take", Kind.FLAG, "This host owns them from now on, whoever the ring says does."),
)
_LIVING = (
    Field("live", Kind.IDS, "The holders that are there; none releases all that the other rules let go.", True),
    Field("older_than_s", Kind.AGE, "Younger leases stay: their holders may have come after the list; 60."),
    Field("labels", Kind.LABELS, "Only leases that carry all of these."),
    _DRY_RUN,
)
_FAMILY = Field(
    "family",
    Kind.TEXT,
    "Of a node with two ranges, the one that is meant; the IPv4 range if not given.",
    choices=("4", "6"),
)
_LISTED = (
    Field("id", Kind.TEXT, "Only the leases of this holder."),
    Field("cluster", Kind.FLAG, "Those of all hosts, not of this one only."),
)


def _route(
    method: str,
    path: str,
    verb: str,
    about: str,
    respond: Respond,
    answers: Mapping[int, str],
    query: Sequence[Field] = (),
    body: Sequence[Field] = (),
) -> Route:
    return Route(method, f"/v1{path}", verb, about, respond, refusal, answers, tuple(query), tuple(body))


def _view(what: Show, about: str) -> Route:
    name = what.value
    return _route("GET", f"/{name}", name, about, _show(what), {200: name.capitalize()}, query=[_FAMILY])


_MADE = {201: "Lease", 200: "Lease"}
_LISTING = {200: "Leases"}
_DONE = {200: "Done"}

ROUTES = (
    _route(
        "POST",
        "/leases",
        "allocate",
        "Allocate an address; durable before the answer.",
        allocate,
        _MADE,
        body=_NEW_LEASE,
    ),
    _route(
        "PUT", "/leases/{id}/{address}/{len}", "claim", "Claim exactly this address.", claim, _MADE, query=[_TIMEOUT]
    ),
    _route("GET", "/leases", "lookup", "Leases, of one holder or all.", leases, _LISTING, query=_LISTED),
    _route("DELETE", "/leases/{id}", "release", "Release what a holder has here.", release, _LISTING, query=[_LEASE]),
    _route(
        "DELETE",
        "/leases/{id}/{address}",
        "release",
        "Release one address of a holder.",
        release,
        _LISTING,
        query=[_LEASE],
    ),
    _route(
        "POST",
        "/reconcile",
        "reconcile",
        "Release the leases of this host whose holder is gone.",
        reconcile,
        _LISTING,
        body=_LIVING,
    ),
    _view(Show.STATUS, "How this node is; of two ranges both, unless one is named."),
    _view(Show.RING, "Who owns which range; equal on all converged nodes."),
    _view(Show.PEERS, "The members this node knows."),
    _view(Show.CONFLICTS, "Addresses that are in doubt."),
    _route(
        "GET",
        "/history",
        "history",
        "Who gave the range with an address to whom, oldest first.",
        history,
        {200: "History"},
        query=[Field("address", Kind.TEXT, "The address.", True)],
    ),
    _route(
        "POST", "/prime", "prime", "Found the ring if there is none, and wait for it.", prime, _DONE, body=[_TIMEOUT]
    ),
    _route(
        "POST",
        "/peers",
        "connect",
        "Connect to a peer, and again whenever it is lost.",
        connect,
        _DONE,
        body=[Field("address", Kind.TEXT, "HOST:PORT of the peer.", True)],
    ),
    _route(
        "DELETE",
        "/peers/{peer}",
        "remove",
        "Take over what a dead peer owns, or several, with commas between them; for good.",
        remove,
        {200: "Removal"},
        query=_REMOVAL,
    ),
    _route(
        "POST",
        "/leave",
        "leave",
        "Give all ranges of this host to others, and leave the ring.",
        leave,
        {200: "Heirs"},
        body=[_DROP_LEASES, _TIMEOUT],
    ),
    _route(
        "POST",
        "/rejoin",
        "rejoin",
        "Make a fenced host, or one of a foreign ring, a new peer; leases are kept and claimed anew.",
        rejoin,
        {200: "Rejoin"},
        body=[_DRY_RUN, _DROP_LEASES],
    ),
    _route(
        "POST",
        "/conflicts/resolve",
        "resolve",
        "Say that nobody but their owner uses these addresses.",
        resolve,
        {200: "Resolved"},
        body=_DOUBTFUL,
    ),
    _route("POST", "/peers/{peer}/forget", "forget", "Stop connecting to a peer; it stays a member.", forget, _DONE),
)
