# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""In which waves the hosts of a fleet are changed, so that guests of one service are never down together. Pure.

Hosts are the nodes of a graph, and so are, within a host, its guests; an edge is between two that bring down guests of
one service, or of which one brings down a guest while the other has one that is down already. Nodes are coloured first
fit; a colour is a wave of hosts, or a turn of guests within their host's wave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: rollout_waves
short_description: The waves in which hosts are changed, so that guests of one service are never down together
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Takes what is to be done on each host, and returns which hosts may be changed at a time.
  - A host on which nothing is to be done is in no wave. Every other one is in exactly one.
  - No wave has two hosts that bring down guests of one service, and none that brings one down beside a host on which
    another of that service is down already. A plan that brings no guest down, such as one that adds a disk, is beside any.
  - Within a host, guests of one service are in different turns. One that another names in C(depends_on) is in no later turn
    than that, and guests whose devices are served by one that is made anew are in the turn of that.
  - Hosts with a guest of a service that is down already come first, then those that the most others cannot be beside,
    then as they are given. The same input gives the same waves.
positional: _input, canary
options:
  _input:
    description:
      - Host to what P(stubdom.xen.rollout_seen#filter) returned for it.
      - A guest may be of several services. The hosts' C(services) may be the same for all.
    type: dict
    required: true
  canary:
    description:
      - Hosts that are changed before all others, in a wave of their own.
      - Where none of them has anything to do, it is the first host of the rest, alone.
      - A host on which a guest is down goes before a canary that brings down another of its service.
    type: list
    elements: str
    default: []
  again:
    description:
      - Hosts on which an earlier run did not come to its end. They are in a wave also when nothing is left to do there, so
        that they are judged, and are the canary.
    type: list
    elements: str
    default: []
  at_most:
    description: The most hosts of a wave; V(0) is no limit.
    type: int
    default: 0
  strict:
    description: Refuse a name in C(services) that is no guest's. Leave it to V(true) where all hosts are given.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: What is to be done
  stubdom.xen.guests:
    guests: "{{ xen_guests }}"
    disruption: recreate
  check_mode: true
  register: look

- name: What of it the waves have to know
  ansible.builtin.set_fact:
    seen: "{{ look.guests | stubdom.xen.rollout_seen(xen_guests, services={'web': ['web*']}) }}"

- name: In which waves
  ansible.builtin.debug:
    msg: "{{ dict(ansible_play_hosts | zip(seen)) | stubdom.xen.rollout_waves }}"
  vars:
    seen: "{{ ansible_play_hosts | map('extract', hostvars, 'seen') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The waves, in their order.
  type: list
  elements: dict
  contains:
    canary: {description: Whether these go before all others, type: bool}
    hosts:
      description:
        - Host to what is done there. C(turns) are done one after the other, each with the C(guests) that are done side
          by side, those that it brings down in C(falls), and in C(peers), by host, the guests that have to run meanwhile.
        - C(plans) are each guest's steps and digest, C(ran) the guests that are to run and did.
      type: dict
"""

# Steps (module_utils/steps.py) after which a guest that ran does not, and those that make its domain anew.
FALLS = ("shutdown", "pause", "save")
ANEW = ("create", "restore")


class Member(NamedTuple):
    """What the waves have to know of a guest. along: made anew because a domain is that serves its devices."""

    host: str
    name: str
    services: frozenset[str]
    state: str
    wanted: str
    steps: tuple[str, ...]
    digest: str
    after: frozenset[str]
    backends: frozenset[str]
    along: bool = False

    @property
    def runs(self) -> bool:
        return self.wanted == "running" and self.state == "running"

    @property
    def down(self) -> bool:
        """It is to run and does not."""
        return self.wanted == "running" and self.state != "running"

    @property
    def falls(self) -> bool:
        return any(step in FALLS for step in self.steps) or (self.along and self.runs)

    @property
    def acts(self) -> bool:
        return bool(self.steps) or self.along


class Load(NamedTuple):
    """A node: the services of which it brings down a guest, and of which it has one that is down already.

    after: the nodes that are to be placed no later.
    """

    name: str
    falls: frozenset[str]
    lacks: frozenset[str]
    after: frozenset[str] = frozenset()


def rollout_waves(
    hosts: Mapping[str, Any], canary: Sequence[str] = (), again: Sequence[str] = (), at_most: int = 0, strict: bool = True
) -> list[dict[str, Any]]:
    """The waves. Raises AnsibleFilterError."""
    _judge(hosts, [*canary, *again], at_most)
    members = {host: _members(host, seen) for host, seen in hosts.items()}
    if strict:
        _refuse_unknown(hosts, members)
    loads = [_load(host, mine) for host, mine in members.items() if any(m.acts for m in mine) or host in again]
    first = _first(loads, canary, again)
    waves = [(True, wave) for wave in spread([load for load in loads if load.name in first], at_most)]
    waves += [(False, wave) for wave in spread([load for load in loads if load.name not in first], at_most)]
    peers = _by_service(members)
    return [{"canary": is_canary, "hosts": {host: _work(members[host], peers) for host in wave}} for is_canary, wave in waves]


def apart(one: Load, other: Load) -> bool:
    """Whether the two may not be worked on at the same time."""
    return bool(one.falls & (other.falls | other.lacks) or one.lacks & other.falls)


def spread(loads: Sequence[Load], at_most: int = 0) -> list[list[str]]:
    """First fit: the names of each colour. What is down already comes first, and before what brings down its service."""
    degree = {load.name: sum(apart(load, other) for other in loads if other is not load) for load in loads}
    found: list[list[Load]] = []
    for load in _in_order(sorted(loads, key=lambda load: (not load.lacks, -degree[load.name]))):
        least = max((i + later for i, there in enumerate(found) for other in there for later in _later(load, other)), default=0)
        place = next((i for i in range(least, len(found)) if _fits(load, found[i], at_most)), len(found))
        if place == len(found):
            found.append([])
        found[place].append(load)
    return [[load.name for load in there] for there in found]


def _later(load: Load, other: Load) -> Iterator[int]:
    """By how many colours ``load`` has to be later than ``other`` at least, if it has to be."""
    if other.lacks & load.falls:
        yield 1
    if other.name in load.after:
        yield 0


def _in_order(loads: Sequence[Load]) -> list[Load]:
    """The same order, but each behind those that it is to be after. No ring: module guests refuses one."""
    by_name = {load.name: load for load in loads}
    found: dict[str, Load] = {}

    def put(load: Load, above: frozenset[str]) -> None:
        for name in sorted(load.after & by_name.keys() - above):
            put(by_name[name], above | {load.name})
        found.setdefault(load.name, load)

    for load in loads:
        put(load, frozenset({load.name}))
    return list(found.values())


def _fits(load: Load, there: Sequence[Load], at_most: int) -> bool:
    return not (at_most and len(there) >= at_most) and not any(apart(load, other) for other in there)


def _first(loads: Sequence[Load], canary: Sequence[str], again: Sequence[str]) -> set[str]:
    """The hosts before all others: the canary, and those with a guest that is down beside which it may bring none down."""
    by_name = {load.name: load for load in loads}
    first = set(by_name) & set(again or canary)
    first = first or {load.name for load in sorted(loads, key=lambda load: not load.lacks)[:1]}
    held = [load.name for load in loads if any(load.lacks & by_name[name].falls for name in first)]
    return first | set(held)


def _load(name: str, members: Iterable[Member]) -> Load:
    members = list(members)
    falls = frozenset(service for m in members if m.falls for service in m.services)
    return Load(name, falls, frozenset(service for m in members if m.down for service in m.services))


def _work(members: Sequence[Member], by_service: Mapping[str, Sequence[Member]]) -> dict[str, Any]:
    """What is done on a host: its turns, and what is known of its guests."""
    units = _units(members)
    unit_of = {m.name: name for name, unit in units.items() for m in unit}
    loads = [
        _load(name, unit)._replace(
            after=frozenset(unit_of[n] for m in unit for n in m.after | m.backends if n in unit_of) - {name}
        )
        for name, unit in units.items()
    ]
    return {
        "turns": [_turn([m for name in turn for m in units[name]], by_service) for turn in spread(loads)],
        "plans": {m.name: {"steps": list(m.steps), "digest": None if m.along else m.digest} for m in members if m.acts},
        "ran": [m.name for m in members if m.runs],
    }


def _units(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Those that are made anew together, by the name of one of them. Raises AnsibleFilterError for two of a service."""
    found = {m.name: [m] for m in members if m.acts}
    for member in (m for m in members if m.along):
        for other in sorted(member.backends):
            mine = next((name for name, unit in found.items() if member in unit), "")
            theirs = next((name for name, unit in found.items() if any(m.name == other for m in unit)), mine)
            if mine != theirs:
                found[theirs] += found.pop(mine)
    for unit in found.values():
        _refuse_one_fate([m for m in unit if m.falls])
    return found


def _refuse_one_fate(members: Sequence[Member]) -> None:
    for i, one in enumerate(members):
        for other in members[:i]:
            shared = sorted(one.services & other.services)
            if shared:
                raise AnsibleFilterError(
                    f"rollout_waves: {other.name} and {one.name} on {one.host} are of service {shared[0]}, and are made anew "
                    "together, as a domain is that serves their devices"
                )


def _turn(members: Sequence[Member], by_service: Mapping[str, Sequence[Member]]) -> dict[str, Any]:
    falling = [m for m in members if m.falls]
    peers: dict[str, list[str]] = {}
    for service in sorted({service for m in falling for service in m.services}):
        for peer in by_service.get(service, ()):
            names = peers.setdefault(peer.host, [])
            if peer not in falling and peer.name not in names:
                names.append(peer.name)
    return {
        "guests": [m.name for m in members],
        "falls": [m.name for m in falling],
        "peers": {host: names for host, names in peers.items() if names},
    }


def _by_service(members: Mapping[str, Sequence[Member]]) -> dict[str, list[Member]]:
    """The guests of each service that are to run."""
    found: dict[str, list[Member]] = {}
    for member in (m for mine in members.values() for m in mine if m.runs or m.down):
        for service in member.services:
            found.setdefault(service, []).append(member)
    return found


def _members(host: str, seen: Mapping[str, Any]) -> list[Member]:
    found = [_member(host, guest, seen["services"]) for guest in seen["guests"]]
    while True:  # what is taken along is made anew, and takes along those that it serves
        anew = {m.name for m in found if m.along or any(step in ANEW for step in m.steps)}
        more = [m._replace(along=True) if m.runs and m.backends & anew else m for m in found]
        if more == found:
            return found
        found = more


def _member(host: str, guest: Mapping[str, Any], services: Mapping[str, Sequence[str]]) -> Member:
    name = str(guest["name"])
    mine = frozenset(service for service, patterns in services.items() if any(_is(host, name, p) for p in patterns))
    return Member(
        host, name, mine, guest["state"], guest["wanted"], tuple(guest["steps"]), guest["digest"],
        frozenset(guest["after"]), frozenset(guest["backends"]),
    )  # fmt: skip


def _is(host: str, name: str, pattern: str) -> bool:
    return fnmatchcase(f"{host}/{name}" if "/" in pattern else name, pattern)


# --- what is refused


def _judge(hosts: Any, named: Sequence[str], at_most: Any) -> None:
    if not isinstance(hosts, Mapping) or not all(
        isinstance(s, Mapping) and {"guests", "services"} <= set(s) for s in hosts.values()
    ):
        raise AnsibleFilterError("rollout_waves: wanted host to what stubdom.xen.rollout_seen returned")
    if not isinstance(at_most, int) or at_most < 0:
        raise AnsibleFilterError(f"rollout_waves: at_most: wanted a number of hosts, 0 for no limit, not {at_most!r}")
    unknown = sorted({name for name in named if name not in hosts})
    if unknown:
        raise AnsibleFilterError(f"rollout_waves: {', '.join(unknown)}: not among the hosts {', '.join(hosts)}")


def _refuse_unknown(hosts: Mapping[str, Any], members: Mapping[str, Sequence[Member]]) -> None:
    """A name that is nobody's is a slip, and the guest that was meant would be down with the others."""
    there = [(m.host, m.name) for mine in members.values() for m in mine]
    said = {(str(s), str(p)) for seen in hosts.values() for s, names in seen["services"].items() for p in names}
    lost = sorted(f"{s}: {p}" for s, p in said if not any(_is(host, name, p) for host, name in there))
    if lost:
        raise AnsibleFilterError(f"rollout_waves: services name guests that no host has ({'; '.join(lost)})")


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_waves": rollout_waves}
