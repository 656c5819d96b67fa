# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules returned on each host as the report of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_report import report_of

DOCUMENTATION = r"""
name: audit_report
short_description: What the modules returned on each host as the report of an audit
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Holds what a fleet of Xen hosts should have against what it has, guest by guest. The playbook C(stubdom.xen.audit) asks the
    hosts and uses this; the shape of what it returns is told in C(docs/audit.md).
  - Nothing is taken over from a result but what the report names, so that the arguments of a task do not get in.
positional: _input
options:
  _input:
    description:
      - For each host by its name, a dictionary of what was returned there.
      - C(found) is the result of M(stubdom.xen.guest_info), also one that failed or that could not be reached.
      - C(planned) is a list of results of M(stubdom.xen.guests) in check mode; C(described) is a dictionary of the states in
        which guests are described, by their names, or nothing where the inventory describes none.
      - C(host) is the result of M(stubdom.xen.host_info), and C(results) that of M(stubdom.xen.guests) when it rolled out.
        Both may be missing.
    type: dict
    required: true
  made:
    description: When the hosts were asked, in UTC, as ISO 8601 has it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Ask the hosts
  stubdom.xen.guest_info:
  register: found

- name: Tell which guests do not work
  ansible.builtin.debug:
    msg: "{{ report.hosts | map(attribute='guests') | flatten | selectattr('verdict', 'equalto', 'degraded') }}"
  vars:
    seen: "{{ {inventory_hostname: {'found': found}} }}"
    report: "{{ seen | stubdom.xen.audit_report(made=now(utc=true).isoformat()) }}"
"""

RETURN = r"""
_value:
  description: The report.
  type: dict
"""


def audit_report(seen: Mapping[str, Any], made: str) -> dict[str, Any]:
    """The report. Raises AnsibleFilterError."""
    if not isinstance(seen, Mapping) or not all(isinstance(found, Mapping) for found in seen.values()):
        raise AnsibleFilterError("audit_report: wanted a dictionary of what was returned on each host")
    return report_of(seen, made)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"audit_report": audit_report}
