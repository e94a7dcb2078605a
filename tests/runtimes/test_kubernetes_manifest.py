"""The example for Kubernetes, docs/examples/ringipam-daemonset.yaml: what its containers run, run as they would be.

No API server and no kubelet: this reads the manifest as a kubelet would, makes each container's mounts, capabilities
and environment on a machine, and asks containerd for pods by CRI.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from cri import Kubelet, Pod
from engines import Containerd, install_standard_plugins
from lab import run, until
from machine import Machine, Running, Site

pytestmark = [
    pytest.mark.root,
    pytest.mark.needs(
        *("containerd", "ctr", "runc", "busybox", "nsenter", "unshare", "setpriv", "iptables"),
        *("cni:bridge", "cni:loopback", "cni:portmap"),
    ),
]

MANIFEST = Path(__file__).parent.parent.parent / "docs/examples/ringipam-daemonset.yaml"

# The container's own root, of which the image would be the lower part, and its volumes; then its process.
CONTAINER = """
set -e
root=$1; shift
mkdir -p "$root/upper" "$root/work" "$root/at"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/at"
while [ "$1" != -- ]; do
    mkdir -p "$root/at$2"
    mount --rbind "$1" "$root/at$2"
    shift 2
done
shift
for path in /proc /dev "$PWD" "$PYTHON" "$PYTHON_BASE"; do
    mkdir -p "$root/at$path"
    mount --rbind "$path" "$root/at$path"
