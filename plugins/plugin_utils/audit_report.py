# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From what the modules returned on each host to the report of an audit, whose shape docs/audit.md tells. Pure.

Every guest that was found, planned or described is in the report once; a domain that holds the TPM of one of them is a domain
of that guest. Foreign text in it has nothing without a glyph. Only what is named here is taken over from a result, so that
nothing gets in that a module might say besides, such as its arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable
from ansible_collections.stubdom.xen.plugins.module_utils.state import WORDS as STATES
from ansible_collections.stubdom.xen.plugins.module_utils.steps import DISRUPTIONS, STEPS
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_differences import differences
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_verdict import WORDS, Sight, verdict

SCHEMA = 1
TEXT_MAX = 8000  # characters of one text
LINK = ("link", "domain", "path", "want", "value", "holds", "after_s")
ERROR = ("code", "msg", "evidence", "hint")
STEP = ("step", "field", "from", "to", "disruption", "reason")
WAITS = ("field", "from", "to", "needs", "reason")
STARTS = ("create", "restore")
DOMAIN = ("domid", "name", "flags", "uuid")

Result = Mapping[str, Any]


def report_of(seen: Mapping[str, Result], made: str) -> dict[str, Any]:
    """The report. seen: for each host what `host_of` takes; made: when it was, in UTC, as ISO 8601 has it."""
    hosts = [host_of(name, found) for name, found in sorted(seen.items())]
    found: dict[str, Any] = clean({"schema": SCHEMA, "made": made, "summary": summary_of(hosts), "hosts": hosts})
    return found


