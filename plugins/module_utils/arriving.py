# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that a guest comes to: whether it can be there, how it is made there and held, let run, or sent away again.

What comes in is let run by release() alone, which is called when the other host has given the guest up. Every step may
be done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import admission, tpm, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.execute import walk
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import HostInfo
from ansible_collections.stubdom.xen.plugins.module_utils.moves import GONE, IN, note_of
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info, look, read_stored
from ansible_collections.stubdom.xen.plugins.module_utils.paths import auto_path, config_path
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy
from ansible_collections.stubdom.xen.plugins.module_utils.rules import UUID
from ansible_collections.stubdom.xen.plugins.module_utils.saved import KEPT, SAVE_DIR, place
from ansible_collections.stubdom.xen.plugins.module_utils.saving import BESIDE_MEMORY, admit_image
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, Guest, format_size, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.transit import (
    Move,
    besides,
    end,
    expect,
    file_of,
    forget_note,
    keep_note,
    note_for,
    told_of,
)
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import STATE_DIR, Wish, state_path, version_of

NET = "/sys/class/net"


async def accept(host: Any, move: Move) -> dict[str, Any]:
    """What this host is, for the way to be chosen. Changes nothing. Raises XenError for what keeps the guest from being here."""
    state, about = await look(host, move.name), await info(host)
    guest = xlcfg.read(move.described["text"])
    _check_own(move, guest)
    _check_free(host, move, state)
    for guest_there in _guests(move, guest):
        facts = await admission.gather(host, guest_there)
        if move.described["power"] == "halted":
            admission.check_described(about, guest_there, state)
        elif move.described["power"] == "running" and guest_there is guest:
            admission.check(facts, guest_there, state, _tpm_memory(host, about, move, state))
        else:
            admission.check_restore(facts, guest_there, state)
        await _check_around(host, guest_there)
    return {"host": told_of(about), "cannot_restore": await _unrestorable(host, state, move, guest)}


def _check_own(move: Move, guest: Guest) -> None:
    """Raises XenError(cannot_move) for what is no description of this guest: the other host's word becomes files here."""
    uuid = str(move.described["uuid"])
    wrong = [g.name for g in _guests(move, guest) if g.name != move.name] + [uuid] * (not UUID.match(uuid))
    if wrong:
        msg = f"guest {move.name}: what {move.other} says of it is not of this guest: {wrong[0]!r}"
        hint = "is that host what it was? nothing was touched here"
        raise XenError("cannot_move", msg, {"name": move.name, "said": wrong[0]}, hint)


def _guests(move: Move, guest: Guest) -> Iterator[Guest]:
    """As the guest is described, and as it was made, where that is another matter: it comes as it was made."""
    yield guest
    made_of = move.described.get("made_of")
    if made_of and made_of != move.described["text"]:
        yield xlcfg.read(made_of)


def _check_free(host: Any, move: Move, state: State) -> None:
    """Raises XenError(name_taken) where something of that name is here that is not this very move's."""
    note, own = note_of(host, move.name), vtpm_domain(move.name)
    if note and note["side"] == IN and note["move"] == move.move:
        return
    stale = note and note["side"] != GONE
    if stale or state.word != "absent" or state.foreign or state.domain:
        what = f"a guest of this name is {state.word} here" if not stale else f"it moves {note['side']} here already"
        raise XenError("name_taken", f"guest {move.name}: {what}", {"state": state.word}, "a name is one guest's on all hosts")
    if move.described.get("tpm_state") and (state.tpm_state or read_stored(host, own)):
        why = {"state": state_path(move.name), "domain": own}
        hint = "whose is it? Move it away, or remove it, if its guest is no more"
        raise XenError("name_taken", f"guest {move.name}: there is the state of a TPM by its name here", why, hint)


def _tpm_memory(host: Any, about: HostInfo, move: Move, state: State) -> int:
    """Bytes for the domain of the guest's TPM. Raises XenError(no_vtpm_image)."""
    text = move.described.get("tpm")
    if not text:
        return 0
    guest = xlcfg.read(text)
    tpm.described(host, about, Policy(vtpm=Wish(version_of(guest), format_size(guest.memory or 0))), state)
    return admission.needed_memory(guest)


async def _check_around(host: Any, guest: Guest) -> None:
    """Raises XenError(cannot_move) for what no description of the guest can bring along: bridges and pools."""
    for i, nic in enumerate(guest.nics or ()):
        if nic.bridge and not nic.backend and not nic.script and not host.exists(f"{NET}/{nic.bridge}"):
            hint = "make the bridge there first; what is on it has to be the same network"
            raise _lacks(guest, f"nics[{i}].bridge", nic.bridge, "there is no such bridge", hint)
    if guest.cpupool and guest.cpupool != "Pool-0":
        known = {line.split()[0] for line in (await host.run(["xl", "cpupool-list"])).out.splitlines()[1:] if line.strip()}
        if guest.cpupool not in known:
            raise _lacks(guest, "cpupool", guest.cpupool, "there is no such pool", "make it there first (`xl cpupool-create`)")


