"""The connections to other peers: whom to dial and when, who is at the other end, whom to refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringipam.config import PORT_DEFAULT, format_endpoint, parse_endpoint
from ringipam.core.events import Close, Dial, LinkUp, Send
from ringipam.core.settings import NEVER, name_of
from ringipam.core.state import State
from ringipam.errors import PeerError, RequestError
from ringipam.messages import PROTOCOL_MAX, PROTOCOL_MIN, Ack, Body, Envelope, Hello, Ping, Recall, Refused, Rival

REFUSALS_MAX = 100
GREETING_MS = 5_000
"""A link whose other end has not greeted by then is closed."""


@dataclass(slots=True)
class _Link:
    dialled: str
    host: str
    greet_by_ms: int
    """When its other end must have said who it is."""
    peer: str = ""
    """Who its other end says it is, welcome or not; "" until it has greeted."""
    hello: Hello | None = None
    challenge: int = 0
    """What a former start of a linked peer was asked, to see whether it lives; 0 if it is none."""
    ignored: int = 0
    """Messages of kinds that this release does not know."""


@dataclass(slots=True)
class _Target:
    """An address to be connected to."""

    configured: bool
    due_ms: int
    delay_ms: int
    dialling: bool = False
    peer: str = ""
    """Who answered there last."""


class Links:
    """A link is usable once its Hello was accepted; a peer has at most one usable link."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._links: dict[int, _Link] = {}
        self._by_peer: dict[str, int] = {}
        self._targets: dict[str, _Target] = {}
        self._forgotten: set[str] = set()
        self.refusals: dict[str, str] = {}
        """Why which peer is refused, or refuses us."""
        self._due_ms: int | None = None
        """When something is to be done; None after a change, until it is asked for again."""
        self._neighbours: list[str] | None = None
        """Likewise remembered, as of the cluster it was asked for."""
        self._neighbours_of = ""
        self._listed = dict.fromkeys(state.settings.dial, "")
        for address in state.settings.dial:
            self.add_target(address, configured=True)
        for address in state.hints:
            self.add_target(address, configured=False)

    # ── what the others know of the links ────────────────────────────────────────────────────────

    def link_to(self, peer: str) -> int | None:
        return self._by_peer.get(peer)

    def linked(self) -> list[str]:
        """Every peer with a usable link, with or without a ring."""
        return list(self._by_peer)

    def neighbours(self) -> list[str]:
        """The linked peers that share this peer's ring: those it may gossip with. Not to be changed."""
        cluster = self._state.cluster
        if self._neighbours is None or self._neighbours_of != cluster:
            self._neighbours_of = cluster
            self._neighbours = [peer for peer in self._by_peer if cluster and self.hello(peer).cluster == cluster]
        return self._neighbours

    def hello(self, peer: str) -> Hello:
        """What a linked peer said of itself last."""
        hello = self._links[self._by_peer[peer]].hello
        assert hello is not None
        return hello

    def protocol(self, peer: str) -> int:
        """The version that the link to a linked peer speaks: the newest that both ends know."""
        return min(PROTOCOL_MAX, self.hello(peer).protocol_max)

    def ignored(self, peer: str) -> int:
        """How many messages of unknown kinds came over the link of a linked peer."""
        return self._links[self._by_peer[peer]].ignored

    def configured(self) -> dict[str, str]:
        """The addresses this peer was launched with → who answered there, or "": the electorate of a new ring.

        Neither `forget` nor `connect` changes it (safety.md S5).
        """
        return dict(self._listed)

    def whence(self, link: int) -> str:
        """A link in an operator's words."""
        entry = self._links.get(link)
        return f"over the connection with {entry.peer} at {entry.host}" if entry is not None else "here"

    def counts(self) -> dict[str, int]:
        return {"links": len(self._links), "addresses to dial": len(self._targets)}

    # ── dialling ─────────────────────────────────────────────────────────────────────────────────

    def add_target(self, address: str, *, configured: bool) -> None:
        self._changed()
        target = self._targets.get(address)
        if target is None:
            self._targets[address] = _Target(configured, self._state.now, self._state.settings.redial_min_ms)
        elif configured:
            target.configured = True
            target.due_ms = self._state.now

    def forget(self, peer: str) -> bool:
        """Stop dialling a peer or an address; whether there was anything to stop."""
        self._changed()
        addresses = [a for a, t in self._targets.items() if peer in (a, t.peer) or a == self._address_of(peer)]
        for address in addresses:
            del self._targets[address]
            self._state.warnings.pop(f"dial {address}", None)
        refused = self.refusals.pop(peer, None)
        if not addresses and peer not in self._state.members and refused is None:
            return False
        self._forgotten.update((peer, *addresses))
        return True

    def _address_of(self, peer: str) -> str:
        member = self._state.members.get(peer)
        return member.address if member else ""

    def follow_members(self) -> None:
        """Dial members that are not linked, as long as few enough links stand."""
        state = self._state
        self._changed()
        full = len(self._targets) >= state.settings.links_dialled_max
        idle = [a for a, t in self._targets.items() if not t.configured and self._idle(t)]
        addresses = {self._address_of(peer) for peer in state.members.others()} if idle else ()
        for address in idle:
            # Where nobody answered, somebody else's turn comes: many dead members must not hide a live one.
            tried = self._targets[address].delay_ms >= state.settings.redial_max_ms
            if address not in addresses or (full and tried):
                del self._targets[address]
                state.warnings.pop(f"dial {address}", None)
        if len(self._targets) >= state.settings.links_dialled_max:
            return
        for peer in state.rng.drawn([peer for peer in state.members.others() if peer not in self._by_peer]):
            if len(self._targets) >= state.settings.links_dialled_max:
                return
            address = self._address_of(peer)
            unknown = not address or address.startswith(":")
            if not unknown and self._forgotten.isdisjoint((peer, address)):
                self.add_target(address, configured=False)

    @property
    def deadline(self) -> int:
        """Remembered until a target or a link changes: every event asks, few change it."""
        if self._due_ms is None:
            times = [target.due_ms for target in self._targets.values() if self._idle(target)]
            times += [link.greet_by_ms for link in self._links.values() if link.hello is None or link.challenge]
            self._due_ms = min(times, default=NEVER)
        return self._due_ms

    def _changed(self) -> None:
        """What was remembered of links and targets no longer holds."""
        self._due_ms = None
        self._neighbours = None

    def _idle(self, target: _Target) -> bool:
        return not target.dialling and target.peer not in self._by_peer

    def tick(self) -> None:
        state = self._state
        if self.deadline > state.now:
            return
        self._changed()
        for address, target in self._targets.items():
            if self._idle(target) and target.due_ms <= state.now:
                target.dialling = True
                state.emit(Dial(address))
        for number, link in self._links.items():
            if (link.hello is None or link.challenge) and link.greet_by_ms <= state.now:
                link.greet_by_ms = state.now + GREETING_MS
                late = "a link to a later start of this peer stands"
                self._close(number, late if link.challenge else "it never said who it is")

    def _back_off(self, target: _Target) -> None:
        """Wait longer after each failure, with jitter, so that peers do not redial in step."""
        settings = self._state.settings
        delay = target.delay_ms
        target.due_ms = self._state.now + delay // 2 + self._state.rng.below(delay // 2 + 1)
        target.delay_ms = min(settings.redial_max_ms, target.delay_ms * 2)

    def dial_failed(self, address: str, reason: str) -> None:
        self._changed()
        target = self._targets.get(address)
        if target is not None:
            target.dialling = False
            self._back_off(target)
            self._state.warn(f"dial {address}", f"cannot reach {address}: {reason}")
            if target.peer:
                self._state.members.doubt(target.peer)
            else:
                for member in self._state.members.all():
                    if member.address == address:
                        self._state.members.doubt(member.peer)

    # ── links come and go ────────────────────────────────────────────────────────────────────────

    def up(self, event: LinkUp) -> None:
        self._changed()
        self._links[event.link] = _Link(event.dialled, event.host, self._state.now + GREETING_MS)
        self._greet(event.link)

    def down(self, link: int, reason: str) -> str | None:
        """The peer that is no longer linked, if this was its usable link."""
        self._changed()
        gone = self._links.pop(link, None)
        if gone is None:
            return None
        target = self._targets.get(gone.dialled)
        if target is not None:
            target.dialling = False
            self._back_off(target)
            if not gone.peer:
                self._state.warn(
                    f"dial {gone.dialled}",
                    f"{gone.dialled} takes connections and does not say who it is ({reason}): do both hosts run with"
                    " the same credentials?",
                )
        if gone.hello is not None and self._by_peer.get(gone.hello.peer) == link:
            del self._by_peer[gone.hello.peer]
            self._state.members.doubt(gone.hello.peer)
            return gone.hello.peer
        return None

    def peer_of(self, link: int) -> str | None:
        """Who is at the other end, if it has greeted and was not refused.

        What comes over a link that another is about to replace counts too: a grant may be on its way there.
        """
        entry = self._links.get(link)
        return entry.hello.peer if entry is not None and entry.hello is not None else None

    def confirm(self, peer: str) -> None:
        """An envelope of our ring came directly from `peer`: it has the ring, whatever its Hello said."""
        link = self._by_peer.get(peer)
        if link is not None and self.hello(peer).cluster != self._state.cluster:
            self._links[link].hello = replace(self.hello(peer), cluster=self._state.cluster)
            self._changed()

    def greet_all(self) -> None:
        """Say again who we are: we have a ring now."""
        for link in self._links:
            self._greet(link)

    def greet_ringless(self) -> None:
        """Say it once more to those who have no ring yet, as far as we know."""
        if len(self.neighbours()) == len(self._by_peer):
            return
        for peer, link in self._by_peer.items():
            if not self.hello(peer).cluster:
                self._greet(link)

    def _greet(self, link: int) -> None:
        state = self._state
        hello = Hello(
            PROTOCOL_MIN,
            PROTOCOL_MAX,
            state.me,
            state.universe_text,
            state.cluster,
            state.settings.address,
            state.members.me.incarnation,
            state.settings.init.mode.value == "observer",
            state.boot,
            state.memory.nonce,
        )
        state.emit(Send(link, hello))

    def greeted(self, link: int, hello: Hello) -> bool:
        """Take a Hello in; whether its sender is a usable neighbour now."""
        self._changed()
        entry = self._links.get(link)
        if entry is None:
            return False
        if entry.peer and entry.peer != hello.peer:
            raise PeerError(f"{entry.peer} now says it is {hello.peer}")
        entry.peer = hello.peer
        target = self._targets.get(entry.dialled)
        if hello.peer == self._state.me:
            # Its own address in the list of peers is not another host (weave #1881).
            self._targets.pop(entry.dialled, None)
            self._listed.pop(entry.dialled, None)
            if hello.nonce not in ("", self._state.memory.nonce):
                # A former process of this host holds no connection any more: this one lives (safety.md S13).
                self._state.fence(
                    f"another host ({entry.host}) runs under this one's identity, from a copy of its data directory"
                )
            self._close(link, "that is this peer itself")
            return False
        reason = self._objection(hello)
        if reason is not None:
            self._refuse(link, hello.peer, reason)
            return False
        if target is not None:
            target.peer = hello.peer
            target.delay_ms = self._state.settings.redial_min_ms
            if entry.dialled in self._listed:
                self._listed[entry.dialled] = hello.peer
        for address in (entry.dialled, self.address_at(link, hello)):
            self._state.warnings.pop(f"dial {address}", None)
        entry.hello = hello
        for known in [peer for peer in self.refusals if name_of(peer) == name_of(hello.peer)]:
            del self.refusals[known]  # the host came round, perhaps as a new peer, as its operator was told to do
        self._forgotten.discard(hello.peer)
        self._remind(link, hello)
        return self._settle(link, hello)

    def _remind(self, link: int, hello: Hello) -> None:
        """Tell a peer of this ring how far its history had come: it may have lost its memory (safety.md S12).

        Before anything else, and over any link, usable or not.
        """
        state = self._state
        if state.cluster and hello.cluster == state.cluster:
            state.emit(Send(link, Envelope(state.mark, Recall(state.points.get(hello.peer)))))

    def _objection(self, hello: Hello) -> str | None:
        state = self._state
        name = name_of(hello.peer)
        if hello.protocol_min > PROTOCOL_MAX or hello.protocol_max < PROTOCOL_MIN:
            here = name_of(state.me)
            older, newer = (here, name) if hello.protocol_min > PROTOCOL_MAX else (name, here)
            return (
                f"{name} speaks protocols {hello.protocol_min} to {hello.protocol_max}, {here} {PROTOCOL_MIN} to"
                f" {PROTOCOL_MAX}: upgrade ringipam on {older}, or put back on {newer} the release that it ran before"
            )
        if hello.universe != state.universe_text:
            return f"{name} manages {hello.universe}, this host {state.universe}: launch both with the same --iprange"
        if state.cluster and hello.cluster and hello.cluster != state.cluster:
            return (
                f"{name} belongs to another ring (cluster {hello.cluster}, this host's is {state.cluster}): the two"
                " were formed apart and are never merged; `ringipam rejoin` on the host to give up makes it a new peer"
                f" of the other ring, with its leases; or `ringipam forget {hello.peer}`"
            )
        return None

    def _refuse(self, link: int, peer: str, reason: str) -> None:
        state = self._state
        if self.refusals.get(peer) != reason:
            state.log("error", f"refusing {peer}: {reason}", peer, "refusing")
        self.refusals[peer] = reason
        if len(self.refusals) > REFUSALS_MAX:
            del self.refusals[next(iter(self.refusals))]
        state.emit(Send(link, Refused(reason)))
        entry = self._links[link]
        if entry.hello is not None and self._by_peer.get(peer) == link:
            del self._by_peer[peer]
        entry.hello = None
        target = self._targets.get(entry.dialled)
        if target is not None:
            target.peer = peer
            target.delay_ms = state.settings.refused_redial_ms
        self._close(link, reason)

    def not_understood(self, link: int, kind: int) -> None:
        """A message of a kind that this release does not know: ignored from a newer peer (design.md, "Gossip").

        Raises PeerError if it comes from any other.
        """
        entry = self._links.get(link)
        if entry is None:
            return
        if entry.hello is None or entry.hello.protocol_max <= PROTOCOL_MAX:
            raise PeerError(f"a message of kind {kind}, which no protocol that it speaks has")
        entry.ignored += 1
        if entry.ignored == 1:
            text = (
                f"{entry.peer} speaks protocol {entry.hello.protocol_max}, this host {PROTOCOL_MAX}: what is new in it"
                " is ignored until this host is upgraded too"
            )
            self._state.log("info", text, entry.peer, "newer")

    def refused(self, link: int, reason: str) -> None:
        """The other side refuses us; it said why. Of somebody who has not greeted that means nothing."""
        entry = self._links.get(link)
        if entry is None or not entry.peer:
            return
        who = entry.peer
        if who not in self.refusals:
            self.refusals[who] = f"{who} refuses this host: {reason}"
            self._state.log("error", self.refusals[who], who, "refused")
        target = self._targets.get(entry.dialled)
        if target is not None:
            target.delay_ms = self._state.settings.refused_redial_ms

    def _close(self, link: int, reason: str) -> None:
        self._state.emit(Close(link, reason))

    def _settle(self, link: int, hello: Hello) -> bool:
        """One usable link a peer: both ends keep the one that the lesser peer id dialled, else the newer."""
        peer = hello.peer
        other = self._by_peer.get(peer)
        if other == link:
            return True
        if other is not None:
            standing = self._links[other]
            assert standing.hello is not None
            if hello.boot < standing.hello.boot:
                self._challenge(link)
                return False
            if hello.boot == standing.hello.boot and hello.nonce != standing.hello.nonce:
                self._unmask(link, other)  # no honest history has two processes of one number
                return False
            restarted = hello.boot > standing.hello.boot
            if not restarted and self._dialler(standing, peer) < self._dialler(self._links[link], peer):
                self._close(link, "a link to this peer stands already")
                return False
            self._close(other, "replaced by a newer link")
        self._by_peer[peer] = link
        return True

    # ── twins (safety.md S13) ────────────────────────────────────────────────────────────────────

    def _challenge(self, link: int) -> None:
        """A former start of a peer greets after a later one: an old message, or a twin that lives and will answer."""
        entry = self._links[link]
        entry.challenge = 1 + (self._state.rng.bits64() >> 2)
        entry.greet_by_ms = self._state.now + GREETING_MS
        self._state.emit(Send(link, Envelope(self._state.mark, Ping(entry.challenge))))

    def lives(self, link: int, body: Body) -> bool:
        """Whether this proves that a twin lives: what it answers was asked when a later start was known already."""
        entry = self._links[link]
        if not isinstance(body, Ack) or not entry.challenge or body.sequence != entry.challenge:
            return False
        other = self._by_peer.get(entry.peer)
        if other is not None and other != link:
            self._unmask(link, other)
        return True

    def _unmask(self, link: int, other: int) -> None:
        """Tell two processes that speak as one peer of each other."""
        self._changed()
        state = self._state
        entry = self._links[link]
        entry.challenge = 0
        places = [self._links[one].host for one in (link, other)]
        state.log("error", f"two hosts run as {entry.peer}, at {places[0]} and {places[1]}", entry.peer, "twins")
        for one, rival in ((link, other), (other, link)):
            hello = self._links[rival].hello
            if hello is not None:
                state.emit(Send(one, Envelope(state.mark, Rival(hello.nonce))))
        self._close(link, "another process of this peer is linked")

    def _dialler(self, link: _Link, peer: str) -> str:
        return self._state.me if link.dialled else peer

    def address_at(self, link: int, hello: Hello) -> str:
        """Where the sender of a Hello listens, completed by where it comes from."""
        entry = self._links[link]
        try:
            host, port = parse_endpoint(hello.address)
        except RequestError:
            host, port = "", PORT_DEFAULT
        if not host:
            return entry.dialled or format_endpoint(entry.host, port)
        return hello.address
