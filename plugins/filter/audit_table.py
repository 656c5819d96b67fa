# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of an audit as a short table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.plugin_utils.lines import columns

DOCUMENTATION = r"""
name: audit_table
short_description: The report of an audit as a short table
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - A line for each host with how many of its guests are what, then a line for each guest that is not as described.
positional: _input
options:
  _input:
    description: What P(stubdom.xen.audit_report#filter) returns.
    type: dict
    required: true
  most:
    description: The most lines about guests. That there are more is said in one more line.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: Read the report of the last audit
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'audit/audit.json') | from_json | stubdom.xen.audit_table }}"
"""

RETURN = r"""
_value:
  description: The lines, without line ends.
  type: list
  elements: str
"""


def audit_table(report: Mapping[str, Any], most: int = 20) -> list[str]:
    """The lines. Raises AnsibleFilterError."""
    if not isinstance(report, Mapping) or report.get("schema") != 1:
        raise AnsibleFilterError("audit_table: wanted a report of stubdom.xen.audit_report, schema 1")
    words = [word for word, guests in report["summary"]["verdicts"].items() if guests]
    head = ("host", "guests", *(word.replace("_", " ") for word in words), "xen")
    rows = [_host(host, words) for host in report["hosts"]]
    noted = [*_notes(report)]
    more = [f"... and {len(noted) - most} more"] if len(noted) > most else []
    return [*columns([head, *rows]), *noted[:most], *more]


def _host(host: Mapping[str, Any], words: Sequence[str]) -> tuple[str, ...]:
    counts = [str(host["verdicts"][word] or "-") for word in words]
    version = (host["xen"] or {}).get("version") or ("-" if host["state"] == "audited" else host["state"])
    return (host["name"], str(len(host["guests"])), *counts, str(version))


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    """A line for what somebody should look at."""
    for host in report["hosts"]:
        if host["error"]:
            yield f"{host['name']}: {host['error']['msg']}"
        if host["leftovers"]:
            domains = ", ".join(f"{domain['name']} ({domain['domid']})" for domain in host["leftovers"])
            yield f"{host['name']}: domains that serve nothing: {domains}"
        for guest in host["guests"]:
            if guest["verdict"] not in ("as_described", "not_described", "unreachable"):
                yield f"{host['name']} {guest['name']}: {guest['verdict'].replace('_', ' ')}{_why(guest)}"


def _why(guest: Mapping[str, Any]) -> str:
    if guest["error"]:
        return f": {guest['error']['msg']}"
    if guest["verdict"] == "missing":
        return f": wanted {guest['wanted']}"
    said = guest["evidence"][-1:] if guest["verdict"] == "degraded" else [differs["field"] for differs in guest["differs"]]
    needs = f" (needs {guest['needs']})" if guest["needs"] not in (None, "none") else ""
    return f": {', '.join(said)}{needs}" if said else needs


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"audit_table": audit_table}
