# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an audit calls a guest: a table of words, of which the first that fits is the guest's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

# States that nobody wants: somebody should look before anything else is said of the guest.
BROKEN = ("degraded", "opaque", "half_made", "crashed", "suspended")


class Sight(NamedTuple):
    """What a guest is judged by.

    described: the inventory has it. state: one of state.WORDS; None where its host could not be looked at. wanted: the state
    that it is described in. refused: this host cannot have it as described. broken_links: how many links of its readiness
    chain do not hold. steps: of the plan that leads to the description. pending: how much of that takes more than the
    description allows. drift: in how many fields its file and its domain differ. leftovers: how many domains remain of it.
    """

    described: bool
    state: Optional[str]
    wanted: Optional[str] = None
    refused: bool = False
    broken_links: int = 0
    steps: Sequence[str] = ()
    pending: int = 0
    drift: int = 0
    leftovers: int = 0


class Verdict(NamedTuple):
    word: str
    says: str
    fits: Callable[[Sight], bool]


VERDICTS = (
    Verdict("unreachable", "its host could not be looked at", lambda s: s.state is None),
    Verdict(
        "degraded", "it does not work as it should: its state or its readiness chain says so",
        lambda s: s.state in BROKEN or (s.state == "running" and s.broken_links > 0),
    ),
    Verdict("refused", "this host cannot have it as it is described", lambda s: s.refused),
    Verdict(
        "missing", "it is described, and there is neither a file nor a domain",
        lambda s: s.described and s.state == "absent" and s.wanted != "absent",
    ),
    Verdict(
        "leftovers", "domains remain of it that serve nothing; all else is as it should be",
        lambda s: s.leftovers > 0 and set(s.steps) <= {"sweep"} and not s.pending and (s.described or not s.drift),
    ),
    Verdict(
        "drifted", "it is otherwise than described; of one that is not described: than its own file says",
        lambda s: bool(s.steps) or s.pending > 0 if s.described else s.drift > 0,
    ),
    Verdict("not_described", "it is on the host, and the inventory does not describe it", lambda s: not s.described),
    Verdict("as_described", "nothing would change", lambda s: True),
)  # fmt: skip
WORDS = tuple(verdict.word for verdict in VERDICTS)


def verdict(sight: Sight) -> str:
    """The word for a guest: one of WORDS."""
    return next(verdict.word for verdict in VERDICTS if verdict.fits(sight))
