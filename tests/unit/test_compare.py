# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option, changed on a running guest: seen in the live domain, told by its name, and gone once it is changed back."""

from __future__ import annotations

import pytest
from simulated_host import FIRMWARE, SimulatedHost
from stories import HVM, PV, PVH, STUBDOM, settle, task

from ansible_collections.stubdom.xen.plugins.module_utils.compare import flat, live_changes, stored_changes
from ansible_collections.stubdom.xen.plugins.module_utils.fields import BY_OPTION
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Disk, Guest, Nic, from_options

# option, a guest to have it, a value, another value
CHANGES = [
    ("uuid", HVM, "11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-666666666666"),
    ("memory", HVM, "192MiB", "256MiB"),
    ("max_memory", HVM, "256MiB", "512MiB"),
    ("vcpus", HVM, 1, 2),
    ("max_vcpus", HVM, 2, 4),
    ("cpus", HVM, "0-1", "0"),
    ("weight", HVM, 256, 512),
    ("cap", HVM, 0, 50),
    ("cpupool", HVM, "Pool-0", "fast"),
    ("kernel", PVH, "/boot/vmlinuz", "/boot/other"),
    ("ramdisk", PVH, "/boot/initrd", "/boot/other"),
    ("cmdline", PVH, "quiet", "debug"),
    ("bootloader", PVH, "pygrub", "pvgrub"),
    ("firmware", HVM, "seabios", "ovmf"),
    ("firmware", {"name": "grub", "type": "pvh", "memory": "64MiB"}, "pvgrub32", "pvgrub64"),
    ("boot", HVM, "c", "dc"),
    ("device_model.version", HVM, "qemu_xen", "qemu_xen_traditional"),
    ("device_model.path", HVM, "/boot/vmlinuz", "/boot/other"),
    ("device_model.user", HVM, "nobody", "qemu"),
    ("device_model.restrict", HVM, False, True),
    ("device_model.args", HVM, ["-a"], ["-a", "-b"]),
    ("stubdom.type", HVM, "none", "linux"),
    ("stubdom.kernel", STUBDOM, "/boot/vmlinuz", "/boot/other"),
    ("stubdom.ramdisk", STUBDOM, "/boot/initrd", "/boot/other"),
    ("stubdom.cmdline", STUBDOM, "quiet", "debug"),
    ("stubdom.memory", STUBDOM, "128MiB", "256MiB"),
    ("stubdom.seclabel", STUBDOM, "system_u:a", "system_u:b"),
    ("serial", HVM, "pty", "null"),
    ("vnc.enabled", HVM, True, False),
    ("vnc.listen", HVM, "127.0.0.1", "::1"),
    ("vnc.display", HVM, 1, 2),
    ("vnc.password", HVM, "one", "two"),
    ("on_poweroff", HVM, "destroy", "restart"),
    ("on_reboot", HVM, "restart", "destroy"),
    ("on_crash", HVM, "destroy", "rename-restart"),
    ("disks", HVM, [], [{"vdev": "xvdb", "target": "/images/disk.img"}]),
    ("nics", HVM, [{"bridge": "b0"}], []),
    ("pci", HVM, [], [{"address": "0000:03:00.0"}]),
    ("usb_controllers", HVM, [{"type": "pv", "version": 2, "ports": 4}], [{"type": "pv", "version": 1, "ports": 4}]),
    ("usb", HVM, [{"host_bus": 1, "host_address": 3}], [{"host_bus": 1, "host_address": 4}]),
    ("vfb", PV, [{"vnc": True, "display": 1}], [{"vnc": True, "display": 2}]),
    ("channels", PV, [], [{"name": "agent", "connection": "pty"}]),
    ("p9", PV, [{"tag": "share", "path": "/srv", "security_model": "none"}], []),
    ("vtpm", PV, [{"backend": "tpm"}], []),
]
DISK = {"vdev": "xvda", "target": "/images/disk.img"}
DISK_CHANGES = {
    "vdev": ("xvda", "xvdb"), "target": ("/images/disk.img", "/boot/other"), "format": ("raw", "qcow2"), "access": ("rw", "ro"),
    "devtype": ("cdrom", "disk"), "backendtype": ("phy", "qdisk"), "backend": ("a", "b"), "script": ("a", "b"),
    "options": (["discard"], ["no-discard"]),
}  # fmt: skip
NIC_CHANGES = {
    "mac": ("00:16:3e:00:00:01", "00:16:3e:00:00:02"), "bridge": ("a", "b"), "type": ("vif", "ioemu"),
    "model": ("e1000", "rtl8139"), "vifname": ("a", "b"), "script": ("a", "b"), "ip": ("192.0.2.1", "192.0.2.2"),
    "backend": ("a", "b"), "rate": ("10Mb/s", "20Mb/s"),
}  # fmt: skip


