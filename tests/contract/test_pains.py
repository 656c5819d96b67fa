# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users of comparable collections complain about most, a test for each: here it cannot happen.

They need no guest's own code, so on the embedded host they run with --whole only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from xenhost import PATIENT, PULL_THE_PLUG, Host

pytestmark = pytest.mark.no_guest_code

NAMES = ("pvh", "stubdom")  # the least and the most that a guest leans on
BEHAVIOURS = "/etc/xen-simulation/behaviours.json"
ROOM = {"max_vcpus": 2}


@pytest.fixture(scope="module")
def guests(xen: Host) -> Iterator[dict[str, dict[str, Any]]]:
    """A running guest of each kind, by kind."""
    described = {kind: {**xen.described(kind, f"pain-{kind}"), **ROOM} for kind in NAMES}
    made = xen.module("guests", guests=[{**guest, **PATIENT} for guest in described.values()])
    assert not made["failed"], json.dumps(made, indent=1)
    yield described
    gone = [{"name": guest["name"], "state": "absent", **PULL_THE_PLUG} for guest in described.values()]
    assert not xen.module("guests", guests=gone)["failed"]


def whole(xen: Host, name: str) -> dict[str, Any]:
    found: dict[str, Any] = xen.module("guest_info", names=[name])["guests"][0]
    return found


def test_pain_1_always_changed(xen: Host, guests: dict[str, dict[str, Any]]) -> None:
    """A second run changes nothing, nor does one with what guest_info says of the guest."""
    again = xen.module("guests", guests=list(guests.values()))
    assert [(g["name"], g["changed"], g["plan"]) for g in again["guests"]] == [(g["name"], False, []) for g in guests.values()]
    specs = [guest["spec"] for guest in xen.module("guest_info")["guests"]]
    assert len(specs) == len(guests) and not xen.module("guests", guests=specs)["changed"]


@pytest.mark.parametrize("kind", NAMES)
def test_pain_2_a_definition_that_is_ignored_on_a_guest_that_exists(
    xen: Host, guests: dict[str, dict[str, Any]], kind: str
) -> None:
    """Each field that is otherwise is changed, or is told in `pending` and comes with the next start."""
    change = {"vcpus": 2, "max_vcpus": 3, **({"serial": "null"} if kind == "stubdom" else {"cmdline": "x"})}
    told = xen.guest(**{**guests[kind], **change})
    done = {step["field"] for step in told["plan"] if step["step"] != "store" and "field" in step}
    waits = {item["field"] for item in told["pending"]}
    assert done | waits == set(change) and not done & waits
    assert {d["field"] for d in whole(xen, guests[kind]["name"])["drift"]} == waits
    back = xen.guest(**guests[kind], disruption="reboot", **PULL_THE_PLUG)
    assert back["pending"] == []


@pytest.mark.parametrize("kind", NAMES)
def test_pain_3_check_mode_that_acts_or_says_something_else(xen: Host, guests: dict[str, dict[str, Any]], kind: str) -> None:
    for change in ({"vcpus": 2}, {"max_vcpus": 3}, {"state": "paused"}, {}):
        before = xen.everything()
        seen = xen.guest(check=True, **{**guests[kind], **change})
        assert xen.differs(before) == []
        done = xen.guest(**{**guests[kind], **change}, expect_plan=seen["plan_digest"])
        assert [done[key] for key in ("changed", "plan", "pending", "diff")] == [
            seen[key] for key in ("changed", "plan", "pending", "diff")
        ]
    xen.guest(**guests[kind], disruption="reboot", **PULL_THE_PLUG)


@pytest.mark.parametrize("kind", NAMES)
def test_pain_4_disruption_that_surprises(xen: Host, guests: dict[str, dict[str, Any]], kind: str) -> None:
    """Under a ceiling the domain stays the domain it is; above it the guest has its UUID, its cards and its disks still."""
    change, name = {"max_vcpus": 3}, guests[kind]["name"]
    before = whole(xen, name)
    for ceiling in ("none", "hotplug"):
        told = xen.guest(**{**guests[kind], **change}, disruption=ceiling)
        assert (told["guest"]["domid"], told["pending"] != []) == (before["domid"], True)
    after = xen.guest(**{**guests[kind], **change}, disruption="reboot", **PULL_THE_PLUG)["guest"]
    assert after["domid"] != before["domid"]
    kept = ("uuid", "nics", "disks")
    assert [after["spec"].get(key) for key in kept] == [before["spec"].get(key) for key in kept]
    xen.guest(**guests[kind], disruption="reboot", **PULL_THE_PLUG)


