#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest_ready
short_description: Wait until a Xen guest may run
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Waits until the readiness chain of a guest holds, whoever made the guest. Every domain that it leans on, such as the
    stubdomain that holds its device model or its vTPM domain, must report ready on that domain's own xenstore path, and live.
  - Lets the guest run then, if asked to.
  - M(stubdom.xen.guest) does the same for the guests that it makes. This module is for those that other tools make, such as
    C(xl create -p) or C(virsh start --paused).
extends_documentation_fragment:
  - stubdom.xen.attributes
  - stubdom.xen.attributes.actiongroup_xen
  - stubdom.xen.attributes.progress
attributes:
  check_mode:
    support: full
    details: In check mode it looks once, waits for nothing, and fails for nothing that is not there yet.
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - pyxs, for the Python of the Xen host
options:
  name:
    description: The guest's name.
    type: str
    required: true
  timeout:
    description: The seconds that the chain may take.
    type: int
    default: 180
  unpause:
    description: Whether a paused guest is let run once it is ready. Nothing is unpaused before.
    type: bool
    default: false
seealso:
  - module: stubdom.xen.guest
  - module: stubdom.xen.guest_info
"""

EXAMPLES = r"""
- name: A guest that is made by hand, and held
  ansible.builtin.command: xl create -p /root/legacy.cfg
  changed_when: true

- name: Let it run when its device model is up
  stubdom.xen.guest_ready:
    name: legacy
    unpause: true

- name: Before the application is deployed
  stubdom.xen.guest_ready:
    name: web1
    timeout: 60
"""

RETURN = r"""
ready:
  description: Whether every link holds. Always true, but in check mode.
  returned: success
  type: bool
guest:
  description: "The guest: name, domid, uuid, state, stubdom"
  returned: success
  type: dict
readiness:
  description: The links of the readiness chain
  returned: success
  type: list
  elements: dict
  contains:
    link: {description: What it is, type: str, returned: always}
    domain: {description: The domid that reports it, type: int, returned: always}
    path: {description: "The xenstore path, or the socket of the monitor that is asked", type: str, returned: always}
    want: {description: The value that it must have; V(*) is any, type: str, returned: always}
    value: {description: The value that it has, type: str, returned: always}
    holds: {description: Whether it holds, type: bool, returned: always}
    after_s: {description: Seconds of waiting until it held, type: float, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.stubdom.xen.plugins.module_utils.arguments import READY
from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.ready import await_ready


def main() -> None:
    module = AnsibleModule(argument_spec=READY, supports_check_mode=True)
    answer(module, lambda host: await_ready(host, module.params, module.check_mode))


if __name__ == "__main__":
    main()
