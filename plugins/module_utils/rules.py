# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no Xen host could make sense of: refused from the description alone, before anything is looked at.

xl takes many of these silently (an unknown firmware name, two disks in one slot) or dies of them half-way (an HVM
stubdomain on a PV guest aborts libxl up to 4.22). Each row says which option, which value, and what would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.fields import LISTS_TOO, MODELLED
from ansible_collections.stubdom.xen.plugins.module_utils.judges import (
    Judge,
    each,
    items,
    missing,
    no_word_of,
    outside,
    unique,
    unlike,
    when,
)
from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK, masked_at
from ansible_collections.stubdom.xen.plugins.module_utils.spec import (
    BDF,
    EMULATOR,
    Guest,
    UsbController,
    invalid,
    lookup,
    to_options,
)

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.I)
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
VDEV = re.compile(r"(xvd|hd|sd|vd)[a-z]{1,2}[0-9]{0,2}\Z")
NAME_MAX = 100  # "<name>-dm" and the log file names made of it have to fit, too
EMULATED_NAME_MAX = 80  # beside the directory of the emulators' sockets in the 107 bytes of a socket's path


def check(guest: Guest) -> None:
    """Raises XenError(invalid_input) for the first rule that the guest breaks."""
    for judge, wanted, hint in RULES:
        found = judge(guest)
        if found is not None:
            raise invalid(found[0], found[1], wanted, hint)


def check_name(name: str) -> None:
    """Raises XenError(invalid_input) for a name that would lead out of the directories in which guests have their files.

    Guests of others may have names that ours may not.
    """
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise invalid("name", name, "a guest's name, which is no path")


def isolated(guest: Guest) -> bool:
    """Whether the device model is to run in a stubdomain of its own."""
    return guest.stubdom.type in ("linux", "minios")


def _not_hvm(guest: Guest, _value: Any) -> bool:
    return guest.type in ("pv", "pvh")


def _over_cap(guest: Guest, cap: int) -> bool:
    """libxl takes no more than a whole CPU for each vcpu (libxl_sched.c)."""
    vcpus = guest.max_vcpus or guest.vcpus
    return cap < 0 or (vcpus is not None and cap > 100 * vcpus)


# The ports that QEMU's controllers have, by version (libxl_usb.c).
PORTS = {1: (2, 2), 2: (6, 6), 3: (1, 15)}


def _emulated(guest: Guest, controller: UsbController) -> bool:
    """Whether QEMU shows the guest a controller of hardware; any other is for the guest's PV driver."""
    return controller.type == "devicemodel" or (guest.type == "hvm" and controller.type in (None, "auto"))


def _ports(guest: Guest, controller: UsbController) -> bool:
    """Whether the controller cannot have so many. Of a guest without a type it is not known."""
    emulated = _emulated(guest, controller)
    least, most = PORTS.get(controller.version or 2, (1, 31)) if emulated else (1, 31)
    known = guest.type is not None or controller.type not in (None, "auto")
    return controller.ports is not None and known and not least <= controller.ports <= most


def _no_usb_behind(guest: Guest, _usb: Any) -> bool:
    """QEMU in a stubdomain finds no USB device of the host's; dom0's kernel can hand one on."""
    return isolated(guest) and all(controller.type != "pv" for controller in guest.usb_controllers or ())


def _unserved(guest: Guest, device: Any) -> bool:
    """Whether it is for a QEMU in dom0 that the guest with a stubdomain has not: that one serves the stubdomain alone."""
    return isolated(guest) and device.backend is None and "type=xen_9pfsd" not in (getattr(device, "options", None) or ())


def _no_controller(guest: Guest, number: int) -> bool:
    return number < 0 or (guest.usb_controllers is not None and number >= len(guest.usb_controllers))


def _inherited_backend(guest: Guest) -> Optional[tuple[str, Any]]:
    named = [p9.backend is not None for p9 in guest.p9 or ()]
    lost = [i for i, name in enumerate(named) if not name and any(named[:i])]
    return (f"p9[{lost[0]}].backend", None) if lost else None


def _emulated_there(guest: Guest) -> bool:
    return any(v.kind == EMULATOR for v in guest.vtpm or ())


def _extra_owned(guest: Guest) -> Optional[tuple[str, Any]]:
    clash = [key for key in sorted(guest.extra_config) if key in MODELLED and not _list_alone(guest, key)]
    return (f"extra_config.{clash[0]}", guest.extra_config[clash[0]]) if clash else None


def _list_alone(guest: Guest, key: str) -> bool:
    """A list where the option, which is not given, could only hold one value."""
    return key in LISTS_TOO and isinstance(guest.extra_config[key], (list, tuple)) and lookup(guest, key) is None


