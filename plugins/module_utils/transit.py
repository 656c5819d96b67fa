# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What both hosts of a guest's move have in common: the move itself, the notes of it, the files that it carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.ending import PATIENCE, is_over, until
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain, HostInfo
from ansible_collections.stubdom.xen.plugins.module_utils.moves import MOVES_DIR, note_of, note_path
from ansible_collections.stubdom.xen.plugins.module_utils.observe import listed
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import STATE_DIR

AWAY, INCOMING = "--migratedaway", "--incoming"  # what xl appends to a guest's name (xl_migrate.c, xl_vmcontrol.c; 4.17)
DESCRIBED = ("uuid", "text", "made_of", "tpm", "tpm_state", "autostart", "power", "memory", "kind", "host")


@dataclass(frozen=True)
class Move:
    """One guest's move as a task or a note has it. described: what leaving.offer() returned of the guest."""

    name: str
    move: str = ""
    other: str = ""
    method: str = ""
    described: Mapping[str, Any] = field(default_factory=dict)
    evacuated: bool = False
    ready: Mapping[str, Any] = field(default_factory=dict)
    shutdown: Mapping[str, Any] = field(default_factory=dict)
    ssh: str = "ssh"
    address: str = ""
    timeout: Optional[float] = None
    files: tuple[Mapping[str, Any], ...] = ()


def told_of(about: HostInfo) -> dict[str, Any]:
    """What the choice of a way has to know of a host."""
    return {"version": list(about.version), "hw_caps": about.raw.get("hw_caps", ""), "virt_caps": list(about.capabilities)}


def move_of(host: Any, options: Mapping[str, Any]) -> Move:
    """The move that a task is about. What it does not say, the note says, if there is one."""
    name = str(options["name"])
    note = note_of(host, name)
    described = json.loads(options["described"]) if options.get("described") else {key: note.get(key) for key in DESCRIBED}
    said: dict[str, Any] = {
        "move": options.get("move") or note.get("move"), "other": options.get("other") or note.get("other"),
        "method": options.get("method") or note.get("method"),
        "evacuated": options.get("evacuated") or note.get("evacuated"), "ready": options.get("ready"),
        "shutdown": options.get("shutdown"), "ssh": options.get("ssh"), "address": options.get("address"),
        "timeout": options.get("timeout"), "files": tuple(options.get("files") or ()),
    }  # fmt: skip
    return Move(name, described=described, **{key: value for key, value in said.items() if value is not None})


def note_for(move: Move, side: str) -> dict[str, Any]:
    about = {"side": side, "move": move.move, "other": move.other, "method": move.method, "evacuated": move.evacuated}
    return {**about, **{key: move.described.get(key) for key in DESCRIBED}}


def keep_note(host: Any, name: str, note: Mapping[str, Any]) -> None:
    """It may hold secrets, as the guest's file does."""
    host.make_directory(MOVES_DIR)
    host.write_file(note_path(name), json.dumps(note, indent=1, sort_keys=True) + "\n")


def forget_note(host: Any, name: str) -> None:
    host.remove(note_path(name))


def expect(host: Any, move: Move, side: str) -> dict[str, Any]:
    """The note, which has to be of this very move. Raises XenError(move_undecided): another task is, or was, at work on it."""
    note = note_of(host, move.name)
    if note.get("side") != side or note.get("move") != move.move:
        why = {"note": {key: note.get(key) for key in ("side", "move", "other")}, "expected": {"side": side, "move": move.move}}
        hint = "does another task move it, whose own was broken off? Run again when that has ended"
        raise XenError("move_undecided", f"guest {move.name}: its move is not where this task left it", why, hint)
    return note


def memory_file(move: Move) -> str:
    """Where the guest's memory comes in. Not by a name that anything takes for a guest's memory."""
    return f"{SAVE_DIR}/{move.name}.{move.described['uuid']}.come"


def tpm_file(move: Move) -> str:
    return f"{STATE_DIR}/{move.name}.img.come"


def file_of(move: Move, kind: str) -> str:
    return {"memory": memory_file, "tpm": tpm_file}[kind](move)


def seen_file(host: Any, kind: str, path: str) -> dict[str, Any]:
    return {"kind": kind, "path": path, "sha256": host.digest(path)}


async def besides(host: Any, name: str) -> tuple[Optional[Domain], Optional[Domain]]:
    """The guest's domains by the names that xl gives while it migrates: (the one that went away, the one that comes in)."""
    named = {d.name: d for d in await listed(host)}
    return named.get(name + AWAY), named.get(name + INCOMING)


async def end(host: Any, domain: Optional[Domain]) -> None:
    """Destroys a domain and waits until it is gone. Raises XenError(step_failed)."""
    if domain is None:
        return
    await host.run(["xl", "destroy", str(domain.domid)], 60.0)
    if not await until(host, is_over, domain.domid, host.now() + PATIENCE):
        hint = f"`xl destroy {domain.domid}` by hand, and run again"
        raise XenError("step_failed", f"domain {domain.name} could not be destroyed", {"domid": domain.domid}, hint)
