# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a seed stands for: a kind of guest, a story, and a moment of it at which somebody is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from stories import CHANGES, STORIES, Story

WHOM = (["module"], ["module"], ["module"], ["module"], ["module", "xl"], ["xl"])
EDGES = ("begins", "ends")
OFTEN, SELDOM = 6, 1  # a guest's own reboot takes ten seconds: xl waits for two, and the module for xl


def drawn(rng: random.Random, kinds: list[str]) -> tuple[str, str]:
    """A kind of guest and the name of a story that it can tell."""
    kind = rng.choice(kinds)
    weights = {name: SELDOM if story.reboots else OFTEN for name, story in STORIES.items() if kind in story.kinds}
    return kind, rng.choices(list(weights), list(weights.values()))[0]


def moments(rng: random.Random, kind: str, story: Story) -> Iterator[dict[str, Any]]:
    """Faults, as faulty_xl.py takes them, one after the other until one of them comes to pass."""
    while True:
        if story.changing and rng.random() < 0.4:
            words = rng.choice(story.changing)
            yield {"call": f"{words} *", "nth": 1, "at": rng.randint(1, CHANGES[words][kind]), "whom": rng.choice(WHOM)}
        else:
            yield {"call": "*", "nth": rng.randint(1, story.calls), "at": rng.choice(EDGES), "whom": rng.choice(WHOM)}
