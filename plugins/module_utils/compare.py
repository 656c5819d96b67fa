# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted against stored and live: what differs, field by field.

Live is judged by the host's own parser. `xl create -n` of the wanted file and `xl list -l` of the guest print the same
JSON, both become guests, and only fields that are described are compared: libxl fills in the rest as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields as attributes
from types import MappingProxyType
from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.fields import ABSENT, FIELDS, Field
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import guest_of_config, leaves
from ansible_collections.stubdom.xen.plugins.module_utils.spec import IDENTITY, LISTED, Guest, lookup, to_options

EXACTLY: Mapping[str, str] = MappingProxyType({})  # every field as described


class Change(NamedTuple):
    """A field whose value differs: before and after in the options' own form. needs: what changing it takes.

    A device is a field of its own, called by its list and its identity: disks[xvda]. None: it is not there.
    """

    field: str
    before: Any
    after: Any
    needs: str


# Places in libxl's JSON that follow from fields of other names, or that libxl owns.
COVERED = re.compile(
    r"disks|nics|c_info\.(run_hotplug_scripts|domid)|b_info\.(device_model_stubdomain|claim_mode|max_memkb|max_vcpus"
    r"|avail_vcpus|target_memkb)|on_soft_reset"
)


def live_changes(
    wanted: Guest,
    wanted_config: Mapping[str, Any],
    live_config: Mapping[str, Any],
    how: Mapping[str, str] = EXACTLY,
    live: Optional[Guest] = None,
) -> tuple[Change, ...]:
    """What the running domain has otherwise than described. Both configs are libxl's JSON. how: the task's `compare`.

    ``live``: the guest that live_config describes, where that was read already.
    """
    asked, live = guest_of_config(wanted_config), live or guest_of_config(live_config)
    extra = () if how.get("extra_config") == "ignore" else _extra_changes(wanted, wanted_config, live_config)
    return tuple(_field_changes(wanted, asked, live, how)) + tuple(extra)


def _field_changes(wanted: Guest, asked: Guest, live: Guest, how: Mapping[str, str]) -> Iterator[Change]:
    for field in FIELDS:
        rule = compared(field.option, how)
        if lookup(wanted, field.option) is None or rule == "ignore":
            continue
        place = _told_by(field.option, wanted)
        ask, have = (_or_default(place, lookup(g, place)) for g in (asked, live))
        if field.option in LISTED:
            yield from _device_changes(field, lookup(wanted, field.option), ask or (), have or (), rule == "contains")
        elif not (ask == have or (ask in (None, ()) and have in (None, ()))):
            yield Change(field.option, _shown(have), _shown(ask), field.needs)


def _told_by(option: str, wanted: Guest) -> str:
    """The field of what libxl says that tells of an option. A pv or pvh guest's firmware is its kernel (xl_parse.c, 4.17)."""
    return "kernel" if option == "firmware" and wanted.type != "hvm" else option


def compared(option: str, how: Mapping[str, str]) -> str:
    """How a field is compared: exact, contains or ignore. What is said of `vnc` is said of `vnc.listen` as well."""
    return how.get(option) or how.get(option.partition(".")[0]) or "exact"


def _or_default(option: str, value: Any) -> Any:
    return ABSENT.get(option) if value is None else value


def _device_changes(
    field: Field, told: tuple[Any, ...], ask: tuple[Any, ...], have: tuple[Any, ...], more_may_be: bool
) -> Iterator[Change]:
    """Devices match by identity, wherever they stand in the list, and only in what is described of each.

    told: the devices as they are described; ask: what the host's parser makes of them, one after the other.
    """
    option = field.option
    places = {str(i): device for i, device in enumerate(have)}
    places.update((identity(option, device, i), device) for i, device in enumerate(have))
    seen = []
    for i, device in enumerate(ask):
        found = places.get(identity(option, device, i))
        seen.append(found)
        if not _device_match(device, found):
            wish = told[i] if len(told) == len(ask) else device
            yield Change(f"{option}[{identity(option, device, i)}]", _device(found), _device(wish), field.needs)
    for i, device in enumerate(have):
        if not more_may_be and not any(device is found for found in seen):
            yield Change(f"{option}[{identity(option, device, i)}]", _device(device), None, field.needs)


def _device(device: Optional[Any]) -> Optional[dict[str, Any]]:
    return None if device is None else to_options(device)


def identity(option: str, device: Any, place: int) -> str:
    """What makes a device of a list the same one: a disk's vdev, a NIC's MAC; of what has nothing of the kind, its place."""
    named = [getattr(device, name) for name in IDENTITY.get(option, ())]
    return ":".join(map(str, named)) if named and None not in named else str(place)


def _device_match(ask: Any, have: Optional[Any]) -> bool:
    """A drive without a target is an empty one; any other attribute that is not described may be as it likes."""
    if have is None or (getattr(ask, "devtype", None) == "cdrom" and (ask.target or None) != (have.target or None)):
        return False
    return all(getattr(ask, a.name) in (None, getattr(have, a.name)) for a in attributes(ask))


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _extra_changes(wanted: Guest, wanted_config: Mapping[str, Any], live_config: Mapping[str, Any]) -> Iterator[Change]:
    """Keys of extra_config have no row in the table: every leaf that the parser made of them must be there live."""
    if not wanted.extra_config:
        return
    live = leaves(live_config)
    known = {field.json for field in FIELDS if field.json and field.key not in wanted.extra_config}
    for path, value in leaves(wanted_config).items():
        covered = any(path == k or path.startswith((f"{k}[", f"{k}.")) for k in known) or COVERED.match(path)
        if not covered and live.get(path) != value:
            yield Change(f"extra_config ({path})", live.get(path), value, "recreate")


def stored_changes(stored: Optional[Guest], wanted: Guest) -> tuple[Change, ...]:
    """What the file says otherwise than described."""
    before, after = flat(stored) if stored else {}, flat(wanted)
    return tuple(
        Change(option, before.get(option), after.get(option), "none")
        for option in sorted(set(before) | set(after))
        if before.get(option) != after.get(option)
    )


def flat(guest: Guest) -> dict[str, Any]:
    """The described fields by dotted option name."""
    found: dict[str, Any] = {}
    for option, value in to_options(guest).items():
        if isinstance(value, dict):
            found.update({f"{option}.{k}": v for k, v in value.items()})
        else:
            found[option] = value
    return found
