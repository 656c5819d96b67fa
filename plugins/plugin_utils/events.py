# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What happened on a Xen host, from what is there now and what was known: guests that appear, go, degrade, recover. Pure.

Each look at a host is of the whole of it, so nothing is missed while nobody looked, and nothing is told twice: who comes
back to a host after an hour compares with what he knew.

The text of events ends up in variables of playbooks that Ansible takes for its own, as they come from its command line. So
none of it is a template any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable

LONGEST = 300  # characters of one text in an event
FORGOTTEN_AFTER = 1000  # guests that were degraded and went, of which it is remembered that they were
TEMPLATE = re.compile(r"\{(?=[{%#])")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

Event = dict[str, Any]


@dataclass
class Known:
    """A guest as it was last seen. held: the paths of its links that held since it got its number. since: when it was first
    seen broken (seconds, the caller's clock), None while it is whole."""

    guest: Mapping[str, Any]
    held: set[str] = field(default_factory=set)
    since: Optional[float] = None


@dataclass
class Memory:
    """What is known of one host. guests: by UUID; None: it was never seen. degraded: UUIDs of which that was told last."""

    host: str
    guests: Optional[dict[str, Known]] = None
    degraded: dict[str, None] = field(default_factory=dict)
    away: bool = False


def text(foreign: Any) -> str:
    """Foreign text on one line, without control characters, and no template."""
    return TEMPLATE.sub(REPLACEMENT, " ".join(printable(str(foreign), LONGEST).split()))


def lost(memory: Memory, why: str) -> list[Event]:
    """The host does not answer. Told once, until it does."""
    if memory.away:
        return []
    memory.away = True
    return [_event("host_lost", memory, evidence={"reason": text(why)})]


def seen(memory: Memory, guests: Sequence[Mapping[str, Any]], now: float, settle: float) -> list[Event]:
    """A look at the host: its guests as leaning.looked_at() tells them. settle: seconds that a guest must be broken."""
    told = [_event("host_back", memory)] if memory.away else []
    memory.away = False
    first, known = memory.guests is None, memory.guests or {}
    memory.guests = {str(guest["uuid"]): _known(known.get(str(guest["uuid"])), guest) for guest in guests}
    told += [_event("gone", memory, old.guest) for uuid, old in known.items() if not _same(old, memory.guests.get(uuid))]
    come = [new.guest for uuid, new in memory.guests.items() if not _same(new, known.get(uuid))]
    told += [_event("appeared", memory, guest, initial=first) for guest in come]
    return told + judged(memory, now, settle, initial=first)


def judged(memory: Memory, now: float, settle: float, initial: bool = False) -> list[Event]:
    """Who has been broken for long enough, and who is whole again."""
    return list(_judged(memory, now, settle, initial))


def deadline(memory: Memory, settle: float) -> Optional[float]:
    """When judged() may have something new to say although nothing changes."""
    waiting = [
        known.since for uuid, known in (memory.guests or {}).items() if known.since is not None and uuid not in memory.degraded
    ]
    return min(waiting) + settle if waiting else None


def _judged(memory: Memory, now: float, settle: float, initial: bool) -> Iterator[Event]:
    for uuid, known in (memory.guests or {}).items():
        if not _broken(known):
            known.since = None
            if uuid in memory.degraded and _whole(known.guest):
                del memory.degraded[uuid]
                yield _event("recovered", memory, known.guest)
            continue
        known.since = now if known.since is None else known.since
        if uuid not in memory.degraded and now - known.since >= settle:
            memory.degraded[uuid] = None
            for old in list(memory.degraded)[:-FORGOTTEN_AFTER]:
                del memory.degraded[old]
            yield _event("degraded", memory, known.guest, initial, _evidence(known))


def _known(old: Optional[Known], guest: Mapping[str, Any]) -> Known:
    known = old if old and old.guest["domid"] == guest["domid"] else Known(guest)
    return Known(guest, known.held | {link["path"] for link in guest["links"] if link["holds"]}, known.since)


def _same(one: Known, other: Optional[Known]) -> bool:
    return other is not None and one.guest["domid"] == other.guest["domid"]


def _broken(known: Known) -> bool:
    """Whether it lost what it had. One that is being made, or shuts down, has lost nothing."""
    return bool(known.guest["up"] and (known.guest["lost"] or _let_go(known)))


def _let_go(known: Known) -> list[Mapping[str, Any]]:
    return [link for link in known.guest["links"] if not link["holds"] and link["path"] in known.held]


def _whole(guest: Mapping[str, Any]) -> bool:
    """Whether it runs, with all that it leans on. It is paused until its chain holds."""
    return bool(guest["up"] and not guest["paused"] and not guest["lost"] and all(link["holds"] for link in guest["links"]))


def _evidence(known: Known) -> dict[str, Any]:
    shown = ("link", "domain", "path", "want", "value")
    broken = [{key: link[key] for key in shown} for link in _let_go(known)]
    return {
        "lost_domains": [int(domid) for domid in known.guest["lost"]],
        "links": [{key: text(value) if isinstance(value, str) else value for key, value in link.items()} for link in broken],
    }


def _event(
    kind: str, memory: Memory, guest: Optional[Mapping[str, Any]] = None, initial: bool = False, evidence: Optional[Event] = None
) -> Event:
    about = {"guest": text(guest["name"]), "uuid": text(guest["uuid"]), "domid": int(guest["domid"])} if guest else {}
    return {"type": kind, "host": memory.host, **about, "initial": initial, "evidence": evidence or {}}
