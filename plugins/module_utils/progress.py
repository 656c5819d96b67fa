# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task waits for while it runs, as data: each walk says it of its guest, and all of them are summed up here.

Nothing is told where nobody asks: a walk leaves word whom to ask, and is asked when there is somebody to tell.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable

MOST = 4  # guests that are told of one by one; the others are a number
TEXT_MAX = 200  # characters of any text in it; a stubdomain may write what it likes into its nodes


class Waits(NamedTuple):
    """What one guest waits for. since: seconds (host.now()); limit: seconds from then on, None where there is none."""

    guest: str
    what: str  # a link of its chain, or a step
    since: float
    limit: Optional[float] = None
    who: str = ""  # the domain that is to report, or what the step does
    path: str = ""  # where it reports, and what is there instead of what should be; "" where nothing reports
    value: Optional[str] = None
    want: str = ""


Source = Callable[[], Waits]


class Progress:
    """All walks of a task. Each has a seat, any object that no other walk has; a walk within a walk takes its seat over."""

    def __init__(self) -> None:
        self.done, self.of = 0, 1  # guests
        self._sources: dict[int, Source] = {}

    def begin(self, done: int, of: int) -> None:
        """A set of guests, some of which had nothing to do. Nobody waits for the set itself any more."""
        self.done, self.of = done, of
        self._sources.clear()

    def tell(self, seat: object, source: Source) -> None:
        """Whom to ask what this walk waits for, until it says otherwise."""
        self._sources[id(seat)] = source

    def end(self, seat: object) -> None:
        """The guest's walk is over."""
        self._sources.pop(id(seat), None)
        self.done += 1

    def now(self) -> Told:
        """Who waits longest comes first."""
        waits = sorted((source() for source in self._sources.values()), key=lambda waits: waits.since)
        return Told(self.done, self.of, len(waits), tuple(waits[:MOST]))


class Told(NamedTuple):
    """A sum: so many guests done, of how many, so many on their way, and what the first few of these wait for."""

    done: int
    of: int
    flying: int
    waits: tuple[Waits, ...]

    def shown(self, now: float) -> dict[str, Any]:
        """The same for JSON, never large: texts are cut and `printable`, times are seconds that have passed at ``now``."""
        return {**self._asdict(), "waits": [_shown(waits, now) for waits in self.waits]}


def _shown(waits: Waits, now: float) -> dict[str, Any]:
    fields = waits._asdict()
    since, texts = fields.pop("since"), {key: value for key, value in fields.items() if isinstance(value, str)}
    return {**fields, **{key: printable(value, TEXT_MAX) for key, value in texts.items()}, "for_s": round(now - since, 1)}
