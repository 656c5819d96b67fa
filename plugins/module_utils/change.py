# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change that a running guest takes: told to `xl`, and done once the host says so of the domain.

xl's exit code says little: it reports success for a vcpu that the guest never sees, and failure for a device that went
a second after its patience.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.stubdom.xen.plugins.module_utils.compare import live_changes
from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.explain import named
from ansible_collections.stubdom.xen.plugins.module_utils.live import Act, command, running
from ansible_collections.stubdom.xen.plugins.module_utils.masking import hidden
from ansible_collections.stubdom.xen.plugins.module_utils.observe import look, recorded
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, Guest
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.steps import STEPS, Planned

PATIENCE = 120.0  # seconds: libxl waits 10 for each answer of a guest or a back end


class Asked(NamedTuple):
    """What is wanted of the guest. config: libxl's JSON of it; how: the task's `compare`."""

    guest: Guest
    config: Mapping[str, Any]
    how: Mapping[str, str]


async def change(host: Any, state: State, domid: int, planned: Planned, asked: Asked) -> State:
    """Does one step of live.py's. Returns the guest as it is then.

    Raises XenError(change_failed) where the guest still is as it was, with what `xl` said.
    """
    field, act = str(planned.field), Act(planned.step, planned.before, planned.after)
    if field == "memory":
        act = act._replace(after=act.after - _told_more(host, state))
    words = command(field, act, running(state), domid)
    done = await host.run(["xl", *words], PATIENCE)
    fell = done.rc != 0 and act.step == "attach"
    if fell:  # xl leaves what it could not attach in its record, and the guest with a device that is none
        await host.run(["xl", *command(field, Act("detach", act.after, None), running(state), domid)], PATIENCE)
    after = await look(host, state.name)
    if fell or (after.word in STEPS[act.step].after and not _has(after, planned, asked)):
        raise named(XenError(
            "change_failed",
            f"guest {state.name}: {field} is not as wanted after `xl {words[0]}`",
            {"field": field, "wanted": hidden(field, planned.after), "said": printable(done.err, SAID_MAX)},
            "is it in use in the guest, or has the guest no driver for it? run again once it is free; "
            "disruption: reboot changes it with a restart",
        ))  # fmt: skip
    return after


def _told_more(host: Any, state: State) -> int:
    """Bytes by which libxl tells the target of an hvm guest higher than it was set.

    It is so of guests that were made with less memory than they may have, by the record of their making
    (libxl_domain.c: libxl__get_targetmem_fudge, 4.17).
    """
    record = recorded(host, [state.domain]).get(state.domain.domid, {}) if state.domain else {}
    info = record.get("b_info", {})
    return MIB if "type.hvm" in info and info.get("max_memkb", 0) > info.get("target_memkb", 0) else 0


def _has(state: State, planned: Planned, asked: Asked) -> bool:
    """Whether the domain has what the step was to bring: of a device that changes, first that it is gone."""
    if state.config is None:
        return False
    left = [c for c in live_changes(asked.guest, asked.config, state.config, asked.how) if c.field == planned.field]
    return all(c.before is None for c in left) if planned.step == "detach" else not left
