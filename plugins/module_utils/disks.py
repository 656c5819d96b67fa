# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks and NICs as xl.cfg has them: texts with grammars of their own, written and read. Pure.

Those of xl-disk-configuration(5), which is tools/libs/util/libxlu_disk_l.l, and xl-network-configuration(5) (4.17).
"""

from __future__ import annotations

import re
from dataclasses import fields as attributes
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.devices import warned_of
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Disk, Nic, invalid, to_options

DISK_KEYS = {f.name for f in attributes(Disk)} - {"options"}
DISK_PLACES = ("target", "format", "vdev", "access")
ACCESS = {"r": "ro", "ro": "ro", "w": "rw", "rw": "rw", "": "rw"}
# What the old prefixes of a target say; there may be several. 'name:word' is a target, an unknown 'name:/path' is wrong.
PREFIXES: dict[str, dict[str, str]] = {
    **{prefix: {"format": prefix} for prefix in ("raw", "qcow", "qcow2", "vhd")},
    **{prefix: {"script": f"block-{prefix}"} for prefix in ("iscsi", "nbd", "enbd", "drbd")},
    **{prefix: {} for prefix in ("phy", "file", "tap", "tap2", "aio", "ioemu", "tapdisk")},
}
PREFIX = re.compile(rf"({'|'.join(PREFIXES)}|[a-z][a-z0-9]*(?=:(?![a-z0-9]))):(.*)", re.S)
DISK_FLAGS = ("discard", "no-discard", "direct-io-safe", "trusted", "untrusted", "colo", "no-colo")


# --- writing ---


def disk_text(disk: Disk, option: str) -> str:
    """A disk as xl-disk-configuration(5) has it. target comes last: it alone may contain commas."""
    pairs = [
        ("format", disk.format),
        ("vdev", disk.vdev),
        ("access", disk.access),
        ("devtype", disk.devtype),
        ("backendtype", disk.backendtype),
        ("backend", disk.backend),
        ("script", disk.script),
    ]
    parts = _parts(pairs, disk.options, option)
    # xl takes one comma off the end of a target (libxlu_disk_l.l)
    target = f"target={disk.target}" + ("," if str(disk.target).endswith(",") else "")
    text = ",".join(parts + ([target] if disk.target else []))
    return _read_alike(text, disk, read_disk, option)


def nic_text(nic: Nic, option: str) -> str:
    """A NIC as xl-network-configuration(5) has it."""
    pairs = [(f.name, getattr(nic, f.name)) for f in attributes(Nic) if f.name != "options"]
    return _read_alike(",".join(_parts(pairs, nic.options, option)), nic, read_nic, option)


def _read_alike(text: str, device: Any, reader: Callable[[str], dict[str, Any]], option: str) -> str:
    """The text, if it means what was described: an entry of `options` could be taken for a part of its own."""
    try:
        alike = reader(text) == {name: value for name, value in to_options(device).items() if value not in ("", [])}
    except XenError:
        alike = False
    if not alike:
        raise invalid(f"{option}.options", list(device.options or ()), "only flags and keys that have no option of their own")
    return text


def _parts(pairs: list[tuple[str, Any]], more: Optional[tuple[str, ...]], option: str) -> list[str]:
    for name, value in pairs + [("options", item) for item in more or ()]:
        if value is not None and re.search(r"[,\r\n]|\A\s|\s\Z", str(value)):
            raise invalid(f"{option}.{name}", value, "text without commas and line ends, and without white space around it")
    return [f"{name}={value}" for name, value in pairs if value is not None] + list(more or ())


# --- reading ---


def read_disk(text: str) -> dict[str, Any]:
    """The options of a disk in any spelling of xl-disk-configuration(5): keys, flags, places, old prefixes.

    Raises XenError(cfg_syntax) for a part too many, a part said twice and a prefix that xl does not know.
    """
    found: dict[str, Any] = {}
    rest, places = text, list(DISK_PLACES)
    while rest:
        head, _comma, tail = rest.partition(",")
        key, equals, value = head.strip().partition("=")
        if key == "target" and equals:
            _say(found, key, _without_comma(rest.partition("=")[2]), text)
            tail = ""
        elif equals and key in DISK_KEYS:
            _say(found, key, value, text)
        elif head.strip() == "cdrom":
            found["devtype"] = "cdrom"
        elif equals or head.strip() in DISK_FLAGS:
            found.setdefault("options", []).append(head.strip())
        else:
            _place(found, places, head.strip(), text)
        rest = tail
    _named_alike(found)
    return found


def _say(found: dict[str, Any], key: str, value: str, text: str) -> None:
    """Of an access and a kind the last one counts, a format may be said again, and nothing else twice (libxlu_disk_l.l)."""
    again = key in ("access", "devtype") or (key in ("format", "backendtype") and found.get(key) == value)
    if found.get(key) and not again:
        raise warned_of("disk", text)
    found[key] = value


def _without_comma(target: str) -> str:
    return target[:-1] if target.endswith(",") else target


def _named_alike(found: dict[str, Any]) -> None:
    """One word for what xl has several for: an empty drive, a disk that may be written to, an image without a format."""
    if not found.get("target"):
        found.pop("target", None)
        if found.get("format") == "empty":
            found.pop("format")
    for key, words in (("access", ACCESS), ("format", {"": "raw"})):
        if key in found:
            found[key] = words.get(found[key], found[key])


def _place(found: dict[str, Any], places: list[str], value: str, text: str) -> None:
    """The next part without a key: target, format, vdev, access (libxlu_disk_l.l); what a key said has no place any more.

    With an old prefix there is no place for a format: 'phy:/dev/x,xvda,w'. ',hdc:cdrom,r' is an empty drive.
    """
    while places and places[0] in found and places[0] in ("format", "vdev"):
        places.pop(0)
    if places[:1] == ["format"] and ":" in value and not found.get("target"):
        places.pop(0)
    if not places:
        raise warned_of("disk", text)
    place = places.pop(0)
    if place == "target":
        value = _unprefixed(found, places, value, text)
    if place == "vdev" and ":" in value:
        value, found["devtype"] = value.rsplit(":", 1)
    if value:
        _say(found, place, value, text)


def _unprefixed(found: dict[str, Any], places: list[str], value: str, text: str) -> str:
    """The target without its old prefixes: of these some are a format, some a script, and the others nothing."""
    while (match := PREFIX.match(value)) is not None:
        prefix, value = match.groups()
        if prefix not in PREFIXES:
            raise warned_of("disk", text)
        places[:] = [place for place in places if place != "format"]
        for key, said in PREFIXES[prefix].items():
            _say(found, key, said, text)
    return value


def read_nic(text: str) -> dict[str, Any]:
    """The options of a NIC (xl-network-configuration(5))."""
    known = {f.name for f in attributes(Nic)} - {"options"}
    found: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        key, equals, value = part.partition("=")
        if equals and key in known:
            found[key] = value.lower() if key == "mac" else value
        else:
            found.setdefault("options", []).append(part)
    return found
