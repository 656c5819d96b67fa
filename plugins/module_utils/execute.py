# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest brought to where the task wants it: lock, look, decide, and walk the plan.

The only reader of check mode. Every step begins from a fresh observation and ends with one; the first that does not end
where its row in steps.py says stops the walk. A failed start is cleared away (unless it is to be kept) and, if it was a
matter of time, tried again from a fresh observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import dryrun, memory, rules
from ansible_collections.stubdom.xen.plugins.module_utils.acts import MONITOR_PATIENCE, Acts
from ansible_collections.stubdom.xen.plugins.module_utils.again import look_again, look_since, own_domids, reread
from ansible_collections.stubdom.xen.plugins.module_utils.change import PATIENCE as CHANGE_PATIENCE
from ansible_collections.stubdom.xen.plugins.module_utils.decide import approve, decide
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import NAMELESS, Domain
from ansible_collections.stubdom.xen.plugins.module_utils.observe import links_of, look
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy, policy_of
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Waits
from ansible_collections.stubdom.xen.plugins.module_utils.report import result
from ansible_collections.stubdom.xen.plugins.module_utils.saved import PART
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, from_options
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.steps import CHANGES, GONE, NO_DOMAIN, STEPS, THERE, Planned, Step
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import is_one

LOCK_SLACK = 120.0  # seconds beyond ready.timeout that another task may hold the guest's lock
MONITORED = (
    "absent",
    "halted",
    "saved",
    "half_made",
    "shutdown",
    "crashed",
    "suspended",
)  # where xl may be about to do something of its own
PLUG = STEPS["await"]._replace(after=GONE)  # what awaiting comes to where that is in vain and force is allowed
# A domain that reports may give up as soon as it runs: what is awaited next tells why.
LET_REPORT = STEPS["unpause"]._replace(after=STEPS["report"].before)
RETRIED = ("readiness_timeout",)  # what more time may cure


async def converge(
    host: Any, options: Mapping[str, Any], check_mode: bool, domains: Optional[tuple[Domain, ...]] = None
) -> dict[str, Any]:
    """Brings one guest to what ``options`` (those of module guest) describe. Returns the module's result.

    ``domains``: the hypervisor's list as it was a while ago, where the caller has taken it.

    In check mode nothing is changed and the result says what would be. Raises XenError.
    """
    given, policy = from_options(options), policy_of(options)
    rules.check(given)
    if check_mode:
        return await _preview(host, given, policy)
    host.tell(partial(Waits, str(given.name), "lock", host.now(), policy.ready_timeout + LOCK_SLACK, "another task has it"))
    async with host.lock(str(given.name), f"guest {given.name}: {policy.state}", policy.ready_timeout + LOCK_SLACK):
        return await Walk(host, given, policy, domains).run()


async def _preview(host: Any, given: Guest, policy: Policy) -> dict[str, Any]:
    state = await look(host, str(given.name))
    decision = await decide(host, given, policy, state)
    approve(policy, decision.plan)
    return result(state, state, decision.wanted, decision.plan, policy.state)


