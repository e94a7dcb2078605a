"""Executes CNI plugins as a container runtime does and times each, from exec to exit: a small process with one thread.

Told on standard input, answers on standard output, both JSON (benchmarks/cni.py). Imports nothing that is not needed,
and starts children by posix_spawn, which unlike fork takes no longer from a large process.
"""

import json
import os
import sys
import time


def execute(plugin: dict, command: str, container: str) -> tuple[float, bytes]:
    """Milliseconds until it has ended and everything it said was read, and what it said."""
    env = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/proc/{os.getpid()}/ns/net",
        "CNI_NETNS_OVERRIDE": "1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": os.path.dirname(plugin["program"]),
        "PATH": os.environ["PATH"],
    }
    out, out_of_plugin = os.pipe()
    actions = [(os.POSIX_SPAWN_OPEN, 0, plugin["config"], os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, out_of_plugin, 1)]
    begin = time.perf_counter()
    process = os.posix_spawn(plugin["program"], [plugin["program"]], env, file_actions=actions)
    os.close(out_of_plugin)
    said = b""
    while part := os.read(out, 65536):
        said += part
    _, status = os.waitpid(process, 0)
    elapsed_ms = (time.perf_counter() - begin) * 1e3
    os.close(out)
    if status:
        raise SystemExit(f"{plugin['program']} {command} {container}: {said.decode(errors='replace')}")
    return elapsed_ms, said


def in_turns(plugins: dict, caller: str, samples: int) -> dict:
    """Each plugin adds a container and each removes it, over and over, in turns; times by plugin and verb."""
    times: dict = {name: {"ADD": [], "DEL": []} for name in plugins}
    names = list(plugins)
    for sample in range(samples):
        names.reverse()
        for command in ("ADD", "DEL"):
            for name in names:
                times[name][command].append(execute(plugins[name], command, f"{caller}-{sample}")[0])
    return times


def starts(plugins: dict, samples: int) -> dict:
    """What each takes to say which versions it speaks, in turns; times by plugin."""
    times: dict = {name: [] for name in plugins}
    for _ in range(samples):
        for name, plugin in plugins.items():
            times[name].append(execute(plugin, "VERSION", "c")[0])
    return times


def churn(plugin: dict, caller: str, containers: int, per_second: float, lifetime: int) -> dict:
    """Containers that come at a steady pace, each removed when `lifetime` more have come; with the address of each."""
    times: dict = {"ADD": [], "DEL": [], "held": []}
    held: dict = {}
    begin = time.perf_counter()
    for tick in range(containers + lifetime):
        time.sleep(max(0.0, begin + tick / per_second - time.perf_counter()))
        if tick < containers:
            elapsed_ms, said = execute(plugin, "ADD", f"{caller}-{tick}")
            times["ADD"].append(elapsed_ms)
            held[tick] = (json.loads(said)["ips"][0]["address"], time.perf_counter())
        if tick >= lifetime:
            address, since = held.pop(tick - lifetime)
            times["held"].append((address, since, time.perf_counter()))
            times["DEL"].append(execute(plugin, "DEL", f"{caller}-{tick - lifetime}")[0])
    return times


if __name__ == "__main__":
    told = json.load(sys.stdin)
    json.dump({"in_turns": in_turns, "starts": starts, "churn": churn}[told.pop("do")](**told), sys.stdout)
