# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the domains of a guest behave: a file of the host, read anew for each domain. README.md explains every key.

{guest name or pattern: {part: {key: value}}}; of several patterns that match a name, the later ones win, key by key.
A file that is wrong anywhere is refused as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

FILE = "/etc/xen-simulation/behaviours.json"

Check = Callable[[Any], bool]
Part = Mapping[str, Any]


class BehaviourError(ValueError):
    """The file asks for what there is not; the text says what."""


class Key(NamedTuple):
    """What a key is when not given, and what may be given."""

    default: Any
    allows: Check
    wanted: str


def _one_of(*words: str) -> Key:
    return Key(words[0], lambda value: value in words, " | ".join(words))


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


SECONDS = Key(0, _is_seconds, "seconds")
NEVER = Key(None, lambda value: value is None or _is_seconds(value), "seconds | null")
DEATHS = _one_of("poweroff", "crash", "reboot")
LIST = Key(("vbd", "vif", "console"), lambda value: isinstance(value, list), "a list of device kinds")
BOOL = Key(True, lambda value: isinstance(value, bool), "true | false")
STATE = Key(None, lambda value: value is None or value in range(1, 7), "a XenbusState, 1 to 6 | null")

BACKEND_KINDS = ("vbd", "vif", "vtpm", "pci", "qdisk", "vkbd", "vfb", "console", "9pfs", "qusb", "vusb", "vdispl", "vsnd")

PARTS: dict[str, dict[str, Key]] = {
    "stubdom": {
        "ready": _one_of("own", "never", "guest", "dom0"),
        "ready_after": SECONDS,
        "value": Key("running", lambda value: isinstance(value, str), "text"),
        "dies_at": Key(
            None,
            lambda value: value in (None, "kernel", "qemu", "before_ready", "after_ready"),
            "kernel | qemu | before_ready | after_ready | null",
        ),
        "dies_by": DEATHS,
    },
    "qemu": {"start": _one_of("runs", "exits", "silent"), "ready_after": SECONDS, "dies_after": NEVER},
    "qmp": {"answers": BOOL, "after": SECONDS},
    "guest": {
        "boots": BOOL,
        "boots_after": SECONDS,
        "frontends": LIST,
        "shutdown": _one_of("obeys", "ignores"),
        "shutdown_after": SECONDS,
        "dies_after": NEVER,
        "dies_by": _one_of("crash", "poweroff", "reboot"),
    },
    "vtpm": {
        "ready": _one_of("own", "never"),
        "ready_after": SECONDS,
        "fails": Key(None, lambda value: value is None or isinstance(value, str), "text | null"),
    },
    **{f"backend.{kind}": {"stuck_at": STATE, "after": SECONDS} for kind in BACKEND_KINDS},
}


def of(name: str) -> dict[str, Part]:
    """Every part with every key, for the guest of that name, as the file says now."""
    try:
        with open(FILE) as file:
            text = file.read()
    except FileNotFoundError:
        text = "{}"
    return choose(parse(text), name)


def parse(text: str) -> dict[str, dict[str, Part]]:
    """Raises BehaviourError on what this program would not obey."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise BehaviourError(f"{FILE} is no JSON: {error}") from error
    for pattern, parts in _mapping(given, "the file").items():
        for part, keys in _mapping(parts, pattern).items():
            for key, value in _mapping(keys, f"{pattern}: {part}").items():
                _check(pattern, part, key, value)
            if part not in PARTS:
                raise BehaviourError(f"{pattern}: there is no part {part!r}, only {', '.join(PARTS)}")
    return dict(given)


def choose(given: Mapping[str, Mapping[str, Part]], name: str) -> dict[str, Part]:
    matching = [parts for pattern, parts in given.items() if fnmatchcase(name, pattern)]
    return {part: {key: _last(matching, part, key, row.default) for key, row in keys.items()} for part, keys in PARTS.items()}


def _last(matching: list[Mapping[str, Part]], part: str, key: str, default: Any) -> Any:
    return next((parts[part][key] for parts in reversed(matching) if key in parts.get(part, {})), default)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BehaviourError(f"{where}: wanted an object, got {value!r}")
    return value


def _check(pattern: str, part: str, key: str, value: Any) -> None:
    row = PARTS.get(part, {}).get(key)
    if row is None:
        raise BehaviourError(f"{pattern}: there is no {part}.{key}, only {', '.join(PARTS.get(part, PARTS))}")
    if not row.allows(value):
        raise BehaviourError(f"{pattern}: {part}.{key} is {value!r}, wanted {row.wanted}")
