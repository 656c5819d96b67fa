# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The note that a host keeps of a guest that is on its way to another host, or has gone there. Pure but for reading it.

Two hosts know of a guest while it moves, and one of them has it: the one whose note says `out` until it says `gone`, from
then on the one whose note says `in`. A guest with a note is started, stopped and changed by nothing but its move.
"""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable

MOVES_DIR = "/var/lib/stubdom.xen/moves"
OUT, IN, GONE = "out", "in", "gone"
SAYS = {OUT: "is about to leave for", IN: "has not come whole yet from", GONE: "has moved to"}


def note_path(name: str) -> str:
    return f"{MOVES_DIR}/{name}.json"


def note_of(host: Any, name: str) -> dict[str, Any]:
    """The note of a guest, {} where there is none. Raises XenError(moving) for one that cannot be read."""
    text = host.read_file(note_path(name))
    if text is None:
        return {}
    try:
        note = json.loads(text)
    except ValueError:
        note = None
    if not isinstance(note, dict) or note.get("side") not in SAYS or not isinstance(note.get("other"), str):
        why = {"file": note_path(name)}  # its text may hold secrets
        raise XenError("moving", f"guest {name}: the note of its move cannot be read", why, "mend or remove that file")
    return note


def refuse_moving(host: Any, name: str, state: str) -> None:
    """Raises XenError(moving) for a guest that is between two hosts, or on another one. state: the task's."""
    note = note_of(host, name)
    if not note or (note["side"] == GONE and state == "absent"):
        return
    unfinished = "run stubdom.xen.guest_migrate again: it finishes the move, or takes it back with `undo: true`"
    raise XenError(
        "moving",
        f"guest {name}: it {SAYS[note['side']]} {printable(note['other'], 100)}",
        {"note": note_path(name), "side": note["side"], "other": printable(note["other"], 100)},
        "describe it on that host; if it is to be another guest here, remove that file" if note["side"] == GONE else unfinished,
    )
