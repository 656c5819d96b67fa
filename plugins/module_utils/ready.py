# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate alone, for a guest that somebody else made: xl by hand, libvirt, another tool. Wait, tell, let it run if asked.

Nothing is known of such a guest but what is there. What holds its device model is read from libxl's own record of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.again import these
from ansible_collections.stubdom.xen.plugins.module_utils.chains import kind_of
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.explain import explained
from ansible_collections.stubdom.xen.plugins.module_utils.moves import refuse_moving
from ansible_collections.stubdom.xen.plugins.module_utils.observe import chain_version, look
from ansible_collections.stubdom.xen.plugins.module_utils.paths import xl_log_path
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Waits
from ansible_collections.stubdom.xen.plugins.module_utils.readiness import Gate, Proof
from ansible_collections.stubdom.xen.plugins.module_utils.report import stubdom_of
from ansible_collections.stubdom.xen.plugins.module_utils.rules import check_name
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, invalid
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.unpause import unpause

PAUSE, PAUSE_MAX = 0.05, 1.0  # seconds between two looks at a guest that is being made, growing
NOBODY = ("absent", "halted", "saved", "shutdown", "crashed", "suspended")
NO_GUEST = {
    "absent": "there is no such guest on this host",
    "halted": "it has a file and no domain: nobody started it",
    "saved": "it is saved: nobody restored it",
    "suspended": "somebody saves it, or tried to",
    "shutdown": "it has shut itself down",
    "crashed": "it has crashed",
}


async def await_ready(host: Any, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """The result of module guest_ready. In check mode it looks once and lets nothing run. Raises XenError."""
    name, deadline = str(options["name"]), host.now() + _timeout(options)
    check_name(name)
    state = await look(host, name, ask=False)
    if check_mode:
        return _previewed(state, await _proven_now(host, state), options)
    if not options["unpause"]:
        state, proof = await _proven(host, state, deadline)
        return _told(await look(host, name, ask=False), False, proof.links, True)
    refuse_moving(host, name, "running")
    host.tell(partial(Waits, name, "lock", host.now(), deadline - host.now(), "another task has it"))
    async with host.lock(name, f"guest {name}: unpause when ready", deadline - host.now()):
        return await _let_run(host, await look(host, name, ask=False), deadline)


def _timeout(options: Mapping[str, Any]) -> float:
    if options["timeout"] < 1:
        raise invalid("timeout", options["timeout"], "1 or more")
    return float(options["timeout"])


async def _made(host: Any, state: State, deadline: float) -> State:
    """The guest once its creation has ended. libxl writes its record of the guest last, into a file: no event tells."""
    pause = PAUSE
    host.tell(partial(Waits, state.name, "create", host.now(), deadline - host.now(), "the tool that makes it is at work"))
    while state.word == "half_made" and host.now() < deadline:
        await host.pause(pause)
        pause = min(2 * pause, PAUSE_MAX)
        state = await look(host, state.name, ask=False)
    if state.word in NOBODY:
        msg = f"guest {state.name}: {NO_GUEST[state.word]}"
        raise XenError("no_guest", msg, {"state": state.word}, "start it, or have stubdom.xen.guest do it, which waits as well")
    if state.word == "half_made":
        hint = "is the tool that makes it still at work? if not, `xl destroy` it and start it again"
        raise XenError("readiness_timeout", f"guest {state.name}: its creation did not end", _evidence(host, state), hint)
    return state


def _evidence(host: Any, state: State) -> dict[str, Any]:
    domid = state.domain.domid if state.domain else None
    return {"state": state.word, "domid": domid, "xl_log": host.tail(xl_log_path(state.name), 1000)}


async def _proven(host: Any, state: State, deadline: float) -> tuple[State, Proof]:
    """The guest as it was when its gate was opened, and the proof that the chain held then."""
    state = await _made(host, state, deadline)
    gate = await _gate(host, state)
    try:
        return state, await gate.wait(deadline)
    except XenError as error:
        raise await explained(host, state.name, error) from error
    finally:
        gate.close()


async def _proven_now(host: Any, state: State) -> Optional[Proof]:
    try:
        return (await _proven(host, state, host.now()))[1] if state.word not in (*NOBODY, "half_made") else None
    except XenError:
        return None


async def _gate(host: Any, state: State) -> Gate:
    if state.domain is None:
        raise XenError("guest_died", f"guest {state.name}: its domain is gone", {}, "is another tool at work on it?")
    kind = kind_of(_described(state), state.has_qemu)
    version = await chain_version(host, [kind])
    return Gate(host, lambda domids: these(host, domids), state.name, state.domain.uuid, kind, version)


def _described(state: State) -> Guest:
    """What libxl says of the guest. One that has a stubdomain has one, whatever that is."""
    described = state.live or Guest()
    if state.stubdom_domid is None or described.stubdom.type:
        return described
    return replace(described, stubdom=replace(described.stubdom, type="linux"))


async def _let_run(host: Any, state: State, deadline: float) -> dict[str, Any]:
    """Unpauses the guest once it is ready, and sees that it runs. Raises XenError(step_failed) if it does not."""
    state, proof = await _proven(host, state, deadline)
    if state.word == "paused" and state.domain is not None:
        await unpause(host, state.name, state.domain, proof)
    after = await look(host, state.name, ask=False)
    if after.word != "running":
        hint = "does somebody else act on this guest? see the end of the logs"
        msg = f"guest {state.name}: let the guest run: it is {after.word}, not running"
        raise await explained(host, state.name, XenError("step_failed", msg, _evidence(host, after), hint))
    return _told(after, state.word == "paused", proof.links, True)


def _previewed(state: State, proof: Optional[Proof], options: Mapping[str, Any]) -> dict[str, Any]:
    changed = bool(options["unpause"] and proof and state.word == "paused")
    return _told(state, changed, proof.links if proof else (), proof is not None)


def _told(state: State, changed: bool, links: tuple[dict[str, Any], ...], ready: bool) -> dict[str, Any]:
    guest = {"name": state.name, "state": state.word, "stubdom": stubdom_of(state)}
    about = {"domid": state.domain.domid, "uuid": state.domain.uuid} if state.domain else {"domid": None, "uuid": None}
    return {"changed": changed, "ready": ready, "guest": {**guest, **about}, "readiness": list(links)}
