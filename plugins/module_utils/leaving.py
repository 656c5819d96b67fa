# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that a guest leaves: what it has to offer, how it stops there, gives the guest up, or takes it back.

The guest is this host's until its note says `gone`; that is written once, when the other host has all that it needs, and
nothing of the guest is let run there before. Every step may be done again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import intent, memory, saving, tpm, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.admission import needed_memory
from ansible_collections.stubdom.xen.plugins.module_utils.again import these
from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.execute import converge, walk
from ansible_collections.stubdom.xen.plugins.module_utils.moves import GONE, OUT, note_of
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info, look
from ansible_collections.stubdom.xen.plugins.module_utils.paths import auto_path, config_path
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import of as emulated_tpm
from ansible_collections.stubdom.xen.plugins.module_utils.transit import (
    Move,
    besides,
    end,
    expect,
    forget_note,
    keep_note,
    note_for,
    seen_file,
    told_of,
)
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import state_path

MOVABLE = ("running", "halted", "saved")
REMAINS = ("side", "move", "other", "method", "evacuated", "uuid", "power", "done")  # of the note, when all is done
STUCK = {"paused": "it is held (paused): let it run, or halt it"}


async def offer(host: Any, move: Move) -> dict[str, Any]:
    """What the guest is, and what a way to another host has to know of it. Changes nothing. Raises XenError(cannot_move)."""
    state = await look(host, move.name)
    _refuse_unmovable(state)
    guest, about = intent.complete(Guest(name=move.name), state, host.machine_id()), await info(host)
    live = replace(state.live, name=move.name) if state.live is not None else guest
    texts = {  # they may hold secrets: for a move only
        "text": xlcfg.render(guest),
        "made_of": xlcfg.render(live) if state.word != "halted" else None,
        "tpm": state.helper.stored.text if state.helper else None,
    }
    return {
        "name": move.name,
        "uuid": guest.uuid,
        **(texts if move.move else {}),
        "tpm_state": state.tpm_state,
        "autostart": state.autostart,
        "power": state.word,
        "memory": max(needed_memory(guest), needed_memory(live) if state.word != "halted" else 0) + tpm_memory(state),
        "kind": {"type": guest.type, "stubdom": guest.stubdom.type or "none"},
        "passed_through": bool(guest.pci or guest.usb or live.pci or live.usb),
        "leans": leans(state, live),
        "unsaveable": unsaveable(host, state) if state.word == "running" else None,
        "host": told_of(about),
    }  # fmt: skip


def _refuse_unmovable(state: State) -> None:
    if state.word not in MOVABLE:
        reason = STUCK.get(state.word, f"it is {state.word}")
        raise _cannot_move(state, reason, "state: running or halted of stubdom.xen.guest brings it to where it can be moved")
    if state.stored is None or state.stored.guest is None:
        hint = "describe it with stubdom.xen.guest first: what is written there is what the other host gets"
        raise _cannot_move(state, "it has no file that can be read", hint)
    if emulated_tpm(state.stored.guest) or emulated_tpm(state.live):
        hint = "its TPM in a domain of its own (kind: stubdom) goes along; or carry its state over by hand while it is halted"
        raise _cannot_move(state, "the state of its emulated TPM is kept by swtpm on this host", hint)


def _cannot_move(state: State, reason: str, hint: str) -> XenError:
    why = {"state": state.word, "file": config_path(state.name)}
    return XenError("cannot_move", f"guest {state.name}: it cannot be moved: {reason}", why, hint)


def tpm_memory(state: State) -> int:
    return needed_memory(state.helper.stored.guest) if state.helper and state.helper.stored.guest else 0


def leans(state: State, live: Guest) -> bool:
    """Whether another domain than domain 0 serves a device of the guest: xl itself does not wait for such a one."""
    devices: list[Any] = [*(live.disks or ()), *(live.nics or ()), *(live.p9 or ()), *(live.channels or ()), *(live.vtpm or ())]
    return state.helper is not None or any(device.backend not in (None, "0", "Domain-0") for device in devices)


def unsaveable(host: Any, state: State) -> Optional[str]:
    """Why the guest's memory cannot be had as it runs; None where it can."""
    try:
        saving.refuse_obstacles(state)
        saving.refuse_stubdom(host, state)
    except XenError as error:
        return error.msg.rpartition("cannot be saved: ")[2]
    return None


async def leave(host: Any, move: Move) -> dict[str, Any]:
    """Stops the guest as the method has it. Returns the files that have to be brought to the other host."""
    begin(host, move)
    goal = "saved" if move.method == "saved" else "halted"
    words = {"name": move.name, "state": goal, "moving": True, "ready": move.ready}
    await walk(host, {**words, **({} if goal == "saved" else {"shutdown": move.shutdown})})
    return {"files": carried(host, move, await look(host, move.name))}


