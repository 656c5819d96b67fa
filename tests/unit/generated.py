# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests as hypothesis makes them up: each one valid, and as strange as valid goes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.module_utils import rules
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import (
    MIB,
    P9,
    Channel,
    DeviceModel,
    Disk,
    Guest,
    Nic,
    Pci,
    Stubdom,
    Usb,
    UsbController,
    Vfb,
    Vnc,
    Vtpm,
    to_options,
)

# What xl.cfg can hold: no control characters but those with an escape of their own, no halves of characters.
ANYTHING = st.text(st.characters(exclude_categories=()), max_size=12)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, [0, *range(32), 127]))), max_size=12)
WORD = st.text("abcxyz0189_-./:@", min_size=1, max_size=8)
# A path may hold what the other parts of a disk may not: commas, blanks, equals signs.
PATH = st.text("abc/.,= -", min_size=1, max_size=12).map(lambda text: "/" + text)
SIZE = st.integers(1, 4096).map(lambda mib: mib * MIB)
MAC = st.integers(0, 0xFFFFFF).map(lambda n: f"00:16:3e:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}")
ACTION = st.sampled_from(["destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart"])
FLAG = st.booleans()
VDEVS = ["xvda", "xvdb", "hdc", "sda1", "vdb", "xvdaa12"]
EXTRA = st.one_of(st.integers(0, 9), TEXT, st.lists(st.one_of(st.integers(0, 9), TEXT), max_size=3))


def maybe(strategy):
    return st.none() | strategy


DISK = st.builds(
    Disk, vdev=st.sampled_from(VDEVS), target=maybe(PATH), format=maybe(st.sampled_from(["raw", "qcow2", "vhd"])),
    access=maybe(st.sampled_from(["rw", "ro"])), devtype=maybe(st.sampled_from(["cdrom", "disk"])),
    backendtype=maybe(st.sampled_from(["phy", "qdisk"])), backend=maybe(WORD), script=maybe(WORD),
    options=maybe(st.just(("discard",))),
)  # fmt: skip
NIC = st.builds(
    Nic, mac=maybe(MAC), bridge=maybe(WORD), type=maybe(st.sampled_from(["vif", "ioemu"])), model=maybe(WORD),
    vifname=maybe(WORD), script=maybe(WORD), ip=maybe(WORD), backend=maybe(WORD), rate=maybe(st.just("10Mb/s")),
    options=maybe(st.just(("trusted=0",))),
)  # fmt: skip
# A value of a device may hold anything but commas, and no blanks around it; some forms know no equals signs either.
VALUE = st.text("abcxyz0189_-./: ", min_size=1, max_size=8).map(str.strip).filter(bool)
SECRET = st.text("abcxyz0189= ", min_size=1, max_size=8).map(str.strip).filter(bool)
ADDRESS = st.builds("{:04x}:{:02x}:{:02x}.{}".format, st.integers(0, 65535), st.integers(0, 255), st.integers(0, 31),
                    st.sampled_from("01234567*"))  # fmt: skip
PCI = st.builds(
    Pci, address=ADDRESS, vslot=maybe(st.integers(1, 31)), permissive=maybe(FLAG), msitranslate=maybe(FLAG),
    power_mgmt=maybe(FLAG), seize=maybe(FLAG), rdm_policy=maybe(st.sampled_from(["strict", "relaxed"])),
)  # fmt: skip
ANYWHERE = [UsbController(), UsbController(version=1), UsbController("qusb", 2, 4), UsbController("pv", ports=31)]
IN_QEMU = [UsbController("devicemodel", 3, 15), UsbController("devicemodel", 1, 2), UsbController("auto")]
USB = st.builds(Usb, st.integers(1, 255), st.integers(1, 255), maybe(st.just(0)))
VFB = st.builds(
    Vfb, vnc=maybe(FLAG), listen=maybe(VALUE), display=maybe(st.integers(0, 99)), unused=maybe(FLAG), password=maybe(SECRET),
    keymap=maybe(VALUE), options=maybe(st.just(("sdl=1", "display=:0"))),
)  # fmt: skip
CHANNEL = st.builds(Channel, VALUE, st.just("pty"), backend=maybe(WORD)) | st.builds(
    Channel, VALUE, st.just("socket"), VALUE, backend=maybe(WORD)
)


def file_systems(backend):
    """All of one backend, or of none: to leave it out after one that has it means that one's."""
    return st.lists(st.builds(P9, VALUE, VALUE, st.just("none"), backend), max_size=3, unique_by=lambda p9: p9.tag).map(tuple)


