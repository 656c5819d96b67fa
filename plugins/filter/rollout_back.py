# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A wave of a rollout as one that undoes it: the same hosts, the same turns, each guest to what it was before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.filter.rollout_state import hosts_of

DOCUMENTATION = r"""
name: rollout_back
short_description: What is remembered of a rollout, with one of its waves to be undone
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Takes what is remembered of a rollout and returns only the hosts of one wave, with what is to be done to bring their
    guests back to what they were. A host whose guests were not changed is left out.
  - Guests that a wave brings down in different turns are brought back in different turns.
positional: _input
options:
  _input:
    description: What is remembered, as P(stubdom.xen.rollout_state#filter) returns it.
    type: dict
    required: true
  wave:
    description: The number of the wave. The last one that changed something, where none is given.
    type: int
  hosts:
    description: The hosts that may be touched. A wave with others is refused.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: What the last wave would be brought back to
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', file) | from_json | stubdom.xen.rollout_back(hosts=ansible_play_hosts) }}"
"""

RETURN = r"""
_value:
  description: As P(stubdom.xen.rollout_state#filter) returns it, with the hosts of that wave only.
  type: dict
"""

# The states that a guest can be put into; found in any other, it is to run.
LASTING = ("absent", "halted", "paused", "saved")


def rollout_back(known: Mapping[str, Any], hosts: Sequence[str], wave: Optional[int] = None) -> dict[str, Any]:
    """The hosts of the wave, with the turns that undo it. Raises AnsibleFilterError."""
    changed = {host: record for host, record in hosts_of("rollout_back", known).items() if _can(record)}
    waves = sorted({record["wave"] for record in changed.values()})
    number = waves[-1] if wave is None and waves else wave
    if number not in waves:
        there = f"waves with something to undo: {', '.join(map(str, waves))}" if waves else "no wave has something to undo"
        raise AnsibleFilterError(f"rollout_back: {'nothing' if wave is None else f'wave {wave}'} to bring back; {there}")
    meant = {host: record for host, record in changed.items() if record["wave"] == number}
    missing = sorted(set(meant) - set(hosts))
    if missing:
        raise AnsibleFilterError(f"rollout_back: wave {number} has {', '.join(missing)} as well, which this run leaves out")
    return {"begun": known["begun"], "hosts": {host: _undone(host, record) for host, record in meant.items()}}


def _can(record: Mapping[str, Any]) -> bool:
    return record["state"] != "back" and bool((record.get("was") or {}).get("state"))


def _undone(host: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """earlier: turns of runs that were broken off. A guest that was in several is brought back in the first."""
    was, seen, turns = record["was"], set(), []
    lost = [name for name, state in was["state"].items() if state != "absent" and name not in was["file"]]
    if lost:
        raise AnsibleFilterError(
            f"rollout_back: {', '.join(lost)} on {host} had no file before this rollout: there is nothing to go back to"
        )
    for turn in [*record["earlier"], *record["turns"]]:
        names = [name for name in turn["guests"] if name in was["state"] and name not in seen]
        seen.update(names)
        turns.append({**turn, "guests": names, "falls": [name for name in names if name in turn["falls"]]})
    return {**record, "turns": [turn for turn in turns if turn["guests"]], "earlier": [], "why": None}


def described_before(name: str, was: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Options of module guest that, with its file as it was, make the guest what it was: what is not said is in the file."""
    state = was["state"][name]
    if state == "absent":
        return {"name": name, "state": "absent"}
    return {"name": name, "state": state if state in LASTING else "running", "autostart": name in was["autostart"]}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_back": rollout_back}
