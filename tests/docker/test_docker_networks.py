"""Two hosts, each with a real dockerd and a daemon: networks and containers as people make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import chain

import pytest
from dockerlab import CommandError, DockerLab, Host, missing, until

SUBNET = "{{(index .IPAM.Config 0).Subnet}}"

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Sequence[Host]]:
    with DockerLab(2) as lab:
        yield lab.start()


@pytest.fixture(autouse=True)
def _tidy(hosts: Sequence[Host]) -> Iterator[None]:
    """No test leaves a network, a container, or a lease of a container."""
    yield
    for host in hosts:
        if containers := host.docker("ps", "-aq").split():
            host.docker("rm", "-f", *containers)
        host.docker("network", "prune", "-f")
    for host in hosts:
        until(f"no lease is left: {host.leases()}", partial(_without_endpoints, host))


def _without_endpoints(host: Host) -> bool:
    return not host.endpoints()


def test_containers_of_one_subnet_on_two_hosts_reach_each_other_and_no_address_is_there_twice(
    hosts: Sequence[Host],
) -> None:
    for host in hosts:
        host.network("n", "--subnet", "10.32.5.0/24", "-o", "com.docker.network.bridge.name=dk0")
        host.join("dk0")

    here = [hosts[0].container(f"a{i}", "n") for i in range(4)]
    there = [hosts[1].container(f"b{i}", "n") for i in range(4)]

    assert len({*here, *there}) == 8
    assert all(ip_address(address) in ip_network("10.32.5.0/24") for address in (*here, *there))
    for address in there:
        hosts[0].docker("exec", "a0", "ping", "-c", "1", "-W", "5", address)
    assert (hosts[0].endpoints(), hosts[1].endpoints()) == (set(here), set(there))


def test_an_address_is_free_again_when_its_container_stops_or_is_removed(hosts: Sequence[Host]) -> None:
    host = hosts[0]
    host.network("n", "--subnet", "10.32.5.0/24")
    host.container("one", "n")
    kept = host.container("two", "n")

    host.docker("rm", "-f", "one")
    assert host.endpoints() == {kept}

    host.docker("stop", "-t", "0", "two")
    assert host.endpoints() == set()
    host.docker("start", "two")
    assert host.endpoints() == {host.address("two", "n")}


def test_an_address_that_is_named_is_given_unless_anybody_anywhere_has_it(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.network("n", "--subnet", "10.32.5.0/24")

    assert hosts[0].container("one", "n", "--ip", "10.32.5.77") == "10.32.5.77"

    with pytest.raises(CommandError, match=r"10\.32\.5\.77 is in use by another container or network of this host"):
        hosts[0].container("two", "n", "--ip", "10.32.5.77")
    with pytest.raises(CommandError, match=r"10\.32\.5\.77 is in use on h1"):
        hosts[1].container("two", "n", "--ip", "10.32.5.77")
    hosts[0].docker("rm", "-f", "one", "two")
    hosts[1].docker("rm", "-f", "two")
    assert hosts[1].container("two", "n", "--ip", "10.32.5.77") == "10.32.5.77"


def test_hosts_share_the_gateway_of_a_subnet_and_no_container_gets_it(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.network("n", "--subnet", "10.32.6.0/29")

    addresses = []
    for number in range(5):  # of six that a /29 has, one is the gateway
        addresses.append(hosts[number % 2].container(f"c{number}", "n"))

    assert sorted(addresses) == [f"10.32.6.{last}" for last in range(2, 7)]
    for host in hosts:
        with pytest.raises(CommandError, match=r"no free address in 10\.32\.6\.0/29"):
            host.container("more", "n")
        assert "via 10.32.6.1" in host.docker("exec", host.docker("ps", "-q").split()[0], "ip", "route")
    gateways = list(chain.from_iterable(host.leases(role="gateway") for host in hosts))
    assert [lease["address"] for lease in gateways if lease["subnet"] == "10.32.6.0/29"] == ["10.32.6.1"]


def test_the_gateway_stays_taken_when_the_network_of_the_host_that_holds_it_goes(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.network("n", "--subnet", "10.32.7.0/29")
    hosts[0].docker("network", "rm", "n")
    hosts[0].wait_for_looks()

    addresses = [hosts[1].container(f"c{number}", "n") for number in range(5)]

    assert "10.32.7.1" not in addresses
    with pytest.raises(CommandError, match=r"10\.32\.7\.1 is in use by gateway:10\.32\.7\.0/29"):
        hosts[1].container("three", "n", "--ip", "10.32.7.1")


def test_a_gateway_that_a_container_has_is_refused_and_another_can_be_named(hosts: Sequence[Host]) -> None:
    hosts[0].network("n", "--subnet", "10.32.8.0/24", "--gateway", "10.32.8.254")
    hosts[0].container("one", "n", "--ip", "10.32.8.1")

    with pytest.raises(CommandError, match=r"the gateway 10\.32\.8\.1 of 10\.32\.8\.0/24 is in use on h1"):
        hosts[1].network("n", "--subnet", "10.32.8.0/24")

    hosts[1].network("n", "--subnet", "10.32.8.0/24", "--gateway", "10.32.8.254")
    hosts[1].container("two", "n")


def test_a_network_without_a_subnet_gets_one_that_nobody_else_has(hosts: Sequence[Host]) -> None:
    subnets = []
    for host in hosts:
        for name in ("n1", "n2"):
            host.network(name)
            subnets.append(ip_network(host.docker("network", "inspect", "-f", SUBNET, name)))
    host.network("small", "--ipam-opt", "ringipam.prefix-len=28")
    addresses = [ip_address(host.container(f"c-{name}", name)) for host in hosts for name in ("n1", "n2")]

    assert {subnet.prefixlen for subnet in subnets} == {24}
    assert not any(one.overlaps(other) for one in subnets for other in subnets if one is not other)
    assert all(address in subnet for address, subnet in zip(addresses, subnets, strict=True))

    for host in hosts:
        host.docker("rm", "-f", *host.docker("ps", "-aq").split())
        host.docker("network", "prune", "-f")
        assert host.leases(role="pool") == []
        assert not any(lease["subnet"] in map(str, subnets) for lease in host.leases())


def test_a_network_without_a_subnet_gets_one_beside_the_networks_that_are_there(hosts: Sequence[Host]) -> None:
    hosts[0].network("wide", "--subnet", "10.32.0.0/13")  # half of the range

    hosts[0].network("n")

    (block,) = hosts[0].leases(role="pool")
    assert not ip_network(block["subnet"]).overlaps(ip_network("10.32.0.0/13"))


def test_containers_get_addresses_of_the_part_and_what_is_kept_for_others_may_lie_outside(
    hosts: Sequence[Host],
) -> None:
    part = ("--subnet", "10.32.9.0/24", "--ip-range", "10.32.9.128/30", "--aux-address", "printer=10.32.9.9")

    hosts[0].network("n", *part)

    addresses = {hosts[0].container(f"c{number}", "n") for number in range(4)}
    assert addresses == {f"10.32.9.{last}" for last in range(128, 132)}
    with pytest.raises(CommandError, match="no free address"):
        hosts[0].container("c4", "n")
    assert hosts[0].container("c5", "n", "--ip", "10.32.9.200") == "10.32.9.200"
    hosts[0].wait_for_looks()
    assert hosts[0].endpoints() == {*addresses, "10.32.9.9", "10.32.9.200"}
    with pytest.raises(CommandError, match=r"10\.32\.9\.9 is in use"):
        hosts[0].container("c6", "n", "--ip", "10.32.9.9")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--subnet", "192.168.5.0/24"), "remote: the subnet 192.168.5.0/24 does not lie inside 10.32.0.0/12"),
        (("--ipam-opt", "ringipam.size=3"), "remote: unknown option 'ringipam.size'; known are: ringipam.prefix-len"),
        (("--ipam-opt", "ringipam.prefix-len=9"), "remote: ringipam.prefix-len is 12 to 30 in 10.32.0.0/12, not '9'"),
        (("--subnet", "10.32.5.0/31"), "remote: subnet smaller than the minimum of 4 addresses"),
        (("--ipv6",), "remote: this host has no range of IPv6: its range is 10.32.0.0/12"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_and_leaves_no_lease(
    hosts: Sequence[Host], options: tuple[str, ...], complaint: str
) -> None:
    before = [lease["lease"] for lease in hosts[0].leases() if lease["labels"]["ringipam.role"] != "gateway"]

    with pytest.raises(CommandError) as refused:
        hosts[0].network("n", *options)

    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)
    after = [lease["lease"] for lease in hosts[0].leases() if lease["labels"]["ringipam.role"] != "gateway"]
    assert after == before


def test_a_second_network_in_a_subnet_is_refused_by_docker_and_the_first_keeps_its_gateway(
    hosts: Sequence[Host],
) -> None:
    host = hosts[0]
    host.network("n", "--subnet", "10.32.10.0/29")

    with pytest.raises(CommandError, match="overlap"):
        host.network("again", "--subnet", "10.32.10.0/29")

    host.wait_for_looks()
    assert "10.32.10.1" in {lease["address"] for lease in host.leases(role="gateway")}


def test_a_network_without_a_subnet_is_refused_where_the_whole_range_is_routed_already(hosts: Sequence[Host]) -> None:
    host = hosts[1]
    host.enter("ip", "route", "add", "10.32.0.0/12", "dev", "eth0")
    try:
        with pytest.raises(CommandError, match=r"Docker took none of the last 32 blocks of 10\.32\.0\.0/12"):
            host.network("n")
    finally:
        host.enter("ip", "route", "del", "10.32.0.0/12", "dev", "eth0")

    assert host.leases(role="pool") == []
    host.network("n")
