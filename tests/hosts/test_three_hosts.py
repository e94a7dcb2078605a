"""Three hosts share a range: 600 containers, cut cables, and one system again afterwards (W1, W6, W7, W8)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import Host, Lab, assert_no_address_twice, leases_of, rings_equal, run, until

pytestmark = [pytest.mark.root, pytest.mark.slow]

CONTAINERS = 200
BOTH_FAMILIES = pytest.mark.parametrize("iprange", ["10.32.0.0/12", "fd00:10::/64"])


def three(make_lab: Callable[..., Lab], iprange: str) -> Lab:
    lab = make_lab(3, iprange)
    lab.launch_all("--init", "consensus=3")
    return lab


def all_alive(hosts: list[Host]) -> bool:
    return all(host.json("status")["peers"]["alive"] == len(hosts) - 1 for host in hosts)


@BOTH_FAMILIES
def test_200_containers_on_each_of_three_hosts_get_their_address_before_they_run_and_reach_each_other(
    make_lab: Callable[..., Lab], iprange: str
) -> None:
    lab = three(make_lab, iprange)

    def start(host: Host, number: int) -> str:
        return host.cli("allocate", f"{host.name}-c{number}").strip()

    with ThreadPoolExecutor(48) as pool:
        jobs = {host.name: [pool.submit(start, host, n) for n in range(CONTAINERS)] for host in lab.hosts}
        addresses = {name: [job.result() for job in of_host] for name, of_host in jobs.items()}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda host: host.start_containers(addresses[host.name]), lab.hosts))

    assert assert_no_address_twice(lab.hosts) == 3 * CONTAINERS
    for number, host in enumerate(lab.hosts):
        other = lab.hosts[(number + 1) % 3]
        for container in (0, 57, CONTAINERS - 1):
            there = addresses[other.name][container].partition("/")[0]
            run("ip", "netns", "exec", host.containers[container], "ping", "-c", "1", "-W", "5", there)


@BOTH_FAMILIES
def test_cut_off_hosts_go_on_and_become_one_system_again_within_10_seconds(
    make_lab: Callable[..., Lab], iprange: str
) -> None:
    lab = three(make_lab, iprange)
    for host in lab.hosts:
        for number in range(5):
            host.cli("allocate", f"{host.name}-before{number}")
    until("all see each other", lambda: all_alive(lab.hosts))

    for host in lab.hosts:
        host.cut()
    until("each host is alone", lambda: all(h.json("status")["peers"]["alive"] == 0 for h in lab.hosts), 30)
    for host in lab.hosts:
        for number in range(10):
            host.cli("allocate", f"{host.name}-during{number}")
        host.cli("release", f"{host.name}-before0")
        host.cli("release", f"{host.name}-during3")
    for host in lab.hosts:
        host.mend()

    until("the three rings are identical", lambda: all_alive(lab.hosts) and rings_equal(lab.hosts), 10)
    assert assert_no_address_twice(lab.hosts) == 3 * 13
    assert {len(leases_of(host)) for host in lab.hosts} == {13}
    tokens = lab.hosts[0].json("ring")["tokens"]
    owners = {token["owner"].rpartition(".")[0] for token in tokens}
    assert owners == {"h1", "h2", "h3"}, "every address of the range has an owner that is there"


@BOTH_FAMILIES
def test_the_last_free_address_of_the_range_is_found_on_whichever_host_has_it(
    make_lab: Callable[..., Lab], iprange: str
) -> None:
    small = "10.32.0.0/27" if ":" not in iprange else "fd00:10::/123"
    lab = three(make_lab, small)
    issuable = 30 if ":" not in iprange else 31
    first = lab.hosts[0]

    for number in range(issuable):
        first.cli("allocate", f"c{number}", "--timeout", "10")
    status, message = lab.hosts[1].fails("allocate", "too-many", "--timeout", "10")

    assert status == 1
    assert message.startswith(f"ringipam: no free address in {small}: ")
    owned = {name: int(count) for name, count in re.findall(r"(\w+) owns (\d+) \(none free\)", message)}
    assert owned.keys() <= {host.name for host in lab.hosts}
    assert sum(owned.values()) == issuable, f"every address is accounted for: {message}"
    assert assert_no_address_twice(lab.hosts) == issuable

    first.cli("release", "c7")
    assert lab.hosts[2].cli("allocate", "late", "--timeout", "10").strip()
    assert assert_no_address_twice(lab.hosts) == issuable


def test_ten_starts_and_stops_a_second_on_each_host_leave_nothing_behind(make_lab: Callable[..., Lab]) -> None:
    lab = three(make_lab, "10.32.0.0/24")
    load = (
        "import sys, time, ringipam\n"
        "client = ringipam.Client(sys.argv[1])\n"
        "for number in range(100):\n"
        "    lease = client.allocate(f'{sys.argv[2]}-{number}')\n"
        "    client.release(lease.id, lease=lease.lease)\n"
        "    time.sleep(0.1)\n"
    )

    jobs = [subprocess.Popen([sys.executable, "-c", load, str(h.socket), h.name]) for h in lab.hosts]

    assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    assert assert_no_address_twice(lab.hosts) == 0
    assert all(host.json("status")["pending"] == [] for host in lab.hosts)
