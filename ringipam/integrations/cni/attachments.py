"""Which attachments a runtime still knows, as GC is told (SPEC, section 4, "GC")."""

from __future__ import annotations

from ringipam.integrations.cni.call import Network
from ringipam.integrations.cni.ranges import member, wrong

KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")
"""That of SPEC, and the one that libcni wrote before; who writes both means both."""

Attachment = tuple[str, str | None]
"""Container and interface."""


def valid_attachments(network: Network) -> set[Attachment] | None:
    """Everything that is not in it may be released; None: nothing may.

    None if the key is absent: then nobody said what is valid. None with `disableGC`: several runtimes share the
    network, and each knows its own containers only. Raises CniError 7 if it is not all clear.
    """
    if member(network.data, "disableGC", bool, "true or false"):
        return None
    found: set[Attachment] | None = None
    for key in KEYS:
        listed = member(network.data, key, list, "a list of attachments")
        if listed is None:
            continue
        found = found or set()
        for item in listed:
            if not isinstance(item, dict):
                raise wrong(key, "a list of objects", item)
            container = member(item, "containerID", str, "a string", f"{key}: ")
            interface = member(item, "ifname", str, "a string", f"{key}: ")
            if not container or not interface:
                raise wrong(key, "a list of objects with containerID and ifname", item)
            found.add((container, interface))
    return found
