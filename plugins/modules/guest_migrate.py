#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest_migrate
short_description: Move a guest to another Xen host
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Moves a guest with its description, its memory where that can be, and the state of its TPM, to another host of the
    inventory. Its disks have to be there already, as on shared storage.
  - The guest goes as it best can. It migrates live, or its memory is saved, brought over and restored, or it halts and is
    started there. What the other host lacks is found out before anything is touched.
  - Between the two hosts the guest exists once. It is made on the other host, held until its readiness chain holds there,
    given up by its own host, and only then let run. A task that is broken off is finished by the next one.
  - A move that fails before that is taken back, and the guest is where it was.
  - Needs both hosts in the inventory. Runs on the controller, and uses M(stubdom.xen.guest_handover) on both hosts.
extends_documentation_fragment:
  - stubdom.xen.attributes
  - stubdom.xen.attributes.actiongroup_xen
attributes:
  check_mode:
    support: full
    details:
      - Both hosts are asked, and the way is told.
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - pyxs, for the Python of both Xen hosts
options:
  name:
    description: The guest's name.
    type: str
    required: true
  to:
    description: The host to which it moves, by its name in the inventory.
    type: str
    required: true
  from:
    description: The host that it leaves, by its name in the inventory. The default is the host of the task.
    type: str
  method:
    description:
      - V(live) migrates it with C(xl migrate), V(saved) brings its saved memory over, V(halt) shuts it down and starts it there.
      - V(auto) takes the first of these that is possible. RV(why_not) tells why others were not.
    type: str
    choices: [auto, live, saved, halt]
    default: auto
  ssh:
    description:
      - The command by which the host that the guest leaves reaches the other one as root, without a password; what
        C(xl migrate -s) takes. Without it nothing migrates live, and files go by way of the controller.
    type: str
  address:
    description: The other host as that command takes it. The default is its C(ansible_host), or its name.
    type: str
  undo:
    description:
      - Takes a move that was broken off back, in place of finishing it. Where the guest was handed over already, it is finished.
    type: bool
    default: false
  evacuated:
    description: Notes that the guest is to come back. The playbook C(stubdom.xen.evacuate) sets it.
    type: bool
    default: false
  timeout:
    description: Seconds that a live migration may take. The default grows with the guest's memory, from three minutes.
    type: float
  ready:
    description: As in M(stubdom.xen.guest).
    type: dict
    suboptions:
      timeout:
        description: Seconds in which the readiness chain has to hold on the other host.
        type: float
        default: 180.0
      retries:
        description: How often a start that ran out of time is made again.
        type: int
        default: 1
  shutdown:
    description: As in M(stubdom.xen.guest), for a guest that has to halt.
    type: dict
    suboptions:
      timeout:
        description: Seconds that the guest has to shut itself down.
        type: float
        default: 120.0
      force:
        description: Whether it is ended where it does not.
        type: bool
        default: false
seealso:
  - module: stubdom.xen.guest
  - module: stubdom.xen.guest_handover
"""

EXAMPLES = r"""
- name: Move a guest, as well as it can
  stubdom.xen.guest_migrate:
    name: web1
    to: xen2

- name: Move it live
  stubdom.xen.guest_migrate:
    name: web1
    to: xen2
    method: live
    ssh: ssh -i /root/.ssh/migration -o BatchMode=yes
    address: root@10.0.0.2

- name: See how it would go
  stubdom.xen.guest_migrate:
    name: web1
    to: xen2
  check_mode: true
"""

RETURN = r"""
method:
  description: The way that was chosen for a move that began now.
  returned: success
  type: str
  sample: saved
why_not:
  description: The ways that were out, each with the reason.
  returned: success
  type: dict
steps:
  description: The steps that were taken, or in check mode would be, each with host and step.
  returned: success
  type: list
  elements: dict
from:
  description: The host that the guest left.
  returned: success
  type: str
to:
  description: The host to which it moved.
  returned: success
  type: str
guest:
  description: The guest where it is now, as M(stubdom.xen.guest) returns it.
  returned: success
  type: dict
readiness:
  description: The links of its readiness chain on the host to which it moved.
  returned: success
  type: list
  elements: dict
code:
  description: What kind of failure it was.
  returned: failure
  type: str
  sample: cannot_move
evidence:
  description: What was observed. C(owner) in it is the host that has the guest now.
  returned: failure
  type: raw
hint:
  description: What to do about it.
  returned: failure
  type: str
"""
# The work is done on the controller: plugins/action/guest_migrate.py.