@pytest.mark.only("simulated")
def test_pain_5_success_that_is_reported_before_it_is_true(xen: Host) -> None:
    """`xl unpause` exits 0 where the device model never answers; the task fails, and says what did not come up."""
    xen.put(BEHAVIOURS, json.dumps({"early": {"qmp": {"answers": False}}}))
    guest = {**xen.described("stubdom", "early"), "ready": {"timeout": 20, "retries": 0}}
    failed = xen.refused(**guest)
    xen.sh(f"rm {BEHAVIOURS}")
    assert failed["code"] in ("readiness_timeout", "not_ready", "step_failed"), failed
    assert "early" not in xen.domains()
    made = xen.guest(**guest)
    assert xen.sh("xl list early | awk 'END { print substr($5, 3, 1) }'") == "-", "it runs when the task says so"
    assert all(link["holds"] for link in made["readiness"])
    xen.guest(name="early", state="absent", **PULL_THE_PLUG)


@pytest.mark.only("simulated")
def test_pain_6_timeouts_that_are_hidden_and_force_that_nobody_asked_for(xen: Host) -> None:
    xen.put(BEHAVIOURS, json.dumps({"stubborn": {"guest": {"shutdown": "ignores"}}}))
    guest = xen.described("pvh", "stubborn")
    xen.guest(**guest)
    failed = xen.refused(name="stubborn", state="halted", shutdown={"timeout": 2})
    assert failed["code"] == "shutdown_timeout" and "2 s" in failed["msg"] and "shutdown.timeout" in failed["hint"]
    assert "stubborn" in xen.domains(), "nobody pulled the plug"
    xen.guest(name="stubborn", state="absent", **PULL_THE_PLUG)
    xen.sh(f"rm {BEHAVIOURS}")


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"stubdom": {"typ": "linux"}}, "stubdom.typ"),
        ({"memroy": "1GiB"}, "memroy"),
        ({"extra_config": {"vcpus": 2}}, "extra_config.vcpus"),
        ({"disks": [{"target": "/x"}]}, "vdev"),
        ({"nics": [{"mac": "1:2"}]}, "nics[0].mac"),
    ],
)
def test_pain_7_text_in_place_of_a_typed_description(xen: Host, wrong: dict[str, Any], option: str) -> None:
    """A typing error is an error, with its name, and not a key that somebody ignores."""
    result = xen._ansible(*xen.arguments("stubdom.xen.guest", json.dumps({"name": "typed", "type": "pv", **wrong})))
    assert result["outcome"] == "failed" and option in result["msg"], result
    assert "typed" not in xen.domains()


@pytest.mark.only("simulated")
def test_pain_8_looking_that_is_slow_or_fails_for_all_because_of_one(xen: Host, guests: dict[str, dict[str, Any]]) -> None:
    """One guest whose stubdomain is dead, and which `xl list -l` loses, is told among the others."""
    xen.guest(**xen.described("stubdom", "lame"))
    xen.sh("xl destroy lame-dm && echo dead")
    found = {g["name"]: g["state"] for g in xen.module("guest_info")["guests"]}
    assert found == {**{guest["name"]: "running" for guest in guests.values()}, "lame": "degraded"}
    xen.guest(name="lame", state="absent", **PULL_THE_PLUG)


@pytest.mark.parametrize("kind", NAMES)
def test_pain_9_leftovers_of_what_is_gone(xen: Host, guests: dict[str, dict[str, Any]], kind: str) -> None:
    described = xen.described(kind, f"leaves-{kind}")
    xen.guest(**described)
    xen.guest(name=described["name"], state="absent", **PULL_THE_PLUG)
    before = xen.remains()
    xen.guest(**{**described, "autostart": True})
    xen.guest(**{**described, "on_crash": "preserve"})
    xen.guest(name=described["name"], state="absent", **PULL_THE_PLUG)
    assert xen.remains().splitlines() == before.splitlines()
    for disk in described.get("disks", []):
        assert xen.sh(f"test -s {disk['target']} && echo kept") == "kept"


@pytest.mark.only("simulated")
def test_pain_10_failures_that_tell_nothing(xen: Host) -> None:
    """Which link, what was there, the end of the right log, what to do; and what is left, which is nothing."""
    xen.put(BEHAVIOURS, json.dumps({"silent": {"stubdom": {"dies_at": "before_ready"}}}))
    failed = xen.refused(**xen.described("stubdom", "silent"), ready={"timeout": 60, "retries": 0})
    xen.sh(f"rm {BEHAVIOURS}")
    assert failed["code"] in ("stubdom_failed", "reporter_died") and failed["hint"], failed
    assert failed["evidence"]["left"] == {"state": "halted", "leftovers": []}
    assert "silent" in failed["msg"] and len(failed["evidence"]) > 2
    assert "silent" not in xen.domains()
    xen.guest(name="silent", state="absent")
