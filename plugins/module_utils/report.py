# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task is told: the result, the diff, and nothing secret in either. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.masking import hidden
from ansible_collections.stubdom.xen.plugins.module_utils.plan import Plan, shown
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, to_options, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import Helper, State
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import PROGRAM, state_dir
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import of as emulated_tpm
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import state_path, version_of


def result(
    before: State, after: State, wanted: Optional[Guest], plan: Plan, goal: str, readiness: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The result of the module ``guest``. In check mode ``after`` is ``before``: nothing was done."""
    return {
        "changed": bool(plan.steps),
        "plan": shown(plan),
        "plan_digest": plan.digest,
        "pending": list(plan.pending),
        "guest": guest_of(after, wanted),
        "readiness": list(readiness),
        "diff": diff(before, wanted, plan, goal),
        "leftovers": [leftover(domain) for domain in after.leftovers],
    }


def guest_of(state: State, wanted: Optional[Guest]) -> dict[str, Any]:
    """{spec, state, domid, uuid, stubdom, vtpm} of one guest."""
    spec = wanted or (state.stored.guest if state.stored else None) or state.live
    auto = {"autostart": True} if state.autostart else {}
    return {
        "spec": {**_with_kind(state, masked(to_options(spec))), **auto} if spec else {},
        "state": state.word,
        "saved": state.saved.path if state.saved else None,
        "domid": state.domain.domid if state.domain else None,
        "uuid": state.domain.uuid if state.domain else (spec.uuid if spec else None),
        "stubdom": stubdom_of(state),
        "vtpm": ([vtpm_of(state, state.helper)] if state.helper else []) + _emulated(state, spec),
    }


def _emulated(state: State, spec: Optional[Guest]) -> list[dict[str, Any]]:
    """The emulator of the guest's TPM, in the same form. ready: whether the guest's QEMU has it, or may have it."""
    if not emulated_tpm(state.live) and not emulated_tpm(spec):
        return []
    seen = state.emulated
    return [
        {
            "name": PROGRAM,
            "domid": 0,
            "alive": seen.listens,
            "ready": seen.connected if state.domain else seen.listens,
            "version": seen.version,
            "state_file": state_dir(state.name),
        }
    ]


def _with_kind(state: State, spec: dict[str, Any]) -> dict[str, Any]:
    """The TPM in a domain of our own as a task describes it."""
    own = vtpm_domain(state.name)
    if state.helper is None or "vtpm" not in spec:
        return spec
    kind = {"kind": "stubdom", "version": version_of(state.helper.stored.guest)}
    found = [
        {**kind, **{key: value for key, value in item.items() if key != "backend"}} if item.get("backend") == own else item
        for item in spec["vtpm"]
    ]
    return {**spec, "vtpm": found}


def vtpm_of(state: State, helper: Helper) -> dict[str, Any]:
    """The domain that holds the guest's TPM. ready: whether its TPM answers."""
    domain = helper.domain
    return {
        "name": vtpm_domain(state.name),
        "domid": domain.domid if domain else None,
        "alive": domain is not None and domain.alive,
        "ready": helper.serves,
        "version": version_of(helper.stored.guest),
        "state_file": state_path(state.name),
    }


def stubdom_of(state: State) -> Optional[dict[str, Any]]:
    if state.stubdom_domid is None:
        return None
    alive = state.stubdom is not None and state.stubdom.alive
    return {"domid": state.stubdom_domid, "name": f"{state.name}-dm", "alive": alive}


def leftover(domain: Domain) -> dict[str, Any]:
    return {"domid": domain.domid, "name": domain.name, "flags": domain.flags, "uuid": domain.uuid}


def diff(before: State, wanted: Optional[Guest], plan: Plan, goal: str) -> dict[str, Any]:
    """Two guest descriptions, as --diff shows them, empty where nothing changes. What is pending stays as it was."""
    if not plan.steps:
        return {"before": {}, "after": {}}
    was = before.stored.guest if before.stored and before.stored.guest else before.live
    left = {"spec": masked(to_options(was)) if was else {}, "state": before.word, "autostart": before.autostart}
    state = goal if goal != "present" else before.word
    auto = next((step.after for step in plan.steps if step.step == "autostart"), before.autostart)
    right = {"spec": masked(to_options(wanted)) if wanted else {}, "state": state, "autostart": auto}
    return {"before": left, "after": right}


def masked(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The options with every secret replaced: a change of one still shows in `plan`."""
    return {
        key: masked(value, f"{key}.") if isinstance(value, Mapping) and not prefix else hidden(prefix + key, value)
        for key, value in options.items()
    }