done
mount -o remount,ro "$root/at"
exec chroot "$root/at" sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
"""

# What the reaper needs: without it nothing is taken for gone.
LOOK = "from ringipam.integrations.cni.netns import Machine; print(bool(Machine().in_use()))"
SEES_ALL_NAMESPACES = {"exec": {"command": ["python", "-c", LOOK]}}


@dataclass
class Node:
    """A machine, and what the manifest makes of it."""

    machine: Machine
    pod: dict[str, Any]
    files: Path

    @property
    def name(self) -> str:
        return f"node{self.machine.number}"

    @property
    def socket(self) -> Path:
        return self.machine.root("/run/ringipam/ringipam.sock")

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        known = {"spec.nodeName": self.name, "status.hostIP": self.machine.address}
        return {one["name"]: known[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container.get("env", [])}

    def source(self, volume: str) -> str:
        """What the kubelet would mount."""
        (known,) = (one for one in self.pod["volumes"] if one["name"] == volume)
        if "hostPath" in known:
            path = str(known["hostPath"]["path"])
        elif "emptyDir" in known:
            path = f"/run/empty/{volume}"
        else:
            return str(self.files)
        self.machine.run("mkdir", "-p", path)
        return path

    def entered(self, container: dict[str, Any], command: list[str]) -> list[str]:
        """`command` in this container."""
        mounts = [(self.source(one["name"]), one["mountPath"]) for one in container.get("volumeMounts", [])]
        environment = self.environment(container)
        for name, value in environment.items():
            command = [word.replace(f"$({name})", value) for word in command]
        capabilities = container.get("securityContext", {}).get("capabilities", {}).get("add", [])
        kept = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities)])
        python = {"PYTHON": sys.prefix, "PYTHON_BASE": sys.base_prefix, "PYTHONPATH": str(Path.cwd())}
        path = f"{sys.prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [
            *self.machine.inside,
            *("env", *(f"{k}={v}" for k, v in {**python, **environment, "PATH": path}.items())),
            *("unshare", "--mount", "--propagation", "slave", "sh", "-c", CONTAINER, "container"),
            *(f"/run/root-{container['name']}-{id(command)}", *(word for pair in mounts for word in pair), "--"),
            *("setpriv", "--bounding-set", kept, "--inh-caps", "-all", *command),
        ]

    def execute(self, container: dict[str, Any], probe: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        command = self.entered(container, probe["exec"]["command"])
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def start(self, container: dict[str, Any]) -> Running:
        command = self.entered(container, ["ringipam", *container["args"]])
        with (self.machine.directory / "log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.machine.entered.append(process)
        until(f"{self.name} has a socket", lambda: self.socket.exists() or process.poll() is not None)
        assert process.poll() is None, self.machine.log
        return Running(process)

    def held(self) -> dict[str, dict[str, str]]:
        """Address to labels."""
        shown = run(sys.executable, "-m", "ringipam", "list", "--json", "--socket", str(self.socket))
        return {lease["address"]: lease["labels"] for lease in json.loads(shown)["leases"]}


def documents() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}


def fitted(text: str) -> str:
    """The configuration with this lab's addresses in place of the example's."""
    return text.replace("10.32.0.0/12", "10.32.0.0/24")


@pytest.fixture
def nodes(make_site: Callable[..., Site], tmp_path: Path) -> list[Node]:
    kinds = documents()
    pod = kinds["DaemonSet"]["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        container["args"] = [fitted(word) for word in container["args"]]
    nodes = []
    for machine in make_site(3).machines:
        files = tmp_path / f"files{machine.number}"
        files.mkdir()
        for name, content in (kinds["ConfigMap"]["data"] | kinds["Secret"]["stringData"]).items():
            (files / name).write_text(fitted(content))
            (files / name).chmod(0o400)
        nodes.append(Node(machine, pod, files))
    return nodes


def test_the_manifest_is_for_every_node_and_starts_before_the_pod_network() -> None:
    kinds = documents()
    pod = kinds["DaemonSet"]["spec"]["template"]["spec"]

    assert sorted(kinds) == ["ConfigMap", "DaemonSet", "Secret"]
    assert pod["hostNetwork"] is True
    assert pod["dnsPolicy"] == "Default"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    labels = kinds["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["DaemonSet"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    mounted = {
        mount["name"] for kind in ("initContainers", "containers") for c in pod[kind] for mount in c["volumeMounts"]
    }
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_manifests_containers_make_three_nodes_whose_pods_have_addresses_of_one_ring(nodes: list[Node]) -> None:
    (install,), (daemon,) = nodes[0].pod["initContainers"], nodes[0].pod["containers"]
    with ExitStack() as stack:
        for node in nodes:
            run(*node.entered(install, ["ringipam", *install["args"]]))
            assert node.execute(daemon, daemon["readinessProbe"]).returncode != 0, "not ready before the daemon runs"
        running = [node.start(daemon) for node in nodes]
        for node in nodes:
            node.execute(daemon, daemon["lifecycle"]["postStart"])
            until(
                f"{node.name} is ready: {node.machine.log}",
                lambda node=node: node.execute(daemon, daemon["readinessProbe"]).returncode == 0,
            )
            assert node.execute(daemon, daemon["livenessProbe"]).returncode == 0

        kubelets = []
        for node in nodes[:2]:
            install_standard_plugins(node.machine)
            containerd = Containerd(node.machine)
            containerd.prepare()
            containerd.launch()
            containerd.import_pause()
            kubelet = Kubelet(str(node.machine.root("/run/containerd/containerd.sock")), node.machine.cgroup)
            kubelets.append(stack.enter_context(closing(kubelet)))
            until("CRI answers", kubelet.answers)
        sandboxes = [kubelet.run_pod(Pod("web", f"6f0d-{n}")) for n, kubelet in enumerate(kubelets)]
        addresses = [kubelet.address_of(sandbox) for kubelet, sandbox in zip(kubelets, sandboxes, strict=True)]

        assert len(set(addresses)) == 2
        assert "10.32.0.1" not in addresses
        assert all(address.startswith("10.32.0.") for address in addresses)
        for node, address in zip(nodes, addresses, strict=False):
            assert node.held()[address]["ringipam.netns-id"], "the daemon sees the pod's namespace"
            assert node.execute(daemon, SEES_ALL_NAMESPACES).stdout == "True\n"

        running[0].stop(signal.SIGTERM)
        assert nodes[0].execute(daemon, daemon["readinessProbe"]).returncode != 0
        kubelets[0].stop_pod(sandboxes[0])
        with pytest.raises(grpc.RpcError):
            kubelets[0].run_pod(Pod("early", "6f0d-9"))
        nodes[0].start(daemon)
        until("the pod is released", lambda: addresses[0] not in nodes[0].held())
