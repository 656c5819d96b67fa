# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What stands in the way of saving a guest, or of making it from its saved memory again: found out before anything is done.

refuse() judges the guest as it was seen, admit() asks the host. Both raise XenError with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import admission, manifest
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.fields import at
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info
from ansible_collections.stubdom.xen.plugins.module_utils.paths import firmware_dirs
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR, Saved
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, Guest, format_size
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import of as emulated_tpm

ABLE = "save"  # what the manifest of an image says in `able` when guests can be saved and restored with it
BESIDE_MEMORY = 32 * MIB  # what a saved file has beside the guest's memory: device state, video memory, page numbers
NOTHING_THERE = {
    "absent": "there is no such guest", "halted": "it does not run", "fresh": "it never ran", "crashed": "it has crashed",
    "shutdown": "it has shut itself down", "half_made": "its creation did not end",
    "degraded": "what it leans on is gone", "opaque": "its device model does not answer",
}  # fmt: skip


class Obstacle(NamedTuple):
    """What a saved file cannot hold of a guest."""

    there: Callable[[Guest, Mapping[str, Any]], bool]
    why: str


OBSTACLES = (
    Obstacle(lambda guest, _config: bool(guest.pci or guest.usb), "a device that is passed through keeps its state to itself"),
    Obstacle(
        lambda guest, _config: emulated_tpm(guest) is not None or "-tpmdev" in (guest.device_model.args or ()),
        "the state of its emulated TPM is not in the saved file",
    ),
    Obstacle(
        lambda guest, _config: bool(guest.vtpm), "the state of its vTPM is in the vTPM's domain, which would go on without it"
    ),
    Obstacle(lambda guest, _config: bool(guest.p9), "Linux does not take up a 9pfs device again after it was restored"),
    Obstacle(
        lambda guest, _config: guest.stubdom.type == "minios" or guest.device_model.version == "qemu_xen_traditional",
        "saving was not tried with qemu-traditional",
    ),
    Obstacle(
        lambda _guest, config: at(config, "b_info.disable_migrate") == "True", "it is described as not to be moved (nomigrate)"
    ),
)


def refuse(goal: str, situation: str, state: State, autostart: Optional[bool], force: bool) -> None:
    """Raises XenError for what may not or cannot be done about a guest's saved memory. goal: the task's state."""
    _refuse_another(goal, state)
    _refuse_autostart(goal, state, autostart)
    if goal == "saved" and situation in NOTHING_THERE:
        raise _cannot_save(state, f"{NOTHING_THERE[situation]}, so there is no memory to save")
    if goal == "saved" and situation in ("running", "paused", "suspended"):
        refuse_obstacles(state)
    if goal in ("running", "paused") and situation in ("saved", "held", "unfinished"):
        _refuse_broken(state)
    if goal in ("halted", "absent") and situation in ("saved", "held", "unfinished") and state.saved and not force:
        raise XenError(
            "saved_memory",
            f"guest {state.name}: it is saved, and {goal} would lose what is in its memory",
            {"state": state.word, "file": state.saved.path},
            "state: running restores it, and then it can be shut down; shutdown.force: true drops its memory",
        )


def _cannot_save(state: State, why: str, hint: str = "state: halted shuts it down instead") -> XenError:
    return XenError("cannot_save", f"guest {state.name}: it cannot be saved: {why}", {"state": state.word}, hint)


def refuse_uuid(state: State, wanted: Guest) -> None:
    """Raises XenError(saved_of_another) where a saved guest is described with another UUID than its memory is of."""
    if state.word == "saved" and state.saved is not None and wanted.uuid != state.saved.uuid:
        raise _of_another(state, state.saved)


def _refuse_another(goal: str, state: State) -> None:
    alone = state.saved is None and state.domain is None
    if state.foreign is not None and alone and goal in ("running", "paused", "saved", "absent"):
        raise _of_another(state, state.foreign)


