# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running guest takes without a restart: a row for each field, what `xl` is told, and when it cannot be. Pure.

What it says was tried on Xen 4.17, and docs/fields.md tells of which kinds of guests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.chains import kind_of
from ansible_collections.stubdom.xen.plugins.module_utils.compare import Change
from ansible_collections.stubdom.xen.plugins.module_utils.disks import disk_text, nic_text
from ansible_collections.stubdom.xen.plugins.module_utils.fields import at
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, Guest, from_options
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.steps import STEPS, disruption_rank


class Running(NamedTuple):
    """The domain that is to take a change. device_model: a key of chains.CHAINS. scheduler: libxl's name of it."""

    guest: Guest
    device_model: str
    scheduler: str = "credit2"


def running(state: State) -> Running:
    """The domain that is there, as far as it decides what it takes without a restart."""
    guest = state.live or Guest()
    scheduler = at(state.config, "b_info.sched_params.sched")
    return Running(guest, kind_of(guest, state.has_qemu), str(scheduler or "credit2"))


class Act(NamedTuple):
    """A step of steps.py, and what it makes of what."""

    step: str
    before: Any
    after: Any


class Way(NamedTuple):
    """How a change comes to the domain. acts: none where only a restart brings it, and why says why that is so."""

    change: Change
    acts: tuple[Act, ...]
    needs: str
    why: str = ""


Words = Callable[[Running, Any], Sequence[str]]  # the words of `xl` before and after the domid, '@' in its place
Doubt = Callable[[Running, Any, Any], Optional[str]]  # why a running guest cannot take it; None: it can


class Row(NamedTuple):
    """A field that is one value."""

    step: str
    words: Words
    doubt: Doubt


class Devices(NamedTuple):
    """A field that is a list of devices. fixed: why this one can be neither attached nor detached."""

    attach: Words
    detach: Words
    fixed: Doubt


def _vcpus(running: Running, before: Any, after: Any) -> Optional[str]:
    most = running.guest.max_vcpus or 1
    if after > most:
        return f"the domain was made for {most} (max_vcpus)"
    if after < (before or 1) and running.guest.type == "hvm":
        return "QEMU takes no vcpu away"
    return None


def _memory(running: Running, before: Any, after: Any) -> Optional[str]:
    most = running.guest.max_memory or running.guest.memory or 0
    return f"the domain was made for {most // MIB}MiB (max_memory)" if after > most else None


def _cpus(running: Running, before: Any, after: Any) -> Optional[str]:
    return None if re.match(r"[0-9,-]+\Z", str(after)) else "vcpus are pinned one by one"


def _schedule(running: Running, before: Any, after: Any) -> Optional[str]:
    return None if running.scheduler in ("credit", "credit2") else f"its scheduler is {running.scheduler}"


def _scheduler(flag: str) -> Words:
    return lambda running, after: [f"sched-{running.scheduler}", "-d", "@", flag, str(after)]


ROWS: Mapping[str, Row] = {
    "vcpus": Row("resize", lambda _running, after: ["vcpu-set", "-i", "@", str(after)], _vcpus),  # -i: as many as at the start
    "memory": Row("resize", lambda _running, after: ["mem-set", "@", f"{after // MIB}m"], _memory),
    "cpus": Row("adjust", lambda _running, after: ["vcpu-pin", "@", "all", after], _cpus),
    "weight": Row("adjust", _scheduler("-w"), _schedule),
    "cap": Row("adjust", _scheduler("-c"), _schedule),
}

# What `xl` could do to a guest that runs, and what would be lost by that.
FORGETS = {"cpupool": "`xl cpupool-migrate` forgets the guest's weight, cap and CPUs"}


def _device(option: str, options: Mapping[str, Any]) -> Any:
    """One device of a list, from a change that tells it as options."""
    return getattr(from_options({option: [options]}), option)[0]


def _is_drive(disk: Optional[Mapping[str, Any]]) -> bool:
    return disk is not None and disk.get("devtype") == "cdrom"


