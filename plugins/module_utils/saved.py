# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The files that hold saved guests: whose each is, what it describes, and whether it is whole.

A file belongs to one guest, by name and UUID, and is used once: after the guest has run on, its disks are other than its
saved memory remembers, and that memory would ruin them. The end of a file's name tells how far it is:

    NAME.UUID.part   being written; whole and without a domain: the task was killed before it could say so
    NAME.UUID.save   the guest's memory
    NAME.UUID.used   the restored guest was about to run: of no use any more

They do not lie in /var/lib/xen/save: what is found there, the service xendomains restores and lets run without a look.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple, Optional

SAVE_DIR = "/var/lib/stubdom.xen/saved"
PLACE = re.compile(
    rf"{re.escape(SAVE_DIR)}/(?P<name>.+)\.(?P<uuid>[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})\.(?P<stage>\w+)\Z"
)
PART, KEPT, USED = "part", "save", "used"
CONFIG_MAX = 1 << 20  # bytes of a guest's description in its file

# tools/xl/xl.h: struct save_file_header, and savefileheader_magic; 4.4 to 4.22
MAGIC = b"Xen saved domain, xl format\n \0 \r"
BYTE_ORDER, MANDATORY_JSON = 0x01020304, 1
HEADER = struct.Struct("<32sIIII")
# docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc, version 2 and 3: headers, then records of
# type and length, each body filled up to eight bytes. A libxl stream holds the libxc one after an empty record of its own.
LIBXL_HEADER, LIBXC_HEADERS, RECORD = 16, 24 + 16, struct.Struct("<II")
LIBXL_IDENT, LIBXC_MARKER = b"LibxlFmt", b"\xff" * 8
END, LIBXC_CONTEXT = 0, 1

Peek = Callable[[int, int], bytes]  # (offset, length) -> what a file has there; less at its end


class Saved(NamedTuple):
    """A saved guest. config: libxl's JSON of it as it was, {} where the file has none."""

    path: str
    name: str
    uuid: str
    stage: str
    config: Mapping[str, Any] = {}
    whole: bool = False

    @property
    def kept(self) -> bool:
        return self.stage == KEPT


def place(name: str, uuid: str, stage: str) -> str:
    return f"{SAVE_DIR}/{name}.{uuid}.{stage}"


def files_of(name: str, paths: Iterable[str]) -> tuple[Saved, ...]:
    """The guest's files among these, not yet looked into."""
    found = [match for path in paths if (match := PLACE.match(path)) and match["name"] == name]
    return tuple(Saved(match.string, name, match["uuid"], match["stage"]) for match in found)


def names_of(paths: Iterable[str]) -> set[str]:
    return {match["name"] for path in paths if (match := PLACE.match(path)) and match["stage"] in (PART, KEPT)}


def read(file: Saved, peek: Peek) -> Saved:
    """The file with what is in it."""
    config, start = _description(peek)
    return file._replace(config=config, whole=bool(config) and _ends(peek, start))


def _description(peek: Peek) -> tuple[dict[str, Any], int]:
    """(libxl's JSON of the guest, where the stream begins); ({}, 0) of what is no such file."""
    head = peek(0, HEADER.size)
    if len(head) < HEADER.size:
        return {}, 0
    magic, order, mandatory, _optional, length = HEADER.unpack(head)
    if (magic, order) != (MAGIC, BYTE_ORDER) or not mandatory & MANDATORY_JSON or not 4 < length <= CONFIG_MAX:
        return {}, 0
    text = peek(HEADER.size + 4, length - 4).rstrip(b"\0").decode("utf-8", "replace")
    try:
        config = json.loads(text)
    except ValueError:
        return {}, 0
    return (config if isinstance(config, dict) else {}), HEADER.size + length


def _ends(peek: Peek, start: int) -> bool:
    """Whether the stream from there on has all its records, up to the last."""
    at = start + LIBXL_HEADER
    if peek(start, 8) != LIBXL_IDENT:
        return False
    while (record := peek(at, RECORD.size)) and len(record) == RECORD.size:
        kind, length = RECORD.unpack(record)
        at += RECORD.size + _filled(length)
        if kind == END:
            return True
        if kind == LIBXC_CONTEXT:
            at = _after_libxc(peek, at)
    return False


def _after_libxc(peek: Peek, start: int) -> int:
    """Where the libxc stream ends, far beyond the file where it does not."""
    at = start + LIBXC_HEADERS
    if peek(start, 8) != LIBXC_MARKER:
        return 1 << 62
    while len(record := peek(at, RECORD.size)) == RECORD.size:
        kind, length = RECORD.unpack(record)
        at += RECORD.size + _filled(length)
        if kind == END:
            return at
    return 1 << 62


def _filled(length: int) -> int:
    return -(-length // 8) * 8


def of_guest(files: Iterable[Saved], uuid: Optional[str]) -> tuple[Optional[Saved], Optional[Saved]]:
    """(the guest's saved memory, one of another guest by its name). uuid: the guest's, None where nobody knows it.

    What says of itself that it is another guest's than its name tells is another's.
    """
    usable = [file for file in files if file.stage == KEPT or (file.stage == PART and file.whole)]
    usable.sort(key=lambda file: not file.kept)
    mine = [file for file in usable if file.uuid == (uuid or file.uuid) and _says_so(file)]
    others = [file for file in usable if file.kept and file not in mine[:1]]
    return (mine[0] if mine else None), next((o for o in others if o.uuid != (mine[0].uuid if mine else None)), None)


def _says_so(file: Saved) -> bool:
    told = file.config.get("c_info", {})
    return not file.config or (told.get("name"), told.get("uuid")) == (file.name, file.uuid)
