"""What ADD prints in each version of the specification, and what CHECK reads of it again."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence

from ringipam.address import parse_address, parse_interface
from ringipam.errors import RequestError
from ringipam.integrations.cni.call import VERSIONS, Network
from ringipam.integrations.cni.errors import BAD_CONFIG, CniError
from ringipam.integrations.cni.ranges import ONE_OF_A_FAMILY, Pool, member, wrong

WITH_FAMILY = ("0.3.0", "0.3.1", "0.4.0")
"""In these every address says of which family it is."""
ROUTES_MAX = 256
ROUTE_NUMBERS = ("mtu", "advmss", "priority", "table", "scope")
"""Of a route, since 1.1.0; libcni passes them on in every version."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

Issued = tuple[int, str, Pool]
"""Family, address, and where it comes from."""


def result(network: Network, issued: Sequence[Issued], routes: Sequence[dict[str, object]], dns: object) -> bytes:
    """The result of an ADD, abbreviated as for all IPAM plugins (SPEC, section 5): no interfaces."""
    if network.version in ONE_OF_A_FAMILY:
        return encode({"cniVersion": network.version, **_by_family(issued, routes), "dns": dns})
    ips = []
    for family, address, pool in issued:
        shown: dict[str, object] = {"version": str(family)} if network.version in WITH_FAMILY else {}
        shown["address"] = f"{address}/{pool.subnet.prefix_len}"
        if pool.gateway is not None:
            shown["gateway"] = pool.gateway_text
        ips.append(shown)
    more = {"routes": routes} if routes else {}
    return encode({"cniVersion": network.version, "ips": ips, **more, "dns": dns})


def _by_family(issued: Sequence[Issued], routes: Sequence[dict[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for family, address, pool in issued:
        shown: dict[str, object] = {"ip": f"{address}/{pool.subnet.prefix_len}"}
        if pool.gateway is not None:
            shown["gateway"] = pool.gateway_text
        mine = [route for route in routes if (":" in str(route["dst"])) == (family == 6)]
        if mine:
            shown["routes"] = mine
        found[f"ip{family}"] = shown
    return found


def encode(data: object) -> bytes:
    return _encode(data).encode() + b"\n"


def versions(asked: str) -> bytes:
    """The answer to VERSION (SPEC, section 4, "VERSION")."""
    return encode({"cniVersion": asked, "supportedVersions": VERSIONS})


def read_routes(ipam: Mapping[str, object]) -> list[dict[str, object]]:
    """The routes that a result passes on; raises CniError 7."""
    routes = member(ipam, "routes", list, "a list of routes", "ipam.") or []
    if len(routes) > ROUTES_MAX:
        raise CniError(BAD_CONFIG, f"ipam.routes has more than {ROUTES_MAX} routes")
    return [_route(route, f"ipam.routes[{index}]") for index, route in enumerate(routes)]


def _route(route: object, where: str) -> dict[str, object]:
    if not isinstance(route, dict):
        raise wrong(where, "an object", route)
    destination = member(route, "dst", str, "a string", f"{where}.")
    gateway = member(route, "gw", str, "a string", f"{where}.")
    try:
        family, address, length = parse_interface(destination or "")
        shown: dict[str, object] = {"dst": f"{ipaddress.ip_address(_bytes(family, address))}/{length}"}
        if gateway:
            family, address = parse_address(gateway)
            shown["gw"] = str(ipaddress.ip_address(_bytes(family, address)))
    except RequestError as error:
        raise CniError(BAD_CONFIG, f"{where}: {error.message}") from None
    for name in ROUTE_NUMBERS:
        number = member(route, name, int, "a number", f"{where}.")
        if number is not None:
            if not 0 <= number < 1 << 32:
                raise wrong(f"{where}.{name}", "a number below 4294967296", number)
            shown[name] = number
    return shown


def _bytes(family: int, address: int) -> bytes:
    return address.to_bytes(4 if family == 4 else 16, "big")


def told_before(network: Network) -> list[tuple[int, int]]:
    """The addresses of prevResult, which a CHECK must be given (SPEC, section 4, "CHECK"); raises CniError 7."""
    previous = member(network.data, "prevResult", dict, "an object")
    if previous is None:
        raise CniError(BAD_CONFIG, "CHECK needs prevResult in the network configuration")
    found = []
    for index, item in enumerate(member(previous, "ips", list, "a list of addresses", "prevResult.") or []):
        where = f"prevResult.ips[{index}]"
        if not isinstance(item, dict):
            raise wrong(where, "an object", item)
        address = member(item, "address", str, "a string", f"{where}.")
        try:
            found.append(parse_interface(address or "")[:2])
        except RequestError as error:
            raise CniError(BAD_CONFIG, f"{where}: {error.message}") from None
    return found
