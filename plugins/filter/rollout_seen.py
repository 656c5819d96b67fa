# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Of a host's guests, what the waves of a rollout have to know, and no more: a description may hold passwords. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: rollout_seen
short_description: Of a host's guests, what the waves of a rollout have to know
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Takes what M(stubdom.xen.guests) returned of a host's guests in check mode, and makes of it and of their descriptions what
    P(stubdom.xen.rollout_waves#filter) takes. Nothing secret is in it.
positional: _input, described
options:
  _input:
    description: RV(stubdom.xen.guests#module:guests) of a run in check mode.
    type: list
    elements: dict
    required: true
  described:
    description: The guests' descriptions, O(stubdom.xen.guests#module:guests) of that run.
    type: list
    elements: dict
    required: true
  services:
    description: Names or shell patterns of guests, or of C(HOST/GUEST), by the service that they are of.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: What is to be done
  stubdom.xen.guests:
    guests: "{{ xen_guests }}"
  check_mode: true
  register: look

- name: What of it the waves have to know
  ansible.builtin.set_fact:
    seen: "{{ look.guests | stubdom.xen.rollout_seen(xen_guests, services={'web': ['web*']}) }}"
"""

RETURN = r"""
_value:
  description: What the waves have to know.
  type: dict
  contains:
    guests:
      description:
        - Each guest's C(name), C(state), C(wanted), C(steps), C(digest), C(after) and C(backends).
        - C(after) are the guests that it names in C(depends_on), C(backends) the domains that serve its devices.
      type: list
      elements: dict
    services: {description: As they were given, type: dict}
"""

SERVED = ("disks", "nics", "channels", "p9", "vtpm")  # devices that another domain may serve


def rollout_seen(
    guests: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]], services: Optional[Mapping[str, Any]] = None
) -> dict[str, Any]:
    """The guests and services. Raises AnsibleFilterError."""
    if not isinstance(guests, (list, tuple)) or not all(_is_result(guest) for guest in guests):
        raise AnsibleFilterError("rollout_seen: wanted the guests that stubdom.xen.guests returned in check mode")
    services = services or {}
    if not isinstance(services, Mapping) or not all(isinstance(names, (list, tuple)) for names in services.values()):
        raise AnsibleFilterError("rollout_seen: services: wanted lists of guests, by the names of services")
    by_name = {str(guest["name"]): guest for guest in described}
    return {
        "guests": [_seen(guest, by_name.get(str(guest["name"]), {})) for guest in guests],
        "services": {str(service): [str(name) for name in names] for service, names in services.items()},
    }


def _is_result(guest: Any) -> bool:
    return isinstance(guest, Mapping) and {"name", "plan", "plan_digest", "guest"} <= set(guest)


def _seen(guest: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    devices = [device for kind in SERVED for device in described.get(kind) or ()]
    return {
        "name": str(guest["name"]),
        "state": str(guest["guest"]["state"]),
        "wanted": str(described.get("state", "running")),
        "steps": [str(step["step"]) for step in guest["plan"]],
        "digest": str(guest["plan_digest"]),
        "after": [str(name) for name in described.get("depends_on") or ()],
        "backends": sorted({str(device["backend"]) for device in devices if device.get("backend")}),
    }


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_seen": rollout_seen}
