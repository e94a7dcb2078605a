"""A broken variant of the core: what it does wrong, who must notice, and how it is switched on and off again.

The core knows nothing of this. An edit takes the source of one of its functions, puts other words in one place, and
lends the function the code that follows; afterwards it has its own again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import dedent
from types import CodeType, FunctionType
from typing import Any, NamedTuple


class Edit(NamedTuple):
    """In the source of one function, `old`, which stands there once, is replaced by `new`."""

    of: Callable[..., Any] | property
    old: str
    new: str


class Shown(NamedTuple):
    """A run that is known to catch a mutant, as short as can be."""

    seed: int
    seconds: int = 40
    hosts: int = 5
    faults: str = "swarm"


class Explored(NamedTuple):
    """A small world in which exploration finds a mutant by itself."""

    world: str
    steps: int
    """How long the shortest way to it is."""
    found: str
    """What is found, in a few of its words."""
    ends_well: bool = False
    """Whether it takes a look at how everything ends."""


FIRST = Shown(0)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule removed or weakened."""

    name: str
    rule: str
    """The rule of the protocol that it breaks, or weave's bug that it brings back."""
    does: str
    caught_by: tuple[str, ...]
    """The checkers that may be the first to notice; `exception` where the core itself must raise."""
    edits: tuple[Edit, ...]
    shown: Shown = FIRST
    standard: bool = True
    """Whether the standard swarm shows it; else it is hunted where `shown` is."""
    explored: Explored | None = None
    """Where it is looked for instead of in seeds."""


@contextmanager
def edited(edits: Sequence[Edit]) -> Iterator[None]:
    """The core with these edits; raises ValueError, before any change, on one that does not fit it any more."""
    functions: dict[FunctionType, list[Edit]] = {}
    for edit in edits:
        functions.setdefault(_function(edit), []).append(edit)
    broken = {function: _compiled(function, edits) for function, edits in functions.items()}
    own = {function: function.__code__ for function in functions}
    try:
        for function, code in broken.items():
            function.__code__ = code
        yield
    finally:
        for function, code in own.items():
            function.__code__ = code


def _function(edit: Edit) -> FunctionType:
    function = edit.of.fget if isinstance(edit.of, property) else edit.of
    assert isinstance(function, FunctionType)
    return function


def _compiled(function: FunctionType, edits: Sequence[Edit]) -> CodeType:
    source = dedent(inspect.getsource(function))
    name = function.__qualname__
    for edit in edits:
        if source.count(edit.old) != 1:
            raise ValueError(f"{edit.old!r} does not stand once in {name}")
        source = source.replace(edit.old, edit.new)
    module = compile(f"from __future__ import annotations\n{source}", f"<{name}, broken>", "exec")
    codes = [code for code in module.co_consts if isinstance(code, CodeType) and code.co_name == function.__name__]
    if len(codes) != 1 or codes[0].co_freevars != function.__code__.co_freevars:
        raise ValueError(f"{name} cannot be edited: it is not a plain function")
    return codes[0]
