"""A container runtime in fifty lines. A container is a network namespace on the bridge `nsrun`, with one address.

# python nsrun.py web sleep 1000
"""

import fcntl
import subprocess
import sys
import time

from ringipam import Client, Lease, RingIpamError

OURS = {"runtime": "nsrun"}
"""On every lease of this runtime, so that it never releases anybody else's."""
OLDER_THAN_S = 60.0


def ip(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True).stdout


def live() -> list[str]:
    """The containers in which something runs; what is left of others is removed."""
    spaces = [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith("nsrun-")]
    running = [space for space in spaces if ip("netns", "pids", space)]
    for space in set(spaces) - set(running):
        ip("netns", "delete", space)  # with it goes the interface that has the address: before the lease does
    return [space.removeprefix("nsrun-") for space in running]


def connect(space: str, lease: Lease) -> None:
    ip("link", "add", "nsrun", "type", "bridge", check=False)  # but for the first time it is there
    ip("link", "set", "nsrun", "up")
    port = f"v{lease.lease[-12:]}"  # it begins with the time, which others may share
    ip("netns", "add", space)
    ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
    ip("link", "set", port, "master", "nsrun", "up")
    ip("-n", space, "address", "add", lease.interface, "dev", "eth0")
    ip("-n", space, "link", "set", "eth0", "up")


def run(client: Client, name: str, command: list[str]) -> int:
    space = f"nsrun-{name}"
    with open("/run/nsrun.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one starts at a time, so that `live` is the truth
        # After a crash, ours or the machine's: whoever neither runs nor is about to start gives its address back.
        client.reconcile([*live(), name], older_than=OLDER_THAN_S, labels=OURS)
        lease = client.allocate(name, labels=OURS)  # before the start; on disk when it returns; the same one again
        connect(space, lease)
        process = subprocess.Popen(["ip", "netns", "exec", space, *command])
        while process.poll() is None and not ip("netns", "pids", space):
            time.sleep(0.01)
    status = process.wait()
    ip("-n", space, "link", "delete", "eth0", check=False)  # whatever may run on in there has no address any more:
    ip("netns", "delete", space)
    client.release(name, lease=lease.lease)  # only now; by its number: a repetition cannot free somebody else's
    return status


if __name__ == "__main__":
    try:
        sys.exit(run(Client(), sys.argv[1], sys.argv[2:]))
    except (RingIpamError, subprocess.CalledProcessError) as error:
        sys.exit(f"nsrun: {error}")
