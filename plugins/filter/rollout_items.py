# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guests of one turn of a rollout as module guests takes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.filter.rollout_back import described_before

DOCUMENTATION = r"""
name: rollout_items
short_description: The guests of one turn of a rollout, as the module takes them
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Takes the descriptions of a host's guests and returns those of one turn, each with the digest of the plan by which its
    wave was found, so that M(stubdom.xen.guests) does that plan or none.
  - With O(back=true) it returns what brings the guests of the turn back to what they were, once each has its file back.
positional: _input, record, turn
options:
  _input:
    description: The descriptions, options of M(stubdom.xen.guest).
    type: list
    elements: dict
    required: true
  record:
    description: What is remembered of the host, from P(stubdom.xen.rollout_state#filter).
    type: dict
    required: true
  turn:
    description: The number of the turn, from 0.
    type: int
    required: true
  disruption:
    description: With O(back=true), what may be done to guests that run. The others say it themselves.
    type: str
    default: recreate
  back:
    description: Whether the turn is to be undone.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The first turn
  stubdom.xen.guests:
    guests: "{{ xen_guests | stubdom.xen.rollout_items(record, 0) }}"
"""

RETURN = r"""
_value:
  description: Input of M(stubdom.xen.guests). Empty where the host has no such turn.
  type: list
  elements: dict
"""

# Of a guest's description, what says how it is stopped and awaited, whatever it is to become.
MANNERS = ("ready", "shutdown")


def rollout_items(
    described: Sequence[Mapping[str, Any]], record: Mapping[str, Any], turn: int, disruption: str = "recreate", back: bool = False
) -> list[dict[str, Any]]:
    """The guests of the turn. Raises AnsibleFilterError for one that is described no more."""
    names = record["turns"][turn]["guests"] if turn < len(record["turns"]) else []
    by_name = {str(guest["name"]): guest for guest in described}
    if back:
        return [_back(name, record["was"], by_name.get(name, {}), disruption) for name in names]
    lost = [name for name in names if name not in by_name]
    if lost:
        raise AnsibleFilterError(f"rollout_items: {', '.join(lost)}: no guest is described by that name")
    return [{**by_name[name], **_approved(record["plans"][name])} for name in names]


def _approved(plan: Mapping[str, Any]) -> dict[str, str]:
    """What follows from another guest's being made anew is not known before it is."""
    return {"expect_plan": plan["digest"]} if plan["digest"] else {}


def _back(name: str, was: Mapping[str, Any], guest: Mapping[str, Any], disruption: str) -> dict[str, Any]:
    manners = {key: guest[key] for key in MANNERS if key in guest}
    return {"disruption": disruption, **manners, **described_before(name, was)}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_items": rollout_items}
