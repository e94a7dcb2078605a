"""By which labels a lease tells which attachment of which container it is for."""

from __future__ import annotations

from collections.abc import Mapping

from ringipam.integrations.cni.call import Call
from ringipam.integrations.cni.requested import POD_LABELS
from ringipam.lease import LABEL_LENGTH_MAX, VIA, Lease

NETWORK = "ringipam.network"
INTERFACE = "ringipam.interface"
SET = "ringipam.set"
NETNS = "ringipam.netns"
NETNS_ID = "ringipam.netns-id"
SEEN_FROM = "ringipam.seen-from"
BOOT = "ringipam.boot"

SAME = (NETWORK, INTERFACE, SET)
"""With the container: what an ADD that comes again finds its lease by."""


def is_ours(lease: Lease) -> bool:
    return lease.labels.get(VIA) == "cni"


def is_of(lease: Lease, network: str, interface: str) -> bool:
    """Whether a container's lease is of this attachment."""
    labels = lease.labels
    return is_ours(lease) and labels.get(NETWORK) == network and labels.get(INTERFACE) == interface


def labels_of(
    call: Call, network: str, args: Mapping[str, str], boot: str, namespace: str, seen_from: str
) -> dict[str, str]:
    """All but the set. What does not fit into a label is left out: it only informs, or serves the reaper.

    `seen_from` is the process namespace in which the container was seen.
    """
    told = {NETNS: call.netns, NETNS_ID: namespace, SEEN_FROM: seen_from} if namespace else {}
    if boot:
        told[BOOT] = boot
    told |= {label: args[name] for name, label in POD_LABELS.items() if args.get(name)}
    fitting = {key: value for key, value in told.items() if len(key) + len(value) <= LABEL_LENGTH_MAX}
    printable = {key: value for key, value in fitting.items() if value.isprintable()}
    return {VIA: "cni", NETWORK: network, INTERFACE: call.interface, **printable}
