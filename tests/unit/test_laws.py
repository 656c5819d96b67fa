# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every guest and every sequence of tasks and mishaps on the simulated host.

Once converged, a guest is converged. No guest is ever let run before its device model is up. Check mode says what then
happens. Guests that no task named stay as they were.
"""

from __future__ import annotations

import json

import pytest
from generated import sensible_guests
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_host import FIRMWARE, Behaviour, SimulatedHost
from simulated_libxl import dry_run
from stories import HVM, PVH, STUBDOM, by_hand, preview, settle, task

from ansible_collections.stubdom.xen.plugins.module_utils.cfgtext import parse
from ansible_collections.stubdom.xen.plugins.module_utils.decide import decide
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.execute import Walk
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import leaves
from ansible_collections.stubdom.xen.plugins.module_utils.observe import look
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy
from ansible_collections.stubdom.xen.plugins.module_utils.rules import check_new
from ansible_collections.stubdom.xen.plugins.module_utils.spec import from_options, to_options
from ansible_collections.stubdom.xen.plugins.module_utils.steps import CHANGES, STEPS, Planned

STATES = st.sampled_from(["running", "paused", "saved", "halted", "present", "absent"])
FORCE = {"shutdown": {"force": True}}  # memory that was saved may be lost
OTHER = 'name = "other"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'


def host_for(guest):
    """A host that has every file which the guest asks for, and memory for it."""
    host = SimulatedHost(memory=1 << 16)
    for path in [guest.kernel, guest.ramdisk, guest.stubdom.kernel, guest.stubdom.ramdisk, guest.device_model.path]:
        host.files.setdefault(path or "/boot/vmlinuz", "")
    for disk in guest.disks or ():
        host.files.setdefault(disk.target or "/boot/vmlinuz", "")
    return host


def can_be_made(guest):
    try:
        check_new(guest)
    except XenError:
        return False
    return True


MAKEABLE = sensible_guests().filter(can_be_made)


@settings(max_examples=60)
@given(MAKEABLE, STATES, STATES)
def test_once_converged_a_guest_is_converged(guest, first, then):
    host, options = host_for(guest), to_options(guest)
    for state in (first, then):
        if state == "saved" and not saved_from_running(host, options):
            continue
        digest = preview(host, options, state=state, **FORCE)["plan_digest"]
        done = task(host, options, state=state, disruption="recreate", **FORCE)
        assert done["pending"] == []
        assert done["plan_digest"] == digest or state != first
        again = settle(host, options, state=state, disruption="recreate", **FORCE)
        assert again["pending"] == []
        settle(host, {"name": guest.name}, state=state, **FORCE)
    assert host.machine.unsafe == []


@settings(max_examples=60)
@given(MAKEABLE, MAKEABLE)
def test_a_change_is_done_or_waits_and_what_is_told_is_what_is_there(before, after):
    """From any guest to any other: within the ceiling it waits, without it it is done, and then nothing is left to do."""
    host = host_for(before)
    host.files.update(host_for(after).files)
    task(host, to_options(before))
    wish = {**to_options(after), "extra_config": {**dict.fromkeys(before.extra_config), **after.extra_config}}
    try:
        preview(host, wish)
    except XenError as refused:
        assert refused.code == "invalid_input"  # the two laid over each other make no sense
        return
    waiting = task(host, wish)
    assert settle(host, wish)["pending"] == waiting["pending"]
    assert waiting["pending"] or differing(host) == {}
    done = task(host, wish, disruption="recreate")
    assert (done["changed"], done["pending"]) == (bool(waiting["pending"]), [])
    settle(host, wish, disruption="recreate")
    assert host.machine.unsafe == []


def saved_from_running(host, options):
    """Whether a guest of this kind can be saved; it runs then."""
    task(host, options, disruption="recreate")
    try:
        return bool(preview(host, options, state="saved"))
    except XenError as refused:
        assert refused.code in ("cannot_save", "invalid_input")
        return False


MOST = {"b_info.max_memkb": "maxmem", "b_info.max_vcpus": "maxvcpus", "b_info.vcpu_hard_affinity": "maxvcpus"}
ONE_VCPU = {"b_info.max_vcpus": 1, "b_info.avail_vcpus[0]": 0}  # which libxl does not print


def differing(host):
    """Where the running domain is otherwise than the guest's file: every leaf of the one JSON that the other lacks."""
    wanted = leaves(dry_run(parse(host.files["/etc/xen/generated.cfg"])))
    live = leaves(host.finish(look(host, "generated")).config)
    live, described = {**ONE_VCPU, **live}, parse(host.files["/etc/xen/generated.cfg"])
    for path, key in MOST.items():
        if key not in described:  # then it is what the guest was made with
            wanted = {name: value for name, value in wanted.items() if not name.startswith(path)}
    return {path: (live.get(path), value) for path, value in wanted.items() if live.get(path) != value}


