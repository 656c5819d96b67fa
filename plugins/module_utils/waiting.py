# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests in flight, one thread, one loop: each guest's way is a coroutine, and this is the only place that waits.

A coroutine awaits Readable(); whatever it is for (a program's end, an event of xenstore, a moment), the loop knows only
descriptors and deadlines. Not asyncio: importing that costs a module more than all of this, on every task.
"""

from __future__ import annotations

import fcntl
import selectors
import time
from collections.abc import Collection, Coroutine, Generator, Iterable, Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError


class Readable:
    """Await it for those of ``fds`` that have become readable; an empty set at ``deadline`` (seconds, time.monotonic)."""

    def __init__(self, fds: Iterable[int], deadline: Optional[float]) -> None:
        self.fds, self.deadline = tuple(fds), deadline

    def __await__(self) -> Generator[Readable, frozenset[int], frozenset[int]]:
        ready = yield self
        return ready


async def flocked(fd: int, deadline: float) -> bool:
    """Takes the flock of a descriptor; False if somebody else has it until the deadline.

    flock has no timeout and a blocked one no event to wait on: this asks again, less and less often.
    """
    pause = 0.02
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            await Readable((), time.monotonic() + pause)
            pause = min(pause * 2, 0.5)


class Outcome(NamedTuple):
    """How a walk ended: with a value, or with the XenError that stopped it."""

    value: Any = None
    error: Optional[XenError] = None

    def get(self) -> Any:
        """The value. Raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


Walk = Coroutine[Any, Any, Any]


def together(
    walks: Sequence[Walk],
    limit: int = 1,
    after: Sequence[Collection[int]] = (),
    idle: Optional[Callable[[], Optional[float]]] = None,
) -> list[Outcome]:
    """Runs the walks to their ends, at most ``limit`` at a time, in their order. One that fails stops no other.

    ``after``: for each walk the numbers of those that have to end before it begins. Raises ValueError for a ring of them.
    ``idle`` is called whenever nothing is left but to wait, and may say until when at most (time.monotonic).
    """
    return _Loop(walks, limit, after, idle).run()


class _Loop:
    def __init__(
        self, walks: Sequence[Walk], limit: int, after: Sequence[Collection[int]], idle: Optional[Callable[[], Optional[float]]]
    ) -> None:
        self.queue = dict(enumerate(walks))
        self.limit, self.after, self.idle = limit, after, idle
        self.outcomes = [Outcome() for _walk in walks]
        self.flying: dict[int, tuple[Walk, Readable]] = {}

    def run(self) -> list[Outcome]:
        try:
            with selectors.DefaultSelector() as selector:
                while self._launch(selector):
                    for number, ready in self._ready(selector):
                        walk = self._unwatched(selector, number)
                        self._advance(selector, number, walk, ready)
        finally:
            for walk, _wait in self.flying.values():
                walk.close()
            for walk in self.queue.values():
                walk.close()
        return self.outcomes

    def _launch(self, selector: selectors.BaseSelector) -> bool:
        while len(self.flying) < self.limit and (number := self._next()) is not None:
            self._advance(selector, number, self.queue.pop(number), None)
        if self.queue and not self.flying:
            raise ValueError("walks that wait for each other")
        return bool(self.flying)

    def _next(self) -> Optional[int]:
        """The first walk of the queue for which none has to end any more."""
        going = self.flying.keys() | self.queue.keys() if self.after else frozenset()
        return next((number for number in self.queue if not self.after or going.isdisjoint(self.after[number])), None)

    def _advance(self, selector: selectors.BaseSelector, number: int, walk: Walk, ready: Optional[frozenset[int]]) -> None:
        """Lets a walk go on until it waits again or ends."""
        try:
            wait = walk.send(ready)
        except StopIteration as end:
            self.outcomes[number] = Outcome(value=end.value)
        except XenError as error:
            self.outcomes[number] = Outcome(error=error)
        else:
            self.flying[number] = (walk, wait)
            for fd in wait.fds:
                selector.register(fd, selectors.EVENT_READ, number)

    def _unwatched(self, selector: selectors.BaseSelector, number: int) -> Walk:
        walk, wait = self.flying.pop(number)
        for fd in wait.fds:
            selector.unregister(fd)
        return walk

    def _ready(self, selector: selectors.BaseSelector) -> list[tuple[int, frozenset[int]]]:
        """The walks that can go on, and why: their readable descriptors, or none when their deadline has come."""
        patience = self._patience()
        found: dict[int, set[int]] = {}
        for key, _events in selector.select(patience) if self.flying else ():
            found.setdefault(key.data, set()).add(key.fd)
        now = time.monotonic()
        for number, (_walk, wait) in self.flying.items():
            if wait.deadline is not None and wait.deadline <= now:
                found.setdefault(number, set())
        return [(number, frozenset(fds)) for number, fds in found.items()]

    def _patience(self) -> Optional[float]:
        """Seconds until somebody has to go on in any case."""
        deadlines = [wait.deadline for _walk, wait in self.flying.values() if wait.deadline is not None]
        due = self.idle() if self.idle is not None else None
        deadlines += [due] if due is not None else []
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
