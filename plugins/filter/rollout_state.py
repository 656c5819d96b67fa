# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is remembered of a rollout between runs, on the controller: who is done, who is not, and why. Pure.

What a guest is, is looked up each time; only what cannot be looked up is kept: that a host was judged and found well, and
what a guest was before it was changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: rollout_state
short_description: What is remembered of a rollout, with the waves that are to come
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Takes what is remembered of an earlier run, and lays the waves that are to come over it.
  - Where that run did not come to its end, its hosts that are done stay so, and the waves are numbered on from theirs.
    Where it did, or nothing is remembered, a new rollout is begun.
  - Where nothing is to come and nothing was left undone, it is returned as it is.
  - What was kept of a guest before it was changed the first time is not forgotten until its host is done.
positional: _input, waves
options:
  _input:
    description: What is remembered, as this filter returned it; an empty dictionary for nothing.
    type: dict
    required: true
  waves:
    description: The waves, as P(stubdom.xen.rollout_waves#filter) returns them.
    type: list
    elements: dict
    required: true
  hosts:
    description: The hosts that were looked at. Of the others, what is remembered is left as it is.
    type: list
    elements: str
    required: true
  now:
    description: The time at which a new rollout begins, as a text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Begin a rollout
  ansible.builtin.debug:
    msg: "{{ {} | stubdom.xen.rollout_state(waves, hosts=ansible_play_hosts, now=now(utc=true).isoformat()) }}"
"""

RETURN = r"""
_value:
  description: What is to be remembered.
  type: dict
  contains:
    begun: {description: When the rollout began, type: str}
    hosts:
      description:
        - Host to C(wave), C(canary), C(state), C(why) and what P(stubdom.xen.rollout_waves#filter) says of it.
        - C(state) is V(waiting), V(begun), V(done), V(failed) or V(back) (brought back to what it was).
        - C(was) says what its guests were before, their C(state), and whether they had a C(file) and C(autostart).
      type: dict
"""

# Words of a host's state after which it is judged again, also with nothing left to do.
UNENDED = ("begun", "failed")
ENDED = ("done",)


def rollout_state(known: Mapping[str, Any], waves: Sequence[Mapping[str, Any]], hosts: Sequence[str], now: str) -> dict[str, Any]:
    """What is remembered from here on. Raises AnsibleFilterError."""
    before = hosts_of("rollout_state", known)
    goes_on = any(record["state"] not in ENDED for record in before.values())
    if not waves and not goes_on:
        return dict(known)
    kept = {host: record for host, record in before.items() if goes_on and (record["state"] in ENDED or host not in hosts)}
    last = max((record["wave"] for record in kept.values() if record["state"] in ENDED), default=0)
    records = {
        host: _record(last + number, wave["canary"], work, before.get(host, {}) if goes_on else {})
        for number, wave in enumerate(waves, 1)
        for host, work in wave["hosts"].items()
    }
    return {"begun": known["begun"] if goes_on else now, "hosts": {**kept, **records}}


def hosts_of(name: str, known: Any) -> Mapping[str, Mapping[str, Any]]:
    """The remembered hosts. Raises AnsibleFilterError for what none of these filters wrote."""
    hosts = known.get("hosts", {}) if isinstance(known, Mapping) else None
    if not isinstance(hosts, Mapping) or not all(isinstance(r, Mapping) and {"wave", "state"} <= set(r) for r in hosts.values()):
        raise AnsibleFilterError(f"{name}: wanted what is remembered of a rollout, as stubdom.xen.rollout_state returns it")
    return hosts


def _record(wave: int, canary: bool, work: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """before: of this host, in the rollout that goes on."""
    unended = before.get("state") in UNENDED
    return {
        "wave": wave,
        "canary": canary,
        "state": "waiting",
        "why": None,
        **work,
        "was": before.get("was", {}) if unended else {},
        "earlier": _each_once([*before.get("earlier", []), *before.get("turns", [])]) if unended else [],
    }


def _each_once(turns: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [turn for i, turn in enumerate(turns) if turn not in turns[:i]]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"rollout_state": rollout_state}
