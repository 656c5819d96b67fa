# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A guest's readiness chain as a picture: who reported where, after how many seconds, in lines for a terminal.

Names, paths and values come from xenstore, where guests and stubdomains write: nothing without a glyph comes through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.plugin_utils.lines import fitted, one_line

DOCUMENTATION = r"""
name: readiness_timeline
short_description: A guest's readiness chain as lines of text
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Draws the links of a guest's readiness chain, in the order in which they come up, with the domain that reports each,
    the seconds after which it held, its xenstore path and its value.
  - A guest that was up before the task has no seconds. A link that does not hold says what was wanted.
  - Control characters and others without a glyph are replaced, whoever wrote them.
positional: _input
options:
  _input:
    description:
      - The result of M(stubdom.xen.guest), or one item of RV(stubdom.xen.guest_info#module:guests).
    type: dict
    required: true
  width:
    description: The most columns that a line may have. What is longer is cut at its end.
    type: int
    default: 108
"""

EXAMPLES = r"""
- name: The guest
  stubdom.xen.guest:
    name: secure1
  register: secure1

- name: Show how it came up
  ansible.builtin.debug:
    msg: "{{ secure1 | stubdom.xen.readiness_timeline | join('\n') }}"
"""

RETURN = r"""
_value:
  description: The lines, without line ends.
  type: list
  elements: str
"""

BAR = 8  # columns; with the longest name and path of a Linux stubdomain's chain a line has about 100
EIGHTHS = " ▏▎▍▌▋▊▉"
FULL = "█"
ENDS = {"running": "unpaused: the guest runs", "paused": "held: the guest is ready and paused"}


def readiness_timeline(result: Mapping[str, Any], width: int = 108) -> list[str]:
    """The lines for one guest: a head, a line for each link, an end. Raises AnsibleFilterError."""
    if not _is_result(result):
        raise AnsibleFilterError("readiness_timeline: wanted the result of stubdom.xen.guest or an item of guest_info's guests")
    guest, links = result.get("guest", result), result["readiness"]
    lines = [_head(guest), *_table([_cells(link, _longest(links)) for link in links]), _end(guest, links)]
    return [fitted(line, width) for line in lines]


def _is_result(result: Any) -> bool:
    links = result.get("readiness") if isinstance(result, Mapping) else None
    return isinstance(links, (list, tuple)) and all(isinstance(link, Mapping) for link in links)


def drawn(seconds: float, longest: float) -> str:
    """A bar of eighths of a column, BAR columns at ``longest`` seconds; never empty, so that every link is seen."""
    eighths = max(1, round(8 * BAR * seconds / longest)) if longest > 0 else 1
    return (FULL * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def _head(guest: Mapping[str, Any]) -> str:
    name = guest.get("name") or (guest.get("spec") or {}).get("name")
    stubdom, domid = guest.get("stubdom"), guest.get("domid")
    where = f", device model in stubdomain {one_line(stubdom.get('domid'))}" if stubdom else ""
    where += "".join(f", TPM in domain {one_line(tpm.get('domid'))}" for tpm in guest.get("vtpm") or ())
    return f"{one_line(name)} ({f'domid {one_line(domid)}' if domid is not None else 'no domain'}){where}"


def _longest(links: Sequence[Mapping[str, Any]]) -> float:
    return max((float(link["after_s"]) for link in links if link.get("after_s") is not None), default=0.0)


def _cells(link: Mapping[str, Any], longest: float) -> tuple[str, ...]:
    """Name, domain, bar, seconds, path and value of a link."""
    after = link.get("after_s")
    picture = ("", "") if after is None else (drawn(float(after), longest), f"{float(after):.1f} s")
    return one_line(link.get("link")), f"domain {one_line(link.get('domain'))}", *picture, _said(link)


def _said(link: Mapping[str, Any]) -> str:
    value, want = link.get("value"), link.get("want")
    shown = f"{one_line(link.get('path'))} = {'(nothing)' if value is None else one_line(value)}"
    right = value is not None and (want == "*" or str(value) in str(want).split(" or "))
    if right:  # a node may say what it should and be another domain's, or one that is dead
        return shown if link.get("holds", True) else f"{shown}, not believed"
    return f"{shown}, wanted {'any value' if want == '*' else one_line(want)}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows with their columns under each other; seconds stand to the right, what is last is as long as it is."""
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    return [_row(row, widths) for row in rows]


def _row(row: tuple[str, ...], widths: Sequence[int]) -> str:
    name, domain, picture, seconds, said = row
    timed = [picture.ljust(widths[2]), seconds.rjust(widths[3])] if widths[3] else []
    return "  " + "  ".join([name.ljust(widths[0]), domain.ljust(widths[1]), *timed, said])


def _end(guest: Mapping[str, Any], links: Sequence[Mapping[str, Any]]) -> str:
    """What the gate did. A guest may have no links, such as one without a device model."""
    why = "" if links else " (its chain has no links)"
    state = guest.get("state")
    return f"  {ENDS.get(str(state), f'the guest is {one_line(state)}')}{why}"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"readiness_timeline": readiness_timeline}
