"""What a kubelet says to a container runtime, in the words of CRI v1 (k8s.io/cri-api, api.proto), over gRPC.

Only the verbs of a pod's sandbox: it is the sandbox that has the pod's network. Messages are written by field
number, since the few that are needed take less room than a generated module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

SERVICE = "/runtime.v1.RuntimeService/"
Field = tuple[int, "bytes | str | int | list[Field]"]


@dataclass(frozen=True)
class Pod:
    """A pod as the API server names it."""

    name: str
    uid: str
    namespace: str = "default"
    attempt: int = 0


class Kubelet:
    """The sandbox verbs of a runtime at `socket`, as the outside sees that path."""

    def __init__(self, socket: str, cgroup: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._cgroup = cgroup

    def close(self) -> None:
        self._channel.close()

    def run_pod(self, pod: Pod) -> str:
        """RunPodSandbox; the sandbox's id. Raises grpc.RpcError with the runtime's words."""
        metadata: list[Field] = [(1, pod.name), (2, pod.uid), (3, pod.namespace), (4, pod.attempt)]
        config: list[Field] = [(1, metadata), (2, pod.name), (8, [(1, f"{self._cgroup}/{pod.uid}")])]
        return text(self._call("RunPodSandbox", [(1, config)])[1][0])

    def stop_pod(self, sandbox: str) -> None:
        self._call("StopPodSandbox", [(1, sandbox)])

    def remove_pod(self, sandbox: str) -> None:
        self._call("RemovePodSandbox", [(1, sandbox)])

    def addresses_of(self, sandbox: str) -> list[str]:
        """PodSandboxStatus.network: ip, and the additional_ips."""
        status = parsed(self._call("PodSandboxStatus", [(1, sandbox)])[1][0])
        network = parsed(status[5][0])
        return [text(network[1][0]), *(text(parsed(more)[1][0]) for more in network.get(2, []))]

    def address_of(self, sandbox: str) -> str:
        (address,) = self.addresses_of(sandbox)
        return address

    def sandboxes(self) -> list[str]:
        return [text(parsed(item)[1][0]) for item in self._call("ListPodSandbox", []).get(1, [])]

    def answers(self) -> bool:
        """The runtime has opened its socket and read its state."""
        try:
            self._call("Status", [])
        except grpc.RpcError:
            return False
        return True

    def network_is_ready(self) -> bool:
        """Status: the condition NetworkReady, which makes a node Ready."""
        conditions = parsed(self._call("Status", [])[1][0])[1]
        named = {text(condition[1][0]): condition for condition in map(parsed, conditions)}
        return bool(named["NetworkReady"].get(2))

    def _call(self, verb: str, message: list[Field]) -> dict[int, list[Any]]:
        call = self._channel.unary_unary(SERVICE + verb, None, None)
        return parsed(call(encoded(message), timeout=30, wait_for_ready=True))


def encoded(fields: list[Field]) -> bytes:
    """Protocol buffers' wire format: varints and length-delimited fields are all that CRI needs here."""
    return b"".join(_encoded(number, value) for number, value in fields)


def _encoded(number: int, value: bytes | str | int | list[Field]) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    body = encoded(value) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def parsed(data: bytes) -> dict[int, list[Any]]:
    """The fields of a message by number: integers, or bytes to be parsed again."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value: int | bytes
        value, at = _read_varint(data, at)
        if key & 7 == 2:
            value, at = data[at : at + int(value)], at + int(value)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def text(value: Any) -> str:
    return bytes(value).decode()
