# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The set of guests that a host should have, in one go: looked at together, refused together, started side by side.

A guest with nothing to do costs a comparison and no program. The others each walk their own plan, as module guest would
have them, a few at a time and in the order that order.py gives; a walk looks afresh once it holds its guest's lock.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Optional, Union

from ansible_collections.stubdom.xen.plugins.module_utils import admission, dryrun, order, purge, rules, swtpm, tpm
from ansible_collections.stubdom.xen.plugins.module_utils import plan as planning
from ansible_collections.stubdom.xen.plugins.module_utils.decide import Decision, approve, decide
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.execute import converge
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info, links_of, look_all
from ansible_collections.stubdom.xen.plugins.module_utils.paths import config_name, config_path
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy, policy_of
from ansible_collections.stubdom.xen.plugins.module_utils.report import result
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, from_options, invalid
from ansible_collections.stubdom.xen.plugins.module_utils.state import State


class Member(NamedTuple):
    """One guest of the set: the task's own words about it, and what they mean."""

    options: Mapping[str, Any]
    given: Guest
    policy: Policy

    @property
    def name(self) -> str:
        return str(self.given.name)


Decided = Union[Decision, XenError]


async def converge_all(host: Any, options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Brings all guests to what ``options`` (those of module guests) describe. Returns the module's result.

    Raises XenError for what makes the set as a whole impossible; nothing was touched then.
    """
    if options["concurrency"] < 1:
        raise invalid("concurrency", options["concurrency"], "1 or more")
    members = _members(options["guests"])
    states = await look_all(host, [*(member.name for member in members), *_others(host, options, members)])
    members += _purged(options, members, states)
    ranks = order.before({member.name: _part(member, states[member.name]) for member in members})
    decided = {member.name: await _decided(host, member, states[member.name], ranks) for member in members}
    if not options["continue_on_error"]:
        _refuse(decided)
    await _fits(host, members, decided, states)
    _approve(options.get("expect_plan"), decided)
    still = set(decided) if check_mode else _still(decided, ranks)
    quiet = [(states[n], d.wanted) for n, d in decided.items() if n in still and isinstance(d, Decision)]
    links = {} if check_mode else await links_of(host, quiet)
    results = _at_once([m for m in members if m.name in still], states, decided, links)
    if not check_mode:
        _keep(host, decided)
        left = {m.name: m for m in members if m.name not in results}
        failed = [name for name, result in results.items() if result["failed"]]
        host.tell_set(len(results), len(members))
        results.update(_walked(host, left, states, ranks, failed, options))
    summary = _summary([results[member.name] for member in members], decided)
    return {**summary, "purged": [m.name for m in members[len(options["guests"]) :]]} if options.get("purge") else summary


def _members(described: Sequence[Mapping[str, Any]]) -> list[Member]:
    members = [Member(options, from_options(options), policy_of(options)) for options in described]
    for member in members:
        rules.check(member.given)
    for name, times in Counter(member.name for member in members).items():
        if times > 1:
            raise invalid("guests", name, "each guest once")
    return members


def _others(host: Any, options: Mapping[str, Any], members: Sequence[Member]) -> list[str]:
    """Where guests are to be purged, all that have a file and are not described."""
    if not options.get("purge"):
        return []
    filed = [config_name(path) for path in host.find(config_path("*"))]
    return sorted(set(filed) - {member.name for member in members})


def _purged(options: Mapping[str, Any], members: Sequence[Member], states: Mapping[str, State]) -> list[Member]:
    """The guests that are to go because nobody describes them. Raises XenError(purge_limit)."""
    names = purge.purgeable(states, {member.name for member in members}) if options.get("purge") else []
    purge.refuse_many(names, options.get("purge_limit", 0))
    return _members([{"name": name, "state": "absent"} for name in names])


def _part(member: Member, state: State) -> order.Part:
    """A guest that is to go leans on what it has, another one on what it is to have."""
    has = state.live or (state.stored.guest if state.stored else None)
    devices = order.leans_on(has if member.policy.state in order.DOWN else member.given)
    return order.Part(member.policy.state, devices.union(member.policy.depends_on))


async def _decided(host: Any, member: Member, state: State, ranks: Mapping[str, Any]) -> Decided:
    """What to do about it. That those of the set on which it leans run is seen to when it is its turn."""
    alone = [name for name in member.policy.depends_on if name not in ranks]
    try:
        decision = await decide(host, member.given, replace(member.policy, depends_on=tuple(alone)), state)
        approve(member.policy, decision.plan)
        return decision
    except XenError as error:
        return error


def _refuse(decided: Mapping[str, Decided]) -> None:
    """Raises the first refusal, with all of them as evidence: a person mends them in one go."""
    refused = {name: error for name, error in decided.items() if isinstance(error, XenError)}
    if refused:
        name, first = next(iter(refused.items()))
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        said = {name: error.as_result() for name, error in refused.items()}
        raise XenError(first.code, f"guest {name}: {first.msg}{more}", {"refused": said}, first.hint) from first


async def _fits(host: Any, members: Sequence[Member], decided: Mapping[str, Decided], states: Mapping[str, State]) -> None:
    """Each guest alone was held against the host already; here the set is: its memory, and that no two are one."""
    starting = {n: d.wanted for n, d in decided.items() if isinstance(d, Decision) and d.wanted and _does(d, "create", "restore")}
    for identity, times in Counter(guest.uuid for guest in starting.values()).items():
        if times > 1:
            same = [name for name, guest in starting.items() if guest.uuid == identity]
            raise XenError(
                "uuid_in_use", f"uuid: {identity!r} is given to {' and '.join(same)}", {"guests": same},
                "give each guest a UUID of its own, or none: one is made then",
            )  # fmt: skip
    if starting:
        served = [m for m in members if _does(decided[m.name], "serve") and not swtpm.of(starting[m.name])]
        more = sum(tpm.needs(m.policy, states[m.name]) for m in served)
        admission.check_together(await info(host), host.read_file("/etc/xen/xl.conf") or "", starting, states, more)


def _does(decided: Decided, *steps: str) -> bool:
    return isinstance(decided, Decision) and any(planned.step in steps for planned in decided.plan.steps)


def _digest(decided: Mapping[str, Decided]) -> str:
    parts = [f"{name} {d.plan.digest if isinstance(d, Decision) else d.code}" for name, d in sorted(decided.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _approve(expected: Optional[str], decided: Mapping[str, Decided]) -> None:
    if expected is not None and expected != _digest(decided):
        raise XenError(
            "plan_changed",
            f"expect_plan: the plan is {_digest(decided)} now, not {expected}",
            {"plans": {n: planning.shown(d.plan) for n, d in decided.items() if isinstance(d, Decision) and d.plan.steps}},
            "look at the plan as it is now, and approve that one",
        )


def _still(decided: Mapping[str, Decided], ranks: Mapping[str, frozenset[str]]) -> set[str]:
    """Those that need no walk: they were refused, or have nothing to do and lean on none that is made anew."""
    anew = {name for name, decision in decided.items() if _does(decision, "create", "restore")}
    return {n for n, d in decided.items() if not isinstance(d, Decision) or not (d.plan.steps or ranks[n] & anew)}


def _at_once(
    members: Sequence[Member],
    states: Mapping[str, State],
    decided: Mapping[str, Decided],
    links: Mapping[str, tuple[dict[str, Any], ...]],
) -> dict[str, dict[str, Any]]:
    """The results that need no walk: refusals, guests with nothing to do, and in check mode all."""
    found: dict[str, dict[str, Any]] = {}
    for member in members:
        decision, state = decided[member.name], states[member.name]
        if isinstance(decision, XenError):
            found[member.name] = _failed(member.name, decision)
        else:
            found[member.name] = _done(member.name, result(
                state, state, decision.wanted, decision.plan, member.policy.state, links.get(member.name, ())
            ))  # fmt: skip
    return found


def _keep(host: Any, decided: Mapping[str, Decided]) -> None:
    """What xl's parser answered is not asked again, by the walks or by the next task."""
    for name, decision in decided.items():
        if isinstance(decision, Decision) and decision.parsed is not None:
            dryrun.keep(host, name, decision.parsed)


def _walked(
    host: Any,
    members: Mapping[str, Member],
    states: Mapping[str, State],
    ranks: Mapping[str, frozenset[str]],
    failed: list[str],
    options: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Everybody who has something to do does it, a few at a time, after those that go before it."""
    numbers = {name: number for number, name in enumerate(members)}
    after = [{numbers[other] for other in ranks[name] if other in numbers} for name in members]
    walks = [_walk(host, m, states[m.name].domains, ranks[m.name], failed, options) for m in members.values()]
    outcomes = host.together(walks, options["concurrency"], after)
    return {
        name: _done(name, outcome.value) if outcome.error is None else _failed(name, outcome.error)
        for name, outcome in zip(members, outcomes)
    }


async def _walk(
    host: Any, member: Member, domains: tuple[Domain, ...], before: frozenset[str], failed: list[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        _refuse_after_failure(member, before, failed, options["continue_on_error"])
        own = host.sibling()  # events of its watches are its own
        try:  # where others went before it, the list of domains is an old one
            return await converge(own, member.options, False, None if before or member.policy.depends_on else domains)
        finally:
            own.tell_end()
            own.close()
    except XenError:
        failed.append(member.name)
        raise


def _refuse_after_failure(member: Member, before: frozenset[str], failed: Sequence[str], regardless: bool) -> None:
    """Raises XenError(not_begun) where one failed that goes before this guest, or any, unless the others may go on."""
    stops = [name for name in failed if name in before] or ([] if regardless else list(failed))
    if not stops:
        return
    how = "goes before it" if stops[0] in before else "had failed"
    hint = "mend that one and run again" + (
        "" if stops[0] in before else ", or let the others go on with continue_on_error: true"
    )
    msg = f"guest {member.name}: not begun, as {stops[0]} {how}" + (" and failed" if stops[0] in before else "")
    raise XenError("not_begun", msg, {"failed": stops}, hint)


def _done(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "failed": False, **told}


def _failed(name: str, error: XenError) -> dict[str, Any]:
    return {"name": name, "failed": True, "changed": False, **error.as_result()}


def _summary(results: Sequence[dict[str, Any]], decided: Mapping[str, Decided]) -> dict[str, Any]:
    """The module's result. The diff, which Ansible wants at the top, is that of the guests that change."""
    diffs = [{"before_header": r["name"], "after_header": r["name"], **r["diff"]} for r in results if r["changed"]]
    guests = [{key: value for key, value in r.items() if key != "diff"} for r in results]
    summary = {"changed": bool(diffs), "guests": guests, "plan_digest": _digest(decided), "diff": diffs}
    failed = [r for r in results if r["failed"]]
    if failed:
        more = f" (and {len(failed) - 1} more of {len(results)})" if len(failed) > 1 else f" (1 of {len(results)})"
        summary.update(
            failed=True, code=failed[0]["code"], msg=f"{failed[0]['msg']}{more}",
            evidence={"failed": [r["name"] for r in failed]}, hint=failed[0].get("hint"),
        )  # fmt: skip
    return summary
