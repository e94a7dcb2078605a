"""Drives one Peer until a commit fails: events in, effects out through the outbox, answers back to who asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, assert_never

import trio

from ringipam.core.durable import Change
from ringipam.core.events import (
    Answer,
    Asked,
    Cancelled,
    Close,
    DeadlinePassed,
    Dial,
    Event,
    Leased,
    LeaseList,
    Log,
    Rebuild,
    Reply,
    Send,
    Verb,
)
from ringipam.core.outbox import Outbox, Visible
from ringipam.core.peer import Peer
from ringipam.errors import NotReadyError, PeerError, RingIpamError, StoreError
from ringipam.messages import Message
from ringipam.runtime.clock import Clock
from ringipam.runtime.ratelimit import Log as LogTo

Outcome = Leased | LeaseList | dict[str, object] | None
"""An answer that is not an error."""

logger = logging.getLogger("ringipam")
LEVELS = logging.getLevelNamesMapping()


class Committer(Protocol):
    """What the driver needs of a `Disk`."""

    def submit(self, changes: tuple[Change, ...], done: Callable[[StoreError | None], None]) -> None:
        """Begin a commit; `done` is called in trio's thread when it is over."""
        ...

    def commit_here(self, changes: tuple[Change, ...]) -> bool:
        """Commit before this returns, if that is likely to be quick; whether it did. Raises StoreError."""
        ...


class Carrier(Protocol):
    """What the driver needs of a `Transport`."""

    def dial(self, address: str) -> None: ...
    def send(self, link: int, message: Message) -> None: ...
    def close(self, link: int, reason: str) -> None: ...


@dataclass(slots=True, eq=False)
class _Question:
    """Somebody waits for an answer."""

    task: trio.lowlevel.Task | None = None
    decided: bool = False
    """The core has answered; the answer waits for the disk."""
    answered: bool = False
    answer: Answer = None

    def wake(self) -> bool:
        """Let the task go on; False if it does not wait."""
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        return task is not None


