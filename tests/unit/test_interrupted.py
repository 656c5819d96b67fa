# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed anywhere, the next run converges: nothing stray is left, no other guest is touched, no guest runs too early."""

from __future__ import annotations

import itertools

import pytest
from simulated_host import Behaviour, SimulatedHost, TaskKilled
from stories import HVM, KINDS, STUBDOM, failure, settle, steps, task

EXPECTED = {"pvh": ["web"], "pv": ["old"], "hvm": ["shop"], "stubdom": ["vault", "vault-dm"]}


def killed_at(kind, step):
    """A host on which a task for a new guest was killed together with its xl, at that step of the creation."""
    host = SimulatedHost()
    host.machine.kill_create_at = step
    host.kill_task_in_create = True
    try:
        task(host, KINDS[kind])
    except TaskKilled:
        host.close()
        host.machine.kill_create_at = None
        return host
    return None  # the creation has fewer steps than that


def test_the_steps_of_a_creation_are_many_enough_to_be_killed_between():
    counts = {kind: next(n for n in itertools.count(1) if killed_at(kind, n) is None) - 1 for kind in KINDS}
    assert counts["pv"] < counts["hvm"] < counts["stubdom"]
    assert counts["pv"] >= 3


@pytest.mark.parametrize("state", ["running", "absent"])
@pytest.mark.parametrize("wait", [0, 40], ids=["at once", "later"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_killed_with_its_xl(kind, wait, state):
    for step in itertools.count(1):
        host = killed_at(kind, step)
        if host is None:
            break
        host.timeline.pass_time(wait)
        task(host, KINDS[kind], state=state)
        assert sorted(host.domains()) == (EXPECTED[kind] if state == "running" else [])
        assert host.machine.unsafe == []
        settle(host, KINDS[kind], state=state)
    assert step > 3


def test_a_task_killed_while_its_xl_goes_on():
    """xl outlives the task: it is waited for, and what it made is taken up."""
    host = SimulatedHost()
    task(host, STUBDOM, state="halted")
    host.machine.run(["xl", "create", "-p", "/etc/xen/vault.cfg"])
    host.timeline.pass_time(5)
    assert steps(task(host, STUBDOM)) == ["await", "unpause"]
    assert (sorted(host.domains()), host.machine.unsafe) == (["vault", "vault-dm"], [])


def test_a_task_killed_while_its_xl_fails_later():
    host = SimulatedHost()
    task(host, STUBDOM, state="halted")
    host.behave("vault", Behaviour(stubdom_ready=None), Behaviour())
    host.machine.run(["xl", "create", "-p", "/etc/xen/vault.cfg"])
    host.timeline.pass_time(5)
    assert steps(task(host, STUBDOM)) == ["create", "await", "unpause"]
    assert host.machine.unsafe == []


@pytest.mark.parametrize("step", range(1, 12))
def test_xl_alone_is_killed_at_every_step(step):
    """The task lives, and clears away what its xl left behind."""
    host = SimulatedHost()
    host.machine.kill_create_at = step
    error = failure(host, STUBDOM, ready={"retries": 0})
    assert error.code == "create_failed"
    assert host.domains() == {}
    host.machine.kill_create_at = None
    task(host, STUBDOM)
    settle(host, STUBDOM)


def test_a_guest_that_was_being_made_anew_keeps_its_identity():
    host = SimulatedHost()
    first = task(host, HVM)
    host.machine.kill_create_at, host.kill_task_in_create = 3, True
    with pytest.raises(TaskKilled):
        task(host, HVM, memory="256MiB", disruption="recreate")
    host.close()
    host.machine.kill_create_at = None
    done = task(host, {"name": "shop"})
    assert done["guest"]["uuid"] == first["guest"]["uuid"]
    assert done["guest"]["spec"]["nics"] == first["guest"]["spec"]["nics"]
    assert done["guest"]["spec"]["memory"] == "256MiB"


def test_a_guest_whose_renewal_ran_out_of_time_is_not_left_halted_in_silence():
    """state: present asks nothing of the guest's power, but it ran before, and the task stopped it."""
    host = SimulatedHost()
    host.behave("vault", Behaviour(), Behaviour(stubdom_ready=None), Behaviour())
    task(host, STUBDOM)
    done = task(host, STUBDOM, state="present", memory="256MiB", disruption="recreate", ready={"retries": 1})
    assert steps(done) == ["store", "shutdown", "create", "await", "unpause"]
    assert done["guest"]["state"] == "running"


@pytest.mark.parametrize("ready", [{"retries": -1}, {"timeout": 0.0}, {"timeout": -5.0}], ids=str)
def test_a_policy_that_makes_no_sense_is_refused(ready):
    host = SimulatedHost()
    error = failure(host, STUBDOM, ready=ready)
    assert (error.code, host.commands) == ("invalid_input", [])
    assert next(iter(ready)) in error.msg


def test_the_last_failure_is_kept_when_told_so_and_retried_from_what_is_there():
    host = SimulatedHost()
    host.behave("vault", Behaviour(stubdom_ready=None))
    error = failure(host, STUBDOM, ready={"timeout": 20.0, "retries": 1, "on_failure": "keep"})
    assert error.code == "readiness_timeout"
    assert sorted(host.domains()) == ["vault", "vault-dm"]
    assert sum(argv[:3] == ["xl", "create", "-p"] for argv in host.commands) == 2


@pytest.mark.parametrize(
    "options", [{}, {"memory": "256MiB", "disruption": "recreate"}, {"state": "halted"}, {"state": "absent"}], ids=str
)
@pytest.mark.parametrize("kind", ["pvh", "stubdom"])
def test_a_task_killed_before_any_of_its_commands(kind, options):
    for command in itertools.count(1):
        host = SimulatedHost()
        if options:
            task(host, KINDS[kind])
        host.commands.clear()
        host.kill_task_at = command
        try:
            task(host, KINDS[kind], **options)
            break
        except TaskKilled:
            host.close()
            host.kill_task_at = None
        task(host, KINDS[kind], **options)
        assert sorted(host.domains()) == (EXPECTED[kind] if "state" not in options else [])
        assert host.machine.unsafe == []
        settle(host, KINDS[kind], **options)
    assert command > 5


@pytest.mark.parametrize(("kind", "step"), [("pvh", 1), ("pvh", 2), ("stubdom", 1), ("stubdom", 2), ("stubdom", 3)])
def test_xl_alone_is_killed_as_it_destroys(kind, step):
    """The task goes on with what is left of the domain, which may not even have its name any more."""
    host, guest = SimulatedHost(), KINDS[kind]
    task(host, guest, state="paused")
    left = [step]

    def taken(process):
        if left and process.argv[:2] == ["xl", "destroy"] and process.steps == step:
            left.clear()
            process.kill(9)

    host.machine.step_taken = taken
    began = host.now()
    assert steps(task(host, guest, state="halted")) == ["discard"]
    assert (left, host.domains(), host.now() - began < 30) == ([], {}, True)
    settle(host, guest, state="halted")


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.35, 0.5])
def test_xl_that_ended_just_after_the_task_looked(moment):
    """Its monitor was about to destroy the domain: what the task saw of it is no more."""
    host = SimulatedHost()
    task(host, STUBDOM)
    host.hypervisor.shut_down(host.domid("vault"))
    host.timeline.pass_time(moment)
    makers = host.makers

    def late(path, log):
        host.timeline.pass_time(5)
        return makers(path, log)

    host.makers = late
    assert steps(task(host, STUBDOM)) == ["create", "await", "unpause"]
    settle(host, STUBDOM)
