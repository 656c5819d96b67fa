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
from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.fields import ABSENT, BY_OPTION, FIELDS
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import guest_of_config, leaves
from ansible_collections.stubdom.xen.plugins.module_utils.rules import lookup
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, is_secret, to_options


class Change(NamedTuple):
    """A field whose value differs: before and after in the options' own form. needs: what changing it live takes."""

    field: str
    before: Any
    after: Any
    needs: str


# Places in libxl's JSON that follow from fields of other names, or that libxl owns.
COVERED = re.compile(
    r"disks|nics|c_info\.(run_hotplug_scripts|domid)|b_info\.(device_model_stubdomain|claim_mode|max_memkb|max_vcpus"
    r"|avail_vcpus|target_memkb)|on_soft_reset"
)


def live_changes(wanted: Guest, wanted_config: Mapping[str, Any], live_config: Mapping[str, Any]) -> tuple[Change, ...]:
    """What the running domain has otherwise than described. Both configs are libxl's JSON."""
    asked, live = guest_of_config(wanted_config), guest_of_config(live_config)
    return tuple(_field_changes(wanted, asked, live)) + tuple(_extra_changes(wanted, wanted_config, live_config))


def _field_changes(wanted: Guest, asked: Guest, live: Guest) -> Iterator[Change]:
    for field in FIELDS:
        if lookup(wanted, field.option) is None:
            continue
        ask, have = (_or_default(field.option, lookup(g, field.option)) for g in (asked, live))
        if not _same(ask, have):
            yield Change(field.option, _shown(have), _shown(ask), field.needs)


def _or_default(option: str, value: Any) -> Any:
    return ABSENT.get(option) if value is None else value


def _same(ask: Any, have: Any) -> bool:
    """Lists of devices match by identity, and only in what is described of each."""
    if isinstance(ask, tuple) and ask and not isinstance(ask[0], str):
        return _devices_match(ask, have or ())
    return bool(ask == have) or (ask in (None, ()) and have in (None, ()))


def _devices_match(ask: tuple[Any, ...], have: tuple[Any, ...]) -> bool:
    by_identity = {identity(device, i): device for i, device in enumerate(have)}
    by_place = {str(i): device for i, device in enumerate(have)}
    return len(ask) == len(have) and all(
        _device_match(device, {**by_place, **by_identity}.get(identity(device, i))) for i, device in enumerate(ask)
    )


def identity(device: Any, place: int) -> str:
    """What makes a device the same one: a disk's vdev, a NIC's MAC, else its place."""
    return getattr(device, "vdev", None) or getattr(device, "mac", None) or str(place)


def _device_match(ask: Any, have: Optional[Any]) -> bool:
    return have is not None and all(
        getattr(ask, a.name) is None or getattr(ask, a.name) == getattr(have, a.name) for a in attributes(ask)
    )


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return [v if isinstance(v, str) else to_options(v) for v in value]
    return value


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


def secret(option: str) -> bool:
    return is_secret(option) or (option in BY_OPTION and BY_OPTION[option].secret)
