# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a guest as it was seen: the task's wish completed, held against the host, and made into a plan.

Reads, and changes nothing: check mode ends here.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import (
    admission,
    compare,
    consoles,
    emulator,
    intent,
    order,
    qemu,
    rules,
    saving,
    swtpm,
    tpm,
)
from ansible_collections.stubdom.xen.plugins.module_utils import plan as planning
from ansible_collections.stubdom.xen.plugins.module_utils.dryrun import Parsed, parsed
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import HostInfo
from ansible_collections.stubdom.xen.plugins.module_utils.live import Way, running, ways
from ansible_collections.stubdom.xen.plugins.module_utils.moves import refuse_moving
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info
from ansible_collections.stubdom.xen.plugins.module_utils.paths import config_path
from ansible_collections.stubdom.xen.plugins.module_utils.plan import Plan
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, Vtpm, invalid
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.steps import GONE

LETS_RUN = {"create", "restore", "resume", "unpause"}
# Devices in libxl's JSON that are no option yet, and their keys in xl.cfg (tools/xl/xl_parse.c, 4.17). `vfb` makes vkbs too.
DEVICES = {"rdms": "rdm", "dtdevs": "dtdev", "pvcallsifs": "pvcalls", "vdispls": "vdispl", "vsnds": "vsnd"}


class Decision(NamedTuple):
    """What is wanted of the guest as it was seen. text: of its file; None when it is to be absent.

    parsed: what the host's parser made of that text, where it was asked.
    """

    wanted: Optional[Guest]
    text: Optional[str]
    plan: Plan
    parsed: Optional[Parsed] = None


async def decide(host: Any, given: Guest, policy: Policy, state: State) -> Decision:
    """What to do about the guest as it is. Reads, never changes. Raises XenError for what cannot be done."""
    if not policy.moving:
        refuse_moving(host, state.name, policy.state)
    if policy.state == "absent":
        return Decision(None, None, planning.make(policy, state, None, (), (), None))
    _whole_adoption(given, state)
    wanted = intent.complete(given, state, host.machine_id(), policy.compare)
    if (emulated := swtpm.of(wanted)) and not emulated.model:
        wanted = swtpm.fitted(wanted, (await info(host)).version)
    wanted = await consoles.fitted(host, wanted)
    _starts_with_its_tpm(given, policy, state, wanted)
    saving.refuse_uuid(state, wanted)
    text, path = intent.text_of(wanted, state)
    if state.word in GONE and state.stored is None:
        rules.check_new(wanted)
    answer = await parsed(host, state.name, text, path) if state.config is not None or path is None else None
    live = _live(wanted, answer, state, policy) if answer is not None else ()
    plan = planning.make(policy, state, wanted, _stored_changes(state, wanted, path), live, given.autostart, text)
    await _admit(host, policy, wanted, state, plan)
    return Decision(wanted, text, plan, answer)


async def _admit(host: Any, policy: Policy, wanted: Guest, state: State, plan: Plan) -> None:
    """Raises XenError for what this host cannot give the guest, before anything of the plan is done."""
    names = {step.step for step in plan.steps}
    if names & LETS_RUN:
        order.refuse_alone(state.name, policy.depends_on, state.domains)
    await saving.admit(host, state, names)
    if (emulated := swtpm.of(wanted)) and names & {"create", "queue", "store"}:
        await _admit_emulated(host, policy, emulated, wanted, state, "serve" in names)
    if names & {"create", "queue"}:  # of a text that cannot be built, xl's monitor would lose the guest at its next reboot
        facts = await admission.gather(host, wanted)
        beside = _tpm_needs(host, facts.info, policy, state) if "serve" in names and not swtpm.of(wanted) else 0
        return admission.check(facts, wanted, state, beside)
    if names & {"attach", "insert", "resize"}:
        more = sum(step.after - step.before for step in plan.steps if step.field == "memory" and step.step == "resize")
        admission.check_change(await admission.gather(host, wanted), wanted, more, bool(names & {"attach", "insert"}))
    if "store" in names:
        admission.check_described(await info(host), wanted, state)
    return None


async def _admit_emulated(host: Any, policy: Policy, emulated: Vtpm, wanted: Guest, state: State, starts: bool) -> None:
    """Raises XenError for an emulated TPM that this host cannot give the guest, or not without losing another one."""
    emulator.check(host, state.name, emulated, state.emulated)
    await qemu.check(host, qemu.path_of(host, (await info(host)).version, wanted.device_model.path))
    if starts and not policy.purge_state:
        emulator.check_state(state.name, state.emulated)


def _tpm_needs(host: Any, about: HostInfo, policy: Policy, state: State) -> int:
    """Bytes for the domain of the guest's TPM, where it is to be made. Raises XenError for what this host cannot give it."""
    admission.check_described(about, tpm.check(host, about, policy, state), state)
    return tpm.needs(policy, state)


def _live(wanted: Guest, answer: Parsed, state: State, policy: Policy) -> tuple[Way, ...]:
    """What the guest's domain has otherwise than wanted, and how it could come by it."""
    if state.config is None or state.live is None:
        return ()
    changes = compare.live_changes(wanted, answer.config, state.config, policy.compare, state.live)
    return ways(changes, running(state)) if changes else ()


def _starts_with_its_tpm(given: Guest, policy: Policy, state: State, wanted: Guest) -> None:
    """The host's own service (xendomains) starts a guest by its file alone: the domain of its TPM would not be there."""
    starts = state.autostart if given.autostart is None else given.autostart
    if starts and (planning.has_own_tpm(policy, state, wanted) or swtpm.of(wanted)):
        hint = "have a playbook start it after a boot of the host, with autostart: false"
        raise invalid("autostart", True, "false for a guest whose TPM has a domain or an emulator of its own", hint)


def _whole_adoption(given: Guest, state: State) -> None:
    """A running guest without a file is described by what libxl says of it; nothing of that may be lost on the way."""
    if state.stored is not None or state.config is None:
        return
    lost = [key for place, key in DEVICES.items() if state.config.get(place) and key not in given.extra_config]
    if lost:
        raise XenError(
            "cannot_adopt",
            f"guest {state.name}: it has no file, and {lost[0]} of the running domain has no option",
            {"keys": lost},
            f"give extra_config.{lost[0]} as xl.cfg has it, or put the guest's own file at {config_path(state.name)} first",
        )


def _stored_changes(state: State, wanted: Guest, path: Optional[str]) -> tuple[compare.Change, ...]:
    """Why the file is to be written, if it is: one entry, whatever the number of fields that differ."""
    if path is not None:
        return ()
    changes = compare.stored_changes(state.stored.guest if state.stored else None, wanted)
    if state.stored is None:
        return (compare.Change("file", None, config_path(state.name), "none"),)
    why = "it was written by hand" if not state.stored.managed else "its spelling differs"
    return changes or (compare.Change("file", state.stored.path, why, "none"),)


def approve(policy: Policy, plan: Plan) -> None:
    """Raises XenError(plan_changed) unless the plan is the one that the task approves, or it names none."""
    if policy.expect_plan is not None and policy.expect_plan != plan.digest:
        raise XenError(
            "plan_changed",
            f"expect_plan: the plan is {plan.digest} now, not {policy.expect_plan}",
            {"plan": planning.shown(plan), "pending": list(plan.pending)},
            "look at the plan as it is now, and approve that one",
        )
