#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guests
short_description: Describe the Xen guests of a host and get them
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Does for many guests of a host what M(stubdom.xen.guest) does for one. The host is looked at once, what cannot be is
    refused before the first change, and guests that have something to do do it side by side.
  - Guests that are not named are left alone, unless O(purge) says otherwise.
  - What others lean on comes up first and goes down last, see O(guests[].depends_on). A guest of which another one that
    goes before it has failed is not begun.
  - Every guest is started paused, and let run only once its own readiness chain holds.
  - When a guest fails, no further one is begun, and those in flight are brought to their ends; O(continue_on_error) lets
    the others go on. Each guest's own result is in RV(guests).
extends_documentation_fragment:
  - stubdom.xen.guest.items
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
options:
  concurrency:
    description: How many guests are created, changed or stopped at a time.
    type: int
    default: 8
  continue_on_error:
    description: Whether the other guests are begun when one has failed or was refused. The task fails in either case.
    type: bool
    default: false
  purge:
    description:
      - Whether guests of this host that are not in O(guests) are to be absent, as with O(guests[].state=absent).
      - Only guests whose file this collection wrote. Disks and the state of TPMs stay.
    type: bool
    default: false
  purge_limit:
    description:
      - How many guests one task may purge. When it would be more, nothing at all is done, as the list of guests is then
        likely not whole.
    type: int
    default: 1
  expect_plan:
    description: Refuse to do anything unless the plan has this digest, as RV(plan_digest) of a run in check mode.
    type: str
seealso:
  - module: stubdom.xen.guest
  - module: stubdom.xen.guest_info
"""

EXAMPLES = r"""
- name: The guests of this host
  stubdom.xen.guests:
    guests:
      - name: web1
        type: hvm
        memory: 1GiB
        stubdom:
          type: linux
        disks:
          - vdev: xvda
            target: /dev/vg0/web1
            format: raw
            access: rw
      - name: cache1
        type: pvh
        memory: 512MiB
        kernel: /boot/vmlinuz-guest
        ramdisk: /boot/initrd.img-guest

- name: As the inventory describes them, sixteen at a time, and tell of every failure
  stubdom.xen.guests:
    guests: "{{ xen_guests }}"
    concurrency: 16
    continue_on_error: true

- name: The shop after its database, and no other guest of ours on this host
  stubdom.xen.guests:
    guests:
      - name: database
        state: running
      - name: shop
        state: running
        depends_on: [database]
    purge: true
    purge_limit: 3
"""

RETURN = r"""
guests:
  description: Each guest's own result, in the order of the task, as M(stubdom.xen.guest) returns it, without the diff.
  returned: success, and failure of a guest
  type: list
  elements: dict
  contains:
    name: {description: The guest's name, type: str, returned: always}
    failed: {description: Whether it failed or was refused, type: bool, returned: always}
    changed: {description: Whether something was done, type: bool, returned: always}
    plan: {description: The steps that lead there, type: list, elements: dict, returned: success}
    plan_digest: {description: A digest of plan and guest, type: str, returned: success}
    pending: {description: What needs more disruption than was allowed, type: list, elements: dict, returned: success}
    guest: {description: "The guest afterwards: spec, state, domid, uuid, stubdom, vtpm", type: dict, returned: success}
    readiness: {description: The links of its chain, type: list, elements: dict, returned: success}
    leftovers: {description: Domains that remain of it and serve nothing, type: list, elements: dict, returned: success}
    code: {description: What kind of failure it was, type: str, returned: failure}
    msg: {description: The failure, type: str, returned: failure}
    evidence: {description: What was observed, type: raw, returned: failure}
    hint: {description: What to do about it, type: str, returned: failure}
purged:
  description: The names of the guests that are absent because O(guests) does not have them.
  returned: with O(purge=true)
  type: list
  elements: str
plan_digest:
  description: A digest of all plans; give it as O(expect_plan) to have exactly these done.
  returned: success
  type: str
code:
  description: What kind of failure the first one was.
  returned: failure
  type: str
evidence:
  description: Which guests failed, or all refusals by the guest's name when nothing was touched.
  returned: failure
  type: dict
hint:
  description: What to do about the first failure.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUESTS
from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.guestset import converge_all


def main() -> None:
    module = AnsibleModule(argument_spec=GUESTS, supports_check_mode=True, no_log=True)  # entry.py says why
    answer(module, lambda host: converge_all(host, module.params, module.check_mode))


if __name__ == "__main__":
    main()
