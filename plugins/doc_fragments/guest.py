# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options that describe a guest, once for `guest`, and for the items of `guests`.

They stand here and not in the modules because what is in a module goes to every host with every task.
"""

from __future__ import annotations

import re
import textwrap


class ModuleDocFragment:
    """Fragments for `extends_documentation_fragment`: `stubdom.xen.guest`, and `stubdom.xen.guest.items` made of it."""

    DOCUMENTATION = r"""
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
      - V(saved) means that the guest's memory is in a file and that it has no domain; V(running) restores it then, once. A
        guest that does not run has no memory to save, and is refused. V(halted) and V(absent) would lose what is in the
        file, and need O(shutdown.force=true) for that.
      - V(halted) means that the guest has its file and no domain.
      - V(present) means that the guest has its file, and whether it runs is left alone.
      - V(absent) means neither domain nor file. Disks are never removed.
    type: str
    choices: [running, paused, saved, halted, present, absent]
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
  weight:
    description: The guest's share of the CPUs beside other guests', V(1) to V(65535); Xen's own default is 256.
    type: int
  cap:
    description: The most CPU time that the guest gets, in percent of one CPU; V(0) is no limit.
    type: int
  cpupool:
    description: The pool of CPUs that the guest runs in, as C(xl cpupool-list) names it.
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
    suboptions:
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
    suboptions:
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
  pci:
    description:
      - Devices of the host that the guest has for itself. A given list is the whole list.
      - Not for a pvh guest. An hvm guest has no O(max_memory) beyond its O(memory) beside one.
    type: list
    elements: dict
    suboptions:
      address:
        description: The device's address, such as V(0000:01:00.0); V(01:00.*) is all functions of a device.
        type: str
        required: true
      vslot:
        description: The slot in which the guest sees it, V(1) to V(31). In xl.cfg the number is a hexadecimal one.
        type: int
      permissive:
        description: Whether the guest may write to all of the device's configuration space.
        type: bool
      msitranslate:
        description: Whether the device always signals by MSI, also where the guest uses an interrupt line.
        type: bool
      power_mgmt:
        description: Whether an hvm guest may put the device to sleep and wake it.
        type: bool
      seize:
        description: Take the device from the driver that dom0 has for it, whatever that serves.
        type: bool
      rdm_policy:
        description: What becomes of an hvm guest whose memory would lie where the device has its own.
        type: str
        choices: [strict, relaxed]
      options:
        description: Anything else of C(xl-pci-configuration), as KEY=VALUE.
        type: list
        elements: str
  usb_controllers:
    description: The guest's USB controllers. A given list is the whole list; the first one is number 0.
    type: list
    elements: dict
    suboptions:
      type:
        description:
          - V(devicemodel) is one that QEMU shows to an hvm guest, the others are for the guest's PV driver, served by dom0's
            kernel (V(pv)) or by QEMU (V(qusb)).
          - V(auto) is V(devicemodel) of an hvm guest, else V(pv) where dom0's kernel can, else V(qusb).
          - Not V(qusb) together with a stubdomain.
        type: str
        choices: [auto, pv, qusb, devicemodel]
      version:
        description: Version of USB; Xen's own default is 2. Only V(devicemodel) can be V(3).
        type: int
        choices: [1, 2, 3]
      ports:
        description: Number of ports, V(1) to V(31). A V(devicemodel) has V(2), V(6), or V(1) to V(15), by its version.
        type: int
  usb:
    description:
      - USB devices of the host that the guest has for itself. A given list is the whole list.
      - With a stubdomain only at a controller of type V(pv).
    type: list
    elements: dict
    suboptions:
      host_bus:
        description: The number of the bus on the host.
        type: int
        required: true
      host_address:
        description: The device's address there, which changes when it is plugged in anew.
        type: int
        required: true
      controller:
        description: The place in O(usb_controllers) of the controller that it is at; any with a free port where none is given.
        type: int
      port:
        description: The port of the O(usb[].controller), which has to be given then; the first one is V(1).
        type: int
  vfb:
    description:
      - The display of a guest that has no emulated one, a virtual frame buffer. A given list is the whole list.
      - Not for an hvm guest, whose display is O(vnc).
    type: list
    elements: dict
    suboptions:
      vnc:
        description: Whether it can be seen by VNC; it can where nothing is said.
        type: bool
      listen:
        description: The address to listen on.
        type: str
      display:
        description: The display number, or with O(vfb[].unused) the first one to try.
        type: int
      unused:
        description: Whether the first free display number is taken.
        type: bool
      password:
        description: >-
          The password; never shown in results, and the guest's file is readable by root alone. No commas. The mask that a
          result has in its place is refused.
        type: str
      keymap:
        description: The keyboard's layout, such as V(de).
        type: str
      options:
        description: Anything else of C(vfb) in xl.cfg, as KEY=VALUE, such as V(sdl=1).
        type: list
        elements: str
  channels:
    description:
      - Byte streams between guest and host, such as an agent's. A given list is the whole list.
      - xl of Xen up to 4.18.4, 4.19.1 and 4.20.0 makes none of the first one in the list; name one there that nobody needs.
      - With a stubdomain only with a O(channels[].backend).
    type: list
    elements: dict
    suboptions:
      name:
        description: The name by which the guest's software finds it, such as V(org.qemu.guest_agent.0).
        type: str
        required: true
      connection:
        description: What it is on the host, a pseudo terminal or a listening socket.
        type: str
        choices: [pty, socket]
        required: true
      path:
        description: The path of the socket.
        type: str
      backend:
        description: Name of the driver domain that holds the back end.
        type: str
  p9:
    description:
      - Directories of the host that the guest can mount by 9pfs. A given list is the whole list.
      - With a stubdomain only with a O(p9[].backend), or with V(type=xen_9pfsd) among O(p9[].options).
    type: list
    elements: dict
    suboptions:
      tag:
        description: The name by which the guest mounts it.
        type: str
        required: true
      path:
        description: The directory in the domain that holds the back end.
        type: str
        required: true
      security_model:
        description: How owners and rights are kept, such as V(none).
        type: str
        required: true
      backend:
        description:
          - Name of the domain that holds the back end. When one has it, those after it need one, too; V(Domain-0) is the
            host.
        type: str
      options:
        description: Anything else of C(p9) in xl.cfg, as KEY=VALUE, such as V(type=xen_9pfsd) of Xen 4.18.
        type: list
        elements: str
  vtpm:
    description:
      - TPMs of the guest, each held by a domain of its own or by an emulator in dom0, which is up before the guest is made.
        A given list is the whole list.
      - The TPM's state outlives guest and domain. It is deleted by O(purge_state) and by nothing else.
    type: list
    elements: dict
    suboptions:
      kind:
        description:
          - V(stubdom) has a domain made, called as the guest with C(-vtpm) after it, of the image that role
            R(stubdom.xen.vtpm, ansible_collections.stubdom.xen.vtpm_role) builds. It goes down with the guest.
          - V(emulator) has the guest's own QEMU show it a TPM, which C(swtpm) keeps in dom0. It is for hvm guests without a
            stubdomain, on hosts whose QEMU can (M(stubdom.xen.host_info) tells), and the only TPM of its guest.
          - V(backend), which need not be said, names in O(vtpm[].backend) a domain that is there already.
        type: str
        choices: [stubdom, emulator, backend]
      backend:
        description: Name of the vTPM's domain, of one that is there already.
        type: str
      uuid:
        description:
          - The UUID of the vTPM. A domain that holds several knows by it which one is meant.
          - With V(stubdom) one is made up when it is not given, and kept.
        type: str
      version:
        description:
          - Which TPM it is, of kind V(stubdom) or V(emulator). A new one is a V(2.0); one that is there keeps its version.
        type: str
        choices: ["1.2", "2.0"]
      model:
        description:
          - The interface of a TPM of kind V(emulator). A TPM 1.2 has V(tis); a new 2.0 has V(crb) on Xen 4.18 and newer, where
            firmware can describe it, and V(tis) on older.
        type: str
        choices: [tis, crb]
      memory:
        description: Memory of a domain of kind V(stubdom), such as V(128MiB). A change comes with the guest's next start.
        type: str
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
        description: >-
          The password; never shown in results, and the guest's file is readable by root alone. The mask that a result has in
          its place is refused; left out, what the guest has stays.
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
      - What a key with C(passw) in its name holds is a password, as is what follows C(passwd=) in a text, and is shown nowhere.
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
  compare:
    description:
      - How a field is compared with what the guest has. The keys are names of options, such as V(disks) or V(vnc.password).
      - V(exact), which holds for every field that is not named, means that the guest has just what is described.
      - V(contains), for lists of devices, means that those described are there, and that others may be.
      - V(ignore) means that a new guest is given it, and that it is left as it is ever after.
    type: dict
  purge_state:
    description:
      - With O(state=absent), delete the state of the guest's TPM (O(vtpm)) as well. All that was sealed with it is lost.
      - Otherwise allow to begin with an empty TPM where the state of the one that the guest had is gone.
    type: bool
    default: false
  depends_on:
    description:
      - The names of guests of this host that have to run before this one does. In the list of M(stubdom.xen.guests) they
        come up first and go down last; one that is not described there has to run already, or this guest is refused.
      - The domains that a device has as O(disks[].backend), O(nics[].backend), O(channels[].backend), O(p9[].backend) or
        O(vtpm[].backend) need not be named, the order is the same.
    type: list
    elements: str
  expect_plan:
    description: Refuse to do anything unless the plan has this digest, as RV(plan_digest) of a run in check mode.
    type: str
"""

    # As the options of an item: references to them and to results begin there.
    ITEMS: str = """
options:
  guests:
    description: The guests, each with the options of M(stubdom.xen.guest).
    type: list
    elements: dict
    required: true
    suboptions:
""" + textwrap.indent(re.sub(r"\b(O|RV)\(", r"\1(guests[].", DOCUMENTATION.partition("options:\n")[2]), " " * 4)
