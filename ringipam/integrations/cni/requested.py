"""Which addresses a container wants: CNI_ARGS, `args.cni.ips` and `runtimeConfig.ips`, and the set each comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ringipam.address import parse_address, parse_interface, to_address
from ringipam.errors import RequestError
from ringipam.integrations.cni.call import Network, brief
from ringipam.integrations.cni.errors import BAD_CONFIG, BAD_ENVIRONMENT, CniError
from ringipam.integrations.cni.ranges import SETS_MAX, Pools, member, wrong

Requested = tuple[int, int]
"""(family, address)."""

POD_LABELS = {"K8S_POD_NAME": "ringipam.pod", "K8S_POD_NAMESPACE": "ringipam.namespace"}
KNOWN = {"IP", "IgnoreUnknown", *POD_LABELS}
TRUE_OR_FALSE = {"1": True, "true": True, "0": False, "false": False}


def read_args(args: str) -> dict[str, str]:
    """CNI_ARGS, `KEY=VALUE;KEY=VALUE`, as libcni reads it: what is not known is an error unless IgnoreUnknown is set.

    Raises CniError 4.
    """
    found: dict[str, str] = {}
    for pair in args.split(";") if args else ():
        key, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS is KEY=VALUE;KEY=VALUE, unlike {brief(pair)}")
        found[key] = value
    ignore = found.get("IgnoreUnknown", "false").lower()
    if ignore not in TRUE_OR_FALSE:
        raise CniError(BAD_ENVIRONMENT, f"IgnoreUnknown of CNI_ARGS is 1 or 0, true or false, not {brief(ignore)}")
    unknown = sorted(found.keys() - KNOWN)
    if unknown and not TRUE_OR_FALSE[ignore]:
        raise CniError(
            BAD_ENVIRONMENT, f"CNI_ARGS has {brief(unknown[0])}, which is not known, and not IgnoreUnknown=1"
        )
    return found


def read_requested(network: Network, args: Mapping[str, str]) -> tuple[Requested, ...]:
    """The addresses asked for, each once, in the order they are named.

    Where `args` of the configuration names some, IP of CNI_ARGS says the same again, or less, and is not looked at
    (CONVENTIONS, "CNI_ARGS": "the plugin should ignore the CNI_ARGS if args carries the equivalent").
    Raises CniError 4 or 7.
    """
    runtime = member(network.data, "runtimeConfig", dict, "an object") or {}
    outer = member(network.data, "args", dict, "an object") or {}
    cni = member(outer, "cni", dict, "an object", "args.") or {}
    named = _addresses(cni, "args.cni.")
    wanted = [*named, *_addresses(runtime, "runtimeConfig.")]
    if not named and args.get("IP"):
        wanted += [_parse(item.strip(), "IP of CNI_ARGS", BAD_ENVIRONMENT) for item in args["IP"].split(",")]
    return tuple(dict.fromkeys(wanted))


def _addresses(data: Mapping[str, object], where: str) -> list[Requested]:
    items = member(data, "ips", list, "a list of addresses", where) or []
    if len(items) > SETS_MAX:
        raise CniError(BAD_CONFIG, f"{where}ips names more than {SETS_MAX} addresses")
    found = []
    for item in items:
        if not isinstance(item, str):
            raise wrong(f"{where}ips", "a list of strings", item)
        found.append(_parse(item, f"{where}ips", BAD_CONFIG))
    return found


def _parse(text: str, where: str, number: int) -> Requested:
    try:
        return parse_interface(text)[:2] if "/" in text else parse_address(text)
    except RequestError as error:
        raise CniError(number, f"{where}: {error.message}") from None


def by_set(sets: Sequence[Pools], requested: Sequence[Requested]) -> list[Requested | None]:
    """For each set the address that is wanted from it, if any; raises CniError 7 if one is in no set, or a gateway."""
    left = list(requested)
    chosen: list[Requested | None] = []
    for pools in sets:
        found = next((one for one in left if any(pool.holds(*one) for pool in pools)), None)
        if found is not None:
            left.remove(found)
            if any(pool.gateway == found for pool in pools):
                raise CniError(BAD_CONFIG, f"the requested {to_address(*found)} is the gateway")
        chosen.append(found)
    if left:
        texts = ", ".join(str(to_address(*one)) for one in left)
        raise CniError(BAD_CONFIG, f"no range of this network is left for the requested {texts}")
    return chosen
