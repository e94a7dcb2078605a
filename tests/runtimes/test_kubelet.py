"""What a kubelet makes a runtime do: containerd's own CRI, asked as a kubelet asks (W1, W5, W9)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import grpc
import pytest
from cri import Kubelet, Pod
from engines import Containerd, collect_garbage, conflist, install
from lab import assert_no_address_twice, until
from machine import Machine, Site

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs("containerd", "ctr", "runc", "busybox", "nsenter", "unshare", "cni:bridge", "cni:loopback"),
]

WEB, DB = Pod("web-0", "6f0d3c1e-0001"), Pod("db-0", "6f0d3c1e-0002")


@dataclass
class Node:
    """A host of a cluster: containerd, and a kubelet that talks to it."""

    machine: Machine
    containerd: Containerd
    kubelet: Kubelet

    def start(self) -> None:
        """containerd again, after it ended."""
        self.kubelet.close()
        self.containerd.launch()
        self.kubelet = kubelet_of(self.machine)

    def pings(self, sandbox: str, address: str) -> bool:
        ping = ("--exec-id", os.urandom(4).hex(), sandbox, "/bin/ping", "-c1", "-W1", address)
        return "1 packets received" in self.containerd("--namespace", "k8s.io", "tasks", "exec", *ping, check=False)

    def held(self) -> dict[str, str]:
        """Sandbox id to address, as ringipam has it."""
        return {lease["id"]: lease["address"] for lease in self.machine.leases()}

    def held_is(self, expected: dict[str, str]) -> None:
        until(f"held is {expected}, not {self.held()}", lambda: self.held() == expected)

    def clear(self) -> None:
        """Stop and forget every pod."""
        for sandbox in self.kubelet.sandboxes():
            self.kubelet.stop_pod(sandbox)
            self.kubelet.remove_pod(sandbox)


def kubelet_of(machine: Machine) -> Kubelet:
    kubelet = Kubelet(str(machine.root("/run/containerd/containerd.sock")), machine.cgroup)
    until("CRI answers", kubelet.answers)
    return kubelet


@pytest.fixture
def make_nodes(make_site: Callable[..., Site]) -> Iterator[Callable[..., list[Node]]]:
    with ExitStack() as stack:

        def make(
            count: int, iprange: str = "10.32.0.0/24", options: Sequence[str] = (), ipam: dict[str, Any] | None = None
        ) -> list[Node]:
            site = make_site(count, iprange)
            beginning = ("--init", f"consensus={count}") if count > 1 else ()
            site.launch_all("--reap-after", "600", *beginning, *options)
            return [node_on(machine, stack, ipam) for machine in site.machines]

        yield make


def node_on(machine: Machine, stack: ExitStack, ipam: dict[str, Any] | None) -> Node:
    install(machine, conflist(ipam=ipam))
    containerd = Containerd(machine)
    containerd.prepare()
    containerd.launch()
    containerd.import_pause()
    node = Node(machine, containerd, kubelet_of(machine))
    stack.callback(lambda: node.kubelet.close())
    return node


@pytest.fixture(scope="module")
def lasting_node(lasting_machine: Machine) -> Iterator[Node]:
    with ExitStack() as stack:
        yield node_on(lasting_machine, stack, None)


@pytest.fixture
def node(lasting_node: Node) -> Iterator[Node]:
    """A node of its own, without pods."""
    if lasting_node.machine.daemon is None:
        lasting_node.machine.launch("--reap-after", "600")
    yield lasting_node
    lasting_node.clear()
    lasting_node.held_is({})


def refusal(node: Node, pod: Pod) -> str:
    """Why the runtime would not make this pod's sandbox."""
    with pytest.raises(grpc.RpcError) as refused:
        node.kubelet.run_pod(pod)
    return str(refused.value.details())


def test_pods_of_two_nodes_reach_each_other_and_what_is_stopped_repeatedly_is_released_once(
    make_nodes: Callable[..., list[Node]],
) -> None:
    one, two = make_nodes(2)

    web, db = one.kubelet.run_pod(WEB), two.kubelet.run_pod(DB)

    assert one.kubelet.network_is_ready()
    assert one.held() == {web: one.kubelet.address_of(web)}
    assert assert_no_address_twice([one.machine, two.machine]) == 2
    until("a pod reaches the other", lambda: one.pings(web, two.kubelet.address_of(db)))

    one.kubelet.stop_pod(web)
    released = one.held()
    heir = one.kubelet.run_pod(Pod("web-0", "6f0d3c1e-0003"))
    one.kubelet.stop_pod(web)
    one.kubelet.remove_pod(web)
    one.kubelet.remove_pod(web)
    assert released == {}
    assert one.held() == {heir: one.kubelet.address_of(heir)}


