"""One call of the plugin: the environment and standard input it was started with, checked (SPEC, section 2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ringipam.integrations.cni.errors import (
    BAD_CONFIG,
    BAD_ENVIRONMENT,
    INCOMPATIBLE_VERSION,
    UNDECODABLE,
    CniError,
)
from ringipam.lease import ID_LENGTH_MAX, LABEL_LENGTH_MAX

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "STATUS": (),
    "GC": (),
    "VERSION": (),
}
"""What has to stand in the environment (SPEC, section 2); CNI_PATH is not missed, as nothing is executed here."""
SINCE = {"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""Of networks and containers (SPEC, sections 1 and 2)."""
NAME_LENGTH_MAX = LABEL_LENGTH_MAX - len("ringipam.network")
INTERFACE_LENGTH_MAX = 15
"""IFNAMSIZ of the kernel, without its zero byte."""


@dataclass(frozen=True, slots=True)
class Call:
    """`container` and `interface` are checked where the verb needs them, and otherwise whatever came."""

    command: str
    container: str
    netns: str
    interface: str
    args: str
    shares_netns: bool
    """CNI_NETNS_OVERRIDE: the container may have the plugin's own network namespace."""
    stdin: bytes
    late: bool = False
    """It was left as a tombstone, nobody knows when."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network configuration, as far as every verb reads it."""

    name: str
    version: str
    data: Mapping[str, object]


def parse_call(body: bytes) -> Call:
    """What the program passed on; raises CniError 4 if the environment is not as the verb needs it."""
    head, parted, stdin = body.partition(b"\0\0")
    if body.startswith(b"\0"):
        head, parted, stdin = b"", b"\0", body[1:]
    if not parted:
        raise CniError(UNDECODABLE, "the request ends before the environment does")
    variables: dict[str, str] = {}
    for pair in head.split(b"\0"):
        name, _, value = pair.partition(b"=")
        try:
            variables[name.decode()] = value.decode()
        except UnicodeDecodeError:
            raise CniError(BAD_ENVIRONMENT, f"{name.decode(errors='replace')} is not UTF-8") from None
    command = variables.get("CNI_COMMAND", "")
    if command not in REQUIRED:
        known = ", ".join(REQUIRED)
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND is one of {known}, not {brief(command)}")
    missing = [name for name in REQUIRED[command] if not variables.get(name)]
    if missing:
        raise CniError(BAD_ENVIRONMENT, f"{command} needs {', '.join(missing)} in the environment")
    return Call(
        command,
        variables.get("CNI_CONTAINERID", ""),
        variables.get("CNI_NETNS", ""),
        variables.get("CNI_IFNAME", ""),
        variables.get("CNI_ARGS", ""),
        bool(variables.get("CNI_NETNS_OVERRIDE")),
        stdin,
    )


def check_names(call: Call) -> None:
    """Raises CniError if the call names no container and interface as there can be."""
    if not NAME.fullmatch(call.container) or len(call.container) > ID_LENGTH_MAX:
        raise CniError(
            BAD_ENVIRONMENT,
            f"CNI_CONTAINERID is up to {ID_LENGTH_MAX} letters, digits, '_', '.' and '-', and begins with one of the"
            f" first two, unlike {brief(call.container)}",
        )
    interface = call.interface
    fits = 1 <= len(interface.encode()) <= INTERFACE_LENGTH_MAX and interface not in (".", "..")
    if not fits or not interface.isprintable() or any(char in "/:" or char.isspace() for char in interface):
        raise CniError(
            BAD_ENVIRONMENT,
            f"CNI_IFNAME has 1 to {INTERFACE_LENGTH_MAX} bytes, none of them '/', ':' or a space, and is not '.' or"
            f" '..', unlike {brief(interface)}",
        )
    if not call.netns.isprintable():
        raise CniError(BAD_ENVIRONMENT, f"CNI_NETNS is a path of printable characters, not {brief(call.netns)}")


def read_network(stdin: bytes, command: str) -> Network:
    """The network that standard input describes; raises CniError 6, 7, or 1 if `command` is none of its version."""
    try:
        data = _decode(stdin.decode())
    except (ValueError, RecursionError):
        raise CniError(UNDECODABLE, "the network configuration on standard input is not JSON") from None
    if not isinstance(data, dict):
        raise CniError(UNDECODABLE, "the network configuration on standard input is not a JSON object")
    version = read_version(data)
    try:
        if version not in VERSIONS:
            raise CniError(
                INCOMPATIBLE_VERSION, f"cniVersion {brief(version)} is not spoken here, only {', '.join(VERSIONS)}"
            )
        since = SINCE.get(command, VERSIONS[0])
        if VERSIONS.index(version) < VERSIONS.index(since):
            raise CniError(INCOMPATIBLE_VERSION, f"{command} needs cniVersion {since} or later, not {version}")
        name = data.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > NAME_LENGTH_MAX:
            raise CniError(
                BAD_CONFIG,
                f"name is up to {NAME_LENGTH_MAX} letters, digits, '_', '.' and '-', and begins with one of the first"
                f" two, unlike {brief(name)}",
            )
    except CniError as error:
        error.version = version if re.fullmatch(r"[0-9.]{1,16}", version) else ""
        raise
    return Network(name, version, data)


def read_version(data: Mapping[str, object]) -> str:
    """The configuration's version; missing, it is the first one, which had no such key. Raises CniError 6."""
    version = data.get("cniVersion")
    if version is None or version == "":
        return VERSIONS[0]
    if not isinstance(version, str):
        raise CniError(UNDECODABLE, f"cniVersion is a string, not {brief(version)}")
    return version


def asked_version(stdin: bytes) -> str:
    """In which version VERSION is answered: that of its input, whatever else is wrong with it, or the newest."""
    try:
        data = _decode(stdin.decode())
        version = data.get("cniVersion")
    except (ValueError, RecursionError, AttributeError):
        version = None
    return version if version in VERSIONS else VERSIONS[-1]


def brief(value: object) -> str:
    """`value`, which came out of JSON or the environment, short and in one line."""
    try:
        text = json.dumps(value)
    except RecursionError:  # it could just be read, from a place less deep in the program
        return "something nested too deeply"
    return text if len(text) <= 60 else f"{text[:57]}…"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
