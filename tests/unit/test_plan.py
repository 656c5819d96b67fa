# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From state and wish to steps: cases/plans.yml, and what holds for every plan there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import cases

from ansible_collections.stubdom.xen.plugins.module_utils.compare import Change
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.live import Act, Way
from ansible_collections.stubdom.xen.plugins.module_utils.plan import POWER, RENEW, make
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy, policy_of
from ansible_collections.stubdom.xen.plugins.module_utils.saved import Saved
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest
from ansible_collections.stubdom.xen.plugins.module_utils.state import WORDS, State, Stored
from ansible_collections.stubdom.xen.plugins.module_utils.steps import ANY_WORD, CHANGES, DISRUPTIONS, STEPS, disruption_rank

GUEST = Guest(name="web", type="pvh")
WISHES = ["running", "paused", "saved", "halted", "present", "absent"]
# More than a state has words for: paused domains that never ran, whose device model answers or does not; and domains beside
# the saved memory that they are made from, or half made from.
UNUSED = {"fresh": "paused", "unborn": "opaque", "held": "paused"}
BESIDE = {"held": "paused", "unfinished": "half_made"}
SITUATIONS = [*WORDS, *UNUSED, "unfinished"]
MEMORY = Saved("/saved/web.u.save", "web", "u", "save", {}, True)


ACTS = {"none": "adjust", "hotplug": "resize"}  # what a running guest takes; anything else takes a restart


def change(number=0, needs="recreate"):
    field = ("memory", "vcpus", "kernel")[number]
    acts = tuple(Act(step, 1, 2) for step in [ACTS.get(needs)] if step)
    return Way(Change(field, 1, 2, needs), acts, needs)


def state(situation, leftovers=0, autostart=False):
    word = {**UNUSED, **BESIDE}.get(situation, situation)
    there = word not in ("absent", "halted", "saved")
    unused = situation in UNUSED
    domain = Domain(7, "web", "u", 0, 1, 0.0 if unused else 9.0, "--p---" if unused else "------") if there else None
    stored = None if word == "absent" else Stored("/etc/xen/web.cfg", "", True, GUEST)
    others = tuple(Domain(8 + n, "web-dm", "v", 0, 1, 0.0, "--p---") for n in range(leftovers))
    memory = MEMORY if situation in ("saved", *BESIDE) else None
    return State("web", word, stored, autostart, domain, None, None, None, None, others, (), saved=memory)


def plan_of(situation, wish, changes=(), disruption="hotplug", wanted=GUEST, leftovers=0, autostart=None, force=False):
    policy = Policy(state=wish, disruption=disruption, shutdown_force=force)
    return make(policy, state(situation, leftovers), None if wish == "absent" else wanted, (), changes, autostart)


@pytest.mark.parametrize("case", cases("plans"))
def test_planned(case):
    changes = [change(n) for n in range(case.get("changes", 0))]
    wanted = Guest(name="web", **({case["keeps"]: "preserve"} if "keeps" in case else {}))
    wish = (
        case["is"],
        case["wants"],
        changes,
        case.get("disruption", "hotplug"),
        wanted,
        case.get("leftovers", 0),
        None,
        case.get("force", False),
    )
    if "error" in case:
        with pytest.raises(XenError) as refused:
            plan_of(*wish)
        assert refused.value.code == case["error"]
        return
    plan = plan_of(*wish)
    assert [step.step for step in plan.steps] == case["steps"]
    assert len(plan.pending) == case.get("pending", 0)


ANY_PLAN = {
    "situation": st.sampled_from(SITUATIONS), "wish": st.sampled_from(WISHES), "disruption": st.sampled_from(DISRUPTIONS),
    "changes": st.lists(st.builds(change, st.integers(0, 2), st.sampled_from(DISRUPTIONS)), max_size=3),
    "leftovers": st.integers(0, 1), "force": st.booleans(), "autostart": st.none() | st.booleans(),
    "wanted": st.builds(Guest, name=st.just("web"), on_crash=st.sampled_from([None, "preserve"])),
}  # fmt: skip


def planned(**wish):
    try:
        return plan_of(**wish)
    except XenError as refused:
        assert refused.code in ("opaque", "cannot_save", "saved_memory")
        return None


@given(st.fixed_dictionaries(ANY_PLAN))
def test_no_plan_lets_a_guest_run_that_was_not_awaited_since(wish):
    """Between a domain's making (or the plan's beginning) and each unpause there is an await."""
    ready = False
    for step in (planned(**wish) or plan_of("halted", "present")).steps:
        assert step.step != "unpause" or ready
        ends = ("create", "restore", "clear", "shutdown", "discard", "pause", "save")
        ready = step.step == "await" or (ready and step.step not in ends)


