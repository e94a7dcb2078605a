"""Two hosts with a range of each family and a real dockerd: networks of IPv4 and IPv6."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network

import pytest
from dockerlab import CommandError, DockerLab, Host, missing, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Sequence[Host]]:
    with DockerLab(2) as lab:
        for host in lab.hosts:
            host.options = ("--iprange6", "fd00:10::/48")
        yield lab.start()


@pytest.fixture(autouse=True)
def _tidy(hosts: Sequence[Host]) -> Iterator[None]:
    yield
    for host in hosts:
        if containers := host.docker("ps", "-aq").split():
            host.docker("rm", "-f", *containers)
        host.docker("network", "prune", "-f")


def test_containers_of_two_hosts_have_addresses_of_both_families_and_reach_each_other(hosts: Sequence[Host]) -> None:
    bridge = ("-o", "com.docker.network.bridge.name=dk0")
    for host in hosts:
        host.network("n", "--subnet", "10.32.5.0/24", "--ipv6", "--subnet", "fd00:10:0:5::/64", *bridge)
        host.join("dk0")

    found = []
    for host in hosts:
        for name in ("c0", "c1"):
            found.append((host.container(name, "n"), host.address(name, "n", 6)))

    assert len({ip_address(address) for pair in found for address in pair}) == 8
    assert all(ip_address(six) in ip_network("fd00:10:0:5::/64") for _, six in found)
    assert "fd00:10:0:5::1" not in {six for _, six in found}
    until("they see each other", lambda: _reaches(hosts[0], found[2][1]))
    for host in hosts:
        host.docker("rm", "-f", "c0", "c1")
        assert host.endpoints() == set()


def test_a_named_address_of_either_family_is_given_once(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.network("n", "--subnet", "10.32.6.0/24", "--ipv6", "--subnet", "fd00:10:0:6::/64")

    hosts[0].container("one", "n", "--ip6", "fd00:10:0:6::77")

    with pytest.raises(CommandError, match="fd00:10:0:6::77 is in use on h1"):
        hosts[1].container("two", "n", "--ip6", "fd00:10:0:6::77")
    until("its IPv4 address is free too", lambda: hosts[1].endpoints() == set())


def test_a_network_without_subnets_gets_a_block_of_each_family(hosts: Sequence[Host]) -> None:
    hosts[0].network("n", "--ipv6", "--ipam-opt", "ringipam.prefix-len6=72")

    sizes = sorted(ip_network(lease["subnet"]).prefixlen for lease in hosts[0].leases(role="pool"))
    assert sizes == [24, 72]

    hosts[0].docker("network", "rm", "n")
    assert hosts[0].leases(role="pool") == []


def test_what_docker_has_of_either_family_is_not_freed(hosts: Sequence[Host]) -> None:
    hosts[0].network("n", "--subnet", "10.32.7.0/24", "--ipv6", "--subnet", "fd00:10:0:7::/64")
    mine = {hosts[0].container("one", "n"), hosts[0].address("one", "n", 6)}

    hosts[0].wait_for_looks("10.32.99.0/24")
    hosts[0].wait_for_looks("fd00:10:0:99::/64")

    assert hosts[0].endpoints() == mine


def _reaches(host: Host, address: str) -> bool:
    try:
        host.docker("exec", "c0", "ping", "-6", "-c", "1", "-W", "2", address)
    except CommandError:
        return False
    return True
