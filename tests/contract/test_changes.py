# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest is changed as it runs: what it takes is done, and what it does not take comes with its own next reboot."""

from __future__ import annotations

from typing import Any

import pytest
from xenhost import KINDS, PATIENT, PULL_THE_PLUG, Host, gone, mostly_simulated

SECOND, MAC = "/var/lib/xen-lab/second.img", "00:16:3e:00:00:01"
DISK = {"vdev": "xvdb", "target": SECOND, "format": "raw", "access": "rw"}
CARD = {"mac": MAC, "bridge": "xenbr0", "type": "vif"}


# On the embedded host with --whole only: emulated, a guest may reboot by itself (QEMU loses its pages), to be another domain.
@pytest.fixture(params=mostly_simulated(sorted(KINDS)))
def guest(request: pytest.FixtureRequest, xen: Host) -> dict[str, Any]:
    """A guest of each kind that has booted, with room for a vcpu more."""
    described = {**xen.described(request.param, f"changing-{request.param}"), "max_vcpus": 2, "nics": []}
    xen.sh(f"truncate -s 16M {SECOND} && echo made")
    if xen.kind == "embedded":  # where a card's script is the real one
        xen.sh("test -e /sys/class/net/xenbr0 || ip link add xenbr0 type bridge; ip link set xenbr0 up")
    xen.guest(**described)
    xen.booted(described["name"])
    return described


def test_what_it_takes_as_it_runs_is_done_and_the_rest_comes_with_its_own_reboot(xen: Host, guest: dict[str, Any]) -> None:
    name, disks = guest["name"], guest.get("disks", [])
    domid = xen.domid(name)
    more = {**guest, "vcpus": 2, "memory": "144MiB", "disks": [*disks, DISK], "nics": [CARD], "weight": 512, "cpus": "0"}
    seen = xen.guest(check=True, **more)
    done = xen.guest(**more)
    assert [(s["step"], s.get("field")) for s in done["plan"] if s["step"] != "store"] == [
        ("resize", "memory"), ("resize", "vcpus"), ("adjust", "cpus"), ("adjust", "weight"),
        ("attach", "disks[xvdb]"), ("attach", f"nics[{MAC}]"), ("queue", None),
    ]  # fmt: skip
    assert (done["plan_digest"], done["pending"]) == (seen["plan_digest"], [])
    assert (xen.domid(name), xen.guest(**more)["changed"]) == (domid, False)
    assert xen.sh(f"xl vcpu-list {name} | awk 'NR > 1 {{ print $(NF - 2) }}' | sort -u") == "0"
    assert xen.sh(f"xl sched-credit2 -d {name} | awk 'END {{ print $3 }}'") == "512"
    assert xen.sh(f"xl block-list {name} | awk '$1 == 51728 {{ print \"there\" }}'") == "there"
    assert xen.sh(f'xl network-list {name} | awk \'$3 == "{MAC}" {{ print "there" }}\'') == "there"

    less = {**more, "disks": disks, "nics": []}
    taken = xen.guest(**less)
    assert [s["step"] for s in taken["plan"] if s["step"] != "store"] == ["detach", "detach", "queue"]
    assert (xen.domid(name), xen.guest(**less)["changed"]) == (domid, False)

    waits = xen.guest(**{**less, "max_vcpus": 3})
    assert [(item["field"], item["needs"]) for item in waits["pending"]] == [("max_vcpus", "reboot")]
    assert [s["step"] for s in waits["plan"]] == ["store", "queue"]
    xen.sh(f"xl reboot {name} && {gone(domid)}")
    after = xen.guest(**{**less, "max_vcpus": 3}, **PATIENT)
    assert (after["changed"], after["pending"], after["guest"]["state"]) == (False, [], "running")
    assert xen.domid(name) != domid
    assert xen.module("guest_info", names=[name])["guests"][0]["drift"] == []
    xen.guest(name=name, state="absent", **PULL_THE_PLUG)
