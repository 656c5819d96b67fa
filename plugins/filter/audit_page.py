# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an audit as one page of HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_page import page_of

DOCUMENTATION = r"""
name: audit_page
short_description: The report of an audit as one page of HTML
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - One file that needs no other and no network, to be opened in a browser. The report is in it as JSON.
  - What guests and hosts wrote is shown as text and never taken for HTML; the page allows no script but its own.
positional: _input
options:
  _input:
    description: What P(stubdom.xen.audit_report#filter) returns.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Make the page of an earlier report
  ansible.builtin.copy:
    content: "{{ lookup('ansible.builtin.file', 'audit/audit.json') | from_json | stubdom.xen.audit_page }}"
    dest: audit/audit.html
    mode: "0640"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The page.
  type: str
"""


def audit_page(report: Mapping[str, Any]) -> str:
    """The page. Raises AnsibleFilterError."""
    if not isinstance(report, Mapping) or report.get("schema") != 1:
        raise AnsibleFilterError("audit_page: wanted a report of stubdom.xen.audit_report, schema 1")
    return page_of(report)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"audit_page": audit_page}
