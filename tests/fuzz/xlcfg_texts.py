# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts that are nearly xl.cfg: pieces of the corpus, changed word by word. What is read must be written and read back."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ansible_collections.stubdom.xen.plugins.module_utils import cfgtext, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

UNIT = Path(__file__).resolve().parents[1] / "unit"
LINES = [
    path.read_text(encoding="utf-8").splitlines(keepends=True)
    for path in sorted((*(UNIT / "corpus").glob("*.cfg"), *(UNIT / "recorded").glob("*/*.cfg")))
]
WORD = re.compile(r"\s+|#[^\n]*|\"[^\"\n]*\"|'[^'\n]*'|\w+|.", re.S)
VALUES = (
    "0", "1", "-1", "08", "0x", "0xff", "5_12", "0b1", "9" * 30, "0" * 40, '""', "''", '"', "'", "[", "]", "[]", "[[]]", ",", "=",
    "+=", ";", "\n", "\r", "#", "\\", '"\\x41"', '"\\n\\t\\""', '"\x00"', '"\x1b[2J"', '"{{ 7 * 7 }}"',
    '"ü\u202e"', '"\udc80"', '"\ud800"',
    '"passwd=a,b"', "None", "true", "\u0664", "\u00b2",
)  # fmt: skip
PARTS = ("", " ", "=", "a=b", "vdev=xvda", "target=/a,b", "format=", "raw", "cdrom", "r", "w", "phy:", "tap:aio:/x", "script=s",
         "bdf=01:00.0", "01:00.*@1f", "vslot=0x_1", "vslot=+1", "hostbus=0b1", "vncpasswd= x ", "vnc=yes",
         "mac=AA:BB:CC:DD:EE:FF",
         "type=hostdev", "backend=0", "uuid=X", "tag=t", "\t", "=,=", "devtype=cdrom", "access=")  # fmt: skip
OUTCOMES = ("read", "no xl.cfg", "no guest")
LONGEST = 1 << 16


def drawn(chance):
    """A text: some lines of some files, with some words changed."""
    lines = []
    for _each in range(chance.choice((1, 1, 2))):
        text = chance.choice(LINES)
        start = chance.randrange(len(text))
        lines += text[start : start + chance.randint(1, 6)]
    words = WORD.findall("".join(lines))
    for _each in range(chance.choice((0, 1, 1, 2, 3, 8))):
        chance.choice(CHANGES)(words, chance.randrange(len(words) or 1), chance)
        words = words or [""]
    return "".join(words)[:LONGEST] + chance.choice(("", "\n", "\n", "\n"))


def _left_out(words, at, chance):
    del words[at : at + chance.choice((1, 1, 2, 9))]


def _said_twice(words, at, chance):
    words[at:at] = words[at : at + chance.choice((1, 2, 9))]


def _moved(words, at, chance):
    words.insert(chance.randrange(len(words) + 1), words.pop(at)) if words else None


def _another(words, at, chance):
    words[at : at + 1] = [chance.choice(VALUES)]


def _another_value(words, at, chance):
    values = [i for i, word in enumerate(words) if word[:1] in "\"'0123456789" and word]
    if values:
        device = ",".join(chance.choices(PARTS, k=2))
        words[chance.choice(values)] = chance.choice((*VALUES, f'"{device}"', f"'{device}'", '["x"]', '["", 1]'))


def _put_in(words, at, chance):
    words[at:at] = [chance.choice((*VALUES, *WORD.findall(chance.choice(chance.choice(LINES)))))]


def _other_parts(words, at, chance):
    """Within a string, the parts of a device, or its characters."""
    strings = [i for i, word in enumerate(words) if word[:1] in "\"'" and len(word) > 1]
    if not strings:
        return
    at = chance.choice(strings)
    parts = words[at][1:-1].split(",")
    place = chance.randrange(len(parts) + 1)
    parts[place : place + chance.choice((0, 1))] = chance.choices(PARTS, k=chance.choice((0, 1, 1, 2)))
    words[at] = words[at][0] + ",".join(parts) + words[at][0]


def _other_character(words, at, chance):
    if not words or not words[at]:
        return
    place, character = chance.randrange(len(words[at])), chr(chance.choice((chance.randrange(128), chance.randrange(0xD800))))
    words[at] = words[at][:place] + chance.choice(("", character)) + words[at][place + 1 :]


def _very_often(words, at, chance):
    """Rarely, as it takes long."""
    if chance.random() < 0.02:
        words[at : at + 1] = words[at : at + chance.choice((1, 2, 4))] * chance.choice((50, 900, 4000))


def _deep(words, at, chance):
    depth = chance.choice((1, 2, 40, 2000 if chance.random() < 0.05 else 3))
    words[at:at] = ["["] * depth + words[at : at + 1] + ["]"] * (depth - chance.choice((0, 0, 1)))


CHANGES = (
    _left_out, _said_twice, _moved, _another, _put_in, _other_character, _very_often, _deep,
    *[_another_value] * 4, *[_other_parts] * 4,
)  # fmt: skip


def tried(text):
    """What became of a text. Raises AssertionError, and whatever comes out that should not."""
    try:
        values = cfgtext.parse(text)
    except XenError as error:
        return _refused(error, "no xl.cfg", "cfg_syntax")
    assert all(isinstance(key, str) and isinstance(value, (str, list)) for key, value in values.items())
    try:
        guest = xlcfg.read(text)
    except XenError as error:
        return _refused(error, "no guest", "cfg_syntax", "invalid_input")
    try:
        written = xlcfg.render(guest)
    except XenError as error:
        return _refused(error, "not to be written", "invalid_input")
    assert xlcfg.read(written) == guest, written
    assert xlcfg.render(xlcfg.read(written)) == written
    return "read"


def _refused(error, outcome, *codes):
    assert error.code in codes and error.hint and json.dumps(error.as_result()), error.as_result()
    return outcome
