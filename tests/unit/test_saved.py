# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saved guests on the simulated host: where a guest's memory is after each thing that can happen, and that it is used once."""

from __future__ import annotations

import pytest
from simulated_host import FIRMWARE, Behaviour, TaskKilled
from simulated_saves import saved_file
from stories import HVM, KINDS, PVH, STUBDOM, failure, preview, settle, steps, surveyed, task

from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR, Saved, files_of, of_guest, read

RESTORED = ["restore", "await", "spend", "unpause", "tidy"]
FORCE = {"shutdown": {"force": True}}
ABLE = f"{FIRMWARE}/qemu-stubdom-linux.json"


def files(host):
    return [path for path in host.files if path.startswith(SAVE_DIR)]


def saved(host, guest):
    done = task(host, guest, state="saved")
    assert (done["guest"]["state"], host.domains()) == ("saved", {})
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_restored_and_again(host, kind):
    guest = KINDS[kind]
    made = task(host, guest)
    for _turn in range(2):
        seen = preview(host, guest, state="saved")
        done = saved(host, guest)
        assert (steps(done), done["plan_digest"]) == (["save"], seen["plan_digest"])
        assert files(host) == [f"{SAVE_DIR}/{guest['name']}.{made['guest']['uuid']}.save"]
        assert [(g["name"], g["state"]) for g in surveyed(host)["guests"]] == [(guest["name"], "saved")]
        settle(host, guest, state="saved")
        settle(host, guest, state="present")
        back = task(host, guest)
        assert (steps(back), back["guest"]["uuid"]) == (RESTORED, made["guest"]["uuid"])
        assert (files(host), host.domains()[guest["name"]]) == ([], "-b----")
        settle(host, guest)


def test_restored_and_held_its_file_is_used_as_well(host):
    task(host, PVH)
    saved(host, PVH)
    held = task(host, PVH, state="paused")
    assert (steps(held), files(host)) == (["restore", "await", "tidy"], [])
    settle(host, PVH, state="paused")
    assert steps(task(host, PVH)) == ["await", "unpause"]


def test_what_is_described_meanwhile_waits_until_it_runs_and_then_for_its_restart(host):
    task(host, PVH)
    saved(host, PVH)
    other = {**PVH, "memory": "144MiB", "cmdline": "other"}
    assert [item["field"] for item in task(host, other, state="saved")["pending"]] == ["memory", "cmdline"]
    settle(host, other, state="saved")
    back = task(host, other)
    assert (steps(back), [item["field"] for item in back["pending"]]) == ([*RESTORED, "resize", "queue"], ["cmdline"])
    settle(host, other)


@pytest.mark.parametrize("state", ["halted", "absent"])
def test_memory_is_dropped_only_by_an_explicit_wish(host, state):
    task(host, PVH)
    saved(host, PVH)
    assert failure(host, PVH, state=state).code == "saved_memory"
    assert files(host)
    task(host, PVH, state=state, **FORCE)
    assert files(host) == []
    settle(host, PVH, state=state, **FORCE)


