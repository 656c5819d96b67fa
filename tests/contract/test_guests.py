# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of a host in one task: side by side, each behind its own chain."""

from __future__ import annotations

import json
from typing import Any

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


def states(told: dict[str, Any]) -> dict[str, str]:
    assert not told["failed"], json.dumps(told, indent=1)
    return {guest["name"]: guest["guest"]["state"] for guest in told["guests"]}
