"""Broken variants of the core, each with one rule removed or weakened: checkers that miss them prove nothing.

They are switched on from here; nothing in `ringipam` knows of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ringipam.errors import RequestError
from sim.mutants import durability, election, gossip, removal, requests, ring, space
from sim.mutants.mutant import Edit, Explored, Mutant, Shown, edited

__all__ = ["MUTANTS", "Edit", "Explored", "Mutant", "Shown", "applied", "known"]

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for theme in (ring, durability, election, gossip, requests, space, removal)
    for mutant in theme.MUTANTS
}


def known(name: str) -> Mutant:
    """The mutant of that name; raises RequestError."""
    if name not in MUTANTS:
        raise RequestError(f"there is no mutant {name!r}; known are {', '.join(MUTANTS)}")
    return MUTANTS[name]


@contextmanager
def applied(name: str) -> Iterator[None]:
    """The core broken in this way, until the end of the block; with "" as it is."""
    with edited(known(name).edits if name else ()):
        yield
