# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest as it is, and how what was read of it is judged. Pure: observe.py reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.chains import WITHOUT_STUBDOM, Subject, kind_of
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain, guest_of_config
from ansible_collections.stubdom.xen.plugins.module_utils.saved import Saved, of_guest
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import NO_EMULATOR, Emulated, hvmloader_told, told_by
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import of as emulated_tpm

# The words for a guest's state. Only the first seven are where a guest may be left.
WORDS = {
    "absent": "neither a file nor a domain",
    "halted": "a file, no domain",
    "running": "a domain that runs",
    "paused": "a domain that is whole and paused",
    "saved": "no domain, and a file that holds the guest's memory",
    "shutdown": "the guest shut itself down and its domain was kept",
    "crashed": "the guest crashed and its domain was kept",
    "half_made": "a domain whose creation did not end",
    "degraded": "a domain that has lost what it leans on: its stubdomain, the domain or the emulator of its TPM, a driver domain",
    "opaque": "a domain that libxl cannot describe: its device model does not answer",
    "suspended": "a domain that was being saved by somebody who did not come to an end",
}


@dataclass(frozen=True)
class Stored:
    """The guest's file in /etc/xen. managed: it bears this collection's mark. guest: None where xl could not read it."""

    path: str
    text: str
    managed: bool
    guest: Optional[Guest]


class Helper(NamedTuple):
    """The domain of this collection that holds the guest's TPM. domain: None where there is a file only."""

    stored: Stored
    domain: Optional[Domain]
    reports: bool  # that its TPM answers

    @property
    def serves(self) -> bool:
        return self.domain is not None and self.domain.alive and self.reports


@dataclass(frozen=True)
class State:
    """One guest as it is. ``config`` is libxl's JSON of the live domain, ``live`` the same as a guest.

    Of a saved guest they are what is in its file, ``saved``. ``spent``: files of saved memory that are of no use any more.
    ``foreign``: the saved memory of another guest of that name.
    """

    name: str
    word: str
    stored: Optional[Stored]
    autostart: bool
    domain: Optional[Domain]
    stubdom_domid: Optional[int]
    stubdom: Optional[Domain]
    config: Optional[Mapping[str, Any]]
    live: Optional[Guest]
    leftovers: tuple[Domain, ...]
    domains: tuple[Domain, ...]
    has_qemu: bool = False
    queued: Optional[str] = None  # the text that xl's monitor makes the guest anew from when it reboots by itself
    helper: Optional[Helper] = None
    reports: bool = False  # of a vTPM domain: that its TPM answers
    tpm_state: bool = False  # whether there is a state of a TPM for a guest of this name
    lost: tuple[str, ...] = ()  # what it leaned on that is gone: "stubdom", "vtpm", "backend", "emulator", "tables" (plan.LOST)
    saved: Optional[Saved] = None
    spent: tuple[str, ...] = ()
    foreign: Optional[Saved] = None
    emulated: Emulated = NO_EMULATOR


def word_of(domain: Optional[Domain], stored: bool, lost: Sequence[str], whole: bool, described: bool) -> str:
    """One of WORDS. stored: there is a file. whole: libxl keeps the domain's record. described: libxl can say what it is."""
    if domain is None:
        return "halted" if stored else "absent"
    if domain.crashed:
        return "crashed"
    if domain.suspended:
        return "suspended"
    if domain.shut_down:
        return "shutdown"
    if not whole:
        return "half_made"
    if lost:
        return "degraded"
    if not described:
        return "opaque"
    return "paused" if domain.paused else "running"


def lost_domains(
    stubdom_domid: Optional[int], stubdom: Optional[Domain], homes: Mapping[str, Collection[int]], domains: Sequence[Domain]
) -> tuple[str, ...]:
    """Which of the domains it leans on are gone. A domain that was made anew has another number, and is not the same one."""
    dead = ["stubdom"] if stubdom_domid is not None and (stubdom is None or not stubdom.alive) else []
    alive = {d.domid for d in domains if d.alive}
    return tuple(dead + [what for what, found in homes.items() if not alive.issuperset(found)])


def lost_tpm(
    live: Optional[Guest], emulated: Emulated, domain: Optional[Domain], nodes: Mapping[str, Optional[str]]
) -> tuple[str, ...]:
    """Of a TPM that QEMU shows the guest: whether that has lost its emulator, and whether hvmloader was not told of it."""
    if domain is None or not emulated_tpm(live):
        return ()
    untold = not domain.never_ran and not hvmloader_told(live, nodes[told_by(domain.domid)])
    return ("emulator",) * (not emulated.connected) + ("tables",) * untold


def leans(config: Optional[Mapping[str, Any]]) -> bool:
    """Whether libxl's JSON has a device that another domain may serve. What it does not describe may have one."""
    if config is None or config.get("vtpms") or config.get("p9s"):
        return True
    devices = [device for found in config.values() if isinstance(found, list) for device in found if isinstance(device, dict)]
    return any(device.get("backend_domid") or device.get("backend_domname") for device in devices)


def with_saved(state: State, files: Sequence[Saved]) -> State:
    """The state with what saved files say of it.

    A guest that has a domain has no use for its file, except where that domain never ran.
    """
    if not files:
        return state
    uuid = state.domain.uuid if state.domain else (state.stored.guest.uuid if state.stored and state.stored.guest else None)
    mine, foreign = of_guest(files, uuid)
    spent = tuple(file.path for file in files if file != mine and not file.kept)
    state = replace(state, saved=mine, spent=spent, foreign=foreign)
    if mine is None or state.domain is not None:
        return state
    return replace(state, word="saved", config=mine.config or None, live=guest_of_config(mine.config) if mine.config else None)


def subject_of(state: State, guest: Optional[Guest]) -> Optional[Subject]:
    """Whose chain it is, of a guest that is up; None where there is no domain, or no stubdomain that should be."""
    if guest is None or state.domain is None or not state.domain.alive:
        return None
    kind = kind_of(guest, state.has_qemu)
    if kind not in WITHOUT_STUBDOM and state.stubdom_domid is None:
        return None
    return Subject(state.name, state.domain.uuid, state.domain.domid, kind, state.stubdom_domid)
