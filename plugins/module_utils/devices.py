# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that xl.cfg has as texts of KEY=VALUE parts, written and read: all but disks and NICs, which are in disks.py.

The grammars are those of tools/xl/xl_parse.c and, for PCI devices, tools/libs/util/libxlu_pci.c (4.17; before 4.15 the
address of a PCI device can only be said without a key, so it is written that way). No value can hold a comma. What xl
takes no notice of, or ends with an error at, is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.fields import BY_OPTION, number
from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK, is_secret
from ansible_collections.stubdom.xen.plugins.module_utils.spec import BDF, invalid, to_options


class Spelling(NamedTuple):
    """How a value looks in a part. read raises ValueError for what xl would misread."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


class Part(NamedTuple):
    key: str
    spelling: Spelling


class Form(NamedTuple):
    """How a kind of device is said. more: other parts are its `options`; always: a part that is never left out."""

    parts: Mapping[str, Part]
    more: bool = False
    always: Optional[str] = None
    value: re.Pattern[str] = re.compile(r"[^\s,](?:[^,\r\n]*[^\s,])?\Z")


def _decimal(text: str) -> int:
    """A number as atoi reads one, but whole or not at all."""
    if not re.match(r"[0-9]+\Z", text, re.A):
        raise ValueError(text)
    return int(text)


def _hex(text: str) -> int:
    """A number as strtoul reads one with base 16, whole or not at all."""
    if not re.match(r"(0x)?[0-9a-f]+\Z", text, re.A | re.I):
        raise ValueError(text)
    return int(text, 16)


def _address(text: str) -> str:
    if not BDF.match(text):
        raise ValueError(text)
    return text


TEXT = Spelling(str, str)
ADDRESS = Spelling(str, _address)
COUNT = Spelling(str, _decimal)
ANY_BASE = Spelling(str, number)
HEX = Spelling(lambda value: f"{value:x}", _hex)
FLAG = Spelling(lambda value: str(int(value)), lambda text: bool(_decimal(text)))
# xl 4.5 (channel) and 4.18 (p9) end a value at an equals sign.
NO_SIGN = re.compile(r"[^\s,=](?:[^,=\r\n]*[^\s,=])?\Z")


def _parts(spelling: Spelling, *names: str, **keys: str) -> dict[str, Part]:
    """Attributes with xl's own names, and others with theirs."""
    return {name: Part(key, spelling) for name, key in {**{name: name for name in names}, **keys}.items()}


FORMS: Mapping[str, Form] = {
    "pci": Form(
        {
            **_parts(ADDRESS, address="bdf"), **_parts(HEX, "vslot"), **_parts(TEXT, "rdm_policy"),
            **_parts(FLAG, "permissive", "msitranslate", "power_mgmt", "seize"),
        },
        more=True,
    ),
    "usb_controllers": Form({**_parts(TEXT, "type"), **_parts(COUNT, "version", "ports")}),
    "usb": Form(
        {**_parts(ANY_BASE, host_bus="hostbus", host_address="hostaddr"), **_parts(COUNT, "controller", "port")},
        always="type=hostdev",
    ),
    "vfb": Form(
        {
            **_parts(FLAG, vnc="vnc", unused="vncunused"), **_parts(COUNT, display="vncdisplay"),
            **_parts(TEXT, "keymap", listen="vnclisten", password="vncpasswd"),
        },
        more=True,
    ),
    "channels": Form(_parts(TEXT, "name", "connection", "path", "backend"), value=NO_SIGN),
    "p9": Form(_parts(TEXT, "tag", "path", "security_model", "backend"), more=True, value=NO_SIGN),
    "vtpm": Form(_parts(TEXT, "backend", "uuid")),
}  # fmt: skip
FIRST = re.compile(r"\s*([0-9a-f:]+\.[0-9a-f*]+)(?:@([0-9a-fx]+))?\s*(,|\Z)", re.I)  # a PCI address without its key


# --- writing -----------------------------------------------------------------------------------------------------


def text_of(option: str, device: Any, where: str) -> str:
    """A device of the list `option` as xl.cfg has it. where: what it is called in an error, such as 'pci[0]'.

    Raises XenError(invalid_input) for a value that cannot be said.
    """
    form = FORMS[option]
    parts = [form.always] if form.always else []
    for name, part in form.parts.items():
        value = getattr(device, name)
        if value is not None:
            parts.append(f"{part.key}={_said(form, part.spelling, value, f'{where}.{name}')}")
    more = tuple(getattr(device, "options", None) or ())
    text = ",".join([*parts, *more])
    if not _means(option, text, device):
        raise invalid(f"{where}.options", list(more), "KEY=VALUE for keys that have no option of their own")
    return re.sub(r"\Abdf=([^,]*)(?:,vslot=([^,]*))?", _without_keys, text) if option == "pci" else text


def _said(form: Form, spelling: Spelling, value: Any, option: str) -> str:
    text = spelling.write(value)
    if not form.value.match(text):
        no = "commas, equals signs" if form.value is NO_SIGN else "commas"
        raise invalid(option, value, f"text without {no} and line ends, and without white space around it")
    try:
        spelling.read(text)
    except ValueError:
        raise invalid(option, value, "what xl can read") from None
    return text


def _means(option: str, text: str, device: Any) -> bool:
    """Whether the text is read as the device: an entry of `options` could be taken for something else."""
    try:
        return read(option, text) == {name: value for name, value in to_options(device).items() if value != []}
    except XenError:
        return False


def _without_keys(match: re.Match[str]) -> str:
    return f"{match[1]}@{match[2]}" if match[2] else match[1]


# --- reading -----------------------------------------------------------------------------------------------------


def read(option: str, text: str) -> dict[str, Any]:
    """The options of a device in any of xl's spellings. Raises XenError(cfg_syntax)."""
    form = FORMS[option]
    names = {part.key: name for name, part in form.parts.items()}
    found: dict[str, Any] = {}
    for part in filter(None, (part.lstrip() for part in _with_keys(option, text).split(","))):
        key, sign, value = (side.strip() for side in part.partition("=")) if form.value is NO_SIGN else part.partition("=")
        try:
            if not sign:
                raise ValueError(part)
            if key in names:
                found[names[key]] = form.parts[names[key]].spelling.read(value)
            elif form.more:
                found.setdefault("options", []).append(part)
            elif part != form.always:
                raise ValueError(part)
        except ValueError:
            # the part may be the rest of a password that holds a comma
            raise ignored(str(BY_OPTION[option].key), part, text) from None
    return found


def _with_keys(option: str, text: str) -> str:
    first = FIRST.match(text) if option == "pci" else None
    if first is None:
        return text
    slot = f",vslot={first[2]}" if first[2] else ""
    return f"bdf={first[1]}{slot}{first[3]}{text[first.end() :]}"


def ignored(key: str, value: Any, text: str, does: str = "says the same") -> XenError:
    """The error for what xl makes nothing of. text: all that may tell that a secret is in it; does: what xl does about it."""
    value = MASK if is_secret(text) else value
    return XenError(
        "cfg_syntax",
        f"{key}: xl makes nothing of {value!r}",
        {"key": key, "value": value},
        f"see xl.cfg(5); `xl create -n FILE` on a Xen host {does}",
    )


def warned_of(key: str, value: Any) -> XenError:
    """The error for what xl ignores with a warning: it was not meant to be ignored."""
    return ignored(key, value, f"{key} {value}", "warns about it")


WRITERS: Mapping[str, Callable[[Any, str], str]] = {option: partial(text_of, option) for option in FORMS}
READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {option: partial(read, option) for option in FORMS}