def summary_of(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    guests = [guest for host in hosts for guest in host["guests"]]
    took = [guest["rollout"]["took_s"] for guest in guests if guest["rollout"]]
    return {
        "hosts": len(hosts),
        "hosts_by_state": {state: sum(h["state"] == state for h in hosts) for state in ("audited", "unreachable", "failed")},
        "guests": len(guests),
        "verdicts": counted(guests),
        "errors": sum(host["error"] is not None for host in hosts),
        "leftovers": sum(len(host["leftovers"]) for host in hosts),
        "rollout": {"guests": len(took), "longest_s": max(took)} if took else None,
    }


def counted(guests: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many guests each word fits, words that fit none included."""
    return {**dict.fromkeys(WORDS, 0), **Counter(guest["verdict"] for guest in guests)}


def host_of(name: str, seen: Result) -> dict[str, Any]:
    """One host. seen: what was returned there.

    found: by guest_info. planned: by guests in check mode, a list of results. described: names and states of the inventory's
    guests, None where it has none. host: by host_info. results: by guests as it rolled out, or the list of its guests.
    """
    found, planned = seen.get("found") or {}, list(seen.get("planned") or ())
    guests = _guests(seen, found, planned)
    state = "audited" if "guests" in found else ("unreachable" if found.get("unreachable") else "failed")
    whole = _whole_failure([*planned, found])
    leftovers = {d["domid"]: d for d in [*(found.get("leftovers") or ()), *(d for g in guests for d in g["leftovers"])]}
    return {
        "name": name,
        "state": state,
        "described": seen.get("described") is not None,
        "error": _only(ERROR, whole) if whole else None,
        "xen": _facts(seen.get("host") or {}),
        "verdicts": counted(guests),
        "leftovers": [_only(DOMAIN, domain) for _domid, domain in sorted(leftovers.items())],
        "guests": guests,
    }


def _whole_failure(results: Sequence[Result]) -> Optional[Result]:
    """What kept a module from saying anything of the guests. A guest's own refusal is told with the guest."""
    for result in results:
        if result and "guests" not in result and (result.get("failed") or result.get("unreachable")):
            return {"code": "unreachable", **result} if result.get("unreachable") else result
    return None


def _facts(told: Result) -> Optional[dict[str, Any]]:
    if "xen" not in told:
        return None
    return {"version": told["xen"].get("version"), "cpus": told.get("cpus"), "memory": _only(("total", "free"), told["memory"])}


# --- guests


def _guests(seen: Result, found: Result, planned: Sequence[Result]) -> list[dict[str, Any]]:
    there = {g["name"]: g for g in found.get("guests") or ()}
    plans = {g["name"]: g for result in planned for g in result.get("guests") or _refused(result)}
    wished = seen.get("described") or {}
    rolled = {g["name"]: g for g in _results(seen.get("results"))}
    names = sorted({*there, *plans, *wished, *rolled})
    serving = {g["serves"]: g for g in there.values() if g.get("serves") in names and g["name"] not in {*plans, *wished}}
    inside = {g["name"] for g in serving.values()}
    absent = {"state": "absent"} if "guests" in found else None
    return [
        guest_of(name, there.get(name, absent), plans.get(name), wished.get(name), rolled.get(name), serving.get(name))
        for name in names
        if name not in inside
    ]


def _refused(result: Result) -> Sequence[Result]:
    """What module guests refused before it looked at any guest, where it was asked of one guest, the item of a loop."""
    return [{**result, "name": result["item"]}] if result.get("failed") and "item" in result else []


def _results(told: Any) -> Sequence[Result]:
    return (told.get("guests") or ()) if isinstance(told, Mapping) else (told or ())


def guest_of(
    name: str,
    found: Optional[Result],
    planned: Optional[Result],
    wanted: Optional[str],
    rolled: Optional[Result] = None,
    helper: Optional[Result] = None,
) -> dict[str, Any]:
    """One guest. found: as guest_info has it, None where it could not be asked; planned: as guests has it in check mode;
    rolled: as guests has it.

    wanted: the state that it is described in, helper: as guest_info has the domain that holds its TPM.
    """
    found, planned = found or {}, planned or {}
    plan, pending = planned.get("plan") or [], planned.get("pending") or []
    desired, links = (planned.get("guest") or {}).get("spec") or None, found.get("readiness") or []
    refused = bool(planned.get("failed")) or (wanted is not None and not planned)
    broken = [link for link in links if link.get("holds") is False]
    sight = Sight(
        wanted is not None, found.get("state"), wanted, refused, len(broken), [step["step"] for step in plan],
        len(pending), len(found.get("drift") or ()), len(found.get("leftovers") or ()),
    )  # fmt: skip
    word, spec = verdict(sight), desired or found.get("spec") or {}
    return {
        "name": name,
        "verdict": word,
        "described": sight.described,
        "managed": bool(found.get("managed")),
        "type": spec.get("type"),
        "state": sight.state,
        "wanted": wanted,
        "needs": _needs(plan, pending),
        "uuid": found.get("uuid"),
        "domains": domains_of(name, found, helper),
        "differs": differences(desired, found.get("stored"), found.get("live"), plan, pending, found.get("drift") or ()),
        "plan": [_step(step) for step in plan],
        "pending": [_only(WAITS, waits) for waits in pending],
        "queued": bool(found.get("queued")),
        "evidence": evidence(found, pending) if word == "degraded" else [],
        "error": _only(ERROR, planned) if planned.get("failed") else None,
        "readiness": [_only(LINK, link) for link in links],
        "leftovers": [_only(DOMAIN, domain) for domain in found.get("leftovers") or ()],
        "rollout": rollout_of(rolled) if rolled and came_up(rolled) else None,
        "desired": desired,
        "stored": found.get("stored"),
        "live": found.get("live"),
    }


def _needs(plan: Sequence[Result], pending: Sequence[Result]) -> Optional[str]:
    """The most that the guest would notice; None where there is nothing to do."""
    takes = [step["disruption"] for step in plan] + [waits["needs"] for waits in pending]
    return max(takes, key=DISRUPTIONS.index) if takes else None


def _step(step: Result) -> dict[str, Any]:
    return {**_only(STEP, step), "says": STEPS[step["step"]].says if step["step"] in STEPS else None}


def domains_of(name: str, found: Result, helper: Optional[Result]) -> list[dict[str, Any]]:
    """The guest's domains: its own, its stubdomain's, its TPM's, and what is left of others."""
    stubdom, tpms = found.get("stubdom"), found.get("vtpm") or ()
    told = [("guest", name, found["domid"], found.get("state") not in ("crashed", "shutdown"))] if found.get("domid") else []
    told += [("stubdomain", stubdom["name"], stubdom["domid"], stubdom["alive"])] if stubdom else []
    told += [("vtpm", tpm["name"], tpm["domid"], tpm["alive"]) for tpm in tpms]
    told += [("vtpm", helper["name"], helper["domid"], helper["domid"] is not None)] if helper and not tpms else []
    told += [("leftover", left["name"], left["domid"], False) for left in found.get("leftovers") or ()]
    return [dict(zip(("role", "name", "domid", "alive"), domain)) for domain in told]


def evidence(found: Result, pending: Sequence[Result] = ()) -> list[str]:
    """Why a guest is degraded, in sentences, the most telling last. Which links of its chain do not hold is in `readiness`."""
    said = [] if found["state"] == "running" else [STATES[found["state"]]]
    said += [waits["reason"] for waits in pending if waits["field"] == "state"]
    stubdom = found.get("stubdom")
    if stubdom and not stubdom["alive"]:
        said.append(f"its stubdomain {stubdom['name']} (domid {stubdom['domid']}) is dead")
    for tpm in found.get("vtpm") or ():
        if not tpm["alive"]:  # an emulator is a process of domain 0
            said.append(f"the {'emulator' if tpm['domid'] == 0 else 'domain'} of its TPM, {tpm['name']}, is gone")
        elif not tpm["ready"]:
            said.append(f"{tpm['name']} (domid {tpm['domid']}), which holds its TPM, does not serve it")
    return said


def came_up(result: Result) -> bool:
    """Whether the rollout made the guest come up, or tried to: one that ran before has nothing to tell."""
    timed = any(link.get("after_s") is not None for link in result.get("readiness") or ())
    return timed or bool(result.get("failed")) or any(step["step"] in STARTS for step in result.get("plan") or ())


def rollout_of(result: Result) -> dict[str, Any]:
    """How the guest came up when it was rolled out: its links with the seconds after which each held."""
    links = [_only(LINK, link) for link in result.get("readiness") or _failed_links(result)]
    return {
        "failed": bool(result.get("failed")),
        "changed": bool(result.get("changed")),
        "error": _only(ERROR, result) if result.get("failed") else None,
        "took_s": max((float(link["after_s"]) for link in links if link["after_s"] is not None), default=0.0),
        "links": links,
    }


def _failed_links(result: Result) -> Sequence[Result]:
    told = result.get("evidence")
    return (told.get("links") or ()) if isinstance(told, Mapping) else ()


# --- text


def _only(keys: Sequence[str], told: Result) -> dict[str, Any]:
    return {key: told.get(key) for key in keys}


def clean(value: Any) -> Any:
    """Plain data, with no text in it on which a terminal or a browser would act."""
    if isinstance(value, str):
        return str(value) if value.isprintable() and len(value) <= TEXT_MAX else printable(value, TEXT_MAX)
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else clean(str(value))
