"""One peer under test, and hand-made messages from others: for rules that one message can break."""

from __future__ import annotations

from ringipam.address import parse_address, parse_cidr
from ringipam.config import parse_init
from ringipam.core.durable import Stored
from ringipam.core.events import (
    Allocate,
    Answer,
    Asked,
    ClaimAddress,
    DeadlinePassed,
    Dial,
    Effect,
    Event,
    Leased,
    LinkDown,
    LinkUp,
    Persist,
    Received,
    Reply,
    Send,
    Verb,
)
from ringipam.core.identity import mark_of
from ringipam.core.peer import Peer
from ringipam.core.rng import Rng
from ringipam.core.settings import Settings
from ringipam.lease import Lease
from ringipam.messages import Body, Envelope, Grant, Hello, SpaceRequest

ME = "me.00000000aaaa"


class Solo:
    """Carries out effects at once: every commit succeeds, sends and answers are kept to be looked at."""

    def __init__(self, universe: str = "10.0.0.0/24", init: str | None = "alone", dial: tuple[str, ...] = ()) -> None:
        self.universe = universe
        self.now = 1_000_000
        self.settings = Settings(
            peer=ME,
            universe=parse_cidr(universe),
            subnet=parse_cidr(universe),
            address="me:6783",
            init=parse_init(init, dial),
            dial=dial,
        )
        self.stored = Stored()
        self.answers: dict[int, Answer] = {}
        self.sent: list[tuple[str, Body]] = []
        self.effects: list[Effect] = []
        self.dialled: list[str] = []
        self._links: dict[str, int] = {}
        self._greeted: dict[int, str] = {}
        self._requests = 0
        self._starts = 0
        self.restart()

    def restart(self) -> None:
        """A crash and a start from what was durable; links are gone."""
        self._links.clear()
        self._starts += 1
        self.peer = Peer(self.settings, self.stored, Rng(self._starts), self.now)
        self._carry_out(self.peer.start(self.now))

    def step(self, event: Event) -> list[Effect]:
        if isinstance(event, Received) and isinstance(event.message, Hello):
            self._greeted[event.link] = event.message.peer
        effects = self.peer.step(event, self.now)
        self._carry_out(effects)
        return effects

    def _carry_out(self, effects: list[Effect]) -> None:
        self.effects = effects
        for effect in effects:
            match effect:
                case Persist(changes):
                    for change in changes:
                        self.stored.apply(change)
                case Send(link, Envelope(target=target, body=body)):
                    self.sent.append((target or self._greeted[link], body))
                case Reply(request, answer):
                    self.answers[request] = answer
                case Dial(address):
                    self.dialled.append(address)
                case _:
                    pass

    def mark(self, cluster: str | None = None, universe: str | None = None) -> bytes:
        """What stands in an envelope of a ring; by default the peer's own."""
        said = self.peer.cluster if cluster is None else cluster
        return mark_of(said, parse_cidr(universe or self.universe))

    def wait(self, ms: int) -> None:
        """Let time pass, waking the peer at its deadlines."""
        end = self.now + ms
        while (due := self.peer.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.step(DeadlinePassed())
        self.now = end

    def meet(
        self, peer: str, cluster: str | None = None, *, dialled: str = "", universe: str | None = None
    ) -> list[Effect]:
        """A link to `peer` comes up and it greets; by default it belongs to the same ring."""
        link = self._links[peer] = len(self._links) + 1
        self.step(LinkUp(link, dialled, "192.0.2.9"))
        said = self.peer.cluster if cluster is None else cluster
        hello = Hello(1, 1, peer, universe or self.universe, said, f"{peer}:6783", 1, False, 1)
        return self.step(Received(link, hello))

    def lose(self, peer: str) -> list[Effect]:
        """The link to `peer` breaks."""
        return self.step(LinkDown(self._links[peer], "connection reset"))

    def hear(self, peer: str, body: Body, *, cluster: str | None = None, universe: str | None = None) -> list[Body]:
        """What the peer answers to a message of `peer`."""
        self.sent.clear()
        self.step(Received(self._links[peer], Envelope(self.mark(cluster, universe), body)))
        return [sent for target, sent in self.sent if target == peer]

    def ask(self, verb: Verb) -> int:
        """Put a request; its answer, once there, stands in `answers` under the number returned."""
        self._requests += 1
        self.step(Asked(self._requests, verb))
        return self._requests

    def answer(self, verb: Verb) -> Answer:
        return self.answers[self.ask(verb)]

    def allocate(self, holder: str, subnet: str | None = None) -> Lease:
        answer = self.answer(Allocate(holder, parse_cidr(subnet) if subnet else None, 5_000))
        assert isinstance(answer, Leased), answer
        return answer.lease

    def sent_to(self, peer: str) -> list[Body]:
        return [body for target, body in self.sent if target == peer]


def claim(
    holder: str, address: str, length: int = 24, *, outside: bool = False, timeout_ms: int = 5_000
) -> ClaimAddress:
    family, number = parse_address(address)
    return ClaimAddress(holder, family, number, length, timeout_ms, outside)


def ip(text: str) -> int:
    return parse_address(text)[1]


def request(number: int, solo: Solo, *, want: int = 16, urgent: bool = True, exact: str | None = None) -> SpaceRequest:
    start, end = solo.settings.universe.issuable
    if exact is not None:
        start, end = ip(exact), ip(exact) + 1
    return SpaceRequest(number, start, end, want, exact is not None, urgent, 1_000)


def granted(answers: list[Body]) -> Grant:
    grants = [answer for answer in answers if isinstance(answer, Grant)]
    assert len(grants) == 1, answers
    return grants[0]