def with_option(guest, option, value):
    head, _dot, tail = option.partition(".")
    return {**guest, head: {**guest.get(head, {}), tail: value} if tail else value}


def there_and_back(option, told, guest, before, after):
    host = SimulatedHost()
    host.files.update({"/boot/other": "", f"{FIRMWARE}/ioemu-stubdom.gz": ""})
    one, two = with_option(guest, option, before), with_option(guest, option, after)
    task(host, one)
    settle(host, one)
    changed = task(host, two, disruption="none")
    named = [item["field"] for item in changed["pending"] + changed["plan"] if "field" in item and item.get("step") != "store"]
    assert told in [name.partition("[")[0] if told == name.partition("[")[0] else name for name in named]
    assert settle(host, two, disruption="none")["pending"] == changed["pending"]
    assert task(host, one, disruption="none")["pending"] == []


@pytest.mark.parametrize(("option", "guest", "before", "after"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_change_of(option, guest, before, after):
    there_and_back(option, option, guest, before, after)


@pytest.mark.parametrize("attribute", DISK_CHANGES)
def test_a_change_of_a_disks(attribute):
    before, after = DISK_CHANGES[attribute]
    told = f"disks[{after if attribute == 'vdev' else 'xvda'}]"
    there_and_back("disks", told, HVM, [{**DISK, attribute: before}], [{**DISK, attribute: after}])


@pytest.mark.parametrize("attribute", NIC_CHANGES)
def test_a_change_of_a_nics(attribute):
    before, after = NIC_CHANGES[attribute]
    there_and_back("nics", "nics", HVM, [{attribute: before}], [{attribute: after}])


def test_a_change_of_a_key_without_an_option():
    there_and_back("extra_config", "extra_config (b_info.nested_hvm)", HVM, {"nestedhvm": 0}, {"nestedhvm": 1})


@pytest.mark.parametrize("before", [["0", "1"], "0-1"], ids=["one by one", "all alike"])
def test_a_change_of_vcpus_pinned_one_by_one(before):
    guest = {**HVM, "vcpus": 2}
    host = SimulatedHost()
    task(host, {**guest, **({"cpus": before} if isinstance(before, str) else {"extra_config": {"cpus": before}})})
    if isinstance(before, list):
        changed = task(host, {**guest, "extra_config": {"cpus": ["2", "1"]}})
        assert [item["field"] for item in changed["pending"]] == ["extra_config (b_info.vcpu_hard_affinity[0][0])"]


def test_every_option_has_its_row_here():
    assert {row[0] for row in CHANGES} | {"name", "type"} == set(BY_OPTION)
    assert set(DISK_CHANGES) == set(Disk.__dataclass_fields__)
    assert set(NIC_CHANGES) | {"options"} == set(Nic.__dataclass_fields__)


@pytest.mark.parametrize("option", ["stubdom.type", "device_model.version", "vnc.enabled", "vcpus", "max_vcpus", "on_crash"])
def test_a_default_said_aloud_is_no_change(option):
    """libxl prints no field that has its default value: that it is absent is what it is."""
    values = {"stubdom.type": "none", "device_model.version": "qemu_xen", "vnc.enabled": True, "on_crash": "destroy"}
    host = SimulatedHost()
    host.files["/root/shop.cfg"] = 'name = "shop"\ntype = "hvm"\nmemory = 192\n'
    host.xl("create", "/root/shop.cfg")
    assert task(host, with_option({"name": "shop"}, option, values.get(option, 1)))["pending"] == []


def test_only_what_is_described_is_compared():
    config = {"c_info": {"type": "pvh", "name": "web"}, "b_info": {"target_memkb": 65536, "cmdline": "x"}}
    assert live_changes(Guest(name="web"), config, {**config, "b_info": {}}) == ()


def test_what_the_file_says_otherwise():
    stored, wanted = from_options({"vcpus": 1, "vnc": {"display": 1}}), from_options({"vcpus": 2, "vnc": {"display": 1}})
    assert [(c.field, c.before, c.after) for c in stored_changes(stored, wanted)] == [("vcpus", 1, 2)]
    assert stored_changes(wanted, wanted) == ()
    assert flat(wanted) == {"vcpus": 2, "vnc.display": 1}
