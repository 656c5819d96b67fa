# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of a guest's move on one of its two hosts, and what that host knows of the guest afterwards.

Which step is next is decided by who sees both hosts: plugin_utils/handover.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Callable

from ansible_collections.stubdom.xen.plugins.module_utils import arriving, leaving
from ansible_collections.stubdom.xen.plugins.module_utils.moves import MOVES_DIR, note_of
from ansible_collections.stubdom.xen.plugins.module_utils.observe import look
from ansible_collections.stubdom.xen.plugins.module_utils.report import guest_of
from ansible_collections.stubdom.xen.plugins.module_utils.rules import check_name
from ansible_collections.stubdom.xen.plugins.module_utils.transit import Move, besides, move_of

Step = Callable[[Any, Move], Awaitable[dict[str, Any]]]
LOCK_PATIENCE = 300.0  # seconds that another task may hold the guest's lock
TOLD = ("side", "move", "other", "method", "evacuated", "done", "power", "uuid")  # of a note: the rest may hold secrets
XL_PATIENCE = 120.0  # seconds for an xl that migrates, and whose task was killed, to come to an end


async def nothing(_host: Any, _move: Move) -> dict[str, Any]:
    return {}


LOOKS: Mapping[str, Step] = {"look": nothing, "offer": leaving.offer, "accept": arriving.accept}
STEPS: Mapping[str, Step] = {
    "prepare": arriving.prepare, "leave": leaving.leave, "send": leaving.send, "raise": arriving.raise_,
    "commit": leaving.commit, "release": arriving.release, "forget": leaving.forget, "withdraw": arriving.withdraw,
    "stay": leaving.stay,
}  # fmt: skip


async def handover(host: Any, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Takes one step, and returns {changed, told, seen}: what the step returned, and the guest as seen after it.

    In check mode a step that would change something is not taken. Raises XenError.
    """
    name, step = str(options["name"]), str(options["step"])
    if step == "list":
        return {"changed": False, "told": {"notes": notes(host)}}
    check_name(name)
    if step in LOOKS:
        await _settled(host, name)
        return {"changed": False, "told": await LOOKS[step](host, move_of(host, options)), "seen": await seen(host, name)}
    told: dict[str, Any] = {}
    if not check_mode:
        async with host.lock(name, f"guest {name}: it moves ({step})", LOCK_PATIENCE):
            told = await STEPS[step](host, move_of(host, options))
    return {"changed": True, "told": told, "seen": await seen(host, name)}


async def _settled(host: Any, name: str) -> None:
    """Waits for an xl that still migrates the guest, of a task that was killed."""
    note = note_of(host, name)
    if note.get("method") != "live":
        return
    limit = host.now() + XL_PATIENCE
    while host.now() < limit:
        domains = ((await look(host, name)).domain, (await besides(host, name))[0])
        pids = [*(pid for d in domains if d is not None for pid in host.savers(d.domid, name)), *host.receivers()]
        if not pids:
            return
        await host.await_exit(pids, limit)


async def seen(host: Any, name: str) -> dict[str, Any]:
    """What this host knows of the guest: its note, its state, and the domains by xl's own names for one that migrates."""
    state, note = await look(host, name), note_of(host, name)
    away, incoming = await besides(host, name)
    domain, stored = state.domain, state.stored
    return {
        "note": {key: note.get(key) for key in TOLD} if note else None,
        "state": state.word,
        "held": domain is not None and domain.paused and domain.never_ran,
        "uuid": domain.uuid if domain else (note.get("uuid") or (stored.guest.uuid if stored and stored.guest else None)),
        "away": away is not None,
        "incoming": incoming is not None,
        "guest": guest_of(state, None),
    }  # fmt: skip


def notes(host: Any) -> list[dict[str, Any]]:
    """Of every guest of which this host has a note: name, side, other, evacuated, method, done."""
    names = [path[len(MOVES_DIR) + 1 : -len(".json")] for path in host.find(f"{MOVES_DIR}/*.json")]
    found = [(name, note_of(host, name)) for name in names]
    return [
        {"name": name, **{key: note.get(key) for key in ("side", "other", "evacuated", "method", "done")}} for name, note in found
    ]
