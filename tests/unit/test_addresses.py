# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that guests report: agents write them in several places, and a guest may write anything there."""

from __future__ import annotations

import pytest
from stories import PVH, surveyed, task

from ansible_collections.stubdom.xen.plugins.module_utils.addresses import MOST, reported

HOME = "/local/domain/7"
STORIES = {
    "nothing": ({}, []),
    "agent of today": ({"attr/vif/0/ipv4/0": "10.0.0.1", "attr/vif/0/ipv6/0": "2001:db8::1"}, ["10.0.0.1", "2001:db8::1"]),
    "older agent": ({"attr/eth0/ip": "10.0.0.1", "attr/eth0/ipv6/0/addr": "2001:DB8:0::1"}, ["10.0.0.1", "2001:db8::1"]),
    "beside the device": ({"device/vif/0/ip": "10.0.0.1"}, ["10.0.0.1"]),
    "the same in two places": ({"attr/vif/0/ipv4/0": "10.0.0.1", "attr/eth0/ip": "10.0.0.1"}, ["10.0.0.1"]),
    "several": ({"attr/vif/0/ipv4/0": "10.0.0.1", "attr/vif/1/ipv4/0": "10.0.1.1"}, ["10.0.0.1", "10.0.1.1"]),
    "no addresses": ({"attr/eth0/ip": "$(id)", "attr/eth1/ip": "", "attr/vif/0/ipv4/0": "\x1b[2J10.0.0.1"}, []),
    "the one who asks": ({"attr/eth0/ip": "127.0.0.1", "attr/eth1/ip": "::1", "attr/eth2/ip": "fe80::1"}, []),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_what_is_found(host, story):
    nodes, expected = STORIES[story]
    for path, value in nodes.items():
        host.machine.tree.put(f"{HOME}/{path}", value)
    assert reported(host.xenstore(), [7, 8]) == {7: expected, 8: []}


def test_a_guest_that_writes_very_many(host):
    for number in range(200):
        host.machine.tree.put(f"{HOME}/attr/vif/{number}/ipv4/0", f"10.0.0.{number}")
    assert len(reported(host.xenstore(), [7])[7]) == MOST


def test_guest_info_tells_them(host):
    task(host, PVH)
    domid = surveyed(host)["guests"][0]["domid"]
    host.machine.tree.put(f"/local/domain/{domid}/attr/vif/0/ipv4/0", "10.0.0.1")
    assert surveyed(host)["guests"][0]["addresses"] == ["10.0.0.1"]
