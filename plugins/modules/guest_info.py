#!/usr/bin/python
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: guest_info
short_description: Look at the Xen guests of a host
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Returns each guest as valid input of M(stubdom.xen.guest), and what was observed of it.
  - Finds guests that C(xl list -l) leaves out, such as half-made ones and those whose device model is dead.
extends_documentation_fragment:
  - stubdom.xen.attributes
  - stubdom.xen.attributes.info_module
  - stubdom.xen.attributes.actiongroup_xen
requirements:
  - pyxs, for the Python of the Xen host
options:
  names:
    description: The guests to look at. All that have a domain or a file in C(/etc/xen) where none is given.
    type: list
    elements: str
seealso:
  - module: stubdom.xen.guest
"""

EXAMPLES = r"""
- name: Look at every guest of the host
  stubdom.xen.guest_info:
  register: found

- name: Guests whose device model died
  ansible.builtin.debug:
    msg: "{{ found.guests | selectattr('state', 'equalto', 'degraded') | map(attribute='name') }}"
"""

RETURN = r"""
guests:
  description: The guests, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name: {description: The guest's name, type: str, returned: always}
    spec:
      description:
        - Its description, as M(stubdom.xen.guest) takes it, with passwords masked; the file's, else the running domain's.
        - A mask is refused as input, so take passwords out before; what is left out stays as it is.
      type: dict
      returned: always
    state:
      description:
        - V(absent), V(halted), V(running), V(paused), V(saved) (its memory is in a file), V(shutdown) (it shut itself down and
          its domain was kept), V(crashed), V(half_made) (its creation did not end), V(degraded) (a domain that it leans
          on is gone), V(opaque) (its device model does not answer) or V(suspended) (somebody saves it, or did not come to an end
          with it).
      type: str
      returned: always
    saved: {description: "The file that holds its memory, if it is saved", type: str, returned: always}
    managed: {description: Whether its file bears this collection's mark, type: bool, returned: always}
    stored: {description: What its file says, type: dict, returned: always}
    live: {description: "What the running domain has, or what it was saved with", type: dict, returned: always}
    drift: {description: "Where the two differ: field, live, stored", type: list, elements: dict, returned: always}
    queued:
      description: Whether xl's monitor was given the file, so that the guest's own next reboot brings what waits in it.
      type: bool
      returned: always
    domid: {description: Its domain's number, type: int, returned: always}
    uuid: {description: Its UUID, type: str, returned: always}
    stubdom: {description: "Its stubdomain: domid, name, alive", type: dict, returned: always}
    vtpm:
      description: "What holds its TPM, a domain or swtpm: name, domid, alive, ready, version, state_file"
      type: list
      elements: dict
      returned: always
    serves: {description: "Of a domain that holds a TPM, the name of the guest that it is for", type: str, returned: always}
    addresses:
      description: The IP addresses that an agent in the guest reports in xenstore. The guest may write what it likes there.
      type: list
      elements: str
      returned: always
    readiness: {description: The links of its readiness chain as they are now, type: list, elements: dict, returned: always}
    leftovers: {description: Domains that remain of it and serve nothing, type: list, elements: dict, returned: always}
leftovers:
  description: Stubdomains whose guest is gone.
  returned: success
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.stubdom.xen.plugins.module_utils.entry import answer
from ansible_collections.stubdom.xen.plugins.module_utils.survey import survey


def main() -> None:
    module = AnsibleModule(argument_spec={"names": {"type": "list", "elements": "str"}}, supports_check_mode=True)
    answer(module, lambda host: survey(host, module.params["names"]))


if __name__ == "__main__":
    main()
