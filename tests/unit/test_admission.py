# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host cannot give a guest is refused while nothing is touched, in words that name the option, its value and the host."""

from __future__ import annotations

import pytest
from simulated_host import FIRMWARE, SimulatedHost
from stories import DISK, HVM, PVH, STUBDOM, by_hand, failure, task

from ansible_collections.stubdom.xen.plugins.module_utils.admission import needed_memory
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, from_options


def xen(version):
    """A host with that Xen."""
    host = SimulatedHost()
    major, minor = version.split(".")
    host.machine.info = (
        host.machine.info.replace("xen_major              : 4", f"xen_major              : {major}")
        .replace("xen_minor              : 17", f"xen_minor              : {minor}")
        .replace("4.17.7", f"{version}.0")
    )
    for path in [path for path in host.files if path.startswith(FIRMWARE)]:
        host.files[path.replace("4.17", version)] = host.files[path]
    host.files[f"/usr/lib/xen-{version}/boot/ioemu-stubdom.gz"] = ""
    return host


MINIOS = {**STUBDOM, "stubdom": {"type": "minios"}}
CDROM = {**STUBDOM, "disks": [DISK, {"vdev": "hdc", "target": "/images/disk.img", "devtype": "cdrom", "format": "raw"}]}


@pytest.mark.parametrize(
    ("version", "guest", "option"),
    [
        ("4.13", STUBDOM, "stubdom.type"),
        ("4.14", STUBDOM, None),
        ("4.15", {**STUBDOM, "stubdom": {"type": "linux", "cmdline": "quiet"}}, "stubdom.cmdline"),
        ("4.16", {**STUBDOM, "stubdom": {"type": "linux", "cmdline": "quiet"}}, None),
        ("4.20", MINIOS, None),
        ("4.21", MINIOS, "device_model.version"),
        ("4.18", CDROM, "disks"),
        ("4.19", CDROM, None),
        ("4.11", {**HVM, "device_model": {"restrict": True}}, "device_model.restrict"),
        ("4.21", STUBDOM, None),
    ],
)
def test_what_this_xen_cannot_do(version, guest, option):
    host = xen(version)
    if option is None:
        task(host, guest)
        return
    before = host.snapshot()
    error = failure(host, guest)
    assert (error.code, error.evidence["option"].split(" ")[0]) == ("not_on_this_xen", option)
    assert version in error.msg
    assert host.snapshot() == before


@pytest.mark.parametrize(
    ("guest", "gone", "option"),
    [
        (PVH, "/boot/vmlinuz", "kernel"),
        ({**PVH, "ramdisk": "/boot/initrd"}, "/boot/initrd", "ramdisk"),
        (HVM, "/images/disk.img", "disks[0].target"),
        ({**STUBDOM, "stubdom": {"type": "linux", "kernel": "/boot/vmlinuz"}}, "/boot/vmlinuz", "stubdom.kernel"),
    ],
)
def test_a_file_that_is_not_there(guest, gone, option):
    host = SimulatedHost()
    del host.files[gone]
    before, error = host.snapshot(), failure(host, guest)
    assert (error.code, error.evidence["option"], error.evidence["value"]) == ("file_unreadable", option, gone)
    assert host.snapshot() == before


@pytest.mark.parametrize("name", ["qemu-stubdom-linux-kernel", "qemu-stubdom-linux-rootfs"])
def test_no_image_for_the_stubdomain(name):
    host = SimulatedHost()
    del host.files[f"{FIRMWARE}/{name}"]
    error = failure(host, STUBDOM)
    assert (error.code, error.evidence["missing"]) == ("no_stubdom_image", [name])


def test_a_guest_that_is_not_to_be_started_needs_no_file_yet():
    host = SimulatedHost()
    del host.files["/boot/vmlinuz"]
    task(host, PVH, state="halted")


@pytest.mark.parametrize(
    ("guest", "least", "most"),
    [
        ({"memory": "256MiB"}, 256, 260),
        ({"memory": "256MiB", "max_memory": "1GiB", "vcpus": 4}, 256 + 8 + 4, 270),
        ({"memory": "256MiB", "stubdom": {"type": "linux"}}, 256 + 128, 400),
        ({"memory": "256MiB", "stubdom": {"type": "linux", "memory": "512MiB"}}, 256 + 512, 780),
        ({"memory": "256MiB", "stubdom": {"type": "none", "memory": "512MiB"}}, 256, 260),
    ],
)
def test_the_memory_that_a_start_takes_with_the_stubdomains(guest, least, most):
    assert least <= needed_memory(from_options({"type": "hvm", **guest})) // MIB <= most


def test_a_guest_fits_but_not_with_its_stubdomain():
    host = SimulatedHost(memory=1536 + 256)
    task(host, {**HVM, "memory": "192MiB"}, state="paused")
    task(host, {"name": "shop"}, state="absent")
    error = failure(host, {**STUBDOM, "memory": "192MiB"})
    assert error.code == "not_enough_memory"
    assert "stubdomain" in error.msg


def test_what_the_guest_itself_holds_is_free_by_the_time_it_is_made_anew():
    host = SimulatedHost(memory=1536 + 400)
    task(host, STUBDOM)
    task(host, STUBDOM, vcpus=2, disruption="recreate")
    assert failure(host, STUBDOM, memory="300MiB", disruption="recreate").code == "not_enough_memory"
    assert host.domains()["vault"] == "-b----"


@pytest.mark.parametrize(("line", "shrinks"), [('autoballoon="on"', True), ("autoballoon=0", False), ("#autoballoon=1", False)])
def test_dom0_gives_memory_away_if_the_hosts_xl_conf_says_so(line, shrinks):
    host = SimulatedHost(memory=1536 + 100)
    host.files["/etc/xen/xl.conf"] = line + "\n"
    if shrinks:
        task(host, PVH)
    else:
        assert failure(host, PVH).code == "not_enough_memory"


def test_a_guest_that_xenstore_has_forgotten_is_not_started_beside_itself():
    """xenstored that was started again knows no domain. The old one runs, with the guest's disks."""
    host = SimulatedHost()
    task(host, PVH)
    lost = host.domid("web")
    host.tree.remove(f"/local/domain/{lost}")
    error = failure(host, PVH)
    assert (error.code, error.evidence["domid"]) == ("uuid_in_use", lost)
    assert f"xl destroy {lost}" in error.hint
    host.hypervisor.destroy(lost)
    task(host, PVH)


def test_one_uuid_for_two_guests():
    host = SimulatedHost()
    uuid = "11111111-2222-3333-4444-555555555555"
    by_hand(host, "mine", f'name = "mine"\nuuid = "{uuid}"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n')
    error = failure(host, PVH, uuid=uuid.upper())
    assert (error.code, error.evidence["name"]) == ("uuid_in_use", "mine")
    assert failure(host, HVM, state="paused", uuid=uuid).code == "uuid_in_use"
