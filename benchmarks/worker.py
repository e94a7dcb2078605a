"""A load generator in a process of its own, so that what it does costs the measured process nothing.

Both sides speak one JSON object a line: the parent asks on the child's standard input, the child answers on its
standard output, the first time unasked when it is ready.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Worker:
    """The parent's side. Raises RuntimeError if the child ends, which then has said why on standard error."""

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._name = " ".join(command)
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        self.pid = self._process.pid
        self.ready = self._answer()

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: there is no answer to read either
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.kill()
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def python(module: str, *arguments: object) -> Worker:
    """A worker that is a module of this package."""
    return Worker([sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)])


def say(answer: dict[str, Any]) -> None:
    """The child's side: one line to the parent."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The child's side: answer until the parent has heard enough."""
    say({})
    for line in sys.stdin:
        say(answer(json.loads(line)))
