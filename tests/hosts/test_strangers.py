"""Whoever has no credentials, or talks nonsense, changes nothing, and the operator can read why (W6)."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from lab import Host, Lab, leases_of, until

pytestmark = pytest.mark.root

FRAMES = 10_000
LOG_LINES_MAX = 40


def test_a_host_with_another_password_gets_no_space_and_both_operators_are_told(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(2)
    ours, stranger = lab.hosts
    ours.launch()
    ours.cli("allocate", "c1")
    other = tmp_path / "another password"
    other.write_text("incorrect horse\n")

    stranger.launch("--password-file", str(other), "--init", "observer", ours.endpoint)

    until("the newcomer says so", lambda: "wrong password" in str(stranger.json("status")["warnings"]))
    until("so does the other", lambda: "its password or certificate is another" in ours.log)
    assert f"closed a connection from {stranger.address}" in ours.log
    status, message = stranger.fails("allocate", "c2", "--timeout", "0.5")
    assert status == 1
    assert message.startswith("ringipam: no ring yet after 0.5 s")
    assert ours.json("peers")["peers"] == []
    assert ours.cli("allocate", "c3").strip() == "10.32.0.2/12"


def test_a_host_without_credentials_gets_no_space_and_both_operators_are_told(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    ours, stranger = lab.hosts
    ours.launch()

    stranger.launch("--insecure", "--init", "observer", ours.endpoint)

    until("the newcomer says so", lambda: "same credentials" in str(stranger.json("status")["warnings"]))
    until("so does the other", lambda: f"closed a connection from {stranger.address}" in ours.log)
    assert "TLS" in ours.log
    assert stranger.fails("allocate", "c2", "--timeout", "0.5")[0] == 1
    assert ours.json("peers")["peers"] == []
    assert ours.cli("allocate", "c1").strip() == "10.32.0.1/12"


def test_a_host_with_credentials_says_that_the_other_side_has_none(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(2)
    bare, ours = lab.hosts
    bare.launch("--insecure")

    ours.launch("--init", "observer", bare.endpoint)

    until("the open one says so", lambda: "it speaks TLS and this node runs without credentials" in bare.log)
    assert bare.json("peers")["peers"] == []
    assert bare.cli("allocate", "c1").strip() == "10.32.0.1/12"


@pytest.mark.slow
@pytest.mark.parametrize("credentials", [(), ("--insecure",)], ids=["tls", "insecure"])
def test_10000_random_frames_at_the_peer_port_change_nothing(
    make_lab: Callable[..., Lab], credentials: tuple[str, ...]
) -> None:
    lab = make_lab(2)
    host, stranger = lab.hosts
    host.launch(*credentials)
    host.cli("allocate", "c1")
    before = host.cli("ring", "--json"), leases_of(host), host.json("status")

    throw_frames(stranger, host.address)

    assert (host.cli("ring", "--json"), leases_of(host), host.json("status")) == before
    assert host.cli("allocate", "c2").strip() == "10.32.0.2/12"
    complaints = [line for line in host.log.splitlines() if f"closed a connection from {stranger.address}: " in line]
    assert 1 <= len(complaints) <= LOG_LINES_MAX, "why is in the log, but not so often that it fills the disk"
    assert "Traceback" not in host.log


def throw_frames(at: Host, address: str) -> None:
    """Send the frames from another host's namespace, with this file as the program."""
    command = (sys.executable, __file__, address)
    subprocess.run(["ip", "netns", "exec", at.namespace, *command], check=True, timeout=120)


def nonsense(rng: random.Random) -> bytes:
    """Noise, noise with a frame's true length before it, or a frame of well-formed values that mean nothing."""
    noise = rng.randbytes(rng.randrange(1, 400))
    match rng.randrange(3):
        case 0:
            return noise
        case 1:
            return len(noise).to_bytes(4, "big") + noise
        case _:
            body = msgpack.packb([value(rng, 3) for _ in range(rng.randrange(12))])
            return len(body).to_bytes(4, "big") + body


def value(rng: random.Random, depth: int) -> object:
    kinds: list[Callable[[], object]] = [
        lambda: rng.randrange(40),
        lambda: rng.getrandbits(63),
        lambda: rng.randbytes(rng.randrange(40)),
        lambda: rng.choice(["", "h1.0123456789ab", "10.32.0.0/12", "Hello", "é" * 20]),
        lambda: None,
        lambda: rng.random() < 0.5,
    ]
    if depth:
        kinds.append(lambda: [value(rng, depth - 1) for _ in range(rng.randrange(5))])
        kinds.append(lambda: {str(key): value(rng, depth - 1) for key in range(rng.randrange(4))})
    return rng.choice(kinds)()


def main(address: str) -> None:
    """Each frame on a connection of its own, and none before the last was closed by the other side."""
    rng = random.Random(10_000)
    for _ in range(FRAMES):
        with socket.create_connection((address, 6783), timeout=20) as connection:
            try:
                connection.sendall(nonsense(rng))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except ConnectionError:  # it was closed before everything was said
                pass


if __name__ == "__main__":
    main(sys.argv[1])
