# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which guest goes to which host: the biggest first, each to where most memory is free, never more than there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: evacuation_plan
short_description: Which guest goes to which Xen host
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Gives each guest a host, the biggest guest first, each to the host that has most memory left then. No host gets more than
    it has free.
  - Fails, naming the guests, where they do not fit in that way; nothing of the plan is worth anything then.
positional: _input, hosts
options:
  _input:
    description:
      - The guests, each with C(name) and C(memory), the bytes that it takes when it runs, as step V(offer) of
        M(stubdom.xen.guest_handover) tells it. One that has C(power) other than V(running) takes none.
    type: list
    elements: dict
    required: true
  hosts:
    description:
      - The hosts, each with C(name) and C(free), its free memory in bytes, and with C(guests), the names of those that it has,
        which is needed for O(apart) only.
    type: list
    elements: dict
    required: true
  apart:
    description: Lists of names of guests of which no two may be on one host.
    type: list
    elements: list
    default: []
  begun:
    description: Moves that have begun, each with C(name) and C(other). They are the first of the plan, and go where they were to.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show where the guests of this host would go
  ansible.builtin.debug:
    msg: "{{ guests | stubdom.xen.evacuation_plan(hosts, apart=[['db1', 'db2']]) }}"
  vars:
    guests:
      - {name: db1, memory: 4294967296}
      - {name: web1, memory: 1073741824}
    hosts:
      - {name: xen2, free: 6442450944, guests: [db2]}
      - {name: xen3, free: 4831838208, guests: []}
"""

RETURN = r"""
_value:
  description: For each guest, biggest first, its C(name), C(memory) and C(to), the host.
  type: list
  elements: dict
"""


def evacuation_plan(
    guests: Iterable[Mapping[str, Any]],
    hosts: Iterable[Mapping[str, Any]],
    apart: Sequence[Sequence[str]] = (),
    begun: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """[{name, memory, to}], biggest first. Raises AnsibleFilterError where a guest finds no host."""
    free = {str(host["name"]): int(host["free"]) for host in hosts}
    there = {str(host["name"]): set(host.get("guests") or ()) for host in hosts}
    plan, homeless = [{"name": str(move["name"]), "memory": 0, "to": str(move["other"])} for move in begun], []
    for name, memory in sorted(map(_needs, guests), key=lambda need: (-need[1], need[0])):
        fits = [host for host in free if free[host] >= memory and not there[host] & _shunned(name, apart)]
        if not fits:
            homeless.append(f"{name} ({memory >> 20}MiB)")
            continue
        to = min(fits, key=lambda host: (-free[host], host))
        free[to] -= memory
        there[to].add(name)
        plan.append({"name": name, "memory": memory, "to": to})
    if homeless:
        left = ", ".join(f"{host} {memory >> 20}MiB" for host, memory in free.items()) or "none"
        raise AnsibleFilterError(
            f"no host has room for {', '.join(homeless)}, beside the guests that are bigger; left then: {left}. "
            "Stop guests, leave some out (evacuate_except), or name more hosts (evacuate_to)"
        )
    return plan


def _needs(guest: Mapping[str, Any]) -> tuple[str, int]:
    return str(guest["name"]), int(guest["memory"]) if guest.get("power", "running") == "running" else 0


def _shunned(name: str, apart: Sequence[Sequence[str]]) -> set[str]:
    return {other for names in apart if name in names for other in names} - {name}


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"evacuation_plan": evacuation_plan}
