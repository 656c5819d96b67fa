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
  - stubdom.xen.attributes
  - stubdom.xen.attributes.actiongroup_xen
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
  name:
    description:
      - The guest's name. Not all digits, which xl takes for a domid, and not ending in C(-dm), which is a stubdomain's.
    type: str
    required: true
  state:
    description:
      - V(running) means running when the task ends. A guest that shut itself down is started again, unless
        O(on_poweroff=preserve).
      - V(paused) means made, ready, and held.
      - V(halted) means that the guest has its file and no domain.
      - V(present) means that the guest has its file, and whether it runs is left alone.
      - V(absent) means neither domain nor file. Disks are never removed.
    type: str
    choices: [running, paused, halted, present, absent]
    default: running
  uuid:
    description: The guest's UUID. One is made from host and name where none is given or known.
    type: str
  type:
    description: The kind of guest. Needed for a guest that does not exist yet.
    type: str
    choices: [pv, pvh, hvm]
  memory:
    description: Memory, such as V(512MiB) or V(2GiB); a plain number is bytes. Needed for a guest that does not exist yet.
    type: str
  max_memory:
    description: The most memory the guest can be given while it runs.
    type: str
  vcpus:
    description: Number of virtual CPUs.
    type: int
  max_vcpus:
    description: The most virtual CPUs the guest can be given while it runs.
    type: int
  cpus:
    description: The physical CPUs that the guest may run on, as C(cpus) of xl.cfg.
    type: str
  kernel:
    description: Path in dom0 of the kernel to boot. Not together with a stubdomain, whose QEMU cannot see it.
    type: path
  ramdisk:
    description: Path in dom0 of the initial ramdisk.
    type: path
  cmdline:
    description: The kernel's command line.
    type: str
  bootloader:
    description: A program in dom0 that finds the guest's kernel, such as C(pygrub).
    type: str
  firmware:
    description: Firmware of an hvm guest, such as V(seabios) or V(ovmf).
    type: str
  boot:
    description: Boot order of an hvm guest, letters of C(a) floppy, C(c) disk, C(d) CD-ROM and C(n) network.
    type: str
  device_model:
    description: The QEMU that serves the guest.
    type: dict
    suboptions:
      version:
        description: Which device model. Always written to the guest's file; V(qemu_xen) where nothing else is said.
        type: str
        choices: [qemu_xen, qemu_xen_traditional]
      path:
        description: Path of the QEMU to run in dom0.
        type: path
      user:
        description: The user that QEMU in dom0 runs as.
        type: str
      restrict:
        description: Have QEMU in dom0 give up its privileges once it has started.
        type: bool
      args:
        description: More arguments for QEMU, for hvm guests.
        type: list
        elements: str
  stubdom:
    description: A domain of its own for the device model, so that a guest that breaks into QEMU has not broken into dom0.
    type: dict
    suboptions:
      type:
        description:
          - V(linux) runs QEMU on Linux (Xen 4.14 and newer), V(minios) qemu-traditional on MiniOS (up to 4.20).
          - V(rumprun) is refused. It was proposed in 2015, and never became a part of Xen.
        type: str
        choices: [none, linux, minios, rumprun]
      kernel:
        description: The stubdomain's kernel. The one that role C(stubdom_image) installs where nothing is said.
        type: path
      ramdisk:
        description: The stubdomain's initial ramdisk.
        type: path
      cmdline:
        description: The command line of the stubdomain's kernel.
        type: str
      memory:
        description: The stubdomain's memory; it comes on top of the guest's.
        type: str
      seclabel:
        description: The stubdomain's XSM security label.
        type: str
  disks:
    description: The guest's disks. A given list is the whole list.
    type: list
    elements: dict
    suboptions: &disk
      vdev:
        description: The name in the guest, such as V(xvda), V(hdc) or V(sda).
        type: str
        required: true
      target:
        description: Block device or image file in dom0. Left out for an empty CD-ROM drive.
        type: str
      format:
        description: Format of the image. Only V(raw) together with a stubdomain.
        type: str
        choices: [raw, qcow, qcow2, vhd, qed]
      access:
        description: Whether the guest may write.
        type: str
        choices: [rw, ro]
      devtype:
        description: A disk or a CD-ROM drive.
        type: str
        choices: [disk, cdrom]
      backendtype:
        description: What serves the disk. Not V(qdisk) together with a stubdomain.
        type: str
        choices: [phy, qdisk, tap, standalone]
      backend:
        description: Name of the driver domain that holds the disk.
        type: str
      script:
        description: The hotplug script that provides the disk.
        type: str
      options:
        description: Anything else of C(xl-disk-configuration), such as V(discard) or V(direct-io-safe).
        type: list
        elements: str
  nics:
    description: The guest's network cards. A given list is the whole list. Without a MAC a card keeps the one it has.
    type: list
    elements: dict
    suboptions: &nic
      mac:
        description: The MAC address. One is made from the guest's UUID where none is given or known.
        type: str
      bridge:
        description: The bridge in dom0.
        type: str
      type:
        description: V(vif) is a paravirtual card alone, V(ioemu) has an emulated one beside it.
        type: str
        choices: [vif, ioemu]
      model:
        description: The emulated card of an hvm guest, such as V(e1000).
        type: str
      vifname:
        description: Name of the back end's interface in dom0.
        type: str
      script:
        description: The hotplug script.
        type: str
      ip:
        description: IP addresses for the hotplug script.
        type: str
      backend:
        description: Name of the driver domain that holds the back end.
        type: str
      rate:
        description: Limit of the outgoing rate, such as V(10Mb/s).
        type: str
      options:
        description: Anything else of C(xl-network-configuration), such as V(mtu=9000).
        type: list
        elements: str
  serial:
    description: Where the serial port of an hvm guest goes, such as V(pty).
    type: str
  vnc:
    description: The display of an hvm guest. Not together with a stubdomain.
    type: dict
    suboptions:
      enabled:
        description: Whether there is one.
        type: bool
      listen:
        description: The address to listen on.
        type: str
      display:
        description: The display number.
        type: int
      password:
        description: The password; never shown in results, and the guest's file is readable by root alone.
        type: str
  on_poweroff:
    description: What becomes of the domain when the guest shuts itself down.
    type: str
    choices: &actions [destroy, restart, rename-restart, preserve, coredump-destroy, coredump-restart, soft-reset]
  on_reboot:
    description: What becomes of the domain when the guest reboots.
    type: str
    choices: *actions
  on_crash:
    description: What becomes of the domain when the guest crashes.
    type: str
    choices: *actions
  autostart:
    description: Whether the host starts the guest at boot (a link in C(/etc/xen/auto)).
    type: bool
  extra_config:
    description:
      - Any other key of xl.cfg with its value. A key given as null is taken out again.
      - xl ignores keys that it does not know, so a typing error here goes unnoticed.
    type: dict
  disruption:
    description:
      - The most that this task may do to a guest that runs. What needs more is returned in RV(pending), and the guest's file
        carries it to its next start.
      - What V(recreate) destroys is the domain. UUID, MAC addresses and disks stay.
    type: str
    choices: [none, hotplug, reboot, recreate]
    default: hotplug
  ready:
    description: How to wait for the readiness chain.
    type: dict
    suboptions:
      timeout:
        description: Seconds that an attempt to start the guest may take until the chain holds.
        type: float
        default: 180
      retries:
        description:
          - How often to try again when an attempt ran out of time. libxl itself gives a stubdomain 30 seconds, whatever the
            O(ready.timeout) here.
        type: int
        default: 1
      on_failure:
        description: Whether a guest whose chain does not come up is cleared away or kept for somebody to look at.
        type: str
        choices: [destroy, keep]
        default: destroy
  shutdown:
    description: How to stop a guest.
    type: dict
    suboptions:
      timeout:
        description: Seconds that the guest has to shut itself down.
        type: float
        default: 120
      force:
        description: Destroy the domain of a guest that did not shut itself down in time, which is pulling the plug.
        type: bool
        default: false
  expect_plan:
    description: Refuse to do anything unless the plan has this digest, as RV(plan_digest) of a run in check mode.
    type: str
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
    domid: {description: Its domain's number, type: int, returned: always}
    uuid: {description: Its UUID, type: str, returned: always}
    stubdom: {description: "Its stubdomain: domid, name, alive", type: dict, returned: always}
    vtpm: {description: Its vTPM domains, type: list, elements: dict, returned: always}
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
    module = AnsibleModule(argument_spec={**GUEST, **POLICY}, supports_check_mode=True)
    answer(module, lambda host: converge(host, module.params, module.check_mode))


if __name__ == "__main__":
    main()
