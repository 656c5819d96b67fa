# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A rollout as a table for people: what was done, what was not, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.stubdom.xen.plugins.filter.rollout_state import hosts_of
from ansible_collections.stubdom.xen.plugins.plugin_utils.lines import columns, fitted, one_line

DOCUMENTATION = r"""
name: rollout_table
short_description: A rollout as lines of text
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - A line for each host, by waves, with its guests in their turns and what became of it. C(v) marks a guest that goes down,
    C(>) stands between turns.
  - Control characters and others without a glyph are replaced, whoever wrote them.
positional: _input
options:
  _input:
    description: What is remembered, as P(stubdom.xen.rollout_state#filter) returns it.
    type: dict
    required: true
  width:
    description: The most columns that a line may have. What is longer is cut at its end.
    type: int
    default: 108
"""

EXAMPLES = r"""
- name: What became of the last rollout
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', file) | from_json | stubdom.xen.rollout_table }}"
"""

RETURN = r"""
_value:
  description: The lines, without line ends.
  type: list
  elements: str
"""

HEAD = ("wave", "host", "guests (v: goes down, >: then)", "state", "why")


def rollout_table(known: Mapping[str, Any], width: int = 108) -> list[str]:
    """The lines, a head first. Raises AnsibleFilterError."""
    records = sorted(hosts_of("rollout_table", known).items(), key=lambda item: int(item[1]["wave"]))
    rows = [HEAD, *(_cells(host, record) for host, record in records)]
    return [fitted(line, width) for line in columns(rows)]


def _cells(host: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    wave = f"{record['wave']}{' canary' if record.get('canary') else ''}"
    why = record.get("why")
    return wave, one_line(host), _guests(record.get("turns") or ()), one_line(record["state"]), one_line(why) if why else ""


def _guests(turns: Sequence[Mapping[str, Any]]) -> str:
    """The guests of each turn; none where the host is only looked at again."""
    said = [" ".join(f"{one_line(name)}{' v' if name in turn['falls'] else ''}" for name in turn["guests"]) for turn in turns]
    return " > ".join(said) or "-"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_table": rollout_table}