def _fixed_disk(running: Running, before: Any, after: Any) -> Optional[str]:
    if _is_drive(before) or _is_drive(after):
        return "a drive is made with its domain"
    by_qemu = bool(after) and (after.get("backendtype") == "qdisk" or after.get("format", "raw") != "raw")
    return "the domain was made without a QEMU, which serves such disks" if by_qemu and running.device_model == "none" else None


def _fixed_nic(_running: Running, _before: Any, after: Any) -> Optional[str]:
    return "an emulated card is made with its domain" if after and after.get("type") == "ioemu" else None


LISTS: Mapping[str, Devices] = {
    "disks": Devices(
        lambda _running, disk: ["block-attach", "@", disk_text(_device("disks", disk), "disks")],
        lambda _running, disk: ["block-detach", "@", disk["vdev"]],
        _fixed_disk,
    ),
    "nics": Devices(
        lambda _running, nic: ["network-attach", "@", *nic_text(_device("nics", nic), "nics").split(",")],
        lambda _running, nic: ["network-detach", "@", nic["mac"]],
        _fixed_nic,
    ),
}
# Of a drive that is empty nobody can tell whether it was made so; then QEMU 7.2 dies of both commands, and the guest with it.
EMPTY = "a medium put into a drive that was made empty is QEMU's end"
DEVICE = re.compile(r"([a-z0-9_]+)\[(.*)\]\Z")  # a device's change is called by its list and its identity: disks[xvda]


def ways(changes: Sequence[Change], running: Running) -> tuple[Way, ...]:
    """How each of the changes comes to the domain."""
    return tuple(_way(change, running) for change in changes)


def _way(change: Change, running: Running) -> Way:
    device = DEVICE.match(change.field)
    if device and device[1] in LISTS:
        return _device_way(change, LISTS[device[1]], running)
    row = ROWS.get(change.field)
    if row is None:
        return Way(change, (), change.needs, FORGETS.get(change.field, ""))
    why = row.doubt(running, change.before, change.after)
    acts = () if why else (Act(row.step, change.before, change.after),)
    return _done_by(change, acts, why)


def _device_way(change: Change, devices: Devices, running: Running) -> Way:
    if _only_the_medium(change, running):
        why = None if change.before.get("target") else EMPTY
        return _done_by(change, () if why else (Act("insert", change.before, change.after),), why)
    why = devices.fixed(running, change.before, change.after)
    gone = (Act("detach", change.before, None),) if change.before else ()
    come = (Act("attach", None, change.after),) if change.after else ()
    return _done_by(change, () if why else gone + come, why)


def _only_the_medium(change: Change, running: Running) -> bool:
    """A drive stays, and what is in it changes: only QEMU in dom0 can be told so (libxl_disk.c, 4.17), of raw images."""
    before, after = change.before, change.after
    if running.device_model != "qemu" or not (_is_drive(before) and _is_drive(after)) or after.get("format", "raw") != "raw":
        return False
    same = [{k: v for k, v in disk.items() if k not in ("target", "format", "backendtype")} for disk in (before, after)]
    return all(same[0].get(key) == value for key, value in same[1].items())


def _done_by(change: Change, acts: tuple[Act, ...], why: Optional[str] = None) -> Way:
    needs = max((STEPS[act.step].disrupts for act in acts), key=disruption_rank) if acts else change.needs
    return Way(change, acts, needs, why or "")


def command(field: str, act: Act, running: Running, domid: int) -> list[str]:
    """The words of `xl` that do an act."""
    device = DEVICE.match(field)
    if device is None:
        words = ROWS[field].words(running, act.after)
    elif act.step == "insert":
        words = _medium(act.after)
    else:
        row = LISTS[device[1]]
        words = row.attach(running, act.after) if act.step == "attach" else row.detach(running, act.before)
    return [str(domid) if word == "@" else word for word in words]


def _medium(drive: Mapping[str, Any]) -> list[str]:
    if not drive.get("target"):
        return ["cd-eject", "@", drive["vdev"]]
    return ["cd-insert", "@", drive["vdev"], drive["target"]]