@settings(max_examples=60)
@given(MAKEABLE, st.booleans())
def test_any_guest_made_by_hand_is_adopted_with_nothing_pending(guest, filed):
    """Its file is anywhere, or where this collection keeps files. Without the file, what has no option is not known."""
    host = host_for(guest)
    host.files["/root/generated.cfg"] = text = config_text(host, guest)
    if filed:
        host.files["/etc/xen/generated.cfg"] = text
    assert host.xl("create", "/root/generated.cfg").rc == 0
    host.timeline.pass_time(1)
    domid = host.domid(guest.name)
    done = task(host, {"name": guest.name})
    assert (done["pending"], host.domid(guest.name)) == ([], domid)
    settle(host, {"name": guest.name})


def config_text(host, guest):
    """The file of the guest as this collection would write it, without its mark and without the identities it makes up."""
    written = SimulatedHost(memory=1 << 16)
    written.files.update(host.files)
    task(written, to_options(guest), state="present")
    lines = written.files["/etc/xen/generated.cfg"].splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("#", "uuid")) or guest.uuid)


POWER_STEPS = sorted(set(STEPS) - set(CHANGES))
GUESTS = {guest["name"]: guest for guest in (PVH, HVM, STUBDOM)}
BEHAVIOURS = st.builds(
    Behaviour, stubdom_ready=st.sampled_from([None, 3.0, 12.0, 35.0]), qmp_proxy=st.sampled_from([True, True, False]),
    stubdom_dies=st.sampled_from([None, None, 2.0, 13.0]), stubdom_error=st.sampled_from(["", "no disk"]),
    qemu_exits=st.sampled_from([False, False, True]), pv_control=st.booleans(),
    ignores_shutdown=st.sampled_from([False, False, True]), unpause_works=st.sampled_from([True, True, False]),
    stubdom_writes_in=st.sampled_from(["own", "own", "dom0"]),
)  # fmt: skip
EVENT = st.one_of(
    st.tuples(st.just("task"), st.sampled_from(sorted(GUESTS)), STATES, st.sampled_from([{}, {"memory": "256MiB"}]),
              st.sampled_from(["hotplug", "recreate"])),
    st.tuples(st.just("behave"), st.sampled_from(sorted(GUESTS)), BEHAVIOURS),
    st.tuples(st.just("kill xl at"), st.integers(1, 12)),
    st.tuples(st.just("kill stubdomain"), st.sampled_from(["shut down", "destroy"])),
    st.tuples(st.just("guest ends"), st.sampled_from(sorted(GUESTS)), st.sampled_from(["-", "c"])),
    st.tuples(st.just("xl"), st.sampled_from(["pause", "destroy"]), st.sampled_from(sorted(GUESTS))),
    st.tuples(st.just("monitors die")),
    st.tuples(st.just("time"), st.sampled_from([1.0, 40.0])),
)  # fmt: skip


