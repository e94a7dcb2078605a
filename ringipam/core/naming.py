"""Which peer an operator means: by peer id, by name where that is unique, or by `name.uid-prefix`."""

from __future__ import annotations

from collections.abc import Iterable

from ringipam.core.settings import name_of
from ringipam.errors import NotFoundError
from ringipam.gossip.membership import Membership


def matching(peers: Iterable[str], said: str) -> list[str]:
    """Those meant by what was said: the only one of that id or name, else all that it may stand for."""
    matches = sorted(peer for peer in peers if peer.startswith(said) and len(said) >= len(name_of(peer)))
    exact = [peer for peer in matches if said in (peer, name_of(peer))]
    return exact if len(exact) == 1 else matches


def ambiguous(said: str, matches: list[str]) -> NotFoundError:
    return NotFoundError(f"{said} may be {', '.join(matches)}: name one of them", peers=matches)


def resolved(members: Membership, said: str) -> str | NotFoundError:
    """The member meant; one that is gone only if no other is."""
    everybody = [member.peer for member in members.all()]
    present = [peer for peer in everybody if not members.gone(peer)]
    matches = matching(present, said) or matching(everybody, said)
    if len(matches) > 1:
        return ambiguous(said, matches)
    return matches[0] if matches else NotFoundError(f"no peer {said} is known")