@given(st.fixed_dictionaries(ANY_PLAN))
def test_no_plan_lets_a_guest_run_beside_memory_that_it_could_be_restored_from_again(wish):
    """What a domain was restored from is spent before that domain runs; and memory is dropped only where that is allowed."""
    usable = wish["situation"] in ("saved", *BESIDE)
    for step in (planned(**wish) or plan_of("halted", "present")).steps:
        assert step.step not in ("create", "unpause") or not usable
        assert step.step != "drop" or wish["force"]
        usable = (usable or step.step == "save") and step.step not in ("spend", "tidy", "drop")


@given(st.fixed_dictionaries(ANY_PLAN))
def test_no_change_of_a_guest_that_ran_disrupts_it_more_than_is_allowed(wish):
    """What a task's state asks for is done; what its description asks for is done up to the ceiling, or waits."""
    plan, asked = planned(**wish), planned(**{**wish, "changes": []})
    if plan is None or wish["situation"] == "fresh":
        return
    for step in set(plan.steps) - set(asked.steps):
        assert disruption_rank(step.disruption) <= disruption_rank(wish["disruption"]), step
    if any(step.step == "create" for step in set(plan.steps) - set(asked.steps)):
        restarts = [way for way in wish["changes"] if not way.acts]
        assert restarts and all(disruption_rank(way.needs) <= disruption_rank(wish["disruption"]) for way in restarts)
    assert {p["field"] for p in plan.pending} <= {way.change.field for way in wish["changes"]} | {"state"}


@given(st.fixed_dictionaries(ANY_PLAN))
def test_each_change_of_a_live_guest_is_done_or_waits(wish):
    plan = planned(**wish)
    ends = ("halted", "absent", "saved")
    stays = plan is not None and wish["situation"] in ("running", "paused", "fresh") and wish["wish"] not in ends
    if stays and wish["changes"]:
        renewed = any(step.step == "create" for step in plan.steps)
        done = [step.field for step in plan.steps if step.step in CHANGES]
        told = sorted([*done, *(p["field"] for p in plan.pending)])
        assert renewed or told == sorted(way.change.field for way in wish["changes"])


@given(st.fixed_dictionaries(ANY_PLAN))
def test_each_step_may_begin_where_the_one_before_may_end(wish):
    """Walked through in the rows of steps.py: from the guest's word to the wish's, never out of the table."""
    plan = planned(**wish)
    words = {{**UNUSED, **BESIDE}.get(wish["situation"], wish["situation"])}
    for step in plan.steps if plan else ():
        row = STEPS[step.step]
        assert words & set(row.before), (step.step, words)
        words = words if row.after == ANY_WORD else set(row.after)
    if plan and any(step.step in ("create", "unpause", "shutdown", "forget", "pause") for step in plan.steps):
        goal = {"present": {"running", "paused", "saved", "halted", "absent"}, "halted": {"halted", "absent"}}.get(
            wish["wish"], {wish["wish"]}
        )
        assert words & goal or words == {"absent", "halted"}


@given(st.fixed_dictionaries(ANY_PLAN))
def test_one_wish_has_one_plan_and_one_digest(wish):
    plan = planned(**wish)
    if plan is not None:
        assert (plan, plan.digest) == (planned(**wish), planned(**wish).digest)


def test_a_digest_tells_plans_apart():
    plans = [
        plan_of("running", "running"), plan_of("running", "halted"), plan_of("halted", "running"),
        plan_of("halted", "running", wanted=Guest(name="web", vcpus=2)), plan_of("running", "running", [change()]),
        plan_of("running", "running", [change()], "recreate"), plan_of("running", "running", [change(1)]),
    ]  # fmt: skip
    assert len({plan.digest for plan in plans}) == len(plans)


def test_the_tables_speak_of_words_and_steps_that_exist():
    for ways in [*POWER.values(), RENEW]:
        assert set(ways) <= set(SITUATIONS)
        assert {name for names in ways.values() for name in names} <= set(STEPS)
    assert set(ANY_WORD) == set(WORDS)
    assert all(row.disrupts in DISRUPTIONS and set(row.before) | set(row.after) <= set(WORDS) for row in STEPS.values())


def test_what_a_task_does_not_say_of_its_policy_keeps_its_default():
    assert policy_of({"name": "web"}) == policy_of({"ready": {}, "shutdown": None, "disruption": None}) == Policy()
    assert policy_of({"ready": {"retries": 0}, "shutdown": {"force": True}}) == Policy(ready_retries=0, shutdown_force=True)
