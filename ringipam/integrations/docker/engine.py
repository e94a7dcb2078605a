"""What Docker itself knows of its networks and containers, read from its API. Only ever asks, by GET."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from ringipam.address import Cidr, enclosing, parse_address, parse_interface
from ringipam.errors import RequestError
from ringipam.integrations.apiclient import ApiClient, ApiError, RefusedError

Key = tuple[int, int]
"""(family, address)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the subnets of a network."""

    subnet: Cidr
    gateway: int | None
    """None: its driver chose it."""


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    ipam: str
    """The name of its IPAM driver."""
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was there while one look at it was taken."""

    networks: tuple[Network, ...]
    addresses: frozenset[Key]
    """Of endpoints and containers, and what networks keep for themselves besides."""
    engine: str
    """Which engine answered, by its data directory: what another one does not know, containers may be running with."""


class Engine:
    """Docker's API at a unix socket."""

    def __init__(self, path: Path) -> None:
        self._api = ApiClient(path)

    async def snapshot(self) -> Snapshot:
        """Raises ApiError unless everything was answered and understood."""
        networks: list[Network] = []
        addresses: set[Key] = set()
        for listed in _objects(await self._get("/networks")):
            try:
                shown = await self._get(f"/networks/{quote(_text(listed, 'Id'), safe='')}")
            except RefusedError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                continue  # it was removed meanwhile
            network = _object(shown)
            networks.append(_network(network))
            addresses.update(_endpoint_addresses(network), _kept_addresses(network))
        for container in _objects(await self._get("/containers/json")):
            addresses.update(_container_addresses(container))
        # Not its ID: that is kept below /etc, lost where that is volatile, and made up anew each time by Podman.
        engine = _text(_object(await self._get("/info")), "DockerRootDir")
        return Snapshot(tuple(networks), frozenset(addresses), engine)

    async def _get(self, target: str) -> object:
        body = await self._api.get(target)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ApiError(f"the answer to {target} is not JSON") from None


# ── what is in the answers: an address that is overlooked here would be freed, so all must be understood ──


def _network(shown: Mapping[str, object]) -> Network:
    ipam = _object(shown.get("IPAM"))
    parts = []
    for config in _objects(ipam.get("Config")):
        if subnet := _text(config, "Subnet"):
            gateway = _text(config, "Gateway")
            parts.append(Part(_subnet(subnet), _address(gateway)[1] if gateway else None))
    return Network(_text(shown, "Name"), _text(ipam, "Driver"), tuple(parts))


def _endpoint_addresses(network: Mapping[str, object]) -> Iterator[Key]:
    """Of containers, and of endpoints whose container is not running (listed as `ep-…`)."""
    for endpoint in _mapping(network.get("Containers")).values():
        for name in ("IPv4Address", "IPv6Address"):
            if text := _text(_object(endpoint), name):
                yield _address(text)


def _kept_addresses(network: Mapping[str, object]) -> Iterator[Key]:
    for config in _objects(_object(network.get("IPAM")).get("Config")):
        for value in _mapping(config.get("AuxiliaryAddresses")).values():
            if not isinstance(value, str):
                raise ApiError("AuxiliaryAddresses is not what was expected")
            yield _address(value)


def _container_addresses(container: Mapping[str, object]) -> Iterator[Key]:
    settings = _object(container.get("NetworkSettings"))
    for network in _mapping(settings.get("Networks")).values():
        for name in ("IPAddress", "GlobalIPv6Address"):
            if text := _text(_object(network), name):
                yield _address(text)


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ApiError("an answer has another form than expected")
    return value


def _mapping(value: object) -> Mapping[str, object]:
    """An object that may be missing."""
    return {} if value is None else _object(value)


def _objects(value: object) -> Sequence[Mapping[str, object]]:
    """A list that may be missing."""
    if value is not None and not isinstance(value, list):
        raise ApiError("an answer has another form than expected")
    return [_object(item) for item in value or ()]


def _text(data: Mapping[str, object], name: str) -> str:
    """A string that may be missing."""
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise ApiError(f"{name} is not a string")
    return value or ""


def _address(text: str) -> Key:
    try:
        return parse_address(text.partition("/")[0])
    except RequestError as error:
        raise ApiError(error.message) from None


def _subnet(text: str) -> Cidr:
    """Docker shows what its user wrote, bits after the prefix too."""
    try:
        return enclosing(*parse_interface(text))
    except RequestError as error:
        raise ApiError(error.message) from None