def begin(host: Any, move: Move) -> None:
    """From here on nothing but its move starts the guest, nor does the host's boot."""
    if note_of(host, move.name):
        expect(host, move, OUT)
    keep_note(host, move.name, note_for(move, OUT))
    host.remove(auto_path(move.name))


def carried(host: Any, move: Move, state: State) -> list[dict[str, Any]]:
    found = []
    if move.method == "saved" and state.saved is not None:
        found.append(seen_file(host, "memory", state.saved.path))
    if move.described.get("tpm_state"):
        found.append(seen_file(host, "tpm", state_path(move.name)))
    return found


async def send(host: Any, move: Move) -> dict[str, Any]:
    """`xl migrate` to the other host, which lets the guest run there. Raises XenError(move_failed).

    The guest is where its name is afterwards (xl_migrate.c, 4.17): the other side renames NAME--incoming to NAME once this
    side has renamed its own to NAME--migratedaway, and before that a failure resumes the guest here.
    """
    begin(host, move)
    domain = (await look(host, move.name)).domain
    if domain is None:
        raise XenError("cannot_move", f"guest {move.name}: it does not run any more", {}, "run again")
    words = ["xl", "migrate", "-s", move.ssh, str(domain.domid), move.address]
    said = ""
    try:
        said = (await host.run(words, move.timeout or memory.PATIENCE + domain.memory / memory.RATE)).err
    except XenError as error:
        said = f"{error.msg}\n{error.evidence.get('said', '') if isinstance(error.evidence, dict) else ''}"
    if any(not d.dying for d in await these(host, [domain.domid])):
        told = "\n".join(line for line in said.replace("\r", "\n").splitlines() if "progress" not in line)
        hint = "`evidence.said` has xl's words: does the way from host to host work by hand?"
        raise XenError("move_failed", f"guest {move.name}: xl could not migrate it", {"said": printable(told, SAID_MAX)}, hint)
    return {}


async def commit(host: Any, move: Move) -> dict[str, Any]:
    """Gives the guest up: one file says so. Raises XenError(move_undecided) for a guest that runs here."""
    expect(host, move, OUT)
    state, (away, _incoming) = await look(host, move.name), await besides(host, move.name)
    if state.domain is not None:
        raise undecided(move, state)
    if move.method == "saved" and (state.saved is None or not state.saved.whole):
        raise undecided(move, state)
    keep_note(host, move.name, note_for(move, GONE))
    await end(host, away)
    if state.saved is not None:
        memory.spend(host, state)
    _forget_description(host, state)
    return {}


def _forget_description(host: Any, state: State) -> None:
    """What somebody wrote by hand is kept beside it, as wherever this collection writes another in its place."""
    path = config_path(state.name)
    if state.stored is not None and not state.stored.managed:
        host.keep_copy(path, f"{path}.before-stubdom.xen")
    host.remove(path)


def undecided(move: Move, state: State) -> XenError:
    domid = state.domain.domid if state.domain else None
    why = {"state": state.word, "domid": domid, "method": move.method}
    hint = "did somebody act on it while it moved? `undo: true` takes the move back"
    return XenError("move_undecided", f"guest {move.name}: it is not as its move left it: {state.word}", why, hint)


async def forget(host: Any, move: Move) -> dict[str, Any]:
    """Removes what is left here of a guest that runs elsewhere: memory that is used, the state of its TPM. The note stays."""
    expect(host, move, GONE)
    for path in host.find(f"{SAVE_DIR}/{move.name}.{move.described['uuid']}.*"):
        host.remove(path)
    if move.described.get("tpm"):
        await converge(host, {"name": vtpm_domain(move.name), "state": "absent", "shutdown": tpm.AT_ONCE}, False)
    if move.described.get("tpm_state"):
        host.remove(state_path(move.name))
    _forget_description(host, await look(host, move.name))
    keep_note(host, move.name, {key: value for key, value in {**note_for(move, GONE), "done": True}.items() if key in REMAINS})
    return {}


async def stay(host: Any, move: Move) -> dict[str, Any]:
    """Takes the move back: the guest is again what it was before, here."""
    expect(host, move, OUT)
    away, _incoming = await besides(host, move.name)
    if away is not None:
        await host.run(["xl", "rename", str(away.domid), move.name])
    power, auto = move.described["power"], move.described["autostart"]
    state = await look(host, move.name)
    try:
        if (state.word, power) != ("saved", "saved"):
            await walk(host, {"name": move.name, "state": power, "moving": True, "ready": move.ready, "shutdown": tpm.AT_ONCE})
        if auto:
            host.link(auto_path(move.name), config_path(move.name))
    except XenError:
        forget_note(host, move.name)  # it is this host's alone, and a task may do with it what it can
        raise
    forget_note(host, move.name)
    return {}
