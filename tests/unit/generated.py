# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests as hypothesis makes them up: each one valid, and as strange as valid goes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.module_utils import rules
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, DeviceModel, Disk, Guest, Nic, Stubdom, Vnc, to_options

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
GUEST = st.builds(
    Guest, name=st.just("generated"), uuid=maybe(st.uuids().map(str)), type=maybe(st.sampled_from(["pv", "pvh", "hvm"])),
    memory=maybe(SIZE), max_memory=maybe(SIZE), vcpus=maybe(st.integers(1, 8)), max_vcpus=maybe(st.integers(1, 8)),
    cpus=maybe(st.sampled_from(["0-1", "all", "0,2", "0-3,^1"])), kernel=maybe(PATH), ramdisk=maybe(PATH), cmdline=maybe(TEXT),
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
    serial=maybe(TEXT), vnc=st.builds(Vnc, maybe(FLAG), maybe(WORD), maybe(st.integers(0, 99)), maybe(TEXT)),
    on_poweroff=maybe(ACTION), on_reboot=maybe(ACTION), on_crash=maybe(ACTION),
    extra_config=st.dictionaries(st.sampled_from(["nestedhvm", "acpi", "spice", "pci", "vfb"]), EXTRA, max_size=2),
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
    if isolated:
        changes.update(type="hvm", kernel=None, ramdisk=None, device_model=DeviceModel(version="qemu_xen"))
        changes["disks"] = guest.disks and tuple(replace(d, format="raw", backendtype=None, devtype=None) for d in guest.disks)
    elif not hvm:
        changes.update(serial=None, boot=None, stubdom=Stubdom(), device_model=DeviceModel())
        changes["nics"] = guest.nics and tuple(replace(n, model=None, type=None) for n in guest.nics)
    if not (guest.kernel and "kernel" not in changes):
        changes["ramdisk"] = None
    return replace(guest, **changes)


def options_of_guests():
    return GUEST.map(to_options)
