"""Long fuzzing with coverage guidance: `python tests/fuzz/campaign.py SECONDS TARGET…` (see `make fuzz`).

Each target runs in a process of its own, as libFuzzer ends its process. What was learnt stays in .state/fuzz/TARGET and
is where the next campaign begins; an input that breaks something stays in tests/fuzz/found/TARGET, and `make test`
tries it for ever after. Where a real daemon is fuzzed, the seed that is printed brings a failure back.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType

HERE = Path(__file__).parent
FOUND = HERE / "found"
LEARNT = HERE.parent.parent / ".state" / "fuzz"
SEED = 20_261_121
INPUT_BYTES_MAX = 8_192
HANG_S = 20
MEMORY_MB_MAX = 2_048

COVERED = {
    "codec": ("ringipam/codec/*", "ringipam/messages.py"),
    "peer": ("ringipam/core/*", "ringipam/gossip/*", "ringipam/ring/*"),
    "http": ("ringipam/server/*",),
    "cni": ("ringipam/integrations/cni/*",),
    "config": ("ringipam/config.py", "ringipam/address.py", "ringipam/cli/*"),
}
"""The targets led by coverage, and what each is to reach."""
SERVED = {"served": "test_served.py", "launch": "test_launched.py"}
"""Those on a real daemon, which runs elsewhere and shows no coverage: their tests again and again, with new seeds."""
SERVED_EXAMPLES = 200
INSTRUMENTED = ["ringipam", "tomllib", "argparse"]


def main(arguments: list[str]) -> int:
    """The exit status: 1 if a target found something."""
    if arguments[0] == "--guided":
        _guided(arguments[1], int(arguments[2]))
    if arguments[0] == "--replay":
        _replay(arguments[1])
        return 0
    campaigns = {**dict.fromkeys(COVERED, _campaign), **dict.fromkeys(SERVED, _repeat)}
    failed = [name for name in arguments[1:] or campaigns if not campaigns[name](name, int(arguments[0]))]
    for name in failed:
        print(f"{name}: found something, see {FOUND / name} and the output above", file=sys.stderr)
    return bool(failed)


def _campaign(name: str, seconds: int) -> bool:
    """Fuzz one target and say what was covered; whether it stood."""
    print(f"── {name}: {seconds} s", flush=True)
    _plant(name)
    done = subprocess.run([sys.executable, __file__, "--guided", name, str(seconds)], check=False)
    coverage = [sys.executable, "-m", "coverage"]
    data = f"--data-file={LEARNT / f'{name}.coverage'}"
    subprocess.run([*coverage, "run", data, __file__, "--replay", name], check=False)
    subprocess.run([*coverage, "report", data, f"--include={','.join(COVERED[name])}"], check=False)
    return done.returncode == 0


def _repeat(name: str, seconds: int) -> bool:
    """Run a file of tests with one seed after another; whether all stood."""
    print(f"── {name}: {seconds} s", flush=True)
    end, seed = time.monotonic() + seconds, SEED
    environment = {**os.environ, "FUZZ_EXAMPLES": str(SERVED_EXAMPLES)}
    while time.monotonic() < end:
        tests = [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", str(HERE / SERVED[name])]
        print(f"{name}: seed {seed}, {SERVED_EXAMPLES} examples of each test", flush=True)
        if subprocess.run(tests, env=environment, check=False).returncode:
            return False
        seed += 1
    return True


def _plant(name: str) -> None:
    """Write the seeds where libFuzzer looks for inputs."""
    (LEARNT / name).mkdir(parents=True, exist_ok=True)
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    for seed in _target(name).seeds():
        (LEARNT / name / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


def _replay(name: str) -> None:
    """Run everything that was learnt or found once more, to measure what it covers."""
    target = _target(name)
    inputs = [*(LEARNT / name).iterdir(), *(FOUND / name).iterdir()]
    for path in sorted(inputs):
        try:
            target.check(path.read_bytes())
        except Exception as error:
            print(f"{path}: {error!r}")


def _guided(name: str, seconds: int) -> None:
    """Fuzz until the time is up or something breaks; ends this process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        target = _target(name)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        if Random(seed).random() < 0.5:
            return atheris.Mutate(data, size_max)  # type: ignore[no-any-return]
        return bytes(target.mutate(data, seed)[:size_max])

    options = {
        "max_total_time": seconds,
        "max_len": INPUT_BYTES_MAX,
        "timeout": HANG_S,
        "rss_limit_mb": MEMORY_MB_MAX,
        "seed": SEED,
        "artifact_prefix": f"{FOUND / name}{os.sep}",
        "print_final_stats": 1,
        "len_control": 20,
    }
    arguments = [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(LEARNT / name)]
    atheris.Setup(arguments, target.check, custom_mutator=mutate)
    atheris.Fuzz()


def _target(name: str) -> ModuleType:
    return import_module(f"{name}_target")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
