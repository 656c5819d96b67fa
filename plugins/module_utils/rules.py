# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no Xen host could make sense of: refused from the description alone, before anything is looked at.

xl takes many of these silently (an unknown firmware name, two disks in one slot) or dies of them half-way (an HVM
stubdomain on a PV guest aborts libxl up to 4.22). Each row says which option, which value, and what would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.fields import LISTS_TOO, MODELLED
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, invalid

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.I)
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
VDEV = re.compile(r"(xvd|hd|sd|vd)[a-z]{1,2}[0-9]{0,2}\Z")
NAME_MAX = 100  # "<name>-dm" and the log file names made of it have to fit, too

Judge = Callable[[Guest], Optional[tuple[str, Any]]]  # the offending option and value, or None


def check(guest: Guest) -> None:
    """Raises XenError(invalid_input) for the first rule that the guest breaks."""
    for judge, wanted, hint in RULES:
        found = judge(guest)
        if found is not None:
            raise invalid(found[0], found[1], wanted, hint)


def _when(option: str, bad: Callable[[Guest, Any], Any]) -> Judge:
    """A rule on one option, asked only when the option is given."""

    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        value = lookup(guest, option)
        return (option, value) if value is not None and bad(guest, value) else None

    return judge


def _each(option: str, attribute: str, bad: Callable[[Guest, Any], Any]) -> Judge:
    """A rule on one attribute of every item of a list."""

    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        for i, item in enumerate(getattr(guest, option) or ()):
            value = getattr(item, attribute)
            if value is not None and bad(guest, value):
                return f"{option}[{i}].{attribute}", value
        return None

    return judge


def _unique(option: str, attribute: str) -> Judge:
    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        values = [getattr(item, attribute) for item in getattr(guest, option) or ()]
        twice = [value for value in values if value is not None and values.count(value) > 1]
        return (f"{option}.{attribute}", twice[0]) if twice else None

    return judge


def _missing(option: str, attribute: str) -> Judge:
    def judge(guest: Guest) -> Optional[tuple[str, Any]]:
        for i, item in enumerate(getattr(guest, option) or ()):
            if getattr(item, attribute) is None:
                return f"{option}[{i}].{attribute}", None
        return None

    return judge


def lookup(guest: Any, option: str) -> Any:
    """The value at a dotted option name, such as 'stubdom.kernel'."""
    for part in option.split("."):
        guest = getattr(guest, part)
    return guest


def isolated(guest: Guest) -> bool:
    """Whether the device model is to run in a stubdomain of its own."""
    return guest.stubdom.type in ("linux", "minios")


def _not_hvm(guest: Guest, _value: Any) -> bool:
    return guest.type in ("pv", "pvh")


def _unlike(pattern: re.Pattern[str]) -> Callable[[Guest, Any], bool]:
    return lambda guest, value: not pattern.match(value)


def _extra_owned(guest: Guest) -> Optional[tuple[str, Any]]:
    clash = [key for key in sorted(guest.extra_config) if key in MODELLED and not _list_alone(guest, key)]
    return (f"extra_config.{clash[0]}", guest.extra_config[clash[0]]) if clash else None


def _list_alone(guest: Guest, key: str) -> bool:
    """A list where the option, which is not given, could only hold one value."""
    return key in LISTS_TOO and isinstance(guest.extra_config[key], (list, tuple)) and lookup(guest, key) is None


def _extra_key(guest: Guest) -> Optional[tuple[str, Any]]:
    bad = [key for key in guest.extra_config if not re.match(r"[a-z][._0-9a-z]*\Z", str(key))]
    return (f"extra_config.{bad[0]}", guest.extra_config[bad[0]]) if bad else None