REFUSED = {
    "no room": ({}, "not_enough_space"),
    "autostart": ({"autostart": True}, "cannot_save"),
    "passthrough": ({"pci": [{"address": "0000:01:00.0"}]}, "cannot_save"),
    "a vTPM": ({"vtpm": [{"backend": "vtpm"}]}, "cannot_save"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_saved_is_refused_before_anything_is_done(host, case):
    more, code = REFUSED[case]
    guest = HVM if case == "passthrough" else PVH
    task(host, {**guest, **{key: value for key, value in more.items() if key != "autostart"}})
    host.free_disk = (100 << 20) if case == "no room" else host.free_disk
    before, told = host.snapshot(), len(host.mutations())
    assert failure(host, {**guest, **more}, state="saved").code == code
    assert (host.snapshot(), len(host.mutations())) == (before, told)


def test_a_stubdomain_that_does_not_say_that_it_can_is_not_saved(host):
    host.behave("vault", Behaviour(stubdom_saves=False))
    task(host, STUBDOM)
    assert failure(host, STUBDOM, state="saved").code == "cannot_save"
    assert host.domains()["vault"] == "-b----"


def test_an_image_that_cannot_restore_is_refused(host):
    task(host, STUBDOM)
    saved(host, STUBDOM)
    host.files[ABLE] = "{}"
    assert failure(host, STUBDOM).code == "cannot_restore"
    assert files(host)


FAILING = {"full disk": Behaviour(disk_full=True), "no answer": Behaviour(ignores_shutdown=True)}


@pytest.mark.parametrize("case", FAILING)
def test_a_save_that_fails_leaves_the_guest_running_and_no_file(host, case):
    host.behave("web", FAILING[case])
    domid = task(host, PVH)["guest"]["domid"]
    assert failure(host, PVH, state="saved").code == "save_failed"
    assert (host.domid("web"), host.domains()["web"], files(host)) == (domid, "-b----", [])
    settle(host, PVH)


@pytest.mark.parametrize("step", range(1, 9))
def test_a_restore_that_is_killed_leaves_the_memory(host, step):
    task(host, STUBDOM)
    saved(host, STUBDOM)
    host.machine.kill_create_at = step
    assert failure(host, STUBDOM, ready={"retries": 0}).code == "restore_failed"
    host.machine.kill_create_at = None
    assert [path[-5:] for path in files(host)] == [".save"]
    assert steps(task(host, STUBDOM))[-5:] == RESTORED
    assert files(host) == []


def test_a_guest_that_was_not_let_run_keeps_its_memory(host):
    task(host, STUBDOM)
    saved(host, STUBDOM)
    host.behave("vault", Behaviour(unpause_works=False), Behaviour())
    assert failure(host, STUBDOM, ready={"retries": 0}).code == "step_failed"
    assert [path[-5:] for path in files(host)] == [".save"]
    assert steps(task(host, STUBDOM))[-5:] == RESTORED


@pytest.mark.parametrize("goal", ["saved", "running"])
@pytest.mark.parametrize("number", range(1, 40))
def test_killed_before_any_command_the_memory_is_in_one_place(host, number, goal):
    """The task is killed before its n-th command; whatever was begun, the next task ends it, and the guest was made once."""
    task(host, STUBDOM)
    if goal == "running":
        saved(host, STUBDOM)
    made = sum(argv[:2] == ["xl", "create"] and "-p" in argv for argv in host.commands)
    host.kill_task_at = len(host.commands) + number
    try:
        task(host, STUBDOM, state=goal)
    except TaskKilled:
        host.close()
    host.kill_task_at = None
    host.locks.clear()
    assert task(host, STUBDOM)["guest"]["state"] == "running"
    assert files(host) == []
    settle(host, STUBDOM)
    assert sum(argv[:2] == ["xl", "create"] and "-p" in argv for argv in host.commands) == made, "never begun anew"


def test_a_killed_xl_save_is_waited_for_or_made_good(host):
    """xl goes on when its task is killed: what it writes is taken up. Killed itself, it leaves the guest suspended."""
    task(host, PVH)
    uuid = host.hypervisor.domains[host.domid("web")].uuid
    part = f"{SAVE_DIR}/web.{uuid}.part"
    process = host.machine.run(["xl", "save", str(host.domid("web")), part])
    host.timeline.pass_time(0.5)
    done = task(host, PVH, state="saved")
    assert (steps(done), process.rc, [path[-5:] for path in files(host)]) == (["keep"], 0, [".save"])
    task(host, PVH)

    process = host.machine.run(["xl", "save", str(host.domid("web")), part])
    host.timeline.pass_time(0.5)
    process.kill(9)
    assert host.domains()["web"] == "---ss-"
    domid = host.domid("web")
    assert steps(task(host, PVH)) == ["tidy", "resume"]
    assert (host.domid("web"), host.domains()["web"], files(host)) == (domid, "-b----", [])
    settle(host, PVH)


def test_memory_of_a_guest_that_somebody_started_anew_is_never_used(host):
    task(host, PVH)
    saved(host, PVH)
    host.xl("create", "/etc/xen/web.cfg")
    assert steps(task(host, PVH)) == ["tidy"]
    assert files(host) == []


def test_the_memory_of_another_uuid_is_refused(host):
    task(host, PVH)
    saved(host, PVH)
    another = "00000000-0000-0000-0000-000000000001"
    assert failure(host, PVH, uuid=another).code == "saved_of_another"
    path = files(host)[0]
    host.files[f"{SAVE_DIR}/web.00000000-0000-0000-0000-000000000001.save"] = host.files.pop(path)
    assert failure(host, PVH).code == "saved_of_another"
    assert host.domains() == {}


def test_a_file_that_is_not_whole_is_refused(host):
    task(host, PVH)
    saved(host, PVH)
    path = files(host)[0]
    host.files[path] = host.files[path][:-10]
    assert failure(host, PVH).code == "cannot_restore"
    assert failure(host, PVH, state="halted").code == "saved_memory"


def looked_into(text):
    data = text.encode("latin-1")
    return read(Saved("p", "web", "u", "save"), lambda offset, length: data[offset : offset + length])


def test_only_a_whole_file_is_whole():
    whole = saved_file({"c_info": {"name": "web"}})
    assert looked_into(whole).config == {"c_info": {"name": "web"}}
    assert [length for length in range(len(whole)) if looked_into(whole[:length]).whole] == []
    assert looked_into(whole).whole
    assert (
        looked_into(whole.replace("LibxlFmt", "LibxlBad")).config and not looked_into(whole.replace("LibxlFmt", "LibxlBad")).whole
    )


def test_whose_a_file_is_its_name_tells():
    one, two = "0" * 8 + "-0000-0000-0000-" + "0" * 11 + "1", "0" * 8 + "-0000-0000-0000-" + "0" * 11 + "2"
    paths = [f"{SAVE_DIR}/a.b.{one}.save", f"{SAVE_DIR}/b.{two}.save", f"{SAVE_DIR}/b.{one}.part", f"{SAVE_DIR}/junk"]
    assert [file.uuid for file in files_of("b", paths)] == [two, one]
    assert [file.uuid for file in files_of("a.b", paths)] == [one]
    mine, foreign = of_guest(files_of("b", paths), one)
    assert (mine, foreign and foreign.uuid) == (None, two)


def test_a_save_that_was_killed_before_it_began_is_not_waited_for(host):
    """The guest runs on, and so does xl's monitor of it, which has nothing to do with that."""
    uuid = task(host, PVH)["guest"]["uuid"]
    host.files[f"{SAVE_DIR}/web.{uuid}.part"] = ""
    began = host.now()
    done = task(host, PVH)
    assert (steps(done), files(host)) == (["tidy"], [])
    assert host.now() - began < 5
