# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What speaks against going on with a rollout after a host's turn: guests that are not what they should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: rollout_unfit
short_description: What speaks against going on with a rollout
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Takes what M(stubdom.xen.guest_info) found and tells of each guest that is not what it should be.
  - A guest that was changed has to be in the state that was wanted and as its file says, save for what is pending. One that
    only ran has to run still. Of either that runs, every link of its readiness chain has to hold, and nothing may be left
    over, such as a stubdomain that serves nobody.
positional: _input
options:
  _input:
    description: RV(stubdom.xen.guest_info#module:guests).
    type: list
    elements: dict
    required: true
  changed:
    description: RV(stubdom.xen.guests#module:guests) of the guests that were changed.
    type: list
    elements: dict
    default: []
  wanted:
    description: The O(stubdom.xen.guest#module:state) that each changed guest is to have, by its name; V(running) for the others.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at the guests
  stubdom.xen.guest_info:
    names: [web1, web2]
  register: found

- name: See that they run
  ansible.builtin.assert:
    that: found.guests | stubdom.xen.rollout_unfit == []
"""

RETURN = r"""
_value:
  description: A sentence for each thing that is not as it should be.
  type: list
  elements: str
"""


def rollout_unfit(
    found: Sequence[Mapping[str, Any]], changed: Sequence[Mapping[str, Any]] = (), wanted: Mapping[str, str] | None = None
) -> list[str]:
    """The sentences. Raises AnsibleFilterError."""
    if not isinstance(found, (list, tuple)) or not all(isinstance(g, Mapping) and "state" in g for g in found):
        raise AnsibleFilterError("rollout_unfit: wanted the guests of stubdom.xen.guest_info")
    pending = {guest["name"]: {item["field"] for item in guest.get("pending") or ()} for guest in changed}
    return [said for guest in found for said in _of(guest, (wanted or {}).get(guest["name"], "running"), pending)]


def _of(guest: Mapping[str, Any], wanted: str, pending: Mapping[str, set[str]]) -> Iterator[str]:
    name, state = guest["name"], guest["state"]
    if wanted not in (state, "present"):
        yield f"{name} is {state}, wanted {wanted}"
    if state in ("running", "paused"):
        for link in guest["readiness"]:
            if not link["holds"]:
                value = "nothing" if link["value"] is None else link["value"]
                yield f"{name}: link {link['link']} does not hold: {link['path']} = {value}, wanted {link['want']}"
    for domain in guest["leftovers"]:
        yield f"{name} has left domain {domain['domid']} ({domain['name']})"
    if name in pending:
        differs = sorted({str(item["field"]) for item in guest["drift"]} - pending[name])
        if differs:
            yield f"{name} is otherwise than its file says: {', '.join(differs)}"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_unfit": rollout_unfit}
