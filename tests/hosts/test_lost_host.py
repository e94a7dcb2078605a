"""A host dies without a word: the others go on, and when it is back they are one system again (W6, W8, W10)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from lab import Lab, assert_no_address_twice, leases_of, rings_equal, until

pytestmark = pytest.mark.root


def test_when_one_of_three_is_killed_the_others_go_on_and_it_comes_back_as_it_was(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(3)
    options = ("--init", "consensus=3")
    lab.launch_all(*options)
    killed, *others = lab.hosts
    for host in lab.hosts:
        for number in range(5):
            host.cli("allocate", f"{host.name}-before{number}")
    kept = leases_of(killed)

    killed.stop(signal.SIGKILL)

    for host in others:
        for number in range(5):
            host.cli("allocate", f"{host.name}-during{number}", "--timeout", "5")
        host.cli("release", f"{host.name}-before0")
    for host in others:
        until(
            "the others know", lambda host=host: host.json("status")["peers"] == {"alive": 1, "suspect": 0, "dead": 1}
        )
        assert host.cli("allocate", f"{host.name}-after", "--timeout", "5").strip()

    killed.launch(*options, *lab.peers_of(killed))

    assert leases_of(killed) == kept
    until("all are alive", lambda: all(host.json("status")["peers"]["alive"] == 2 for host in lab.hosts), 10)
    until("all rings are equal", lambda: rings_equal(lab.hosts), 10)
    assert killed.cli("allocate", "again").strip()
    assert assert_no_address_twice(lab.hosts) == 6 + 2 * 10


def test_all_hosts_are_killed_at_once_and_come_back_as_one_system(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(3)
    options = ("--init", "consensus=3")
    lab.launch_all(*options)
    for host in lab.hosts:
        host.cli("allocate", host.name)
    held = [leases_of(host) for host in lab.hosts]

    for host in lab.hosts:
        host.stop(signal.SIGKILL)
    lab.launch_all(*options)

    assert [leases_of(host) for host in lab.hosts] == held
    until("all are alive", lambda: all(host.json("status")["peers"]["alive"] == 2 for host in lab.hosts), 10)
    until("all rings are equal", lambda: rings_equal(lab.hosts), 10)
    for host in lab.hosts:
        assert host.cli("allocate", f"{host.name}-after").strip()
    assert assert_no_address_twice(lab.hosts) == 6
