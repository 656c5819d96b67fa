# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who of a set of guests goes before whom: what others lean on comes up first, and goes down last. Pure.

A guest leans on the domains that its devices have as back ends (driver domains, vTPM managers), and on those that the task
names in `depends_on`.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, invalid

UP = ("running", "paused")
NOT_RUNNING = ("paused", "saved", "halted", "absent")
DOWN = ("saved", "halted", "absent")


class Part(NamedTuple):
    """A guest of the set. state: the one that it is to have; leans_on: names of domains, also of some that are not in the set."""

    state: str
    leans_on: frozenset[str]


def leans_on(guest: Optional[Guest], depends_on: Iterable[str] = ()) -> frozenset[str]:
    """The names of the domains that have to run before the guest does, domain 0 aside."""
    devices = [device for kind in ("disks", "nics", "channels", "p9", "vtpm") for device in (getattr(guest, kind, None) or ())]
    return frozenset(device.backend for device in devices if device.backend).union(depends_on) - {"0", "Domain-0"}


def before(parts: Mapping[str, Part]) -> dict[str, frozenset[str]]:
    """For each guest those of the set that have to be done before it is begun.

    Raises XenError(invalid_input) for guests that lean on each other in a ring, and for one that is to be up while one that
    it leans on is not to run.
    """
    found: dict[str, set[str]] = {name: set() for name in parts}
    for name, other in _pairs(parts):
        if parts[name].state in UP and parts[other].state in NOT_RUNNING:
            why = f"{name} leans on it, and is to be {parts[name].state}"
            raise invalid(f"guests[{other}].state", parts[other].state, "running", why)
        first, then = (name, other) if parts[name].state in DOWN else (other, name)
        found[then].add(first)
    _refuse_ring(found)
    return {name: frozenset(others) for name, others in found.items()}


def _pairs(parts: Mapping[str, Part]) -> Iterator[tuple[str, str]]:
    """(a guest of the set, another of the set on which it leans)."""
    for name, part in parts.items():
        yield from ((name, other) for other in sorted(part.leans_on & parts.keys()))


def _refuse_ring(found: Mapping[str, Iterable[str]]) -> None:
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as ring:
        names = list(reversed(ring.args[1]))
        raise invalid("depends_on", " -> ".join(names), "guests that do not lean on each other in a ring") from ring


def refuse_alone(name: str, depends_on: Iterable[str], domains: Iterable[Domain]) -> None:
    """Raises XenError(dependency_down) unless all these run. domains: of the host, as they are."""
    there = {domain.name: domain for domain in domains if not domain.dying}
    for other in depends_on:
        domain = there.get(other)
        if domain is None or domain.paused or not domain.alive:
            how = "is not on this host" if domain is None else ("is paused" if domain.alive else "has ended")
            raise XenError(
                "dependency_down",
                f"guest {name}: depends_on: {other!r} {how}, and has to run before it",
                {"depends_on": other, "domid": domain.domid if domain else None, "flags": domain.flags if domain else None},
                f"start {other} first, or have module guests start both: it takes them in order",
            )