async def walk(host: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """What converge() does, for a caller that holds the guest's lock."""
    return await Walk(host, from_options(options), policy_of(options)).run()


class Walk(Acts):
    """The way through one plan: what each step does is in acts.py, here is what comes before, between and after them."""

    def __init__(self, host: Any, given: Guest, policy: Policy, domains: Optional[tuple[Domain, ...]] = None) -> None:
        super().__init__(host, given, policy, converge)
        self.domains = domains

    async def run(self) -> dict[str, Any]:
        self.state = await self._settled()
        self.decision = await decide(self.host, self.given, self.policy, self.state)
        if any(planned.step in CHANGES for planned in self.decision.plan.steps):
            self.state = await self._seen_alone()
            self.decision = await decide(self.host, self.given, self.policy, self.state)
        first = self.state
        approve(self.policy, self.decision.plan)
        if self.decision.parsed is not None:
            dryrun.keep(self.host, self.name, self.decision.parsed)
        await self._attempts()
        after = self.state  # each step ended with a look
        return result(first, after, self.decision.wanted, self.decision.plan, self.policy.state, await self._readiness(after))

    async def _readiness(self, after: State) -> tuple[dict[str, Any], ...]:
        """The links as they came up; for a guest that was up already, as they are now."""
        return self.links or (await links_of(self.host, [(after, self.decision.wanted)])).get(self.name, ())

    async def _attempts(self) -> None:
        """The plan's steps; a start that ran out of time is cleared away and planned anew."""
        steps = self.decision.plan.steps
        again = self.policy  # `present` asks for no power, but what this walk stopped it has to start again
        if again.state == "present":
            again = replace(again, state="running" if any(p.step == "unpause" for p in steps) else "paused")
        for attempt in range(self.policy.ready_retries + 1):
            try:
                return await self._steps(steps)
            except XenError as error:
                await self._cleared(error)
                if error.code not in RETRIED or attempt == self.policy.ready_retries:
                    raise
                self.state = await look(self.host, self.name)
                steps = (await decide(self.host, self.given, again, self.state)).plan.steps

    async def _steps(self, steps: Sequence[Planned]) -> None:
        done = set()
        for planned in steps:
            name, row = planned.step, STEPS[planned.step]
            if (name == "store" and name in done) or ("plug" in done and name in ("unpause", "shutdown")):
                continue
            if self.state.word not in row.before:
                raise self._astray(name, row.before)
            limit = self.policy.shutdown_timeout if name == "shutdown" else None
            self.host.tell(partial(Waits, self.name, name, self.host.now(), limit, row.says))
            row = await self._acted(row, planned)
            self.state = await self._seen_after(row)
            if self.state.word not in row.after:
                raise self._astray(name, row.after)
            done.add("plug" if row is PLUG else name)

    async def _acted(self, row: Step, planned: Planned) -> Step:
        """Takes a step. Returns what has to hold then: its row, as a rule.

        PLUG where a guest that is only let run to be shut down may not, and is destroyed.
        """
        try:
            await (self._change(planned) if row.name in CHANGES else self.actions[row.name]())
        except XenError as error:
            if row.name != "await" or self.policy.state not in ("halted", "absent"):
                raise
            if not self.policy.shutdown_force:
                hint = f"shutdown.force: true ends it as it is. {error.hint or ''}".strip()
                raise XenError(error.code, error.msg, error.evidence, hint) from error
            await self._destroy()
            return PLUG
        return LET_REPORT if row.name == "unpause" and is_one(self.decision.wanted) else row

    async def _seen_after(self, row: Step) -> State:
        """The guest after a step. Its known domains tell that all is as it should be; anything else takes a whole look."""
        if row.files_only:
            return reread(self.host, self.state)
        if (row.name == "await" and self.state.word in row.after) or row.name in CHANGES:
            return self.state  # the proof says more than a look would, and a change ends with one
        if row.after not in (GONE, NO_DOMAIN):  # a domain that went may have come back under another number
            known = own_domids(self.state) | (self.gate.domids() if self.gate else set())
            state = await look_again(self.host, self.state, known)
            if state.word in row.after:
                return state
        return await look(self.host, self.name)

    # --- before anything is decided

    async def _settled(self) -> State:
        """The guest once no xl is at work on it: a killed task leaves one, and a monitor clears or restarts a guest."""
        began = self.host.now()
        self.host.tell(partial(Waits, self.name, "look", began, who="what there is of it"))
        state = await self._first_look()
        while state.word in MONITORED or _being_saved(state):
            # A monitor that did nothing for so long will not: its domain may be one that xenstored has forgotten.
            patient = state.word in ("half_made", "suspended") or _being_saved(state)
            limit = began + (self.policy.ready_timeout if patient else MONITOR_PATIENCE)
            makers = self._makers(state) if state.word in MONITORED else []  # the monitor of one that runs does not end
            pids = [*makers, *self._savers(state)]
            if not pids or self.host.now() >= limit:
                break
            self.host.tell(partial(Waits, self.name, "xl", began, limit - began, "another one is at work on it"))
            await self.host.await_exit(pids, min(limit, self.host.now() + MONITOR_PATIENCE))
            state = await look(self.host, self.name)
        if state.word == "suspended" and (savers := self._savers(state)):
            hint = "wait for that xl to end, or end it, and run again"
            raise XenError("locked", f"guest {self.name}: another xl saves or migrates it", {"pids": savers}, hint)
        # One that ended between the look and the search for it has cleared what was seen.
        ending = state.word in MONITORED and any(d.name in (self.name, *NAMELESS) for d in state.domains)
        return await look(self.host, self.name) if ending else state

    async def _seen_alone(self) -> State:
        """The guest once no other xl changes its devices, as that of a killed task may: meanwhile libxl may list none of them.

        One that has just ended may have been at work when the guest was seen, so it is seen again in any case.
        """
        began, domain = self.host.now(), self.state.domain
        while domain and (pids := self.host.changers(domain.domid, self.name)) and self.host.now() < began + CHANGE_PATIENCE:
            self.host.tell(partial(Waits, self.name, "xl", began, CHANGE_PATIENCE, "another one is at work on it"))
            await self.host.await_exit(pids, began + CHANGE_PATIENCE)
        return await look(self.host, self.name)

    async def _first_look(self) -> State:
        return await (look(self.host, self.name) if self.domains is None else look_since(self.host, self.name, self.domains))

    def _savers(self, state: State) -> list[int]:
        found: list[int] = self.host.savers(state.domain.domid, self.name) if state.domain else []
        return found

    # --- failure

    async def _cleared(self, error: XenError) -> None:
        """The failure is what is told, also where clearing up fails as well, as while xenstored stalls."""
        try:
            await self._clear_failed_start(error)
        except XenError as another:
            evidence = error.evidence if isinstance(error.evidence, dict) else {"observed": error.evidence}
            left = {**evidence, "not_cleared": another.as_result()}
            hint = f"what this task made may be left: run it again. {error.hint or another.hint or ''}".strip()
            raise XenError(error.code, error.msg, left, hint) from another
        finally:
            if self.gate is not None:
                self.gate.close()
            self.gate = None

    async def _clear_failed_start(self, error: XenError) -> None:
        """Destroys what this walk made and could not finish, unless it is to be kept. Says in the error what is left."""
        state = await look(self.host, self.name)
        if state.word == "paused" and state.spent and state.domain is not None and state.domain.uuid == self.made:
            memory.unspend(self.host, state)
        mine = state.domain is not None and state.domain.uuid == self.made and state.word in THERE
        silent = is_one(self.decision.wanted) and not state.reports  # it runs, and is not what it is for
        if mine and (silent or state.word != "running") and self.policy.on_failure == "destroy":
            self.state = state
            await self._destroy()
        if self.serving and self.policy.on_failure == "destroy" and state.word != "running":
            await self._taken_down()
        if self.made is not None and self.policy.on_failure == "destroy":
            self.state = await look(self.host, self.name)
            if self.state.leftovers:
                await self._sweep()
        if isinstance(error.evidence, dict) and self.made is not None:
            after = await look(self.host, self.name)
            error.evidence["left"] = {"state": after.word, "leftovers": [d.name for d in after.leftovers]}


def _being_saved(state: State) -> bool:
    """Whether a task may have been killed over it, and its xl still be at work."""
    return state.domain is not None and any(path.endswith(f".{PART}") for path in state.spent)
