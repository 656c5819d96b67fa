# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what differs to what is done: ordered steps under a ceiling of disruption, and what has to wait. Pure."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.compare import Change, flat
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import NAMELESS
from ansible_collections.stubdom.xen.plugins.module_utils.live import Act, Way
from ansible_collections.stubdom.xen.plugins.module_utils.masking import hidden
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy
from ansible_collections.stubdom.xen.plugins.module_utils.saving import refuse
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.steps import LIVES, STEPS, Planned, disruption_rank
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import of as emulated_tpm
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import is_one, names_own

START = ("create", "await", "unpause")
RESTORE = ("restore", "await", "spend", "unpause", "tidy")

# wanted state -> what the guest is -> the steps that lead there. "fresh" is a paused domain that never ran, "held" one
# beside the saved memory that it was, or should have been, made from.
POWER: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "present": {},
    "running": {
        "absent": START, "halted": START, "fresh": ("await", "unpause"), "paused": ("await", "unpause"),
        "half_made": ("clear", *START), "shutdown": ("clear", *START), "crashed": ("clear", *START),
        "degraded": ("shutdown", *START), "saved": RESTORE, "held": ("discard", *RESTORE), "suspended": ("resume",),
        "unfinished": ("clear", *RESTORE),
    },
    "paused": {
        "absent": ("create", "await"), "halted": ("create", "await"), "running": ("pause",),
        "half_made": ("clear", "create", "await"), "shutdown": ("clear", "create", "await"),
        "crashed": ("clear", "create", "await"), "degraded": ("shutdown", "create", "await"),
        "saved": ("restore", "await", "tidy"), "held": ("discard", "restore", "await", "tidy"), "suspended": ("resume", "pause"),
        "unfinished": ("clear", "restore", "await", "tidy"),
    },
    "saved": {
        "running": ("save",), "paused": ("await", "unpause", "save"), "suspended": ("save",), "held": ("discard",),
        "unfinished": ("clear",),
    },
    "halted": {
        "running": ("shutdown",), "fresh": ("discard",), "paused": ("await", "unpause", "shutdown"), "half_made": ("clear",),
        "shutdown": ("clear",), "crashed": ("clear",), "degraded": ("shutdown",), "opaque": ("shutdown",),
        "saved": ("drop",), "held": ("discard", "drop"), "suspended": ("resume", "shutdown"), "unfinished": ("clear", "drop"),
    },
}  # fmt: skip
# A domain that stays as it is but is to be made anew.
RENEW: Mapping[str, tuple[str, ...]] = {
    "running": ("shutdown", "create", "await"), "fresh": ("discard", "create", "await"),
    "paused": ("await", "unpause", "shutdown", "create", "await"),
    "saved": (*RESTORE, "shutdown", "create", "await"), "held": ("discard", *RESTORE, "shutdown", "create", "await"),
}  # fmt: skip
FRESH = {"paused": "fresh", "opaque": "half_made"}
BESIDE_SAVED = {"fresh": "held", "half_made": "unfinished"}
PLACES = ("cpus", "cpupool")  # libxl keeps no record of a change of these (placement.py)
RESTARTS = ("restart", "rename-restart", "coredump-restart", "soft-reset")  # what xl's monitor begins anew after
KEPT = {"shutdown": "on_poweroff", "crashed": "on_crash"}
# What a guest has lost -> what it takes to have it again, and why.
LOST = {
    "stubdom": ("recreate", "the stubdomain of its device model is dead: only a new start helps"),
    "vtpm": ("reboot", "the domain of its TPM is gone, and it is bound to that very one: only a new start helps"),
    "backend": ("reboot", "a domain that served its devices is gone, and it is bound to that very one: only a new start helps"),
    "emulator": ("reboot", "its QEMU has lost the emulator of its TPM, and does not look for another: only a new start helps"),
    "tables": ("reboot", "it rebooted by itself, and hvmloader was not told of its TPM: only a new start helps"),
}


