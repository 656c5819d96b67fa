# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table's rows, and the table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

KB = 1000


class Row(NamedTuple):
    """What was measured, the value as shown, the goal as shown (None: no goal) and whether it was met."""

    what: str
    value: str
    goal: Optional[str] = None
    met: Optional[bool] = None


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def fine(seconds: float) -> str:
    """For what takes about a millisecond."""
    return f"{1000 * seconds:.2f} ms"


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| measured | value | goal | met |", "|---|---|---|---|"]
    for row in rows:
        met = "" if row.met is None else ("yes" if row.met else "**no**")
        lines.append(f"| {row.what} | {row.value} | {row.goal or ''} | {met} |")
    return "\n".join(lines) + "\n"