def _extra_key(guest: Guest) -> Optional[tuple[str, Any]]:
    bad = [key for key in guest.extra_config if not re.match(r"[a-z][._0-9a-z]*\Z", str(key))]
    return (f"extra_config.{bad[0]}", guest.extra_config[bad[0]]) if bad else None


def _masked(guest: Guest) -> Optional[tuple[str, Any]]:
    """What a result has in the place of a secret, given back as if it were one: it would become the guest's password."""
    place = masked_at(to_options(guest))
    return None if place is None else (place, MASK)


UNSERVED = "no QEMU in dom0 serves a guest whose device model is in a stubdomain"
Rule = tuple[Judge, str, Optional[str]]
RULES: list[Rule] = [
    (when("name", lambda g, v: v.isdigit()), "a name that is not all digits", "xl takes a number for a domid"),
    (
        when("name", lambda g, v: v.endswith("-dm")),
        "a name that does not end in -dm",
        "libxl gives that name to the stubdomain of the guest before the suffix",
    ),
    (
        when("name", lambda g, v: not NAME.match(v) or len(v) > NAME_MAX),
        f"at most {NAME_MAX} letters, digits and _ . + -, not beginning with . + or -",
        None,
    ),
    (when("name", lambda g, v: v.lower() == "domain-0"), "a guest's name", "Domain-0 is the host itself"),
    (when("uuid", unlike(UUID)), "a UUID such as 11111111-2222-3333-4444-555555555555", None),
    (when("uuid", lambda g, v: set(v) <= set("0-")), "a UUID that is not all zero", "that is Domain-0's"),
    (when("vcpus", lambda g, v: v < 1), "at least one vcpu", None),
    (when("max_vcpus", lambda g, v: v < (g.vcpus or 1)), "no fewer than vcpus", None),
    (
        when("cpus", lambda g, v: not re.match(r"[0-9a-z^:, -]+\Z", v)),
        "CPUs such as 0-3,^1 or nodes:0",
        "vcpus pinned one by one are a list in extra_config: cpus",
    ),
    (when("vnc.display", lambda g, v: v < 0), "a display number of 0 or more", None),
    (when("max_memory", lambda g, v: v < (g.memory or 0)), "no less than memory", None),
    (
        when("stubdom.type", lambda g, v: v == "rumprun"),
        "none, linux or minios",
        "QEMU on a rump kernel was proposed in 2015 and never merged: no Xen from 4.4 to 4.22 can start one; linux is what came",
    ),
    (
        when("stubdom.type", lambda g, v: v != "none" and _not_hvm(g, v)),
        "none on a pv or pvh guest",
        "only an hvm guest has a device model that a stubdomain could hold",
    ),
    (
        when("stubdom.type", lambda g, v: v == "linux" and g.device_model.version not in (None, "qemu_xen")),
        "device_model.version qemu_xen with a Linux stubdomain",
        None,
    ),
    (
        when("stubdom.type", lambda g, v: v == "minios" and g.device_model.version not in (None, "qemu_xen_traditional")),
        "device_model.version qemu_xen_traditional with a MiniOS stubdomain",
        None,
    ),
    (
        when("kernel", lambda g, v: isolated(g)),
        "no kernel with a stubdomain",
        "libxl hands the path to QEMU in the stubdomain, which cannot see dom0's files: boot from a disk",
    ),
    (
        when("ramdisk", lambda g, v: isolated(g)),
        "no ramdisk with a stubdomain",
        "libxl hands the path to QEMU in the stubdomain, which cannot see dom0's files: boot from a disk",
    ),
    (when("ramdisk", lambda g, v: g.kernel is None and g.type is not None), "a kernel beside it", None),
    (
        when("device_model.restrict", lambda g, v: v and isolated(g)),
        "false with a stubdomain",
        "QEMU would be restricted inside the stubdomain as well and never report that it runs",
    ),
    (
        when("device_model.path", lambda g, v: isolated(g)),
        "no path with a stubdomain",
        "libxl ignores it then: the device model is the one in the stubdomain's image",
    ),
    (when("device_model.restrict", lambda g, v: v and _not_hvm(g, v)), "an hvm guest", None),
    (when("serial", _not_hvm), "an hvm guest", "a pv or pvh guest has its console always"),
    (when("boot", _not_hvm), "an hvm guest", None),
    (when("boot", lambda g, v: not re.match(r"[acdn]+\Z", v)), "letters of a (floppy) c (disk) d (CD-ROM) n (network)", None),
    (
        when("vnc.enabled", lambda g, v: v and _not_hvm(g, v)),
        "an hvm guest",
        "a pv guest has a virtual frame buffer instead: vfb",
    ),
    (
        when("vnc.enabled", lambda g, v: v and isolated(g)),
        "false with a stubdomain",
        "libxl gives a Linux stubdomain's QEMU no display (docs/misc/stubdom.txt)",
    ),
    (each("disks", "vdev", unlike(VDEV)), "a device name such as xvda, hdc or sda1", None),
    (missing("disks", "vdev"), "the guest's name for the disk, such as xvda", None),
    (unique("disks"), "every vdev once", None),
    (
        each("disks", "format", lambda g, v: isolated(g) and v != "raw"),
        "format raw with a stubdomain",
        "other formats are served by QEMU in dom0 (qdisk), which does not serve a stubdomain's guest: convert the image",
    ),
    (
        each("disks", "backendtype", lambda g, v: isolated(g) and v == "qdisk"),
        "backendtype phy with a stubdomain",
        "no QEMU in dom0 serves the disks of a guest whose device model is in a stubdomain",
    ),
    (each("nics", "mac", unlike(MAC)), "a MAC address such as 00:16:3e:12:34:56", None),
    (each("nics", "mac", lambda g, v: int(v[:2], 16) & 1), "a unicast MAC address (first byte even)", None),
    (unique("nics"), "every MAC once", None),
    (each("nics", "model", _not_hvm), "an hvm guest", "a pv or pvh guest has no emulated card"),
    (each("nics", "type", lambda g, v: v == "ioemu" and _not_hvm(g, v)), "vif on a pv or pvh guest", None),
    (when("weight", outside(1, 65535)), "1 to 65535", None),
    (when("cap", _over_cap), "a percentage of one CPU, at most 100 for each vcpu; 0 for no limit", None),
    (when("cpupool", lambda g, v: not v), "a pool's name, as in `xl cpupool-list`", None),
    (
        missing("pci", "address"),
        "the device's address",
        "xl's own name for a device may become another device's: `xl pci-assignable-list -n` tells its address",
    ),
    (each("pci", "address", unlike(BDF)), "a PCI address such as 0000:01:00.0, or 01:00.*", None),
    (unique("pci"), "every device once", None),
    (each("pci", "vslot", outside(1, 31)), "a slot from 1 to 31", None),
    (each("pci", "rdm_policy", no_word_of("strict", "relaxed")), "strict or relaxed", None),
    (items("pci", "address", lambda g, v: g.type == "pvh"), "no device on a pvh guest", "no Xen up to 4.22 passes one through"),
    (
        items("pci", "address", lambda g, v: g.type == "hvm" and (g.max_memory or 0) > (g.memory or g.max_memory or 0)),
        "a max_memory that is no more than memory beside it",
        "a device needs all of the guest's memory there: libxl does not populate it on demand then",
    ),
    (each("usb_controllers", "type", no_word_of("auto", "pv", "qusb", "devicemodel")), "auto, pv, qusb or devicemodel", None),
    (
        each("usb_controllers", "type", lambda g, v: v == "devicemodel" and _not_hvm(g, v)),
        "pv or qusb on a pv or pvh guest",
        "no QEMU shows it hardware",
    ),
    (each("usb_controllers", "version", outside(1, 3)), "1, 2 or 3", None),
    (
        items("usb_controllers", "version", lambda g, v: v.version == 3 and g.type is not None and not _emulated(g, v)),
        "1 or 2",
        "only QEMU's own controller (devicemodel) is of USB 3",
    ),
    (
        items("usb_controllers", "ports", _ports),
        "1 to 31, and of QEMU's own (devicemodel) 2 for version 1, 6 for version 2, 1 to 15 for version 3",
        None,
    ),
    (missing("usb", "host_bus", "host_address"), "the device's place on the host", "`lsusb` in dom0 tells it"),
    (each("usb", "host_bus", outside(1, 255)), "1 to 255", "`lsusb` in dom0 tells it"),
    (each("usb", "host_address", outside(1, 255)), "1 to 255", "`lsusb` in dom0 tells it"),
    (unique("usb"), "every device once", None),
    (each("usb", "controller", _no_controller), "the place of one of usb_controllers, from 0", None),
    (items("usb", "port", lambda g, v: v.port is not None and v.controller is None), "a controller beside it", None),
    (each("usb", "port", outside(1, 31)), "1 to 31", None),
    (unique("usb", "controller", "port"), "every port of a controller once", None),
    (
        items("usb", "controller", _no_usb_behind),
        "a controller of type pv with a stubdomain",
        "QEMU in the stubdomain does not see the host's USB devices",
    ),
    (
        each("usb_controllers", "type", lambda g, v: v == "qusb" and isolated(g)),
        "auto, pv or devicemodel with a stubdomain",
        UNSERVED,
    ),
    (
        items("vfb", "vnc", lambda g, v: g.type == "hvm"),
        "no vfb on an hvm guest",
        "libxl ignores it: the display of an hvm guest is vnc",
    ),
    (each("vfb", "display", lambda g, v: v < 0), "a display number of 0 or more", None),
    (missing("channels", "name", "connection"), "a value", "a channel has a name and a connection"),
    (unique("channels"), "every name once", None),
    (each("channels", "connection", no_word_of("pty", "socket")), "pty or socket", None),
    (items("channels", "path", lambda g, v: v.connection == "socket" and not v.path), "the socket's path", None),
    (
        items("channels", "path", lambda g, v: v.connection == "pty" and v.path is not None),
        "no path of a pty",
        "`xl channel-list` tells it",
    ),
    (items("channels", "backend", _unserved), "a backend with a stubdomain", UNSERVED),
    (items("p9", "backend", _unserved), "a backend with a stubdomain, or among options type=xen_9pfsd (Xen 4.18)", UNSERVED),
    (missing("p9", "tag", "path", "security_model"), "a value", "a file system has a tag, a path and a security model"),
    (unique("p9"), "every tag once", None),
    (
        _inherited_backend,
        "a backend, as one before it has one",
        "xl gave it that one's backend before 4.18; Domain-0 is the host's own",
    ),
    (
        items("vtpm", "backend", lambda g, v: v.backend is None and v.kind != EMULATOR),
        "the name of the vTPM's domain",
        "or kind: stubdom, which makes one",
    ),
    (
        items("vtpm", "kind", lambda g, v: v.kind == EMULATOR and (_not_hvm(g, v) or isolated(g))),
        "stubdom on a pv or pvh guest, and on one with a stubdomain",
        "an emulated TPM is the work of a QEMU in dom0, which such a guest has not; a vTPM domain serves it",
    ),
    (
        items("vtpm", "kind", lambda g, v: v.kind == EMULATOR and g.device_model.version == "qemu_xen_traditional"),
        "stubdom with qemu_xen_traditional",
        "qemu-traditional cannot emulate a TPM",
    ),
    (
        items("vtpm", "kind", lambda g, v: v.kind == EMULATOR and len(g.vtpm or ()) > 1),
        "one TPM, if QEMU emulates it",
        "hvmloader and firmware know of one",
    ),
    (
        items("vtpm", "kind", lambda g, v: v.kind == EMULATOR and len(g.name or "") > EMULATED_NAME_MAX),
        f"a guest whose name has at most {EMULATED_NAME_MAX} letters",
        "the emulator's socket is called after it, and a socket's path cannot be longer",
    ),
    (each("vtpm", "backend", lambda g, v: _emulated_there(g)), "none with kind: emulator", "no domain holds such a TPM"),
    (each("vtpm", "uuid", lambda g, v: _emulated_there(g)), "none with kind: emulator", "it has none"),
    (
        items("vtpm", "model", lambda g, v: v.model == "crb" and v.version == "1.2"),
        "tis for a TPM 1.2",
        "the CRB interface is of TPM 2.0",
    ),
    (each("vtpm", "uuid", unlike(UUID)), "a UUID such as 11111111-2222-3333-4444-555555555555", None),
    (
        _masked,
        "the secret itself, of which this is the mask in a result",
        "leave it out, and what the guest has stays (a list of devices is left out as a whole); or give the password",
    ),
    (_extra_key, "a key of xl.cfg: lower-case letters, digits, dots and underscores", None),
    (_extra_owned, "a key that has no option of its own", "use the option: docs/fields.md says which"),
]


def check_new(guest: Guest) -> None:
    """What a guest needs to be made at all. Raises XenError(invalid_input)."""
    for option in ("type", "memory"):
        if lookup(guest, option) is None:
            raise invalid(option, None, "a value: this guest does not exist yet, and there is no default", None)
    bootable = _bootable(guest)
    if bootable:
        raise invalid(bootable, None, f"something that a {guest.type} guest can boot from", None)


def _bootable(guest: Guest) -> Optional[str]:
    if guest.type == "hvm" or "tee" in guest.extra_config:
        return None
    return None if guest.kernel or guest.bootloader or guest.firmware else "kernel"


def clashes(guest: Guest, others: Iterable[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The other domains, each {name, uuid, domid}, that carry this guest's UUID under another name."""
    wanted = (guest.uuid or "").lower()
    return [o for o in others if wanted and o["uuid"].lower() == wanted and o["name"] != guest.name]
