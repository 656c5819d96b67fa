# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's xl.cfg, written and read: render(guest) -> text, read(text) -> guest. Its language is in cfgtext.py. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import devices
from ansible_collections.stubdom.xen.plugins.module_utils.cfgtext import Added, Number, parse, quote
from ansible_collections.stubdom.xen.plugins.module_utils.disks import disk_text, nic_text, read_disk, read_nic
from ansible_collections.stubdom.xen.plugins.module_utils.fields import (
    ARGS,
    BY_OPTION,
    DEVICES,
    FIELDS,
    LISTS_TOO,
    MODELLED,
    Field,
    number,
)
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, from_options, lookup
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import spelled, taken

MARK = "# Managed by stubdom.xen"
# --- writing -----------------------------------------------------------------------------------------------------


def render(guest: Guest) -> str:
    """The text of the guest's file. Raises XenError(invalid_input) for a value that the grammar cannot hold."""
    said = "Changes made here are read at the next run and kept where the task does not say otherwise."
    return f"{MARK}. {said}\n{settings(guest)}"


def settings(guest: Guest) -> str:
    """The same without the mark, for a file that no task keeps."""
    return "".join(f"{key} = {quote(value, key)}\n" for key, value in assignments(guest))


def assignments(guest: Guest) -> Iterator[tuple[str, Any]]:
    """(key, value) pairs of the guest in a stable order: the table's, then devices, then what is not modelled."""
    guest = spelled(guest)
    for field in FIELDS:
        value = lookup(guest, field.option)
        if field.key and field.kind is not DEVICES and value is not None:
            yield field.key, field.kind.to_cfg(value)
    if guest.stubdom.type is not None:
        yield "device_model_stubdomain_override", int(guest.stubdom.type != "none")
    writers: dict[str, Callable[[Any, str], str]] = {"disks": disk_text, "nics": nic_text, **devices.WRITERS}
    for option, write in writers.items():
        found = getattr(guest, option)
        if found is not None:
            yield str(BY_OPTION[option].key), [write(device, f"{option}[{i}]") for i, device in enumerate(found)]
    yield from sorted(guest.extra_config.items())


# --- from values to a guest --------------------------------------------------------------------------------------


def read(text: str) -> Guest:
    """The guest that an xl.cfg text describes. Raises XenError(cfg_syntax)."""
    return guest_of(parse(text))


def guest_of(values: Mapping[str, Any]) -> Guest:
    """The guest of parsed values; keys without a field of their own are kept as extra_config."""
    lists = {key for key in LISTS_TOO if isinstance(values.get(key), list)}
    more = {k: _plain(v) for k, v in values.items() if k in lists or k not in {*MODELLED, "builder"}}
    options: dict[str, Any] = {"extra_config": more}
    for field in FIELDS:
        if field.key and field.kind is not DEVICES and field.key in values and field.key not in lists:
            _put(options, field.option, _value_of(field, values[field.key]))
    if "builder" in values:
        _put(options, "type", _builder(values["builder"], options.get("type")))
    if "device_model_stubdomain_override" in values:
        _put(options, "stubdom.type", _stubdom_type(values))
    for option, reader in {"disks": read_disk, "nics": read_nic, **devices.READERS}.items():
        key = str(BY_OPTION[option].key)
        if key in values:
            options[option] = [reader(text) for text in _texts(key, values[key])]
    return taken(from_options(options))


def _value_of(field: Field, value: Any) -> Any:
    """The option's value. What xl would ignore with a warning is an error here: it was not meant to be ignored."""
    try:
        found = field.kind.from_cfg(value)
        if isinstance(value, list) != (field.kind is ARGS) or (isinstance(value, Added) and isinstance(found, int)):
            raise ValueError
        return found
    except ValueError:
        raise devices.warned_of(str(field.key), value) from None


def _texts(key: str, value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise devices.warned_of(key, value)


def _plain(value: Any) -> Any:
    """Plain numbers as int; any other spelling stays text, which xl reads alike."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Number) and re.match(r"(0|[1-9][0-9]{0,18})\Z", value):
        return int(value)
    return str(value)


def _put(options: dict[str, Any], option: str, value: Any) -> None:
    head, _dot, tail = option.partition(".")
    if tail:
        options.setdefault(head, {})[tail] = value
    else:
        options[head] = value


def _builder(value: Any, kind: Optional[str]) -> str:
    """The type that `builder`, which Xen 4.10 deprecated, says; beside a `type` it must be the same one."""
    found = {"hvm": "hvm", "generic": "pv"}.get(str(value))
    if found is None or kind not in (None, found):
        raise devices.warned_of("builder", value)
    return found


def _stubdom_type(values: Mapping[str, Any]) -> str:
    key = "device_model_stubdomain_override"
    try:
        if not number(values[key]):
            return "none"
    except ValueError:
        raise devices.warned_of(key, values[key]) from None
    # Without a version libxl takes qemu-traditional, hence MiniOS (4.14 to 4.20).
    return "linux" if values.get("device_model_version") == "qemu-xen" else "minios"
