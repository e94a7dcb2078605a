"""host-local of the CNI plugins: a process for each address, which reads a directory with a file for each in use."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

DIRECTORIES = os.environ.get("CNI_PATH", "/usr/lib/cni:/opt/cni/bin")
"""Where plugins are looked for, as runtimes are told."""


def program() -> Path | None:
    """The installed plugin, if there is one."""
    found = (Path(directory) / "host-local" for directory in DIRECTORIES.split(":"))
    return next((path for path in found if path.exists()), None)


def missing() -> str:
    """Why it cannot be measured here; empty if it can."""
    return "" if program() else f"no host-local in {DIRECTORIES} (apt-get install containernetworking-plugins)"


def ipam(directory: Path, network: str, subnet: str, leases: int) -> dict[str, object]:
    """Its configuration, with so many addresses in use: files in `directory` as it leaves them itself."""
    held = directory / network
    held.mkdir(parents=True)
    first = ipaddress.ip_network(subnet)[2]
    for number in range(leases):
        (held / str(first + number)).write_text(f"filled-{number}\r\neth0")
    (held / "last_reserved_ip.0").write_text(str(first + max(leases - 1, 0)))
    return {"type": "host-local", "ranges": [[{"subnet": subnet}]], "dataDir": str(directory)}
