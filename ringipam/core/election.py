"""How the first members agree on who they are: single-decree Paxos (Lamport, "Paxos Made Simple", 2001).

Acceptor state is durable before it is sent. A ballot carries its terms, and an acceptor answers only its own
(safety.md S5): `consensus=N` needs a majority of at most N initial hosts, the default needs every listed one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringipam.config import Mode
from ringipam.core.durable import PutAcceptor
from ringipam.core.identity import seeded_founding
from ringipam.core.links import Links
from ringipam.core.routing import Router
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State
from ringipam.messages import COUNTER_MAX, Accept, Accepted, Ballot, Founding, Nudge, Prepare, Promise, Rejected, Terms
from ringipam.ring.shares import split

NO_BALLOT = Ballot(0, "")


@dataclass(slots=True)
class _Proposal:
    ballot: Ballot
    terms: Terms
    hurry_ms: int
    """From when on a quorum is enough and no more electors are waited for."""
    promises: dict[str, Promise] = field(default_factory=dict)
    value: Founding | None = None
    accepted: set[str] = field(default_factory=set)


class Election:
    """Dormant until an address is needed here, and for ever once there is a ring."""

    def __init__(self, state: State, links: Links, router: Router) -> None:
        self._state = state
        self._links = links
        self._router = router
        self._init = state.settings.init
        self._proposal: _Proposal | None = None
        self._round = 0
        self._due_ms: int | None = None
        self.wanted = False

    def start(self) -> None:
        """Found at once what needs nobody's consent: a ring of one, or a seeded one."""
        state = self._state
        if state.cluster or state.rejoining:
            return
        if self._init.mode is Mode.ALONE:
            self._found(Founding(state.rng.token(16).lower(), (state.me,)))
        elif self._init.mode is Mode.SEED:
            self._found(seeded_founding(self._init, state.universe))

    def want(self) -> None:
        """Somebody needs an address."""
        if not self.wanted and not self._state.cluster:
            self.wanted = True
            self._due_ms = self._state.now

    @property
    def deadline(self) -> int:
        if self._state.cluster or not self.wanted:
            return NEVER
        due = NEVER if self._due_ms is None else self._due_ms
        if self._proposal is not None and self._proposal.value is None and self._enough(self._proposal):
            due = min(due, self._proposal.hurry_ms)
        return due

    def tick(self) -> None:
        state = self._state
        if state.cluster or not self.wanted:
            return
        proposal = self._proposal
        if proposal is not None and state.now >= proposal.hurry_ms:
            self._propose_value(proposal)
        if self._due_ms is not None and state.now >= self._due_ms:
            # Rivals that keep outbidding each other part by chance.
            self._due_ms = state.now + state.settings.election_ms * 2 + state.rng.below(state.settings.election_ms * 2)
            self._campaign()

    def explain(self) -> str:
        """Why there is no ring yet, and what would help."""
        if self._state.rejoining:
            return "this host rejoins and waits for a link to a peer that has the ring: `ringipam connect` one"
        if self._init.mode is Mode.OBSERVER:
            return "an observer waits for the others to form the ring, or for a link to a peer that has one"
        if self._init.mode is Mode.LISTED:
            missing = [address for address, peer in self._links.configured().items() if not self._linked(peer)]
            if missing:
                return f"every listed peer must agree; not met yet: {', '.join(missing)}"
            return "every listed peer must agree"
        need = self._init.electors // 2 + 1
        known = 1 + len(self._electors())
        return f"consensus of {self._init.electors} needs {need} hosts, {known} known"

    # ── proposer ─────────────────────────────────────────────────────────────────────────────────

    def _linked(self, peer: str) -> bool:
        return self._links.link_to(peer) is not None

    def _electors(self) -> list[str]:
        """Who may take part besides this peer: linked, without a ring, no observer."""
        return [
            peer
            for peer in self._links.linked()
            if not self._links.hello(peer).cluster and not self._links.hello(peer).observer
        ]

    def _terms(self) -> Terms | None:
        """On what terms this peer votes; None while it cannot know its electorate."""
        if self._state.rejoining:
            return None
        if self._init.mode is Mode.CONSENSUS:
            return Terms("consensus", self._init.electors, ())
        if self._init.mode is not Mode.LISTED:
            return None
        listed = list(self._links.configured().values())
        if not all(self._linked(peer) for peer in listed):
            return None
        acceptors = {self._state.me, *(peer for peer in listed if not self._links.hello(peer).observer)}
        return Terms("listed", len(acceptors), tuple(sorted(acceptors)))

    def _quorum(self, terms: Terms) -> int:
        return terms.electors // 2 + 1 if terms.mode == "consensus" else terms.electors

    def _enough(self, proposal: _Proposal) -> bool:
        return len(proposal.promises) >= self._quorum(proposal.terms)

    def _campaign(self) -> None:
        state = self._state
        for peer in self._links.linked():
            if self._init.mode is Mode.OBSERVER and not self._links.hello(peer).cluster:
                self._router.send(peer, Nudge())
        terms = self._terms()
        self._proposal = None
        if terms is None:
            return
        promised = state.acceptor.promised if state.acceptor else NO_BALLOT
        self._round = max(self._round, promised.round) + 1
        ballot = Ballot(self._round, state.me)
        wait = state.settings.election_ms
        self._proposal = _Proposal(ballot, terms, state.now + wait)
        prepare = Prepare(ballot, terms)
        for peer in self._electors():
            self._router.send(peer, prepare)
        answer = self._prepare(prepare)
        if isinstance(answer, Promise):
            self.promised(state.me, answer)

    def promised(self, sender: str, promise: Promise) -> None:
        proposal = self._proposal
        if proposal is None or promise.ballot != proposal.ballot or proposal.value is not None:
            return
        if proposal.terms.mode == "listed" and sender not in proposal.terms.acceptors:
            return
        proposal.promises[sender] = promise
        if len(proposal.promises) >= proposal.terms.electors:
            self._propose_value(proposal)

    def _propose_value(self, proposal: _Proposal) -> None:
        if proposal.value is not None or not self._enough(proposal):
            return
        state = self._state
        accepted = [(p.accepted_ballot, p.accepted) for p in proposal.promises.values() if p.accepted_ballot]
        if accepted:
            # The one rule of Paxos: a value that may have been chosen is proposed again.
            proposal.value = max(accepted, key=lambda pair: pair[0])[1]
        else:
            members = sorted(proposal.promises)[: proposal.terms.electors]
            proposal.value = Founding(state.rng.token(16).lower(), tuple(members))
        assert proposal.value is not None
        accept = Accept(proposal.ballot, proposal.terms, proposal.value)
        for peer in self._electors():
            self._router.send(peer, accept)
        answer = self._accept(accept)
        if isinstance(answer, Accepted):
            self.accepted(state.me, answer)

    def accepted(self, sender: str, message: Accepted) -> None:
        proposal = self._proposal
        if proposal is None or message.ballot != proposal.ballot or proposal.value is None:
            return
        if proposal.terms.mode == "listed" and sender not in proposal.terms.acceptors:
            return
        proposal.accepted.add(sender)
        if len(proposal.accepted) >= self._quorum(proposal.terms):
            self._found(proposal.value)

    def rejected(self, sender: str, message: Rejected) -> None:
        if self._proposal is None or message.ballot != self._proposal.ballot:
            return
        if message.promised is not None and message.promised.round < COUNTER_MAX:
            self._round = max(self._round, message.promised.round)
        if message.reason:
            self._state.warn(f"election {sender}", f"{name_of(sender)} does not accept the election: {message.reason}")

    # ── acceptor ─────────────────────────────────────────────────────────────────────────────────

    def received(self, sender: str, message: Prepare | Accept | Nudge) -> None:
        if self._state.cluster:
            return  # whoever knows a ring ends an election: our Hello carried it
        match message:
            case Nudge():
                if self._init.mode is not Mode.OBSERVER:
                    self.want()
            case Prepare():
                self._router.send(sender, self._objection(message) or self._prepare(message))
            case Accept():
                self._router.send(sender, self._objection(message) or self._accept(message))

    def _objection(self, message: Prepare | Accept) -> Rejected | None:
        if message.ballot.round >= COUNTER_MAX:
            return Rejected(message.ballot, None, f"no correct host gets to round {message.ballot.round}")
        mine = self._terms()
        if mine == message.terms:
            self._state.warnings.pop("election", None)
            return None
        if mine is None and self._init.mode is Mode.LISTED:
            return Rejected(message.ballot, None, f"{self._state.settings.name} has not met all its listed peers yet")
        said = _describe(message.terms)
        own = _describe(mine) if mine else f"--init {self._init.mode.value}"
        self._state.warn("election", f"{name_of(message.ballot.proposer)} holds an election of {said}, not {own}")
        return Rejected(message.ballot, None, f"{self._state.settings.name} was launched for {own}, not {said}")

    def _prepare(self, message: Prepare) -> Promise | Rejected:
        state = self._state
        mine = state.acceptor or PutAcceptor(NO_BALLOT, None, None)
        if message.ballot < mine.promised:
            return Rejected(message.ballot, mine.promised, "")
        self._remember(PutAcceptor(message.ballot, mine.accepted_ballot, mine.accepted))
        if message.ballot.proposer != state.me and self._due_ms is not None:
            # Let that proposer finish: many hosts that outbid each other never do.
            wait = state.settings.election_ms
            self._due_ms = max(self._due_ms, state.now + 2 * wait + state.rng.below(4 * wait))
        return Promise(message.ballot, mine.accepted_ballot, mine.accepted)

    def _accept(self, message: Accept) -> Accepted | Rejected:
        mine = self._state.acceptor or PutAcceptor(NO_BALLOT, None, None)
        if message.ballot < mine.promised:
            return Rejected(message.ballot, mine.promised, "")
        self._remember(PutAcceptor(message.ballot, message.ballot, message.value))
        return Accepted(message.ballot)

    def _remember(self, acceptor: PutAcceptor) -> None:
        """Durable before it is sent: an acceptor that forgets lets two quorums decide (weave's paxos_test)."""
        self._state.acceptor = acceptor
        self._state.change(acceptor)

    # ── the ring begins ──────────────────────────────────────────────────────────────────────────

    def _found(self, founding: Founding) -> None:
        state = self._state
        state.found(founding.cluster, split(state.universe.range, founding.members))
        state.log("info", f"formed the ring {founding.cluster} of {', '.join(map(name_of, founding.members))}")
        self._done()

    def adopt(self, cluster: str, source: str) -> None:
        """Join the ring of a peer that has one; what it looks like comes by anti-entropy."""
        self._state.found(cluster, ())
        self._state.log("info", f"joining the ring {cluster} of {source}")
        self._done()

    def _done(self) -> None:
        self._proposal = None
        self.wanted = False
        for key in [key for key in self._state.warnings if key.startswith("election")]:
            del self._state.warnings[key]
        self._links.greet_all()


def _describe(terms: Terms) -> str:
    if terms.mode == "consensus":
        return f"--init consensus={terms.electors}"
    return f"the listed peers {', '.join(map(name_of, terms.acceptors))}"
