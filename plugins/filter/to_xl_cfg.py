# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of a guest as the text of an xl.cfg: what the module would write, for those who want to see or keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.stubdom.xen.plugins.filter.from_xl_cfg import guest_of, refused
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xlcfg import settings

DOCUMENTATION = r"""
name: to_xl_cfg
short_description: The text of an xl.cfg from the options of a guest
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Returns the lines that M(stubdom.xen.guest) writes to the guest's file, without its mark, so that the module takes a file
    with them for somebody else's.
  - What the options do not say is not in the text. M(stubdom.xen.guest) adds a UUID and MAC addresses; without them C(xl)
    makes up others each time.
  - O(stubdom.xen.guest#module:autostart) and what a task may do, such as O(stubdom.xen.guest#module:state), have no key in
    an xl.cfg and are left out.
  - A password is in the text as it is in the options. Those that M(stubdom.xen.guest_info) returns have it masked, and are
    refused, as the mask would become the password.
  - Options that M(stubdom.xen.guest) would refuse are refused.
positional: _input
options:
  _input:
    description:
      - Options of M(stubdom.xen.guest), such as an item of RV(stubdom.xen.guest_info#module:guests[].spec).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Look at every guest of the host
  stubdom.xen.guest_info:
  register: found

- name: Keep a file of each on this machine (none of these guests has a password)
  ansible.builtin.copy:
    content: "{{ item.spec | stubdom.xen.to_xl_cfg }}"
    dest: "{{ inventory_hostname }}-{{ item.name }}.cfg"
    mode: "0600"
  loop: "{{ found.guests }}"
  loop_control:
    label: "{{ item.name }}"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The text, a line for each key.
  type: str
"""


def to_xl_cfg(options: Mapping[str, Any]) -> str:
    """The text of the guest's file. Raises AnsibleFilterError."""
    if not isinstance(options, Mapping):
        raise AnsibleFilterError("to_xl_cfg: wanted the options of a guest, as stubdom.xen.guest takes them")
    try:
        return settings(guest_of(options))
    except XenError as error:
        raise refused("to_xl_cfg", error) from None


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"to_xl_cfg": to_xl_cfg}
