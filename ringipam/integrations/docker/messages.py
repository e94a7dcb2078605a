"""What Docker's engine says to an IPAM driver, as checked values. Knows JSON and the protocol's field names only.

The names are those of moby's libnetwork/ipams/remote/api; fields that are not known are ignored, as a newer engine may
send more. None may be missing: a request that is sent again after a failure can come without its body, and must not
pass for one that leaves the choice to the driver.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ringipam.errors import RequestError

ADDRESS_TYPE = "RequestAddressType"
GATEWAY = "com.docker.network.gateway"
TEXT_LENGTH_MAX = 256
"""No pool, address or option is longer."""


@dataclass(frozen=True, slots=True)
class PoolRequest:
    space: str
    pool: str
    """A CIDR, or empty: any."""
    subpool: str
    """What of the pool is handed out to those who name no address; empty: all of it."""
    options: Mapping[str, str] = field(default_factory=dict)
    v6: bool = False


@dataclass(frozen=True, slots=True)
class AddressRequest:
    pool_id: str
    address: str
    """Empty: any."""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def for_gateway(self) -> bool:
        return self.options.get(ADDRESS_TYPE) == GATEWAY


@dataclass(frozen=True, slots=True)
class AddressReturn:
    pool_id: str
    address: str


def read_pool_request(body: bytes) -> PoolRequest:
    """Raises RequestError, as the others here."""
    data = _read(body)
    v6 = data.get("V6")
    if not isinstance(v6, bool):
        raise RequestError(f"V6 is true or false, not {_brief(v6)}")
    return PoolRequest(_text(data, "AddressSpace"), _text(data, "Pool"), _text(data, "SubPool"), _options(data), v6)


def read_address_request(body: bytes) -> AddressRequest:
    data = _read(body)
    return AddressRequest(_text(data, "PoolID"), _text(data, "Address"), _options(data))


def read_address_return(body: bytes) -> AddressReturn:
    data = _read(body)
    return AddressReturn(_text(data, "PoolID"), _text(data, "Address"))


def read_pool_return(body: bytes) -> str:
    """The pool's id."""
    return _text(_read(body), "PoolID")


def _read(body: bytes) -> dict[str, object]:
    if not body.strip():
        raise RequestError("the request came without its body: ask again")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("the request is not JSON") from None
    if not isinstance(data, dict):
        raise RequestError("the request is not a JSON object")
    return data


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or len(value) > TEXT_LENGTH_MAX:
        raise RequestError(f"{name} is a string of at most {TEXT_LENGTH_MAX} characters, not {_brief(value)}")
    return value


def _options(data: Mapping[str, object]) -> dict[str, str]:
    if "Options" not in data:
        raise RequestError("Options is missing")
    value = data["Options"]
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise RequestError(f"Options is an object of strings, not {_brief(value)}")
    return value


def _brief(value: object) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # an integer of thousands of digits
        return "that"
    return text if len(text) <= 60 else f"{text[:57]}…"
