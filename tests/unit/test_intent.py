# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task means of a guest: identities that never change by themselves, and what is always written."""

from __future__ import annotations

import pytest
from simulated_host import SimulatedHost
from stories import HVM, PVH, STUBDOM, by_hand, settle, task


def macs(result):
    return [nic["mac"] for nic in result["guest"]["spec"]["nics"]]


def test_two_runs_and_two_guests():
    """The identities made up are the same at every run, another for every guest and for every host."""
    first, again, other = (task(SimulatedHost(), guest) for guest in (PVH, PVH, {**PVH, "name": "other"}))
    assert (first["guest"]["uuid"], macs(first)) == (again["guest"]["uuid"], macs(again))
    assert first["guest"]["uuid"] != other["guest"]["uuid"]
    assert macs(first) != macs(other)
    elsewhere = SimulatedHost()
    elsewhere.files["/etc/machine-id"] = "another\n"
    assert task(elsewhere, PVH)["guest"]["uuid"] != first["guest"]["uuid"]


def test_a_made_up_mac_is_of_xens_range():
    [mac] = macs(task(SimulatedHost(), PVH))
    assert mac.startswith("00:16:3e:")
    assert int(mac.split(":")[3], 16) < 0x80


def test_a_card_put_in_front_of_a_known_one_gets_an_address_of_its_own():
    host = SimulatedHost()
    [old] = macs(task(host, PVH))
    new = macs(task(host, PVH, nics=[{"bridge": "b1"}, {"bridge": "xenbr0", "mac": old}], disruption="recreate"))
    assert new[1] == old
    assert new[0] != old
    settle(host, PVH, nics=[{"bridge": "b1"}, {"bridge": "xenbr0", "mac": old}])


def test_a_card_taken_away_and_put_back():
    host = SimulatedHost()
    first = macs(task(host, PVH))
    task(host, PVH, nics=[], disruption="recreate")
    assert macs(task(host, PVH, disruption="recreate")) == first


def test_the_address_that_libxl_made_up_for_a_guest_made_by_hand_is_kept():
    host = SimulatedHost()
    text = 'name = "web"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\nvif = ["bridge=xenbr0"]\n'
    by_hand(host, "web", text)
    host.files["/etc/xen/web.cfg"] = text
    uuid = host.hypervisor.domains[host.domid("web")].uuid
    done = task(host, {"name": "web"})
    assert macs(done) == ["00:16:3e:ff:01:01"]
    assert done["guest"]["uuid"] == uuid
    assert macs(task(host, {"name": "web", "memory": "128MiB"}, disruption="recreate")) == ["00:16:3e:ff:01:01"]


@pytest.mark.parametrize(
    ("guest", "version"),
    [(HVM, "qemu-xen"), (STUBDOM, "qemu-xen"), (PVH, None)], ids=["hvm", "stubdom", "pvh"],
)  # fmt: skip
def test_the_version_of_the_device_model_is_always_written(guest, version):
    host = SimulatedHost()
    task(host, guest, state="present")
    text = host.files[f"/etc/xen/{guest['name']}.cfg"]
    assert (f'device_model_version = "{version}"' in text) if version else ("device_model_version" not in text)


def test_a_file_that_xl_cannot_read_is_replaced_and_kept_aside():
    host = SimulatedHost()
    host.files["/etc/xen/web.cfg"] = 'name = "web"\r\nmemory = 5\r\n'
    task(host, PVH)
    assert host.files["/etc/xen/web.cfg.before-stubdom.xen"] == 'name = "web"\r\nmemory = 5\r\n'
    assert "memory = 160" in host.files["/etc/xen/web.cfg"]


def test_what_a_person_wrote_into_the_guests_file_is_kept():
    host = SimulatedHost()
    task(host, PVH)
    host.files["/etc/xen/web.cfg"] += "tee = 1\nmax_grant_frames = 64\n"
    done = task(host, PVH, vcpus=2)
    assert "max_grant_frames = 64" in host.files["/etc/xen/web.cfg"]
    assert done["guest"]["spec"]["extra_config"] == {"tee": 1, "max_grant_frames": 64}


def test_the_name_in_the_file_is_the_guests():
    host = SimulatedHost()
    host.files["/etc/xen/web.cfg"] = 'name = "other"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'
    task(host, {"name": "web"})
    assert list(host.domains()) == ["web"]
