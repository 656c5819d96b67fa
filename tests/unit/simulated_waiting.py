# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""plugins/module_utils/waiting.py on virtual time: coroutines that wait for conditions, and the loop that lets time pass."""

from __future__ import annotations

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Outcome


class Until:
    """Await it: True as soon as the condition holds, False when the deadline came first."""

    def __init__(self, condition, deadline):
        self.condition, self.deadline = condition, deadline

    def __await__(self):
        came = yield self
        return came


def together(timeline, walks, limit, after=()):
    """Runs the walks to their ends, at most `limit` at a time. Time passes only when none of them can go on."""
    outcomes, queue, flying = [Outcome() for _walk in walks], dict(enumerate(walks)), {}

    def free():
        going = {*queue, *flying}
        return next((n for n in queue if not after or not going & set(after[n])), None)

    def advance(number, walk, came):
        try:
            flying[number] = (walk, walk.send(came))
        except StopIteration as end:
            outcomes[number] = Outcome(value=end.value)
        except XenError as error:
            outcomes[number] = Outcome(error=error)

    try:
        while queue or flying:
            while len(flying) < limit and (number := free()) is not None:
                advance(number, queue.pop(number), None)
            assert flying or not queue, "walks that wait for each other"
            _let_one_go_on(timeline, flying, advance)
    finally:
        for walk in [walk for walk, _until in flying.values()] + [*queue.values()]:
            walk.close()
    return outcomes


def _let_one_go_on(timeline, flying, advance):
    able = next((number for number, (_walk, until) in flying.items() if until.condition()), None)
    if able is not None:
        return advance(able, flying.pop(able)[0], True)
    if flying and not timeline.step(min(until.deadline for _walk, until in flying.values())):
        late = next(number for number, (_walk, until) in flying.items() if until.deadline <= timeline.now)
        able_now = flying[late][1].condition()
        return advance(late, flying.pop(late)[0], able_now)
    return None
