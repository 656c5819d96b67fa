# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task is told: nothing secret in any of it, foreign text harmless, and the diff the difference."""

from __future__ import annotations

import json

import pytest
from simulated_host import Behaviour, SimulatedHost
from stories import HVM, PVH, STUBDOM, by_hand, failure, preview, surveyed, task

from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK

SECRET, NEWER = "gehei-m1", "gehei-m2"
VNC = {**HVM, "vnc": {"enabled": True, "password": SECRET}}
HOLDERS = {
    "the VNC password": (VNC, {"vnc": {"password": NEWER}}),
    "the SPICE password": ({**HVM, "extra_config": {"spicepasswd": SECRET}}, {"extra_config": {"spicepasswd": NEWER}}),
    "the password of a frame buffer": (
        {**PVH, "name": "shop", "vfb": [{"vnc": True, "password": SECRET}]}, {"vfb": [{"vnc": True, "password": NEWER}]},
    ),
}  # fmt: skip


def secretive(told):
    text = json.dumps(told)
    return SECRET not in text and NEWER not in text


@pytest.mark.parametrize("holder", HOLDERS)
def test_no_secret_is_told(holder):
    guest, change = HOLDERS[holder]
    host = SimulatedHost()
    told = [preview(host, guest), task(host, guest), task(host, guest)]
    changed = {**guest, **change}
    told += [preview(host, changed), task(host, changed), task(host, changed, disruption="recreate"), surveyed(host)]
    assert [secretive(result) for result in told] == [True] * len(told)
    assert secretive(host.commands), "everybody on the host may read a command line"
    assert NEWER in host.files["/etc/xen/shop.cfg"]
    assert MASK in json.dumps(told[-1])


def test_no_secret_is_told_by_a_failure():
    host = SimulatedHost()
    assert secretive(failure(host, {**VNC, "firmware": "nonsense"}).as_result())
    host.behave("shop", Behaviour(qemu_exits=True))
    assert secretive(failure(host, VNC).as_result())
    assert secretive(failure(host, {**VNC, "extra_config": {"vncpasswd": SECRET}}).as_result())


def test_no_secret_of_a_guest_made_by_hand_is_told():
    host = SimulatedHost()
    text = f'name = "shop"\ntype = "hvm"\nmemory = 64\nvnc = 1\nvncpasswd = "{SECRET}"\nspicepasswd = "{SECRET}"\n'
    by_hand(host, "shop", text)
    host.files["/etc/xen/shop.cfg"] = text
    assert secretive([surveyed(host), preview(host, {"name": "shop"}), task(host, {"name": "shop", "vcpus": 2}), surveyed(host)])


def test_the_diff_is_what_was_against_what_will_be():
    host = SimulatedHost()
    made = task(host, PVH)["diff"]
    assert (made["before"], made["after"]["state"]) == ({"spec": {}, "state": "absent", "autostart": False}, "running")
    changed = task(host, PVH, memory="256MiB")["diff"]
    assert (changed["before"]["spec"].pop("memory"), changed["after"]["spec"].pop("memory")) == ("160MiB", "256MiB")
    assert changed["before"] == changed["after"]
    same = task(host, PVH, memory="256MiB")["diff"]
    assert same["before"] == same["after"]
    gone = task(host, PVH, state="absent")["diff"]
    assert gone["after"] == {"spec": {}, "state": "absent", "autostart": False}


def test_the_result_names_the_guest_and_its_stubdomain():
    host = SimulatedHost()
    guest = task(host, STUBDOM)["guest"]
    assert (guest["state"], guest["domid"], guest["stubdom"]) == ("running", 1, {"domid": 2, "name": "vault-dm", "alive": True})
    assert guest["uuid"] == guest["spec"]["uuid"]
    assert guest["spec"]["memory"] == "192MiB"


def test_what_is_told_of_a_guest_is_input_again():
    host = SimulatedHost()
    for guest in (PVH, HVM, STUBDOM):
        told = task(host, guest)["guest"]["spec"]
        again = task(host, told)
        assert (again["changed"], again["pending"]) == (False, [])


def test_the_survey_tells_of_every_guest_and_of_what_is_left_of_others():
    host = SimulatedHost()
    task(host, PVH)
    task(host, STUBDOM)
    by_hand(host, "mine", 'name = "mine"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n')
    host.files["/etc/xen/web.cfg"] = host.files["/etc/xen/web.cfg"].replace("memory = 160", "memory = 200")
    before = host.snapshot()
    told = {guest["name"]: guest for guest in surveyed(host)["guests"]}
    assert host.snapshot() == before
    assert {name: (guest["state"], guest["managed"]) for name, guest in told.items()} == {
        "web": ("running", True), "vault": ("running", True), "mine": ("running", False),
    }  # fmt: skip
    assert {"field": "memory", "live": 160 << 20, "stored": 200 << 20} in told["web"]["drift"]
    assert told["vault"]["drift"] == told["mine"]["drift"] == []
    assert [link["value"] for link in told["vault"]["readiness"]] == ["running", "running", "running", "9"]