@settings(max_examples=80)
@given(st.lists(EVENT, min_size=1, max_size=8))
def test_whatever_happens_no_guest_runs_too_early_and_the_next_good_run_converges(events):
    host = SimulatedHost()
    other = by_hand(host, "other", OTHER)
    for what, *words in events:
        happen(host, what, words)
        assert host.machine.unsafe == []
    host.behave_all_well()
    for guest in GUESTS.values():
        wish = {"state": "running", "disruption": "recreate", "shutdown": {"force": True}}
        converged(host, guest, wish)
        settle(host, guest, **wish)
        assert host.domains()[guest["name"]] == "-b----"
    assert host.machine.unsafe == []
    assert sorted(host.domains()) == ["other", "shop", "vault", "vault-dm", "web"]
    assert host.domid("other") == other


@given(st.lists(st.sampled_from(POWER_STEPS), max_size=9), st.sampled_from(sorted(GUESTS)), BEHAVIOURS)
def test_steps_in_any_order_let_no_guest_run_that_was_not_awaited(names, name, behaviour):
    """The walk itself asks for the proof: a plan in a wrong order, a domain made anew since, change nothing about that."""
    host = SimulatedHost()
    host.behave(name, behaviour)
    task(host, GUESTS[name], state="halted")
    walk = Walk(host, from_options(GUESTS[name]), Policy(ready_timeout=60.0))
    walk.state = host.finish(look(host, name))
    walk.decision = host.finish(decide(host, walk.given, walk.policy, walk.state))
    try:
        host.finish(walk._steps([Planned(step, "") for step in ["create", *names]]))
    except XenError as failed:
        json.dumps(failed.as_result())
    proven = None
    for step in ["create", *names]:
        proven = {"create": False, "restore": False, "await": True}.get(step, proven)
        if step == "unpause":
            break
    unpaused = any(argv[1] == "unpause" for argv in host.commands)
    assert not unpaused or proven
    assert host.machine.unsafe == []


MISPLACED = [(step, state) for step in STEPS for state in ("halted", "paused", "running") if state not in STEPS[step].before]


@pytest.mark.parametrize(("step", "state"), MISPLACED)
def test_a_step_is_not_even_begun_where_it_does_not_belong(step, state):
    host = SimulatedHost()
    task(host, PVH, state=state)
    walk = Walk(host, from_options(PVH), Policy())
    walk.state, before = host.finish(look(host, "web")), host.snapshot()
    with pytest.raises(XenError) as refused:
        host.finish(walk._steps([Planned(step, "")]))
    assert (refused.value.code, refused.value.evidence["state"]) == ("step_failed", state)
    assert host.snapshot() == before


def converged(host, guest, wish):
    """A guest whose device model does not answer has to be stopped first: the refusal says so."""
    try:
        task(host, guest, **wish)
    except XenError as refused:
        assert refused.code == "opaque"
        task(host, guest, **{**wish, "state": "halted"})
        task(host, guest, **wish)


def happen(host, what, words):
    if what == "task":
        name, state, change, disruption = words
        try:
            task(host, {**GUESTS[name], **change}, state=state, disruption=disruption, ready={"timeout": 60.0, "retries": 1})
        except XenError as failed:
            json.dumps(failed.as_result())
    elif what == "behave":
        host.behave(words[0], words[1])
    elif what == "kill xl at":
        host.machine.kill_create_at = words[0]
    elif what == "kill stubdomain" and host.domid("vault-dm"):
        {"shut down": host.hypervisor.shut_down, "destroy": lambda domid: host.xl("destroy", str(domid))}[words[0]](
            host.domid("vault-dm")
        )
    elif what == "guest ends" and host.domid(words[0]):
        host.hypervisor.shut_down(host.domid(words[0]), words[1])
    elif what == "xl" and host.domid(words[1]):
        host.xl(*words)
    elif what == "monitors die":
        for process in host.machine.processes:
            process.kill(9)
    elif what == "time":
        host.timeline.pass_time(words[0])


def test_the_simulated_firmware_is_where_the_engine_looks():
    assert f"{FIRMWARE}/qemu-stubdom-linux-kernel" in SimulatedHost().files
    assert from_options(STUBDOM).stubdom.type == "linux"
