# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a task wants things done, beside what the guest is to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.fields import BY_OPTION
from ansible_collections.stubdom.xen.plugins.module_utils.spec import LISTED, invalid
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import Wish, wish_of

COMPARISONS = ("exact", "contains", "ignore")


@dataclass(frozen=True)
class Policy:
    """How a task wants things done. Times are seconds."""

    state: str = "running"
    disruption: str = "hotplug"
    ready_timeout: float = 180.0
    ready_retries: int = 1
    on_failure: str = "destroy"
    shutdown_timeout: float = 120.0
    shutdown_force: bool = False
    expect_plan: Optional[str] = None
    compare: Mapping[str, str] = field(default_factory=dict)  # option -> exact, contains or ignore
    vtpm: Optional[Wish] = None  # of a TPM in a domain of its own, where the task asks for one
    purge_state: bool = False
    moving: bool = False  # a step of the guest's move to another host asks, no task
    depends_on: tuple[str, ...] = ()  # guests that have to run before this one does


def policy_of(options: Mapping[str, Any]) -> Policy:
    """The policy in a task's options; what is not said keeps its default. Raises XenError(invalid_input)."""
    ready, shutdown = options.get("ready") or {}, options.get("shutdown") or {}
    said: dict[str, Any] = {
        "state": options.get("state"), "disruption": options.get("disruption"), "expect_plan": options.get("expect_plan"),
        "ready_timeout": ready.get("timeout"), "ready_retries": ready.get("retries"), "on_failure": ready.get("on_failure"),
        "shutdown_timeout": shutdown.get("timeout"), "shutdown_force": shutdown.get("force"),
        "compare": _comparison(options.get("compare") or {}), "vtpm": wish_of(options),
        "purge_state": options.get("purge_state"), "moving": options.get("moving"),
        "depends_on": tuple(options.get("depends_on") or ()),
    }  # fmt: skip
    policy = Policy(**{k: v for k, v in said.items() if v is not None})
    for option, value, least in (
        ("ready.timeout", policy.ready_timeout, 1), ("ready.retries", policy.ready_retries, 0),
        ("shutdown.timeout", policy.shutdown_timeout, 0),
    ):  # fmt: skip
        if value < least:
            raise invalid(option, value, f"{least} or more")
    return policy


def _comparison(said: Mapping[str, Any]) -> dict[str, str]:
    """The task's `compare`. Raises XenError(invalid_input) for what is no field, or cannot be compared so."""
    heads = {option.partition(".")[0] for option in BY_OPTION} | {"extra_config"}
    for option, way in said.items():
        if option not in heads and option not in BY_OPTION:
            raise invalid(f"compare.{option}", way, "the name of a field", "docs/fields.md has them all")
        if way not in COMPARISONS:
            raise invalid(f"compare.{option}", way, f"one of {', '.join(COMPARISONS)}")
        if way == "contains" and option not in LISTED:
            raise invalid(f"compare.{option}", way, "exact or ignore", f"contains is for lists of devices: {', '.join(LISTED)}")
    return {str(option): str(way) for option, way in said.items()}
