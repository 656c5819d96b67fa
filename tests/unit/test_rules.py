# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused from the description alone: cases/refused.yml; and names. A refusal names the option and its value."""

from __future__ import annotations

import pytest
from generated import sensible_guests
from hypothesis import given
from simulated_host import SimulatedHost
from stories import KINDS, by_hand, failure, surveyed
from tables import cases

from ansible_collections.stubdom.xen.plugins.module_utils import rules
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.moving import handover
from ansible_collections.stubdom.xen.plugins.module_utils.ready import await_ready
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, from_options
from ansible_collections.stubdom.xen.plugins.module_utils.survey import survey


@pytest.mark.parametrize("case", cases("refused"))
def test_refused(case):
    host = SimulatedHost()
    error = failure(host, {"name": "web", **case["given"]})
    assert error.code == "invalid_input"
    assert error.evidence["option"] == case["option"]
    assert error.msg.startswith(f"{case['option']}: {error.evidence['value']!r}")
    if "value" in case:
        assert error.evidence["value"] == case["value"]
    assert host.commands == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_stories_tell_of_is_allowed(kind):
    guest = from_options(KINDS[kind])
    rules.check(guest)
    rules.check_new(guest)


@pytest.mark.parametrize(
    ("lacks", "option"), [("type", "type"), ("memory", "memory"), ("kernel", "kernel")],
)  # fmt: skip
def test_a_new_guest_needs(lacks, option):
    guest = {key: value for key, value in KINDS["pvh"].items() if key != lacks}
    with pytest.raises(XenError) as refused:
        rules.check_new(from_options(guest))
    assert refused.value.evidence["option"] == option


@pytest.mark.parametrize("boots_from", [{"kernel": "/k"}, {"bootloader": "pygrub"}, {"firmware": "pvgrub64"}])
def test_a_pvh_guest_boots_from(boots_from):
    rules.check_new(from_options({"type": "pvh", "memory": "64MiB", **boots_from}))


@given(sensible_guests())
def test_the_generated_guests_are_allowed(guest):
    """What the laws are tried on are guests that users could describe."""
    rules.check(guest)


def test_a_rule_is_asked_only_about_what_is_given():
    rules.check(Guest())


ASK = {
    "guest_info": lambda host, name: survey(host, [name]),
    "guest_ready": lambda host, name: await_ready(host, {"name": name, "timeout": 9, "unpause": True}, False),
    "guest_handover": lambda host, name: handover(host, {"name": name, "step": "prepare"}, False),
}


@pytest.mark.parametrize("asked", ASK)
@pytest.mark.parametrize("name", ["../web", "/etc/passwd", "web/..", "..", ".", "", "web\0"])
def test_a_name_that_is_a_path_is_no_guests(asked, name):
    host = SimulatedHost()
    before = host.snapshot()
    with pytest.raises(XenError) as refused:
        host.finish(ASK[asked](host, name))
    assert (refused.value.code, refused.value.evidence["option"]) == ("invalid_input", "name")
    assert (host.commands, host.snapshot()) == ([], before)


def test_a_domain_of_others_that_is_called_like_a_path_has_no_file_of_ours():
    host = SimulatedHost()
    text = 'name = "../tmp/web"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'
    by_hand(host, "../tmp/web", text)
    host.files["/etc/xen/../tmp/web.cfg"] = text.replace("pvh", "pv")
    guest = next(guest for guest in surveyed(host)["guests"] if guest["name"] == "../tmp/web")
    assert (guest["stored"], guest["live"]["type"]) == (None, "pvh")
