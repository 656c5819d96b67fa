# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""xl.cfg, written and read: render(guest) -> text, parse(text) -> {key: value}, guest_of(values) -> guest.

The grammar is that of tools/libs/util/libxlu_cfg_{l.l,y.y} (4.17): assignments ended by a newline or ';', values of
strings, numbers and lists, '+=' since 4.13. It has quirks that shape what is written here: numeric escapes in strings
are lost by xl, a carriage return is an error, and a comment must end with a newline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields as attributes
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import devices
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
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
from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK, is_secret
from ansible_collections.stubdom.xen.plugins.module_utils.rules import lookup
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Disk, Guest, Nic, from_options, invalid, to_options
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import spelled, taken

MARK = "# Managed by stubdom.xen"
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v", "\r": "\\r"}
UNESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "r": "\r"}
DEEPEST = 50  # lists within lists: xl's parser has a limit too, and no key takes more than one
TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\n]*(?=\n))|(?P<end>\n|;)|(?P<name>[a-z][._0-9a-z]*)|(?P<number>[0-9][0-9a-fx]*)
      |(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')|(?P<sign>\+=|=)|(?P<mark>[\[\],])""",
    re.X,
)


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


def quote(value: Any, key: str) -> str:
    """A value in xl.cfg's spelling; anything but numbers and lists as a string."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int) and value >= 0:
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(quote(item, key) for item in value) + "]"
    if isinstance(value, (str, int, float)):
        return '"' + "".join(_escape(c, key) for c in str(value)) + '"'
    raise invalid(key, value, "a string, a number or a list of them")


def _escape(character: str, key: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    if ord(character) < 32 or ord(character) == 127:
        raise invalid(key, character, "text without control characters", "xl.cfg has no way to write one")
    if "\ud800" <= character < "\udc80" or "\udcff" < character <= "\udfff":  # between them: bytes that are no UTF-8
        raise invalid(key, character, "whole characters", "half of a surrogate pair cannot be written to a file")
    return character


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


# --- reading -----------------------------------------------------------------------------------------------------


class Token(NamedTuple):
    kind: str
    text: str
    line: int


def parse(text: str) -> dict[str, Any]:
    """The assignments of an xl.cfg text: strings as str, numbers as their text (class Number), lists as list.

    Raises XenError(cfg_syntax) with the line, where xl would refuse it too; what stands on the line of a password is not told.
    """
    try:
        return _assigned(list(_tokens(text)))
    except XenError as error:
        line, seen = error.evidence["line"], error.evidence["text"]
        if seen != MASK and is_secret(text.split("\n")[line - 1] + seen):
            raise _syntax(line, MASK) from None
        raise


def _assigned(tokens: list[Token]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    at = 0
    while at < len(tokens):
        if tokens[at].kind == "end":
            at += 1
            continue
        line, key, sign = tokens[at].line, _expect(tokens, at, "name"), _expect(tokens, at + 1, "sign")
        value, at = _read_value(tokens, at + 2)
        values[key] = _append(values.get(key), value, line) if sign == "+=" else value
        if at < len(tokens):
            _expect(tokens, at, "end")
    return values


class Number(str):
    """A number as it was written: 0x10 and 010 keep their spelling until somebody asks for their value."""


class Added(str):
    """A text written with '+=': xl takes no number from it (libxlu_cfg.c, 4.13)."""


def _tokens(text: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:  # whatever is wrong before it comes first
            yield Token("wrong", text[at : at + 20], line)
            return
        if match.lastgroup != "space":
            yield Token(str(match.lastgroup), match.group(), line)
        line += match.group().count("\n")
        at = match.end()


def _expect(tokens: list[Token], at: int, kind: str) -> str:
    if at >= len(tokens) or tokens[at].kind != kind:
        last = tokens[min(at, len(tokens) - 1)]
        raise _syntax(last.line, last.text)
    return tokens[at].text


def _read_value(tokens: list[Token], at: int, depth: int = 0) -> tuple[Any, int]:
    if at >= len(tokens):
        raise _syntax(tokens[-1].line, "end of file")
    token = tokens[at]
    if token.kind == "number":
        return Number(token.text), at + 1
    if token.kind == "string":
        return _unquote(token), at + 1
    if token.text == "[" and depth < DEEPEST:
        return _read_list(tokens, at + 1, depth + 1)
    raise _syntax(token.line, token.text)


def _read_list(tokens: list[Token], at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _skip_newlines(tokens, at)
    while at < len(tokens) and tokens[at].text != "]":
        value, at = _read_value(tokens, at, depth)
        items.append(value)
        at = _skip_newlines(tokens, at)
        if at < len(tokens) and tokens[at].text == ",":
            at = _skip_newlines(tokens, at + 1)
        elif at < len(tokens) and tokens[at].text != "]":
            raise _syntax(tokens[at].line, tokens[at].text)
    if at >= len(tokens):
        raise _syntax(tokens[-1].line, "end of file")
    return items, at + 1


def _skip_newlines(tokens: list[Token], at: int) -> int:
    while at < len(tokens) and tokens[at].text == "\n":
        at += 1
    return at


def _unquote(token: Token) -> str:
    def plain(match: re.Match[str]) -> str:
        if match.group(1) not in UNESCAPES:
            raise _syntax(token.line, match.group())
        return UNESCAPES[match.group(1)]

    return re.sub(r"\\(.)", plain, token.text[1:-1])


def _append(old: Any, new: Any, line: int) -> Any:
    """'+=' joins lists, and strings (libxlu_cfg.c, 4.13); numbers added are a warning to xl, which then has neither."""
    numbers = isinstance(old, Number) and isinstance(new, Number)
    if numbers or (old is not None and isinstance(old, list) != isinstance(new, list)):
        raise _syntax(line, "+=")
    return [*(old or []), *new] if isinstance(new, list) else Added((old or "") + new)


def _syntax(line: int, text: str) -> XenError:
    return XenError(
        "cfg_syntax",
        f"line {line}: xl cannot read {text!r} here",
        {"line": line, "text": text},
        "see xl.cfg(5); `xl create -n FILE` on a Xen host shows the same",
    )


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
        raise _ignored(str(field.key), value) from None


def _texts(key: str, value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise _ignored(key, value)


def _ignored(key: str, value: Any) -> XenError:
    return devices.ignored(key, value, f"{key} {value}", "warns about it")


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
        raise _ignored("builder", value)
    return found


def _stubdom_type(values: Mapping[str, Any]) -> str:
    key = "device_model_stubdomain_override"
    try:
        if not number(values[key]):
            return "none"
    except ValueError:
        raise _ignored(key, values[key]) from None
    # Without a version libxl takes qemu-traditional, hence MiniOS (4.14 to 4.20).
    return "linux" if values.get("device_model_version") == "qemu-xen" else "minios"


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
        raise _ignored("disk", text)
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
        raise _ignored("disk", text)
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
            raise _ignored("disk", text)
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
