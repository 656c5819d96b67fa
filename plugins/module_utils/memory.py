# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A guest's memory to a file, and the names that the file goes through: the steps of steps.py that have to do with it.

A file gets the name by which a guest is restored only when its domain is gone, and loses it before a domain made from it
is let run. Killed between any two of these, the next task finds what it can go by.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ansible_collections.stubdom.xen.plugins.module_utils.again import own_domids, these
from ansible_collections.stubdom.xen.plugins.module_utils.ending import until_gone
from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.fields import at
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.observe import look
from ansible_collections.stubdom.xen.plugins.module_utils.saved import KEPT, PART, SAVE_DIR, USED, Saved, place
from ansible_collections.stubdom.xen.plugins.module_utils.state import State

PATIENCE, RATE = 180.0, 4 << 20  # seconds for libxl's own waits, and bytes a second that a disk takes at least
# xl resumes a guest that it could not save, also one that was suspended for another xl. It has no command for only that
# before 4.20, so it is given no room to write in: the shell's limit is in blocks of 512 bytes, enough for the file's head.
RESUME = ("sh", "-c", 'ulimit -f 128; trap "" XFSZ; exec xl save "$0" "$1"')


def _gone(state: State) -> XenError:
    hint = "does somebody else (xl's monitor, another tool) act on this guest? run again"
    return XenError("step_failed", f"guest {state.name}: what is to be saved or restored is gone", {"state": state.word}, hint)


def _domain(state: State) -> Domain:
    if state.domain is None:
        raise _gone(state)
    return state.domain


def memory_of(state: State) -> Saved:
    """The guest's saved memory, which the step's row in steps.py says is there."""
    if state.saved is None:
        raise _gone(state)
    return state.saved


def seconds_to_read(file: Saved) -> float:
    """How much longer than a new guest a restored one may take to come up."""
    return int(at(file.config, "b_info.max_memkb") or 0) * 1024 / RATE


async def save(host: Any, state: State) -> None:
    """`xl save`, which ends the guest's domain. Raises XenError(save_failed), and the guest runs then."""
    domain = _domain(state)
    part = place(state.name, domain.uuid, PART)
    host.make_directory(SAVE_DIR)
    host.write_file(part, "")  # xl would make it for everybody to read
    try:
        said = (await host.run(["xl", "save", str(domain.domid), part], PATIENCE + domain.memory / RATE)).err
    except XenError as error:
        await _unsaved(host, state, part, error.msg)
    if any(not d.dying for d in await these(host, [domain.domid])):
        await _unsaved(host, state, part, said)
    await until_gone(host, state.name, own_domids(state))
    host.rename(part, place(state.name, domain.uuid, KEPT))


async def _unsaved(host: Any, state: State, part: str, said: str) -> NoReturn:
    """Sees that the guest runs on and that half a file is not left."""
    now = await look(host, state.name)
    if now.word == "suspended":  # its xl was killed
        await resume(host, now)
        now = await look(host, state.name)
    if now.word != "saved":
        host.remove(part)
    raise XenError(
        "save_failed",
        f"guest {state.name}: xl could not save it; it is {now.word}",
        {"state": now.word, "said": printable(_told(said), SAID_MAX)},
        "is there room for its memory, and does its kernel answer? `evidence.said` has xl's words",
    )


def _told(said: str) -> str:
    """Without the lines by which xl tells how far it is."""
    return "\n".join(line for line in said.splitlines() if "xc: progress:" not in line)


async def resume(host: Any, state: State) -> None:
    """Has xl fail to save a suspended guest. That it runs again is for the caller to see; xl waits a minute first."""
    spare = place(state.name, _domain(state).uuid, PART)
    host.make_directory(SAVE_DIR)
    try:
        await host.run([*RESUME, str(_domain(state).domid), spare], PATIENCE)
    finally:
        host.remove(spare)


def keep(host: Any, state: State) -> None:
    """What a killed task had saved gets its name."""
    file = memory_of(state)
    host.rename(file.path, place(state.name, file.uuid, KEPT))


def spend(host: Any, state: State) -> None:
    """From now on nothing but the domain has the guest's memory: it is about to run, and to write to its disks."""
    file = memory_of(state)
    host.rename(file.path, place(state.name, file.uuid, USED))


def unspend(host: Any, state: State) -> None:
    """The guest was not let run after all: its disks still are what its saved memory remembers."""
    for path in state.spent:
        if path.endswith(f".{USED}"):
            host.rename(path, path[: -len(USED)] + KEPT)


def tidy(host: Any, state: State) -> None:
    """Removes what lies there of a guest that has run on."""
    for path in (*state.spent, *([state.saved.path] if state.saved else [])):
        host.remove(path)


def drop(host: Any, state: State) -> None:
    host.remove(memory_of(state).path)
