# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode says what would be done and does none of it: the host is the same to the last xenstore node."""

from __future__ import annotations

from typing import Any

import pytest
from xenhost import PULL_THE_PLUG, Host

pytestmark = pytest.mark.no_guest_code
START = ["create", "await", "unpause"]
STORIES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "make a guest": ({"name": "new"}, ["store", *START]),
    "change one": (
        {"name": "there", "memory": "192MiB", "disruption": "recreate"},
        ["store", "shutdown", "create", "await", "unpause"],
    ),
    "pause one": ({"name": "there", "state": "paused"}, ["pause"]),
    "halt one": ({"name": "there", "state": "halted"}, ["shutdown"]),
    "remove one": ({"name": "there", "state": "absent"}, ["shutdown", "forget"]),
    "nothing to do": ({"name": "there"}, []),
}


@pytest.fixture(scope="module")
def there(xen: Host) -> tuple[Host, str]:
    """A host with one guest that runs, and all that there is on it."""
    xen.guest(**xen.described("pvh", "there"))
    return xen, xen.settle("there")


@pytest.mark.parametrize("story", STORIES)
def test_nothing_changes(there: tuple[Host, str], story: str) -> None:
    (xen, before), (options, steps) = there, STORIES[story]
    said = xen.guest(check=True, **{**xen.described("pvh", options["name"]), **options})
    assert xen.differs(before) == []
    assert [step["step"] for step in said["plan"]] == steps
    assert said["changed"] == bool(steps)
    assert (said["diff"]["before"] != said["diff"]["after"]) == bool(steps)


def test_the_plan_shown_is_the_plan_that_may_be_applied(there: tuple[Host, str]) -> None:
    xen, before = there
    changed = {**xen.described("pvh", "there"), "vcpus": 2, "disruption": "recreate", **PULL_THE_PLUG}
    shown = xen.guest(check=True, **changed)

    other = xen.refused(**{**changed, "vcpus": 3}, expect_plan=shown["plan_digest"])
    assert other["code"] == "plan_changed"
    assert xen.differs(before) == [], "the refused run touched nothing"

    applied = xen.guest(**changed, expect_plan=shown["plan_digest"])
    assert applied["plan"] == shown["plan"] and applied["plan_digest"] == shown["plan_digest"]
