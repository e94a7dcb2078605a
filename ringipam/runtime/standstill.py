"""What a node still tells while its disk fails: the last durable state. Takes nothing in, promises nothing."""

from __future__ import annotations

from ringipam.core.durable import Stored
from ringipam.core.events import Asked, Leases, Reply, Show, Verb, View
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.errors import RingIpamError, StoreError
from ringipam.runtime.driver import Outcome


class Standstill:
    """A peer made of what is durable and never started: it can be looked at, no more (safety.md S14, S15).

    The peer that failed may have been ahead of the disk, and what can be read of the database may have failed to
    reach the disk. The state after the last commit that succeeded is neither.
    """

    def __init__(self, settings: Settings, durable: Stored, now: int) -> None:
        self._peer = Peer(settings, durable, Rng(0), now)
        self._now = now

    def answer(self, verb: Verb, failure: StoreError) -> Outcome:
        """What can be told of `verb`; raises `failure` for what needs the disk, or other hosts."""
        if not _can_be_told(verb):
            raise failure
        effects = self._peer.step(Asked(0, verb), self._now)
        told = next(effect.answer for effect in effects if isinstance(effect, Reply))
        if isinstance(told, RingIpamError):
            raise told
        if _viewed(verb) is Show.STATUS:
            assert isinstance(told, dict)
            told |= {
                "state": "refusing",
                "reason": failure.message,
                "serving": False,
                "peers": {"alive": 0, "suspect": 0, "dead": 0},  # no connection stands
            }
        return told


def _can_be_told(verb: Verb) -> bool:
    """The health of peers is on no disk, and the leases of other hosts are on theirs."""
    view = _viewed(verb)
    return (view is not None and view is not Show.PEERS) or (isinstance(verb, Leases) and not verb.cluster)


def _viewed(verb: Verb) -> Show | None:
    return verb if isinstance(verb, Show) else verb.what if isinstance(verb, View) else None
