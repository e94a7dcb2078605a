"""How a runtime calls CNI plugins: the steps of libcni 1.2 (api.go, pkg/invoke), for verbs that no packaged one has.

Podman and containerd on Debian 12 carry libcni 1.1, which knows neither STATUS nor GC nor version 1.1.0. This one does:
it builds each plugin's configuration from the list, keeps results and hands them on as prevResult, takes plugins
in reverse at DEL, and turns GC into the DELs of what its cache alone knows. It trusts no answer: standard output of a
failure must be an error object, that of DEL, CHECK, STATUS and GC must be empty.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import Any

from machine import Machine

Json = dict[str, Any]
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")


class PluginError(Exception):
    """What a plugin refused: `code`, `msg`, `details` of SPEC section 5, "Error"."""

    def __init__(self, plugin: str, exit_status: int, error: Json) -> None:
        super().__init__(f"{plugin} exited {exit_status}: {error}")
        self.code: int = error["code"]
        self.msg: str = error["msg"]
        self.cni_version = error.get("cniVersion")


@dataclass(frozen=True)
class Attachment:
    """A container's interface in one network, with what the runtime tells besides."""

    container: str
    netns: str = ""
    ifname: str = "eth0"
    args: str = ""
    capabilities: Json = field(default_factory=dict)


@dataclass
class Runtime:
    """libcni.CNIConfig on a machine, for one network list."""

    machine: Machine
    network: Json
    path: str = "/opt/cni/bin"
    cache: dict[tuple[str, str], tuple[Attachment, Json]] = field(default_factory=dict)

    def add(self, attachment: Attachment) -> Json:
        """AddNetworkList: the last plugin's result, kept for CHECK, DEL and GC."""
        result: Json | None = None
        for plugin in self.network["plugins"]:
            config = self._config(plugin, attachment, result)
            result = json.loads(self._exec(plugin["type"], "ADD", config, attachment))
        assert result is not None
        self.cache[attachment.container, attachment.ifname] = (attachment, result)
        return result

    def check(self, attachment: Attachment) -> None:
        """CheckNetworkList."""
        result = self._cached(attachment)
        for plugin in self.network["plugins"]:
            self._silent(plugin["type"], "CHECK", self._config(plugin, attachment, result), attachment)

    def delete(self, attachment: Attachment) -> None:
        """DelNetworkList: the plugins in reverse, with the kept result from version 0.4.0 on."""
        result = self._cached(attachment) if self._version() >= (0, 4, 0) else None
        for plugin in reversed(self.network["plugins"]):
            self._silent(plugin["type"], "DEL", self._config(plugin, attachment, result), attachment)
        self.cache.pop((attachment.container, attachment.ifname), None)

    def status(self) -> None:
        """GetStatusNetworkList."""
        for plugin in self.network["plugins"]:
            self._silent(plugin["type"], "STATUS", self._config(plugin), None)

    def collect_garbage(self, valid: list[Attachment]) -> None:
        """GCNetworkList: a DEL for what is cached and not valid, then GC of every plugin."""
        listed = [{"containerID": a.container, "ifname": a.ifname} for a in valid]
        for attachment, _ in list(self.cache.values()):
            if {"containerID": attachment.container, "ifname": attachment.ifname} not in listed:
                self.delete(attachment)
        told = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
        for plugin in self.network["plugins"]:
            self._silent(plugin["type"], "GC", self._config(plugin) | told, None)

    def version(self, plugin: str) -> Json:
        """GetVersionInfo: what the plugin speaks, asked with dummies for what it must not look at."""
        dummies = {
            "CNI_NETNS": "dummy",
            "CNI_IFNAME": "dummy",
            "CNI_PATH": "dummy",
            "CNI_CONTAINERID": "",
            "CNI_ARGS": "",
        }
        shown = self._run(plugin, {"CNI_COMMAND": "VERSION", **dummies}, {"cniVersion": VERSIONS[-1]})
        return dict(json.loads(shown))

    # ── one execution ────────────────────────────────────────────────────────────────────────────

    def _version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.network["cniVersion"].split("."))

    def _cached(self, attachment: Attachment) -> Json | None:
        kept = self.cache.get((attachment.container, attachment.ifname))
        return kept[1] if kept else None

    def _config(self, plugin: Json, attachment: Attachment | None = None, result: Json | None = None) -> Json:
        """buildOneConfig: the plugin's own part, with name, version, result and what its capabilities admit."""
        config = plugin | {"name": self.network["name"], "cniVersion": self.network["cniVersion"]}
        if result is not None:
            config["prevResult"] = result
        if attachment is not None:
            asked = plugin.get("capabilities", {})
            admitted = {key: value for key, value in attachment.capabilities.items() if asked.get(key)}
            if admitted:
                config["runtimeConfig"] = admitted
        return config

    def _silent(self, plugin: str, verb: str, config: Json, attachment: Attachment | None) -> None:
        said = self._exec(plugin, verb, config, attachment)
        assert said == "", f"{verb} of {plugin} printed {said!r}"

    def _exec(self, plugin: str, verb: str, config: Json, attachment: Attachment | None) -> str:
        known = attachment or Attachment(container="", ifname="")
        return self._run(
            plugin,
            {
                "CNI_COMMAND": verb,
                "CNI_CONTAINERID": known.container,
                "CNI_NETNS": known.netns,
                "CNI_IFNAME": known.ifname,
                "CNI_ARGS": known.args,
                "CNI_PATH": self.path,
            },
            config,
        )

    def _run(self, plugin: str, environment: dict[str, str], config: Json) -> str:
        """ExecPlugin; raises PluginError for an error object, and fails for anything else that is no answer."""
        set_to = [f"{key}={value}" for key, value in environment.items()]
        done = subprocess.run(
            [*self.machine.inside, "env", *set_to, f"{self.path}/{plugin}"],
            input=json.dumps(config),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise PluginError(plugin, done.returncode, json.loads(done.stdout or json.dumps({"msg": done.stderr})))
        return done.stdout
