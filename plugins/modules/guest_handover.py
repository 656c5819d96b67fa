#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest_handover
short_description: One step of a guest's move to another host, on one of the two
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - M(stubdom.xen.guest_migrate) runs this on both hosts, and knows the order. By itself it is of use for looking only.
  - The guest is the host's that it leaves until that host's note of the move says V(gone), and the other's from then on.
extends_documentation_fragment:
  - stubdom.xen.attributes
  - stubdom.xen.attributes.actiongroup_xen
attributes:
  check_mode:
    support: full
    details:
      - A step that would change something is not taken.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Every step may be taken again, and leads to where it led.
requirements:
  - pyxs, for the Python of the Xen host
options:
  name:
    description: The guest's name. Needed for all steps but V(list).
    type: str
  step:
    description:
      - V(look) tells what the host knows of the guest, V(list) of which guests it has a note, V(offer) what the guest needs
        elsewhere, V(accept) whether it could be here. These change nothing.
      - On the host that the guest leaves, V(leave) saves or halts it, V(send) migrates it live, V(commit) gives it up, V(forget)
        removes what is left, V(stay) takes the move back.
      - On the other host, V(prepare) expects the guest, V(raise) makes and holds it, V(release) lets it run, V(withdraw)
        removes what came.
    type: str
    choices: [look, list, offer, accept, prepare, leave, send, raise, commit, release, forget, withdraw, stay]
    default: look
  move:
    description: The name of the move. Steps of another move than the one that the host knows are refused.
    type: str
  other:
    description: The other host, by its name in the inventory.
    type: str
  method:
    description: How the guest goes.
    type: str
    choices: [live, saved, halt]
  described:
    description: What step V(offer) told, as JSON. The host's note of the move has it once there is one.
    type: str
  evacuated:
    description: Whether the guest goes because its host is evacuated, and is to come back.
    type: bool
  files:
    description: What was brought, as step V(leave) told it.
    type: list
    elements: dict
    suboptions:
      kind:
        description: What is in the file.
        type: str
        choices: [memory, tpm]
        required: true
      path:
        description: Where it was on the other host.
        type: path
      sha256:
        description: Its digest there.
        type: str
        required: true
  ready:
    description: As in M(stubdom.xen.guest).
    type: dict
    suboptions:
      timeout:
        description: Seconds in which the readiness chain has to hold.
        type: float
      retries:
        description: How often a start that ran out of time is made again.
        type: int
      on_failure:
        description: Whether a failed start is cleared away.
        type: str
        choices: [destroy, keep]
  shutdown:
    description: As in M(stubdom.xen.guest), for a guest that has to halt.
    type: dict
    suboptions:
      timeout:
        description: Seconds that the guest has to shut itself down.
        type: float
      force:
        description: Whether it is ended where it does not.
        type: bool
  ssh:
    description: For V(send), the command by which this host reaches the other one.
    type: str
  address:
    description: For V(send), the other host as that command takes it.
    type: str
  timeout:
    description: For V(send), seconds that the migration may take. The default grows with the guest's memory.
    type: float
seealso:
  - module: stubdom.xen.guest_migrate
"""

EXAMPLES = r"""
- name: See what this host knows of a guest that moves
  stubdom.xen.guest_handover:
    name: web1

- name: See which guests have left this host, and for where
  stubdom.xen.guest_handover:
    step: list
"""

RETURN = r"""
told:
  description: What the step has to tell.
  returned: success
  type: dict
seen:
  description: What the host knows of the guest after the step.
  returned: for all steps but V(list)
  type: dict
  contains:
    note:
      description: "The host's note of the move: side, move, other, method, power, evacuated, done"
      type: dict
      returned: always
    state: {description: The guest's state on this host, type: str, returned: always, sample: halted}
    held: {description: Whether it was made here and has not run, type: bool, returned: always}
    uuid: {description: Its UUID, type: str, returned: always}
    away: {description: Whether xl's NAME--migratedaway is there, type: bool, returned: always}
    incoming: {description: Whether xl's NAME--incoming is there, type: bool, returned: always}
    guest: {description: "The guest here, as M(stubdom.xen.guest) returns it", type: dict, returned: always}
code:
  description: What kind of failure it was.
  returned: failure
  type: str
evidence:
  description: What was observed.
  returned: failure
  type: raw
hint:
  description: What to do about it.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.stubdom.xen.plugins.module_utils.arguments import HANDOVER
from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.moving import handover


def main() -> None:
    required = [("step", step, ("name",)) for step in HANDOVER["step"]["choices"] if step != "list"]
    module = AnsibleModule(argument_spec=HANDOVER, required_if=required, supports_check_mode=True)
    answer(module, lambda host: handover(host, module.params, module.check_mode))


if __name__ == "__main__":
    main()
