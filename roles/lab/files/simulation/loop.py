# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one event loop of each program here: descriptors, timers, and what must be looked at before every wait."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Any

Callback = Callable[[], None]


def _plainly(callback: Callback) -> None:
    callback()


class Loop:
    """Runs callbacks, one at a time, until stop(). guard: what runs those of timers and descriptors."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, guard: Callable[[Callback], None] = _plainly) -> None:
        self.clock, self.guard = clock, guard
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = itertools.count()
        self._drains: list[Callback] = []
        self._running = False

    def readable(self, source: Any, callback: Callback) -> None:
        """Calls back whenever `source` (a descriptor, or what has one) can be read."""
        self._selector.register(source, selectors.EVENT_READ, callback)

    def forget(self, source: Any) -> None:
        self._selector.unregister(source)

    def later(self, seconds: float, callback: Callback) -> None:
        heapq.heappush(self._timers, (self.clock() + seconds, next(self._order), callback))

    def drained(self, callback: Callback) -> None:
        """Calls back before each wait: for queues that fill while other callbacks run."""
        self._drains.append(callback)

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        self._running = True
        while self._running:
            self.turn()

    def turn(self) -> None:
        """One round: the queues, the timers that are due, one wait."""
        for drain in self._drains:
            drain()
        while self._timers and self._timers[0][0] <= self.clock():
            self.guard(heapq.heappop(self._timers)[2])
            for drain in self._drains:
                drain()
        if not self._running:
            return
        wait = max(0.0, self._timers[0][0] - self.clock()) if self._timers else None
        for key, _mask in self._selector.select(wait):
            if key.fd in self._selector.get_map():  # an earlier callback of this round may have closed it
                self.guard(key.data)
