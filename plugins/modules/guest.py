#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest
short_description: Describe one Xen guest and get it
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Makes, changes, starts, stops and removes one Xen guest so that it is as described.
  - A guest is started paused, and let run only once its readiness chain holds. Every domain that it leans on, such as the
    stubdomain that holds its device model, must report ready on that domain's own xenstore path.
  - What is not given is not managed. It keeps its value from the guest's file in C(/etc/xen), or from the running domain.
  - The guest's UUID and the MAC addresses of its NICs are fixed once and then kept.
  - Whether a running guest is as described is judged by the host's own parser (C(xl create -n) against C(xl list -l)).
extends_documentation_fragment:
  - stubdom.xen.guest
  - stubdom.xen.attributes
  - stubdom.xen.attributes.actiongroup_xen
  - stubdom.xen.attributes.progress
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - pyxs, for the Python of the Xen host
seealso:
  - module: stubdom.xen.guest_info
  - module: stubdom.xen.host_info
"""

EXAMPLES = r"""
- name: A guest whose device model runs in a Linux stubdomain
  stubdom.xen.guest:
    name: web1
    type: hvm
    memory: 1GiB
    vcpus: 2
    stubdom:
      type: linux
    disks:
      - vdev: xvda
        target: /dev/vg0/web1
        format: raw
        access: rw
    nics:
      - bridge: xenbr0

- name: See what a change would do, and approve exactly that
  stubdom.xen.guest:
    name: web1
    memory: 2GiB
    disruption: recreate
  check_mode: true
  register: preview

- name: Do it
  stubdom.xen.guest:
    name: web1
    memory: 2GiB
    disruption: recreate
    expect_plan: "{{ preview.plan_digest }}"

- name: Put the guest's memory into a file while its host is worked on
  stubdom.xen.guest:
    name: web1
    state: saved

- name: Have it run on where it was
  stubdom.xen.guest:
    name: web1
    state: running

- name: Take a guest away, its disks stay
  stubdom.xen.guest:
    name: web1
    state: absent
    shutdown:
      timeout: 60
      force: true
"""

RETURN = r"""
plan:
  description: The steps in order, done or (in check mode) to be done.
  returned: success
  type: list
  elements: dict
  contains:
    step: {description: Name of the step, type: str, returned: always}
    reason: {description: Why, type: str, returned: always}
    disruption: {description: What it does to a guest that runs, type: str, returned: always}
    field: {description: The option whose change asks for the step, type: str, returned: when there is one}
    from: {description: Its value before, type: raw, returned: when there is a field}
    to: {description: Its value after, type: raw, returned: when there is a field}
plan_digest:
  description: A digest of the plan for O(expect_plan).
  returned: success
  type: str
  sample: 1f0c9ad3b4e5f607
pending:
  description: What is described but needs more than O(disruption) allows, each with field, from, to, needs and reason.
  returned: success
  type: list
  elements: dict
guest:
  description: The guest as it is now.
  returned: success
  type: dict
  contains:
    spec: {description: "Its description, valid input of this module", type: dict, returned: always}
    state: {description: Its state, type: str, returned: always, sample: running}
    saved: {description: "The file that holds its memory, if it is saved", type: str, returned: always}
    domid: {description: Its domain's number, type: int, returned: always}
    uuid: {description: Its UUID, type: str, returned: always}
    stubdom: {description: "Its stubdomain: domid, name, alive", type: dict, returned: always}
    vtpm:
      description: "What holds its TPM, a domain or swtpm: name, domid, alive, ready, version, state_file"
      type: list
      elements: dict
      returned: always
readiness:
  description: The links of the readiness chain, in the order in which they come up.
  returned: success
  type: list
  elements: dict
  contains:
    link: {description: Name of the link, type: str, returned: always, sample: device-model}
    domain: {description: Number of the domain that reports it, type: int, returned: always}
    path:
      description: The xenstore path, or the socket of a monitor that is asked.
      type: str
      returned: always
      sample: /local/domain/4/device-model/3/state
    want: {description: "The wanted value; * is any", type: str, returned: always}
    value: {description: The value seen, type: str, returned: always}
    holds:
      description: Whether it held - the value is the wanted one, is that domain's own, and who wrote it lives.
      type: bool
      returned: always
    after_s:
      description: Seconds from the start of the creation until the link held; null for a guest that was up.
      type: float
      returned: always
leftovers:
  description: Domains that remain of this guest and serve nothing.
  returned: success
  type: list
  elements: dict
code:
  description: What kind of failure it was, for playbooks to test.
  returned: failure
  type: str
  sample: stubdom_failed
evidence:
  description: What was observed; the end of the log that holds the reason.
  returned: failure
  type: raw
hint:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUEST, POLICY
from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.execute import converge


def main() -> None:
    module = AnsibleModule(argument_spec={**GUEST, **POLICY}, supports_check_mode=True, no_log=True)  # entry.py says why
    answer(module, lambda host: converge(host, module.params, module.check_mode))


if __name__ == "__main__":
    main()