Rule = tuple[Judge, str, Optional[str]]
RULES: list[Rule] = [
    (_when("name", lambda g, v: v.isdigit()), "a name that is not all digits", "xl takes a number for a domid"),
    (
        _when("name", lambda g, v: v.endswith("-dm")),
        "a name that does not end in -dm",
        "libxl gives that name to the stubdomain of the guest before the suffix",
    ),
    (
        _when("name", lambda g, v: not NAME.match(v) or len(v) > NAME_MAX),
        f"at most {NAME_MAX} letters, digits and _ . + -, not beginning with . + or -",
        None,
    ),
    (_when("name", lambda g, v: v.lower() == "domain-0"), "a guest's name", "Domain-0 is the host itself"),
    (_when("uuid", _unlike(UUID)), "a UUID such as 11111111-2222-3333-4444-555555555555", None),
    (_when("uuid", lambda g, v: set(v) <= set("0-")), "a UUID that is not all zero", "that is Domain-0's"),
    (_when("vcpus", lambda g, v: v < 1), "at least one vcpu", None),
    (_when("max_vcpus", lambda g, v: v < (g.vcpus or 1)), "no fewer than vcpus", None),
    (
        _when("cpus", lambda g, v: not re.match(r"[0-9a-z^:, -]+\Z", v)),
        "CPUs such as 0-3,^1 or nodes:0",
        "vcpus pinned one by one are a list in extra_config: cpus",
    ),
    (_when("vnc.display", lambda g, v: v < 0), "a display number of 0 or more", None),
    (_when("max_memory", lambda g, v: v < (g.memory or 0)), "no less than memory", None),
    (
        _when("stubdom.type", lambda g, v: v == "rumprun"),
        "none, linux or minios",
        "QEMU on a rump kernel was proposed in 2015 and never merged: no Xen from 4.4 to 4.22 can start one; linux is what came",
    ),
    (
        _when("stubdom.type", lambda g, v: v != "none" and _not_hvm(g, v)),
        "none on a pv or pvh guest",
        "only an hvm guest has a device model that a stubdomain could hold",
    ),
    (
        _when("stubdom.type", lambda g, v: v == "linux" and g.device_model.version not in (None, "qemu_xen")),
        "device_model.version qemu_xen with a Linux stubdomain",
        None,
    ),
    (
        _when("stubdom.type", lambda g, v: v == "minios" and g.device_model.version not in (None, "qemu_xen_traditional")),
        "device_model.version qemu_xen_traditional with a MiniOS stubdomain",
        None,
    ),
    (
        _when("kernel", lambda g, v: isolated(g)),
        "no kernel with a stubdomain",
        "libxl hands the path to QEMU in the stubdomain, which cannot see dom0's files: boot from a disk",
    ),
    (
        _when("ramdisk", lambda g, v: isolated(g)),
        "no ramdisk with a stubdomain",
        "libxl hands the path to QEMU in the stubdomain, which cannot see dom0's files: boot from a disk",
    ),
    (_when("ramdisk", lambda g, v: g.kernel is None and g.type is not None), "a kernel beside it", None),
    (
        _when("device_model.restrict", lambda g, v: v and isolated(g)),
        "false with a stubdomain",
        "QEMU would be restricted inside the stubdomain as well and never report that it runs",
    ),
    (
        _when("device_model.path", lambda g, v: isolated(g)),
        "no path with a stubdomain",
        "libxl ignores it then: the device model is the one in the stubdomain's image",
    ),
    (_when("device_model.restrict", lambda g, v: v and _not_hvm(g, v)), "an hvm guest", None),
    (_when("serial", _not_hvm), "an hvm guest", "a pv or pvh guest has its console always"),
    (_when("boot", _not_hvm), "an hvm guest", None),
    (_when("boot", lambda g, v: not re.match(r"[acdn]+\Z", v)), "letters of a (floppy) c (disk) d (CD-ROM) n (network)", None),
    (
        _when("vnc.enabled", lambda g, v: v and _not_hvm(g, v)),
        "an hvm guest",
        "a pv guest has a virtual frame buffer instead: extra_config vfb",
    ),
    (
        _when("vnc.enabled", lambda g, v: v and isolated(g)),
        "false with a stubdomain",
        "libxl gives a Linux stubdomain's QEMU no display (docs/misc/stubdom.txt)",
    ),
    (_each("disks", "vdev", _unlike(VDEV)), "a device name such as xvda, hdc or sda1", None),
    (_missing("disks", "vdev"), "the guest's name for the disk, such as xvda", None),
    (_unique("disks", "vdev"), "every vdev once", None),
    (
        _each("disks", "format", lambda g, v: isolated(g) and v != "raw"),
        "format raw with a stubdomain",
        "other formats are served by QEMU in dom0 (qdisk), which does not serve a stubdomain's guest: convert the image",
    ),
    (
        _each("disks", "backendtype", lambda g, v: isolated(g) and v == "qdisk"),
        "backendtype phy with a stubdomain",
        "no QEMU in dom0 serves the disks of a guest whose device model is in a stubdomain",
    ),
    (_each("nics", "mac", _unlike(MAC)), "a MAC address such as 00:16:3e:12:34:56", None),
    (_each("nics", "mac", lambda g, v: int(v[:2], 16) & 1), "a unicast MAC address (first byte even)", None),
    (_unique("nics", "mac"), "every MAC once", None),
    (_each("nics", "model", _not_hvm), "an hvm guest", "a pv or pvh guest has no emulated card"),
    (_each("nics", "type", lambda g, v: v == "ioemu" and _not_hvm(g, v)), "vif on a pv or pvh guest", None),
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
