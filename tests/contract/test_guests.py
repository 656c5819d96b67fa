# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of a host in one task: side by side, each behind its own chain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from xenhost import PATIENT, PULL_THE_PLUG, Host


def test_a_set_comes_up_is_left_alone_and_goes(xen: Host) -> None:
    guests = [{**xen.described("pvh", "direct"), **PATIENT}, {**xen.described("stubdom", "isolated"), **PATIENT}]

    shown = xen.module("guests", check=True, guests=guests)
    assert [(guest["name"], guest["changed"]) for guest in shown["guests"]] == [("direct", True), ("isolated", True)]
    assert xen.domains() == ["Domain-0"]

    made = xen.module("guests", guests=guests, expect_plan=shown["plan_digest"])
    assert states(made) == {"direct": "running", "isolated": "running"}
    assert all(link["after_s"] is not None for link in made["guests"][1]["readiness"])
    assert sorted(xen.domains()) == ["Domain-0", "direct", "isolated", "isolated-dm"]

    again = xen.module("guests", guests=guests)
    assert (again["changed"], states(again)) == (False, states(made))
    assert [link["value"] for link in again["guests"][1]["readiness"]][:3] == ["running"] * 3

    wrong = xen.module("guests", guests=[{**guests[0], "vcpus": 2}, {**guests[1], "kernel": "/boot/vmlinuz"}])
    assert wrong["failed"] and wrong["code"] == "invalid_input"

    gone = xen.module("guests", guests=[{"name": guest["name"], "state": "absent", **PULL_THE_PLUG} for guest in guests])
    assert gone["changed"] and states(gone) == {"direct": "absent", "isolated": "absent"}
    assert xen.domains() == ["Domain-0"]


@pytest.mark.no_guest_code
def test_the_set_in_order_and_no_other(xen: Host) -> None:
    """Who leans on a guest with a slow device model waits for it; what is described no more goes, others' guests do not."""
    base, shop = {**xen.described("stubdom", "base"), **PATIENT}, {**xen.described("pvh", "shop"), **PATIENT}
    told = xen.module("guests", guests=[{**shop, "depends_on": ["base"]}, base], concurrency=1)
    assert states(told) == {"base": "running", "shop": "running"}
    assert xen.domid("shop") > xen.domid("base")

    shown = xen.module("guests", check=True, guests=[{"name": "base"}], purge=True)
    leant_on = xen.module("guests", guests=[{"name": "shop", "depends_on": ["base"]}], purge=True)
    assert (shown["purged"], leant_on["code"]) == (["shop"], "invalid_input")
    many = xen.module("guests", guests=[], purge=True)
    assert (many["code"], many["evidence"]["guests"]) == ("purge_limit", ["base", "shop"])

    xen.sh("cp /etc/xen/shop.cfg /root/theirs.cfg && sed -i -e s/shop/theirs/ -e /uuid/d -e /vif/d -e 1d /root/theirs.cfg")
    xen.sh("cp /root/theirs.cfg /etc/xen/theirs.cfg && xl create -q -p /etc/xen/theirs.cfg; xl domid theirs")
    purged = xen.module("guests", guests=[{"name": "base"}], purge=True, expect_plan=shown["plan_digest"])
    assert (states(purged), purged["purged"]) == ({"base": "running", "shop": "absent"}, ["shop"])
    gone = xen.module("guests", guests=[{"name": "base", "state": "absent", **PULL_THE_PLUG}], purge=True)
    assert (states(gone), gone["purged"]) == ({"base": "absent"}, [])
    assert xen.domains() == ["Domain-0", "theirs"]
    xen.sh("xl destroy theirs; rm /etc/xen/theirs.cfg /root/theirs.cfg; xl list")


def states(told: dict[str, Any]) -> dict[str, str]:
    assert not told["failed"], json.dumps(told, indent=1)
    return {guest["name"]: guest["guest"]["state"] for guest in told["guests"]}
