# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wants of a guest, completed: laid over what is known of the guest already, and with fixed identities.

A field that the task does not give keeps its value: from the guest's file, else from the running domain. UUID and MACs
never change by themselves, because to the guest's own system a new one is another machine.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import rules, swtpm, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.compare import EXACTLY, identity
from ansible_collections.stubdom.xen.plugins.module_utils.spec import DeviceModel, Guest, Nic, Vtpm, overlay, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import State

NAMESPACE = uuid.UUID("5b6c6f3e-3f43-5d0b-9a4c-7374756264d0")
VERSION_FOR = {"linux": "qemu_xen", "minios": "qemu_xen_traditional"}


def complete(given: Guest, state: State, machine_id: str, how: Mapping[str, str] = EXACTLY) -> Guest:
    """The whole guest that ``given`` means on this host. how: the task's `compare`.

    Raises XenError(invalid_input) for what cannot be.
    """
    base = base_of(state)
    wanted = overlay(base, _as_compared(base, given, how))
    known = state.domain or state.saved
    identity = wanted.uuid or (known.uuid if known else _made_uuid(machine_id, str(given.name)))
    wanted = replace(wanted, uuid=identity.lower(), autostart=None)
    wanted = swtpm.completed(replace(wanted, vtpm=_with_tpm_uuid(base, wanted)), base, state.emulated)
    wanted = replace(wanted, nics=_with_macs(wanted.nics, _live_macs(state), wanted.uuid or ""))
    if wanted.type == "hvm":
        wanted = replace(wanted, device_model=_with_version(wanted))
    rules.check(wanted)
    return wanted


def _as_compared(base: Guest, given: Guest, how: Mapping[str, str]) -> Guest:
    """What is given, less the fields that are left as they are, and with the devices that may be there beside."""
    for option, rule in how.items():
        head, _dot, tail = option.partition(".")
        have, give = getattr(base, head), getattr(given, head)
        if rule == "contains" and have and give is not None:
            give = _joined(head, have, give)
        elif rule == "ignore" and tail and getattr(have, tail) is not None:
            give = replace(give, **{tail: None})
        elif rule == "ignore" and not tail:
            give = _kept(have, give)
        changed: dict[str, Any] = {head: give}
        given = replace(given, **changed)
    return given


def _joined(option: str, have: tuple[Any, ...], give: tuple[Any, ...]) -> tuple[Any, ...]:
    """The devices that there are, each as it is given if it is, and then those that are new."""
    given = {identity(option, device, i): device for i, device in enumerate(give)}
    return tuple(given.pop(identity(option, device, i), device) for i, device in enumerate(have)) + tuple(given.values())


def _kept(have: Any, give: Any) -> Any:
    """What there is, and what is given only where there is nothing."""
    if is_dataclass(have):
        there = {f.name: getattr(have, f.name) for f in fields(have) if getattr(have, f.name) is not None}
        return replace(give, **there)
    if isinstance(have, Mapping):
        return {**give, **have}
    return give if have is None else have


def base_of(state: State) -> Guest:
    """What is known of the guest before the task speaks: its file, else its domain."""
    if state.stored is not None and state.stored.guest is not None:
        return state.stored.guest
    return state.live or Guest(name=state.name)


def _made_uuid(machine_id: str, name: str) -> str:
    """The same at every run for one name on one host, so that a plan made in check mode is the plan applied."""
    return str(uuid.uuid5(NAMESPACE, f"{machine_id}/{name}"))


def _with_tpm_uuid(base: Guest, wanted: Guest) -> Optional[tuple[Vtpm, ...]]:
    """A TPM in a domain of our own has a UUID: what it had, else one that follows from the guest's."""
    own = vtpm_domain(str(wanted.name))
    had = next((v.uuid for v in base.vtpm or () if v.backend == own and v.uuid), None)
    made = had or str(uuid.uuid5(NAMESPACE, f"{wanted.uuid}/vtpm"))
    return wanted.vtpm and tuple(replace(v, uuid=made) if v.backend == own and not v.uuid else v for v in wanted.vtpm)


def _live_macs(state: State) -> tuple[Optional[str], ...]:
    return tuple(nic.mac for nic in (state.live.nics or ())) if state.live else ()


def _with_macs(nics: Optional[tuple[Nic, ...]], live: tuple[Optional[str], ...], identity: str) -> Optional[tuple[Nic, ...]]:
    if nics is None:
        return None
    taken = {nic.mac for nic in nics}
    found = []
    for i, nic in enumerate(nics):
        mac = nic.mac or next(mac for mac in _macs_for(i, live, identity) if mac not in taken)
        taken.add(mac)
        found.append(replace(nic, mac=mac))
    return tuple(found)


def _macs_for(place: int, live: tuple[Optional[str], ...], identity: str) -> Iterator[str]:
    """The address that the card at this place has, else made-up ones: another card may have moved here with its own."""
    yield from filter(None, live[place : place + 1])
    yield from (_made_mac(identity, str(place) + "'" * turn) for turn in itertools.count())


def _made_mac(identity: str, place: str) -> str:
    """An address of Xen's own range (00:16:3e) that follows from the guest's UUID and the card's place."""
    tail = hashlib.sha256(f"{identity}/{place}".encode()).digest()
    return f"00:16:3e:{tail[0] & 0x7F:02x}:{tail[1]:02x}:{tail[2]:02x}"


def _with_version(wanted: Guest) -> DeviceModel:
    """device_model_version is always written: left out beside a stubdomain it means MiniOS up to 4.20, an error after."""
    version = wanted.device_model.version or VERSION_FOR.get(wanted.stubdom.type or "", "qemu_xen")
    return replace(wanted.device_model, version=version)


def text_of(wanted: Guest, state: State) -> tuple[str, Optional[str]]:
    """(the text of the wanted file, the path of a file that holds just that already or None)."""
    text = xlcfg.render(wanted)
    same = state.stored is not None and state.stored.text == text
    return text, state.stored.path if same and state.stored else None