def _of_another(state: State, file: Saved) -> XenError:
    return XenError(
        "saved_of_another",
        f"guest {state.name}: there is saved memory of another guest of this name, with UUID {file.uuid}",
        {"file": file.path, "says": at(file.config, "c_info.uuid")},
        "give the guest the uuid that the file is of, or move the file away",
    )


def _refuse_autostart(goal: str, state: State, autostart: Optional[bool]) -> None:
    """xendomains knows nothing of our files: it would start such a guest anew, beside its saved memory."""
    would = state.autostart if autostart is None else autostart
    if would and (goal == "saved" or (goal == "present" and state.word == "saved" and not state.autostart)):
        hint = "give autostart: false with state: saved; state: running may give it back"
        raise _cannot_save(state, "the host's boot would start it anew (autostart), and its memory would be lost", hint)


def refuse_obstacles(state: State) -> None:
    guest, config = state.live or Guest(), state.config or {}
    for obstacle in OBSTACLES:
        if obstacle.there(guest, config):
            raise _cannot_save(state, obstacle.why)


def _refuse_broken(state: State) -> None:
    if state.saved is not None and not state.saved.whole:
        raise XenError(
            "cannot_restore",
            f"guest {state.name}: its saved memory cannot be restored: the file is not whole",
            {"file": state.saved.path},
            "put back a whole copy of the file; or give it up: state: halted with shutdown.force: true, then start the guest",
        )


async def admit(host: Any, state: State, steps: set[str]) -> None:
    """Raises XenError for what this host lacks for these steps of the plan."""
    if "save" in steps:
        await _admit_save(host, state)
    if "restore" in steps and state.live is not None:
        await _admit_restore(host, state, state.saved.config if state.saved else {})


def refuse_stubdom(host: Any, state: State) -> None:
    stubdom = state.stubdom_domid
    if stubdom is not None and host.xenstore().read(f"/local/domain/{stubdom}/data/stubdom-save") != "1":
        hint = "role stubdom.xen.stubdom_image builds one that can; it counts from the guest's next start"
        raise _cannot_save(state, "the stubdomain that it runs with does not say that it can", hint)


async def _admit_save(host: Any, state: State) -> None:
    refuse_stubdom(host, state)
    memory = state.domain.memory if state.domain else 0
    need = memory + memory // 128 + BESIDE_MEMORY
    free = host.free_space(SAVE_DIR)
    if need > free:
        raise XenError(
            "not_enough_space",
            f"guest {state.name}: its saved memory takes {need // MIB}MiB, and {SAVE_DIR} has {free // MIB}MiB free",
            {"needed": format_size(need // MIB * MIB), "free": format_size(free // MIB * MIB), "directory": SAVE_DIR},
            "make room there, or mount a larger file system at that place",
        )


async def _admit_restore(host: Any, state: State, config: Mapping[str, Any]) -> None:
    """The guest is made as it was saved, not as it is described: that is what has to fit."""
    guest = state.live or Guest()
    await admit_image(host, state.name, guest, config)
    facts = await admission.gather(host, guest)
    admission.check_restore(facts, guest, state)


async def admit_image(host: Any, name: str, guest: Guest, config: Mapping[str, Any]) -> None:
    """Raises XenError(cannot_restore) where this host's image of a stubdomain cannot take a guest's memory up."""
    about = await info(host)
    if guest.stubdom.type == "linux" and not _image_able(host, about, config):
        raise XenError(
            "cannot_restore",
            f"guest {name}: its saved memory cannot be restored: the host's stubdomain image does not say that it can",
            {"looked_in": firmware_dirs(about.version), "wanted": {"able": [ABLE]}},
            "run role stubdom.xen.stubdom_image",
        )


def _image_able(host: Any, about: Any, config: Mapping[str, Any]) -> bool:
    """What the manifest beside the image says. Of an image of somebody's own nothing can be told before it is tried."""
    ramdisk = str(at(config, "b_info.stubdomain_ramdisk") or "")
    folders = firmware_dirs(about.version)
    if ramdisk and ramdisk.rpartition("/")[0] not in folders:
        return True
    return ABLE in (manifest.read(host, folders).get("able") or ())