@dataclass(frozen=True)
class Plan:
    steps: tuple[Planned, ...]
    pending: tuple[dict[str, Any], ...]
    wanted: Optional[Guest] = None

    @functools.cached_property
    def digest(self) -> str:
        """The same for the same steps towards the same guest: what check mode showed is what may be applied."""
        guest = {option: hidden(option, value) for option, value in flat(self.wanted).items()} if self.wanted else {}
        text = json.dumps([shown(self), list(self.pending), guest], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make(
    policy: Policy,
    state: State,
    wanted: Optional[Guest],
    stored: Sequence[Change],
    live: Sequence[Way],
    autostart: Optional[bool],
    text: Optional[str] = None,
) -> Plan:
    """The plan. ``stored``: what the file has otherwise than ``wanted`` (None: to be absent), ``live``: what the domain has.

    ``text``: of the wanted file.
    """
    situation = _situation(state)
    _refuse_opaque(policy, situation, state)
    refuse(policy.state, situation, state, autostart, policy.shutdown_force)
    power, pending = _power(policy, state, situation, wanted, live)
    steps = [Planned("store", _store_reason(state, c), "none", c.field, c.before, c.after) for c in stored]
    starts_with_host = _autostart(state, autostart)
    late = bool(autostart) and state.saved is not None  # the host is not to start anew what is still saved
    steps += [] if late else starts_with_host
    steps += _tidied(policy, situation, state, power) + _with_tpm(policy, state, wanted, power)
    steps += starts_with_host if late else []
    if policy.state == "absent":
        steps += _forget(policy, state)
    elif _has_to_queue(policy, state, wanted, text, steps, pending):
        steps.append(Planned("queue", "what waits for a restart comes with the guest's own as well", STEPS["queue"].disrupts))
    return Plan(tuple(steps), tuple(pending), wanted)


def _autostart(state: State, wanted: Optional[bool]) -> list[Planned]:
    """wanted: whether the guest is to start with its host; None where nobody says."""
    if wanted is None or wanted == state.autostart:
        return []
    return [Planned("autostart", "described", "none", "autostart", state.autostart, wanted)]


def _tidied(policy: Policy, situation: str, state: State, power: Sequence[Planned]) -> list[Planned]:
    """What was left behind, by a guest's end or by a task's, is cleared away before anything else is done."""
    steps = []
    if state.leftovers and policy.state != "present":
        first = state.leftovers[0]
        what = "is what is left of the guest" if first.name in NAMELESS else f"({first.name}) serves no guest"
        steps.append(Planned("sweep", f"domain {first.domid} {what}"))
    if _has_to_tidy(policy, situation, state, power):
        steps.append(Planned("tidy", f"the guest is {state.word}: what it was when it was saved is past"))
    if state.word == "saved" and state.saved is not None and not state.saved.kept and policy.state in ("saved", "present"):
        steps.append(Planned("keep", "a task was killed when the guest was saved"))
    return steps


def has_own_tpm(policy: Policy, state: State, wanted: Optional[Guest]) -> bool:
    """Whether the guest is to have a TPM in a domain that is ours: its file is, or the task asks for one."""
    return names_own(wanted) and (state.helper is not None or policy.vtpm is not None)


def _with_tpm(policy: Policy, state: State, wanted: Optional[Guest], power: Sequence[Planned]) -> list[Planned]:
    """The steps with those of the domain that holds the guest's TPM: there before the guest is made, gone after it went."""
    steps = list(power)
    keeps, emulates = has_own_tpm(policy, state, wanted), emulated_tpm(wanted) is not None
    makes = [i for i, step in enumerate(power) if step.step == "create"]
    holder = "swtpm in dom0" if emulates or (state.emulated.listens and not keeps) else vtpm_domain(state.name)
    if makes and (keeps or emulates):
        steps.insert(makes[0], Planned("serve", f"{holder} has to serve before the guest is made"))
    if makes and ((state.helper and not keeps) or (state.emulated.listens and not emulates)):
        steps.insert(makes[0], Planned("release", "the guest is to have no TPM of its own, or another kind of one"))
    elif not makes and policy.state in ("halted", "absent") and _is_left(policy, state):
        steps.append(Planned("release", f"{holder} serves nobody then"))
    return steps


def _is_left(policy: Policy, state: State) -> bool:
    """What a guest leaves that is halted or absent: its emulator; of its TPM's domain a domain, or as an absent one a file."""
    return state.emulated.listens or (state.helper is not None and (state.helper.domain is not None or policy.state == "absent"))


def _situation(state: State) -> str:
    """The state's word, or that the domain waits for its first start. Such a one that cannot be asked is half-made."""
    waits = state.domain is not None and state.domain.paused and state.domain.never_ran
    situation = FRESH.get(state.word, state.word) if waits else state.word
    return BESIDE_SAVED.get(situation, situation) if state.saved is not None else situation


def _has_to_tidy(policy: Policy, situation: str, state: State, power: Sequence[Planned]) -> bool:
    """Whether saved memory lies there from which nothing may be made: the guest ran on, or it is not whole."""
    if policy.state == "present" or any(step.step == "tidy" for step in power):
        return False
    over = state.saved is not None and state.domain is not None and situation not in ("held", "unfinished", "suspended")
    waits = situation == "fresh" and policy.state == "running"  # what was used for a domain goes once that one runs
    return over or (bool(state.spent) and not waits)


def _refuse_opaque(policy: Policy, situation: str, state: State) -> None:
    if situation == "opaque" and policy.state in ("running", "paused"):
        raise XenError(
            "opaque",
            f"guest {state.name}: libxl cannot describe it: its device model does not answer",
            {"domid": state.domain.domid if state.domain else None, "log": f"qemu-dm-{state.name}.log"},
            "if it stays so, stop it with state: halted and shutdown.force, then start it again",
        )


def _store_reason(state: State, change: Change) -> str:
    if state.stored is None:
        return "the guest has no file yet"
    return "the file says otherwise" if change.field != "file" else str(change.after)


def _power(
    policy: Policy, state: State, situation: str, wanted: Optional[Guest], live: Sequence[Way]
) -> tuple[list[Planned], list[dict[str, Any]]]:
    """The steps between states, with a renewal of the domain where a change asks for it and the ceiling allows it."""
    goal = "halted" if policy.state == "absent" else policy.state
    if goal in ("running", "paused") and (stays := _stays(policy, state, situation, wanted)):
        needs, reason = stays
        return [], [{"field": "state", "from": situation, "to": goal, "needs": needs, "reason": reason}]
    if situation == "saved" and goal in ("saved", "present"):
        why = "the guest is saved: what it is comes with it when it is restored"
        return [], [_waits(way, policy, False, why) for way in live]
    names = _names(state, situation, goal, wanted)
    if situation == "fresh" and state.spent and goal == "running":
        names = (*names, "tidy")
    if not live or "create" in names or "save" in names or goal in ("halted", "saved") or situation not in RENEW:
        return [_planned(name, situation, goal) for name in names], []
    if situation == "fresh" or _renews(policy, live):
        return _renewal(situation, goal, live), []
    runs = situation == "running" or "unpause" in names
    done = [way for way in live if way.acts and _may(policy, way.needs) and _takes(way, runs)]
    changes = [_act(way, act) for way in done for act in way.acts]
    power = [_planned(name, situation, goal) for name in names]
    return (changes + power if situation == "running" else power + changes), [
        _waits(way, policy, runs) for way in live if way not in done
    ]


def _stays(policy: Policy, state: State, situation: str, wanted: Optional[Guest]) -> Optional[tuple[str, str]]:
    """(what it would take, why not) of a guest that is to run and is left as it is; None of one that is brought to run."""
    kept = KEPT.get(situation)
    if kept and wanted is not None and getattr(wanted, kept) == "preserve":
        return "recreate", f"{kept} is preserve: the domain is kept for somebody to look at"
    needs, why = LOST[state.lost[0] if state.lost else "stubdom"]
    if situation == "degraded" and not _may(policy, needs):
        return needs, f"{why}, and disruption allows {policy.disruption}"
    return None


def _names(state: State, situation: str, goal: str, wanted: Optional[Guest]) -> tuple[str, ...]:
    """The steps to where the guest is to be. A domain that holds a TPM has to say as well that it does what it is for."""
    names = POWER[goal].get(situation, ())
    reports = goal == "running" and is_one(wanted) and not state.reports
    return (*names, "report") if reports and (situation == "running" or "unpause" in names) else names


def _renews(policy: Policy, live: Sequence[Way]) -> bool:
    """Whether something takes a restart, and all that a restart would bring is allowed."""
    restarts = [way for way in live if not way.acts]
    return bool(restarts) and all(_may(policy, way.needs) for way in restarts)


def _takes(way: Way, runs: bool) -> bool:
    return runs or all("paused" in STEPS[act.step].before for act in way.acts)


def _may(policy: Policy, needs: str) -> bool:
    return disruption_rank(needs) <= disruption_rank(policy.disruption)


def _renewal(situation: str, goal: str, live: Sequence[Way]) -> list[Planned]:
    runs = goal == "running" or (goal == "present" and situation == "running")
    names = RENEW[situation] + (("unpause",) if runs else ())
    restarts = [way for way in live if not way.acts] or live
    first, takes = restarts[0].change, max((way.needs for way in restarts), key=disruption_rank)
    reason = "changed: " + ", ".join(way.change.field for way in live)
    return [
        Planned(n, reason, takes if n == "shutdown" else STEPS[n].disrupts, first.field, first.before, first.after) for n in names
    ]


def _act(way: Way, act: Act) -> Planned:
    return Planned(act.step, "the domain has it otherwise", STEPS[act.step].disrupts, way.change.field, act.before, act.after)


def _planned(name: str, situation: str, goal: str) -> Planned:
    return Planned(name, f"the guest is {situation}, wanted {goal}", STEPS[name].disrupts)


def _waits(way: Way, policy: Policy, runs: bool, why: str = "") -> dict[str, Any]:
    """An entry of `pending`: what is not done, and the first thing that stands in its way."""
    change = way.change
    before, after = hidden(change.field, change.before), hidden(change.field, change.after)
    if why:
        reason = why
    elif not _may(policy, way.needs):
        reason = f"needs {way.needs}{f' ({way.why})' if way.why else ''}, disruption allows {policy.disruption}"
    elif way.acts and not _takes(way, runs):
        reason = "the guest is paused, and takes this only while it runs"
    else:
        reason = "a restart would bring all that waits, and of that disruption does not allow everything"
    return {"field": change.field, "from": before, "to": after, "needs": way.needs, "reason": reason}


def _tpm_is_served(policy: Policy, state: State, wanted: Optional[Guest]) -> bool:
    """Whether whatever is to hold the guest's TPM is there already."""
    if emulated_tpm(wanted):
        return state.emulated.listens
    return not has_own_tpm(policy, state, wanted) or (state.helper is not None and state.helper.serves)


def _has_to_queue(
    policy: Policy,
    state: State,
    wanted: Optional[Guest],
    text: Optional[str],
    steps: Sequence[Planned],
    pending: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether xl's monitor would make another guest than the file describes, when the guest reboots by itself.

    The monitor knows the guest as it was made, unless it is given another text (xl_vmcontrol.c: reload_domain_config).
    """
    names = [step.step for step in steps]
    restored = "restore" in names
    if not _tpm_is_served(policy, state, wanted):
        return False  # the monitor would make a guest whose TPM nobody holds: that is, none
    if text is None or state.live is None or not (restored or state.word in LIVES) or state.queued == text:
        return False
    since = names[names.index("restore") :] if restored else names
    ends = any(name in ("shutdown", "discard", "clear") for name in since)
    forgets = any(step.field in PLACES for step in steps)
    return not ends and (state.live.on_reboot or "") in RESTARTS and (bool(pending) or state.queued is not None or forgets)


def _forget(policy: Policy, state: State) -> list[Planned]:
    found = [Planned("autostart", "the guest is to be absent", "none", "autostart", True, False)] if state.autostart else []
    found += [Planned("forget", "the guest is to be absent")] if state.stored else []
    return found + (
        [Planned("purge", "purge_state is true")] if policy.purge_state and (state.tpm_state or state.emulated.kept) else []
    )


def shown(plan: Plan) -> list[dict[str, Any]]:
    """The steps as results show them, secrets masked."""
    return [_shown(step) for step in plan.steps]


def _shown(planned: Planned) -> dict[str, Any]:
    row: dict[str, Any] = {"step": planned.step, "reason": planned.reason, "disruption": planned.disruption}
    if planned.field is not None:
        before, after = hidden(planned.field, planned.before), hidden(planned.field, planned.after)
        row.update({"field": planned.field, "from": before, "to": after})
    return row