class Driver:
    """One life of a peer: from its state on disk to the first failed commit (safety.md S14).

    All methods belong to trio's thread.
    """

    def __init__(
        self,
        peer: Peer,
        disk: Committer,
        clock: Clock,
        carrier: Carrier,
        numbers: Iterator[int],
        log: LogTo = logger,
    ) -> None:
        self._peer = peer
        self._disk = disk
        self._clock = clock
        self._carrier = carrier
        self._numbers = numbers
        self._log = log
        self._outbox = Outbox()
        self._questions: dict[int, _Question] = {}
        self._alarm = trio.CancelScope()
        self._alarm_ms: int | None = None
        self._closing = False
        self._led = False
        """Somebody who asks is about to begin a commit for all who ask now."""
        self._quiet = trio.Event()
        self.failure: StoreError | None = None
        """Why this life is over: memory may be ahead of the disk, nothing of it may be used any more."""
        self.reborn = False
        """It is over because the peer has become another, and nothing is wrong."""
        self._over = trio.Event()

    def start(self) -> None:
        self._outbox.push(self._peer.start(self._clock.now()))
        self._advance()

    def happened(self, event: Event) -> None:
        """Let the peer know, and carry out what it wants; raises PeerError if it refuses what another peer sent."""
        self._step(event)
        self._advance()

    async def ask(self, verb: Verb) -> Outcome:
        """The answer, once it is durable; raises the RingIpamError that it is.

        Cancelled before the core has decided, it leaves nothing behind (safety.md S18). After that it can no
        longer be cancelled, as the lease exists: the disk takes moments, and the caller learns what it holds.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.failure is not None:
            raise StoreError(self.failure.message)
        number = next(self._numbers)
        question = self._questions[number] = _Question()
        self._step(Asked(number, verb))
        if self._outbox.wanted and not self._led:
            await self._lead()
        else:
            self._advance()
            if question.answered:
                await trio.lowlevel.cancel_shielded_checkpoint()
        while not question.answered:
            question.task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(lambda _: self._withdraw(number))
            if not question.answered:
                await self._lead()
        if isinstance(question.answer, RingIpamError):
            raise question.answer
        return question.answer

    async def _lead(self) -> None:
        """Begin a commit for all who ask now: everybody who is ready has a turn before it begins.

        Who turns out to be alone has it done here and now, if the disk is quick: handing it to a thread and learning of
        its end would take as long again, and whatever others might want meanwhile would wait for this commit anyway.
        """
        self._led = True
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._led = False
        self._advance(here=self._outbox.alone)
        self._quiet.set()

    async def keep_time(self) -> None:
        """Wake the peer at its deadlines, as long as it takes events."""
        while not self._deaf:
            with trio.CancelScope() as self._alarm:
                self._alarm_ms = None
                self._set_alarm()
                await trio.sleep_forever()
            deadline = self._peer.deadline
            if deadline is not None and self._clock.now() >= deadline:
                self.happened(DeadlinePassed())

    @property
    def _deaf(self) -> bool:
        return self._closing or self.failure is not None

    async def failed(self) -> StoreError:
        """Why this life is over, as soon as it is."""
        await self._over.wait()
        assert self.failure is not None
        return self.failure

    async def finish(self) -> None:
        """Take no more events, let what is decided become durable and be answered; refuse the rest."""
        self._closing = True
        with trio.CancelScope(shield=True):
            while (self._outbox.committing or self._led) and self.failure is None:
                self._quiet = trio.Event()
                await self._quiet.wait()
        self._refuse_all(NotReadyError("the node is shutting down"))

    # ── effects ──────────────────────────────────────────────────────────────────────────────────

    def _step(self, event: Event) -> None:
        if self._deaf:
            return
        try:
            effects = self._peer.step(event, self._clock.now())
        except PeerError:
            raise
        except Exception as error:
            self._broken(error)
            return
        for effect in effects:
            if isinstance(effect, Reply) and effect.request in self._questions:
                self._questions[effect.request].decided = True
        self._outbox.push(effects)

    @trio.lowlevel.enable_ki_protection  # a commit that was interrupted would be neither made nor failed
    def _advance(self, *, here: bool = False) -> None:
        """Show what may be seen and begin the next commit, if one is wanted and none is under way.

        With `here` it is over when this returns, if the disk thinks it can be quick.
        """
        try:
            self._show()
            changes = () if self._led else self._outbox.commit()
            if changes and here and self._disk.commit_here(changes):
                self._outbox.committed()
                self._show()
            elif changes:
                self._disk.submit(changes, self._committed)
            if not (
                self._led or self._outbox.committing
            ):  # else what the peer does at a deadline would be seen after that only
                self._set_alarm()
        except StoreError as error:
            self._fail(error)
        except Exception as error:
            self._broken(error)

    def _show(self) -> None:
        for effect in self._outbox.visible():
            self._carry_out(effect)

    def _carry_out(self, effect: Visible) -> None:
        match effect:
            case Send(link, message):
                self._carrier.send(link, message)
            case Reply(request, answer):
                self._answer(request, answer)
            case Dial(address):
                self._carrier.dial(address)
            case Close(link, reason):
                self._carrier.close(link, reason)
            case Log(level, text, peer, kind):
                self._log.log(LEVELS[level.upper()], "%s", text, extra={"peer": peer, "kind": kind})
            case Rebuild():
                self.reborn = True
                self._fail(StoreError("this host begins anew as another peer: ask again"))
            case _:
                assert_never(effect)

    def _answer(self, request: int, answer: Answer) -> None:
        question = self._questions.pop(request, None)
        if question is None:  # withdrawn
            return
        question.answer = answer
        question.answered = True
        question.wake()

    def _withdraw(self, request: int) -> trio.lowlevel.Abort:
        if self._questions[request].decided:
            return trio.lowlevel.Abort.FAILED
        del self._questions[request]
        self.happened(Cancelled(request))
        return trio.lowlevel.Abort.SUCCEEDED

    def _set_alarm(self) -> None:
        deadline = self._peer.deadline
        if deadline is not None and deadline != self._alarm_ms:
            self._alarm_ms = deadline
            self._alarm.deadline = self._clock.trio_time(deadline)

    # ── the disk ─────────────────────────────────────────────────────────────────────────────────

    def _committed(self, error: StoreError | None) -> None:
        if self.failure is None:  # else it is the last commit of a life that is over
            if error is not None:
                self._fail(error)
            else:
                self._outbox.committed()
                self._hand_on()
        self._quiet.set()

    def _hand_on(self) -> None:
        """After a commit: let one of those who wait for the next lead it, or begin it if it is not for anybody."""
        waiting = self._questions.get(self._outbox.awaited or 0)
        self._led = waiting is not None and waiting.wake()
        self._advance()
        self._set_alarm()  # also if the next commit follows at once, as under steady load it always does

    def _fail(self, failure: StoreError) -> None:
        self.failure = failure
        self._led = False
        self._outbox.failed()
        self._refuse_all(failure)
        self._over.set()

    def _broken(self, error: Exception) -> None:
        """A bug: what is in memory cannot be trusted, what is on disk can. The way back is that of a failed commit."""
        self._log.critical("internal error, beginning again from the disk", exc_info=error)
        self._fail(StoreError(f"internal error, beginning again from the disk: {error!r}"))

    def _refuse_all(self, error: RingIpamError) -> None:
        for request in list(self._questions):
            self._answer(request, type(error)(error.message, **error.details))
