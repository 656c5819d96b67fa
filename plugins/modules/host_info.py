#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: host_info
short_description: Find out what a Xen host can run
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Returns the host's Xen, its memory and CPUs, and the device models, stubdomains and TPMs that it can really run.
  - What depends on files or on how a program was built is asked of the file or the program.
extends_documentation_fragment:
  - stubdom.xen.attributes
  - stubdom.xen.attributes.info_module
  - stubdom.xen.attributes.actiongroup_xen
seealso:
  - module: stubdom.xen.guest
"""

EXAMPLES = r"""
- name: Ask the host
  stubdom.xen.host_info:
  register: xen_host

- name: Refuse hosts that cannot isolate a device model
  ansible.builtin.assert:
    that: xen_host.stubdoms.linux.usable
"""

RETURN = r"""
xen:
  description: The hypervisor's version, major, minor, commandline and scheduler.
  returned: success
  type: dict
  sample: {version: 4.17.7, major: 4, minor: 17}
toolstack:
  description: The toolstack that this collection drives.
  returned: success
  type: str
  sample: xl
memory:
  description: Total and free memory in bytes. Free is what the hypervisor has left for guests.
  returned: success
  type: dict
cpus:
  description: Number of physical CPUs.
  returned: success
  type: int
domains:
  description: Number of domains, Domain-0 included.
  returned: success
  type: int
guest_types:
  description: The types of guest that the host can run.
  returned: success
  type: list
  elements: str
  sample: [pv, hvm, pvh]
device_models:
  description: The device models found, each with path and version.
  returned: success
  type: dict
stubdoms:
  description: For V(linux) and V(minios), whether such a stubdomain is usable here, and what is missing.
  returned: success
  type: dict
tpm:
  description: Whether the QEMU that libxl starts has an emulated TPM, and whether C(swtpm), which keeps it, is there.
  returned: success
  type: dict
  sample: {emulator: false, swtpm: true}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.stubdom.xen.plugins.module_utils.abilities import abilities
from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    answer(module, abilities)


if __name__ == "__main__":
    main()