GUEST = st.builds(
    Guest, name=st.just("generated"), uuid=maybe(st.uuids().map(str)), type=maybe(st.sampled_from(["pv", "pvh", "hvm"])),
    memory=maybe(SIZE), max_memory=maybe(SIZE), vcpus=maybe(st.integers(1, 8)), max_vcpus=maybe(st.integers(1, 8)),
    cpus=maybe(st.sampled_from(["0-1", "all", "0,2", "0-3,^1"])), weight=maybe(st.integers(1, 65535)),
    cap=maybe(st.integers(0, 100)), cpupool=maybe(st.just("Pool-0")),
    kernel=maybe(PATH), ramdisk=maybe(PATH), cmdline=maybe(TEXT),
    bootloader=maybe(WORD), firmware=maybe(st.sampled_from(["seabios", "ovmf"])), boot=maybe(st.sampled_from(["c", "dc", "n"])),
    device_model=st.builds(
        DeviceModel, version=maybe(st.just("qemu_xen")), path=maybe(PATH), user=maybe(WORD), restrict=maybe(FLAG),
        args=maybe(st.lists(TEXT, max_size=3).map(tuple)),
    ),
    stubdom=st.builds(
        Stubdom, type=maybe(st.sampled_from(["none", "linux"])), kernel=maybe(PATH), ramdisk=maybe(PATH), cmdline=maybe(TEXT),
        memory=maybe(SIZE), seclabel=maybe(WORD),
    ),
    disks=maybe(st.lists(DISK, max_size=3, unique_by=lambda disk: disk.vdev).map(tuple)),
    nics=maybe(st.lists(NIC, max_size=3, unique_by=lambda nic: nic.mac or id(nic)).map(tuple)),
    pci=maybe(st.lists(PCI, max_size=2, unique_by=lambda pci: pci.address).map(tuple)),
    usb_controllers=maybe(st.lists(st.sampled_from(ANYWHERE + IN_QEMU), max_size=3).map(tuple)),
    usb=maybe(st.lists(USB, max_size=2, unique_by=lambda usb: (usb.host_bus, usb.host_address)).map(tuple)),
    vfb=maybe(st.lists(VFB, max_size=2).map(tuple)),
    channels=maybe(st.lists(CHANNEL, max_size=2, unique_by=lambda channel: channel.name).map(tuple)),
    p9=maybe(file_systems(st.none()) | file_systems(WORD)),
    vtpm=maybe(st.lists(st.builds(Vtpm, WORD, maybe(st.uuids().map(str))), max_size=2).map(tuple)),
    serial=maybe(TEXT), vnc=st.builds(Vnc, maybe(FLAG), maybe(WORD), maybe(st.integers(0, 99)), maybe(TEXT)),
    on_poweroff=maybe(ACTION), on_reboot=maybe(ACTION), on_crash=maybe(ACTION),
    extra_config=st.dictionaries(st.sampled_from(["nestedhvm", "acpi", "spice", "ioports", "vkb"]), EXTRA, max_size=2),
)  # fmt: skip


def guests():
    """Guests with any mix of described fields. A stubdomain without a version is another kind (MiniOS), never written."""
    return GUEST.map(lambda g: replace(g, device_model=DeviceModel("qemu_xen")) if g.stubdom.type == "linux" else g)


def allowed(guest):
    try:
        rules.check(guest)
    except XenError:
        return False
    return True


def sensible_guests():
    """Only those that no rule refuses. Built to be mostly so already: a filter alone would find hardly any."""
    return GUEST.map(made_sensible).filter(allowed)


def made_sensible(guest):
    """The guest without what its type and its stubdomain forbid."""
    isolated = guest.stubdom.type == "linux"
    hvm = guest.type == "hvm"
    changes = {
        "max_memory": max(guest.max_memory or 0, guest.memory or MIB) if guest.max_memory else None,
        "max_vcpus": max(guest.max_vcpus or 0, guest.vcpus or 1) if guest.max_vcpus else None,
        "vnc": replace(guest.vnc, enabled=guest.vnc.enabled if hvm and not isolated else None),
        # a monitor that restarts a guest when it powers off: see test_execute
        "on_poweroff": guest.on_poweroff and ("preserve" if guest.on_poweroff == "preserve" else "destroy"),
        # no CD-ROM with a stubdomain before Xen 4.19, and any guest may become one with a stubdomain
        "disks": guest.disks and tuple(replace(d, devtype=None) for d in guest.disks),
        "extra_config": {key: 1 if key == "nestedhvm" else value for key, value in guest.extra_config.items()},
    }
    changes.update(sensible_devices(guest, hvm or isolated, isolated))
    if isolated:
        changes.update(type="hvm", kernel=None, ramdisk=None, device_model=DeviceModel(version="qemu_xen"))
        changes["disks"] = guest.disks and tuple(replace(d, format="raw", backendtype=None, devtype=None) for d in guest.disks)
    elif not hvm:
        changes.update(serial=None, boot=None, stubdom=Stubdom(), device_model=DeviceModel())
        changes["nics"] = guest.nics and tuple(replace(n, model=None, type=None) for n in guest.nics)
    if not (guest.kernel and "kernel" not in changes):
        changes["ramdisk"] = None
    return replace(guest, **changes)


def sensible_devices(guest, hvm, isolated):
    """Devices that such a guest may have, USB devices at a controller that is there."""
    controllers = guest.usb_controllers and tuple(found for found in guest.usb_controllers if hvm or found not in IN_QEMU)
    usb = guest.usb and tuple(replace(usb, controller=0 if controllers else None) for usb in guest.usb)
    found = {
        "pci": None if (guest.max_memory if hvm else guest.type != "pv") else guest.pci,
        "usb_controllers": controllers,
        "usb": None if isolated else usb,
        "vfb": None if hvm else guest.vfb,
    }
    if isolated:  # no QEMU in dom0 serves it
        found["usb_controllers"] = controllers and tuple(c for c in controllers if c.type != "qusb")
        found["channels"] = guest.channels and tuple(replace(c, backend=c.backend or "driver") for c in guest.channels)
        found["p9"] = guest.p9 and tuple(replace(p9, backend=p9.backend or "driver") for p9 in guest.p9)
    return found


def options_of_guests():
    return GUEST.map(to_options)
