# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused from the description alone: cases/refused.yml. Every refusal names the option and its value."""

from __future__ import annotations

import pytest
from generated import sensible_guests
from hypothesis import given
from simulated_host import SimulatedHost
from stories import KINDS, failure
from tables import cases

from ansible_collections.stubdom.xen.plugins.module_utils import rules
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, from_options


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