def _lacks(guest: Guest, option: str, value: str, what: str, hint: str) -> XenError:
    msg = f"guest {guest.name}: it cannot be moved: {option}: {what} on that host: {value}"
    return XenError("cannot_move", msg, {"option": option, "value": value}, hint)


async def _unrestorable(host: Any, state: State, move: Move, guest: Guest) -> Optional[str]:
    """Why the guest's memory could not be taken in here; None where it can."""
    need, free = move.described["memory"] + BESIDE_MEMORY, host.free_space(SAVE_DIR)
    if need > free:
        return f"{SAVE_DIR} has {free // MIB}MiB free there, and the guest's memory takes {need // MIB}MiB"
    try:
        await admit_image(host, move.name, guest, {})
    except XenError as error:
        return error.msg
    return None


async def prepare(host: Any, move: Move) -> dict[str, Any]:
    """Notes that the guest is expected, and removes what an earlier attempt of the same move had come to."""
    note = note_of(host, move.name)
    if note.get("side") == IN and note["move"] == move.move:
        await _clear(host, move, note)
    await accept(host, move)
    keep_note(host, move.name, {**note_for(move, IN), "gone": _gone(note)})
    host.make_directory(SAVE_DIR)
    host.make_directory(STATE_DIR)
    return {}


def _gone(note: Mapping[str, Any]) -> Any:
    """The note of a guest that had gone from here before: it counts again where it does not come back after all."""
    return dict(note) if note.get("side") == GONE else note.get("gone")


async def raise_(host: Any, move: Move) -> dict[str, Any]:
    """Makes the guest of what was brought, and holds it: its readiness chain has to hold here before the other gives it up."""
    note = expect(host, move, IN)
    keep_note(host, move.name, {**note, "brought": sorted(str(file["kind"]) for file in move.files)})
    for file in move.files:
        _take(host, move, file)
    _describe(host, move)
    if move.described["power"] != "running":
        return {}
    return await walk(host, {"name": move.name, "state": "paused", "moving": True, "ready": move.ready, "shutdown": tpm.AT_ONCE})


def _take(host: Any, move: Move, file: Mapping[str, Any]) -> None:
    """Gives a file that was brought its own name. Raises XenError(move_failed) for one that is another than was sent."""
    came, kind = file_of(move, file["kind"]), file["kind"]
    to = place(move.name, move.described["uuid"], KEPT) if kind == "memory" else state_path(move.name)
    if not host.exists(came):
        came = to  # taken already, by a task that was killed
    if host.digest(came) != file["sha256"]:
        why, hint = {"file": came, "wanted": file["sha256"]}, "run again: it is brought again"
        raise XenError("move_failed", f"guest {move.name}: {came} is not what was sent", why, hint)
    if came != to:
        host.rename(came, to)


def _describe(host: Any, move: Move) -> None:
    host.write_file(config_path(move.name), str(move.described["text"]))
    if move.described.get("tpm"):
        host.write_file(config_path(vtpm_domain(move.name)), str(move.described["tpm"]))


async def release(host: Any, move: Move) -> dict[str, Any]:
    """The guest is this host's: it is let run, if it ran before, and described here."""
    expect(host, move, IN)
    if move.method == "live" or read_stored(host, move.name) is None:
        _describe(host, move)
    power, told = move.described["power"], {}
    if power == "running":
        told = await walk(host, {"name": move.name, "state": power, "moving": True, "ready": move.ready})
    if move.described["autostart"]:
        host.link(auto_path(move.name), config_path(move.name))
    forget_note(host, move.name)
    return told


async def withdraw(host: Any, move: Move) -> dict[str, Any]:
    """Removes all that came of a move that is taken back. Raises XenError(move_undecided) for a guest that runs here."""
    note = note_of(host, move.name)
    if note or (await look(host, move.name)).word != "absent":
        note = expect(host, move, IN)
    await _clear(host, move, note)
    if gone := _gone(note):
        keep_note(host, move.name, gone)
    else:
        forget_note(host, move.name)
    return {}


async def _clear(host: Any, move: Move, note: Mapping[str, Any]) -> None:
    _away, incoming = await besides(host, move.name)
    await end(host, incoming)
    state = await look(host, move.name)
    if state.domain is not None and state.domain.uuid != move.described["uuid"]:
        return  # somebody else's, made by hand
    if state.domain is not None and not (state.domain.paused and state.domain.never_ran):
        why, hint = {"state": state.word, "domid": state.domain.domid}, "look at both hosts, and end the one that is not wanted"
        raise XenError("move_undecided", f"guest {move.name}: it runs on the host to which it was to move", why, hint)
    await walk(host, {"name": move.name, "state": "absent", "moving": True, "shutdown": tpm.AT_ONCE})
    for kind in ("memory", "tpm"):
        host.remove(file_of(move, kind))
    if move.described.get("tpm"):
        host.remove(config_path(vtpm_domain(move.name)))
    if "tpm" in (note.get("brought") or ()):
        host.remove(state_path(move.name))