def test_pods_have_an_address_of_each_family_reach_each_other_over_both_and_give_both_back(
    make_nodes: Callable[..., list[Node]],
) -> None:
    ranges = [[{"subnet": "10.32.0.0/24"}], [{"subnet": "fd32::/112"}]]
    one, two = make_nodes(2, options=("--iprange6", "fd32::/112"), ipam={"type": "ringipam", "ranges": ranges})

    web, db = one.kubelet.run_pod(WEB), two.kubelet.run_pod(DB)

    there = two.kubelet.addresses_of(db)
    assert [ip_address(address).version for address in there] == [4, 6]
    assert sorted(lease["address"] for lease in two.machine.leases()) == sorted(there)
    assert assert_no_address_twice([one.machine, two.machine]) == 4
    for address in there:
        until(f"a pod reaches {address}", lambda address=address: one.pings(web, address))
    one.kubelet.stop_pod(web)
    two.kubelet.stop_pod(db)
    assert one.machine.leases() == two.machine.leases() == []


def test_a_pod_whose_namespace_vanished_is_released_when_it_is_stopped(node: Node) -> None:
    web = node.kubelet.run_pod(WEB)
    for path in node.machine.root("/run/netns").glob("cni-*"):
        node.machine.run("ip", "netns", "del", path.name)

    node.kubelet.stop_pod(web)

    assert node.held() == {}
    node.kubelet.remove_pod(web)


def test_a_pod_stopped_while_the_daemon_is_down_is_released_and_one_asked_for_is_made_later(
    node: Node,
) -> None:
    web, db = node.kubelet.run_pod(WEB), node.kubelet.run_pod(DB)
    address = node.kubelet.address_of(db)
    node.machine.stop(signal.SIGKILL)

    node.kubelet.stop_pod(web)
    why = refusal(node, Pod("early", "6f0d3c1e-0004"))
    node.machine.launch("--reap-after", "600")

    assert "ringipam" in why
    node.held_is({db: address})
    assert node.kubelet.run_pod(Pod("early", "6f0d3c1e-0004", attempt=1)) in node.held()


def test_a_node_without_addresses_says_so_and_makes_pods_again_when_one_is_released(
    make_nodes: Callable[..., list[Node]],
) -> None:
    (node,) = make_nodes(1, "10.32.0.0/29")
    pods = [Pod(f"p{n}", f"6f0d3c1e-1{n}") for n in range(6)]
    sandboxes = [node.kubelet.run_pod(pod) for pod in pods]
    late = Pod("late", "6f0d3c1e-0005")

    assert "no free address in 10.32.0.0/29" in refusal(node, late)
    assert len(node.held()) == 6
    node.kubelet.stop_pod(sandboxes[0])

    assert node.kubelet.run_pod(late) in node.held()


@pytest.mark.parametrize("stage", ["asked for", "address held", "sandbox made"])
def test_containerd_killed_while_a_pod_starts_leaks_and_doubles_nothing(node: Node, stage: str) -> None:
    web = node.kubelet.run_pod(WEB)

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(lambda: node.kubelet.run_pod(DB))
        end = time.monotonic() + 5
        while stage == "address held" and len(node.held()) < 2 and time.monotonic() < end:
            pass
        if stage == "sandbox made":
            asked.result()
        node.containerd.stop(signal.SIGKILL)
        wait([asked])
    node.start()

    known = node.kubelet.sandboxes()
    assert web in known
    for sandbox in known:
        if sandbox != web:
            node.kubelet.stop_pod(sandbox)
    again = node.kubelet.run_pod(Pod(DB.name, DB.uid, attempt=1))
    collect_garbage(node.machine, "ring", [web, again])  # namespaces that containerd forgot are there until a reboot
    assert node.held() == {sandbox: node.kubelet.address_of(sandbox) for sandbox in (web, again)}
    node.kubelet.stop_pod(web)
    node.kubelet.stop_pod(again)
    assert node.held() == {}


def test_after_a_reboot_the_kubelet_makes_its_pods_anew_and_nothing_else_is_held(
    node: Node,
) -> None:
    web, gone = node.kubelet.run_pod(WEB), node.kubelet.run_pod(DB)

    node.machine.reboot()
    node.machine.launch("--reap-after", "600")
    node.start()

    assert sorted(node.kubelet.sandboxes()) == sorted([web, gone])
    for sandbox in (web, gone):
        node.kubelet.stop_pod(sandbox)
    again = node.kubelet.run_pod(Pod(WEB.name, WEB.uid, attempt=1))
    for sandbox in (web, gone):
        node.kubelet.remove_pod(sandbox)
    assert node.held() == {again: node.kubelet.address_of(again)}


def test_pods_that_no_runtime_remembers_after_a_reboot_are_reaped(node: Node) -> None:
    node.kubelet.run_pod(WEB)

    node.machine.power_off()
    node.machine.forget("var/lib/containerd")
    node.machine.boot()
    node.machine.launch("--reap-after", "2")

    node.held_is({})
    node.start()
    node.containerd.import_pause()


def test_a_node_is_not_ready_before_the_plugin_is_configured(make_site: Callable[..., Site]) -> None:
    machine = make_site(1).machines[0]
    machine.launch()
    containerd = Containerd(machine)
    containerd.prepare()
    containerd.launch()
    with closing(kubelet_of(machine)) as kubelet:
        assert not kubelet.network_is_ready()

        install(machine, conflist())

        until("the node is ready", kubelet.network_is_ready)
