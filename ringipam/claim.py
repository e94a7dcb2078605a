"""The value the ring holds for every address, and the closed ranges that carry it."""

from __future__ import annotations

from typing import NamedTuple


class Claim(NamedTuple):
    """Who owns an address, since which stamp, by whose word (docs/design.md, "The ring").

    The order of the fields *is* the total order of the join: comparing two claims as tuples gives the newer.
    Owner and writer take part so that the join is total; between correct peers a stamp alone decides.
    """

    epoch: int
    version: int
    owner: str
    writer: str

    @property
    def stamp(self) -> tuple[int, int]:
        return self.epoch, self.version


NOBODY = Claim(0, 0, "", "")
"""What is known of an address of which nothing is known: older than every claim."""


class Segment(NamedTuple):
    """A closed range: `[start, end)` and the one claim that holds for all of it.

    Deltas are made of these, never of a token whose end the receiver has to guess.
    """

    start: int
    end: int
    claim: Claim
