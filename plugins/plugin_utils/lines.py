# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tables for a terminal, of texts that guests and hosts may have written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable

CUT = "…"
LONGEST = 1000  # characters of one foreign text that are looked at


def one_line(foreign: Any) -> str:
    """Foreign text on one line, nothing in it that a terminal would act on."""
    return printable(str(foreign), LONGEST).replace("\n", " ").replace("\t", " ")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, the cells of a column under each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def fitted(line: str, width: int) -> str:
    """The line, cut where it is longer than so many columns."""
    return line if len(line) <= width else line[: width - 1] + CUT
