"""Output commit: nothing behind a `Persist` is seen before it is durable. The rule lives here, once.

Both drivers, the runtime and the simulator, carry out effects through an `Outbox`. Group commit falls out
of it: whatever asks to be persisted while one commit is under way shares the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import dropwhile, takewhile

from ringipam.core.durable import Change
from ringipam.core.events import Close, Dial, Effect, Log, Persist, Rebuild, Reply, Send

Visible = Send | Close | Dial | Reply | Log | Rebuild


class Outbox:
    """Effects on their way out, in one global order (docs/design.md, "One protocol core, two drivers").

    At most one commit is under way. Use: `push`, then carry out `visible()`; if `commit()` gives changes,
    make them durable and call `committed()`, then begin again at `visible()`.
    """

    def __init__(self) -> None:
        self._queue: deque[Effect] = deque()
        self._committing = 0  # how many Persist effects of the queue's front part are in the commit under way

    def push(self, effects: Iterable[Effect]) -> None:
        self._queue.extend(effects)

    def visible(self) -> list[Visible]:
        """What may be seen now, in order: everything before the first `Persist`."""
        out: list[Visible] = []
        while self._queue and not isinstance(self._queue[0], Persist):
            out.append(self._queue.popleft())  # type: ignore[arg-type]  # the loop condition excludes Persist
        return out

    def commit(self) -> tuple[Change, ...]:
        """All changes that wait, to be made durable as one; empty if there are none or a commit is under way."""
        if self._committing or not self._queue:
            return ()
        # What comes behind a Rebuild was said by a peer that is no more: it must not land in its successor's memory.
        until = takewhile(lambda effect: not isinstance(effect, Rebuild), self._queue)
        waiting = [effect for effect in until if isinstance(effect, Persist)]
        self._committing = len(waiting)
        return tuple(change for persist in waiting for change in persist.changes)

    @property
    def wanted(self) -> bool:
        """Whether `commit` would give changes once what is visible has been carried out."""
        return not self._committing and any(isinstance(effect, Persist) for effect in self._queue)

    @property
    def awaited(self) -> int | None:
        """The request whose answer waits for the next commit; of several the first."""
        held = dropwhile(lambda effect: not isinstance(effect, Persist), self._queue)
        return next((effect.request for effect in held if isinstance(effect, Reply)), None)

    @property
    def alone(self) -> bool:
        """Whether the next commit is of one step only."""
        return sum(isinstance(effect, Persist) for effect in self._queue) == 1

    @property
    def committing(self) -> bool:
        return self._committing > 0

    def committed(self) -> None:
        """The commit under way is durable: its `Persist` effects no longer hold anything back."""
        done, self._committing = self._committing, 0
        kept: deque[Effect] = deque()
        for effect in self._queue:
            if done and isinstance(effect, Persist):
                done -= 1
            else:
                kept.append(effect)
        self._queue = kept

    def failed(self) -> None:
        """The commit failed: drop everything behind it. The core is rebuilt from the disk (safety.md S14)."""
        self._queue.clear()
        self._committing = 0
