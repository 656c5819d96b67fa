# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The closed set of steps that may change a guest: a row each, and nothing changes a guest in any other way.

disrupts: what the step does to a guest that runs. before: the words of state.WORDS in which it may begin. after: the
words that must hold when it is done, found by looking and never by xl's exit code (`xl unpause` exits 0 when it failed).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

DISRUPTIONS = ("none", "hotplug", "reboot", "recreate")
ANY_WORD = (
    "absent", "halted", "saved", "running", "paused", "shutdown", "crashed", "half_made", "degraded", "opaque", "suspended",
)  # fmt: skip
GONE = ("absent", "halted")
NO_DOMAIN = ("absent", "halted", "saved")
LIVES = ("running", "paused")
CHANGES = ("adjust", "resize", "detach", "attach", "insert")  # of a field of the guest as it runs: live.py says how
MADE = ("paused", "opaque", "degraded")
IDLE = ("half_made", "shutdown", "crashed", "opaque")  # opaque: where it never ran (plan.py)
THERE = tuple(word for word in ANY_WORD if word not in NO_DOMAIN)


class Planned(NamedTuple):
    """One step to do. field, before and after say which change asks for it, if one does."""

    step: str
    reason: str
    disruption: str = "none"
    field: Optional[str] = None
    before: Any = None
    after: Any = None


class Step(NamedTuple):
    name: str
    disrupts: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    says: str
    files_only: bool = False  # it leaves the domains alone


STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step("store", "none", ANY_WORD, ANY_WORD, "write the guest's file", True),
        Step("autostart", "none", ANY_WORD, ANY_WORD, "set whether the host starts the guest at boot", True),
        Step("sweep", "none", ANY_WORD, ANY_WORD, "destroy a stubdomain that serves no guest"),
        Step("clear", "none", IDLE, NO_DOMAIN, "destroy what is left of a domain that does not run"),
        Step("serve", "none", GONE, GONE, "have what holds the guest's TPM up, and serve"),
        # Its device model may not answer yet, or what it leans on be gone again: that is what is awaited next, and told.
        Step("create", "none", GONE, MADE, "make the domain, paused"),
        Step("await", "none", MADE, ("paused",), "wait until every link of the readiness chain holds"),
        Step("unpause", "none", ("paused",), ("running",), "let the guest run"),
        # It may have given up already: what is awaited tells why.
        Step(
            "report",
            "none",
            ("running", "shutdown", "crashed"),
            ("running",),
            "wait until the domain says that what it is for works",
        ),
        Step("adjust", "none", LIVES, LIVES, "change what the hypervisor keeps of the guest"),
        Step("resize", "hotplug", ("running",), ("running",), "give the guest more or less while it runs"),
        Step("detach", "hotplug", ("running",), ("running",), "take a device from the guest"),
        Step("attach", "hotplug", ("running",), ("running",), "give the guest a device"),
        Step("insert", "hotplug", ("running",), ("running",), "change the medium in a drive of the guest"),
        Step("queue", "none", LIVES, LIVES, "have the guest's own next reboot take up its file"),
        Step("pause", "hotplug", ("running",), ("paused",), "hold the guest"),
        Step("shutdown", "recreate", ("running", "degraded", "opaque"), GONE, "have the guest shut itself down"),
        Step("discard", "none", ("paused",), NO_DOMAIN, "destroy a domain that never ran"),
        Step("save", "recreate", ("running", "suspended"), ("saved",), "save the guest's memory to a file, and end its domain"),
        Step("keep", "none", ("saved",), ("saved",), "take up what a task that was killed had saved", True),
        Step("restore", "none", ("saved",), MADE, "make the domain from its saved memory, paused"),
        Step("spend", "none", ("paused",), ("paused",), "mark the saved memory as used: no other domain is made from it", True),
        Step("tidy", "none", ANY_WORD, ANY_WORD, "remove saved memory that is of no use any more", True),
        Step("drop", "recreate", ("saved",), GONE, "remove the guest's saved memory: what was in it is lost", True),
        Step("resume", "none", ("suspended",), ("running",), "let a guest run on whose saving was broken off"),
        Step("release", "none", GONE, GONE, "end what holds the guest's TPM and serves nobody any more; its state stays"),
        Step("forget", "none", GONE, ("absent",), "remove the guest's file; its disks stay", True),
        Step("purge", "none", ("absent",), ("absent",), "delete the state of the guest's TPM", True),
    )
}


def disruption_rank(name: str) -> int:
    return DISRUPTIONS.index(name)
