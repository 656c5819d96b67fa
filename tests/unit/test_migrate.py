# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's move between two simulated hosts: killed before any of its changes, the guest is there once, and all of it."""

from __future__ import annotations

import json

import pytest
from simulated_host import FIRMWARE, Behaviour
from stories import HVM, KINDS, PV, PVH, STUBDOM, failure, steps, task
from two_hosts import Pair, runs

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.moves import MOVES_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.ready import await_ready
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import STATE_DIR
from ansible_collections.stubdom.xen.plugins.plugin_utils.handover import SOURCE, TARGET, StepFailed

TPM = {**PVH, "vtpm": [{"kind": "stubdom"}]}
SECRET = "what the guest sealed"


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    assert pair.most_running <= 1
    assert [host.machine.unsafe for host in pair.sides.values()] == [[], []]


def made(pair, guest, **options):
    """The guest on the source. Its TPM has a state that no other has."""
    pair.name = guest["name"]
    done = task(pair.source, guest, **options)
    if "vtpm" in guest:
        pair.source.files[f"{STATE_DIR}/{guest['name']}.img"] = SECRET
    return done["guest"]


def kept(host, name):
    """All that a host keeps of a guest, but a note that it has gone."""
    places = (f"/etc/xen/{name}", f"/etc/xen/auto/{name}", SAVE_DIR, STATE_DIR, MOVES_DIR)
    found = [path for path in (*host.files, *host.links) if path.startswith(places)]
    gone = f"{MOVES_DIR}/{name}.json"
    return sorted(path for path in found if path != gone or json.loads(host.files[gone])["side"] != "gone")


def assert_there(pair, guest, side, state="running"):
    """The guest is on that side, whole, and nothing of it on the other."""
    host, other = pair.sides[side], pair.sides[TARGET if side == SOURCE else SOURCE]
    name, tpm = guest["name"], "vtpm" in guest
    wanted = [f"/etc/xen/{name}.cfg"] + ([f"/etc/xen/{name}-vtpm.cfg", f"{STATE_DIR}/{name}.img"] if tpm else [])
    wanted += [path for path in kept(host, name) if state == "saved" and path.endswith(".save")]
    assert (kept(host, name), kept(other, name), other.domains()) == (sorted(wanted), [], {})
    assert runs(host, name) == (state == "running")
    if tpm:
        assert host.files[f"{STATE_DIR}/{name}.img"] == SECRET


STORIES = {
    "saved": (PVH, {}, "saved"), "pv saved": (PV, {}, "saved"), "stubdom saved": (STUBDOM, {}, "saved"),
    "halt": (HVM, {"method": "halt"}, "halt"), "its TPM goes along": (TPM, {}, "halt"),
}  # fmt: skip
LIVE = {"live": (HVM, {"ssh": True}, "live")}


@pytest.mark.parametrize("story", STORIES)
def test_there_and_back(pair, story):
    guest, wish, method = STORIES[story]
    before = made(pair, guest)
    done = pair.move(guest["name"], **wish)
    assert (done["method"], [step["step"] for step in done["steps"]]) == (
        method, ["prepare", "leave", "raise", "commit", "release", "forget"],
    )  # fmt: skip
    assert_there(pair, guest, TARGET)
    assert done["seen"][TARGET]["guest"]["uuid"] == before["uuid"]
    assert pair.move(guest["name"])["steps"] == []
    assert not task(pair.target, guest)["changed"], "it is as it was described"

    pair.sides = {SOURCE: pair.target, TARGET: pair.source}
    pair.source, pair.target = pair.target, pair.source
    assert pair.move(guest["name"], **wish)["method"] == method
    assert_there(pair, guest, TARGET)
    assert not task(pair.target, guest)["changed"]


def test_live_and_back(pair):
    """What xl has let run over there is seen there, before anything is decided about it."""
    before = made(pair, HVM)
    done = pair.move(HVM["name"], ssh=True)
    assert (done["method"], [step["step"] for step in done["steps"]]) == (
        "live", ["prepare", "send", "commit", "release", "forget"],
    )  # fmt: skip
    assert_there(pair, HVM, TARGET)
    assert done["seen"][TARGET]["guest"]["uuid"] == before["uuid"]
    assert pair.move(HVM["name"], ssh=True)["steps"] == []
    assert not task(pair.target, HVM)["changed"]


@pytest.mark.parametrize("state", ["halted", "saved"])
def test_a_guest_that_does_not_run_moves_as_it_is(pair, state):
    made(pair, PVH)
    task(pair.source, PVH, state=state, shutdown={"force": True})
    pair.move("web")
    assert_there(pair, PVH, TARGET, state)


def test_it_starts_with_its_host_again_where_it_did(pair):
    made(pair, PVH, autostart=True)
    pair.move("web", method="saved")
    assert ("/etc/xen/auto/web.cfg" in pair.source.links, "/etc/xen/auto/web.cfg" in pair.target.links) == (False, True)


@pytest.mark.parametrize("then", ["again", "undo"])
@pytest.mark.parametrize("story", [*STORIES, *LIVE])
def test_killed_before_any_of_its_changes(story, then):
    guest, wish, _method = {**STORIES, **LIVE}[story]
    kill_at, sides = 0, set()
    while True:
        kill_at += 1
        pair = Pair()
        made(pair, guest)
        if pair.move(guest["name"], kill_at=kill_at, **wish) is not None:
            break
        where = pair.changes[-1]
        if then == "again":
            pair.move(guest["name"], **wish)
            side = TARGET
        else:
            pair.move(guest["name"], undo=True)
            side = TARGET if runs(pair.target, guest["name"]) else SOURCE
        sides.add(side)
        assert_there(pair, guest, side)
        assert pair.most_running <= 1, where
        assert [host.machine.unsafe for host in pair.sides.values()] == [[], []], where
        assert not task(pair.sides[side], guest)["changed"], where
    assert kill_at > 12
    assert sides == ({TARGET} if then == "again" else {SOURCE, TARGET})


def test_killed_twice():
    """Also what mends a broken move may be broken off."""
    for first in range(1, 40, 3):
        for second in range(1, 12, 2):
            pair = Pair()
            made(pair, TPM)
            pair.move("web", kill_at=first)
            pair.move("web", kill_at=second, undo=second % 4 == 1)
            pair.move("web")
            assert_there(pair, TPM, TARGET)
            assert pair.most_running <= 1


@pytest.mark.parametrize("story", STORIES)
def test_one_that_does_not_come_up_there_runs_on_here(pair, story):
    guest, wish, _method = STORIES[story]
    made(pair, guest)
    pair.target.machine.kill_create_at = 2
    with pytest.raises(StepFailed) as failed:
        pair.move(guest["name"], **wish)
    assert (failed.value.side, failed.value.step, failed.value.result["evidence"]["owner"]) == (TARGET, "raise", SOURCE)
    assert_there(pair, guest, SOURCE)
    assert not task(pair.source, guest)["changed"]


def test_its_chain_has_to_hold_there_before_it_is_given_up(pair):
    made(pair, STUBDOM)
    pair.target.behave("vault", Behaviour(stubdom_ready=None))
    with pytest.raises(StepFailed) as failed:
        pair.move("vault")
    assert failed.value.result["code"] == "readiness_timeout"
    assert_there(pair, STUBDOM, SOURCE)


def test_no_task_touches_it_between_two_hosts(pair):
    made(pair, PVH)
    pair.move("web", kill_at=14)
    for host in pair.sides.values():
        for state in ("running", "halted", "absent", "present"):
            assert failure(host, PVH, state=state).code == "moving"
    pair.move("web")
    assert failure(pair.source, PVH).code == "moving", "its description is still in a playbook for that host"
    assert steps(task(pair.source, {"name": "web"}, state="absent")) == []


def test_what_somebody_wrote_by_hand_is_kept(pair):
    text = 'name = "web"\ntype = "pvh"\nmemory = 160\nkernel = "/boot/vmlinuz"\n# do not touch\n'
    pair.source.files["/etc/xen/web.cfg"] = text
    pair.name = "web"
    pair.move("web")
    assert pair.source.files["/etc/xen/web.cfg.before-stubdom.xen"] == text
    assert "/etc/xen/web.cfg" in pair.target.files and "/etc/xen/web.cfg" not in pair.source.files


def test_what_is_held_there_is_let_run_by_its_move_alone(pair):
    made(pair, PVH)
    while pair.move("web", kill_at=len(pair.changes) + 1) is None and not pair.target.domains():
        pass
    asked = {"name": "web", "timeout": 60, "unpause": True}
    with pytest.raises(XenError) as error:
        pair.target.finish(await_ready(pair.target, asked, False))
    assert (error.value.code, runs(pair.target, "web")) == ("moving", False)


def test_a_description_with_its_secrets_is_told_to_a_move_only(pair):
    made(pair, {**HVM, "vnc": {"enabled": True, "password": "open sesame"}})
    assert "open sesame" not in json.dumps(pair.call(SOURCE, "offer"))
    pair.move("shop")
    assert "open sesame" in pair.target.files["/etc/xen/shop.cfg"]
    assert "open sesame" not in json.dumps([pair.source.files[f"{MOVES_DIR}/shop.json"], pair.call(TARGET, "look")])


def test_a_task_that_saw_another_state_of_the_move_does_nothing(pair):
    """The first task's controller was killed, and its hosts go on: the second one's look is older than what they did since."""
    made(pair, PVH)
    task(pair.source, PVH, state="halted", shutdown={"force": True})
    pair.move("web", kill_at=8)
    begun = pair.call(SOURCE, "look")["seen"]["note"] or pair.call(TARGET, "look")["seen"]["note"]
    pair.move("web")
    before = [host.snapshot() for host in pair.sides.values()]
    for side, step in ((SOURCE, "stay"), (SOURCE, "commit"), (TARGET, "withdraw"), (TARGET, "release"), (TARGET, "raise")):
        with pytest.raises(StepFailed) as failed:
            pair.call(side, step, move=begun["move"])
        assert failed.value.result["code"] == "move_undecided"
    assert [host.snapshot() for host in pair.sides.values()] == before
    assert_there(pair, PVH, TARGET, "halted")


@pytest.mark.parametrize("text", ["", "[]", '{"side": "out"}', '{"side": "up", "other": "xen2"}'])
def test_a_note_that_cannot_be_read_is_not_taken_for_none(pair, text):
    made(pair, PVH)
    pair.source.files[f"{MOVES_DIR}/web.json"] = text
    assert failure(pair.source, PVH).code == "moving"


def test_the_target_is_gone(pair):
    """What was not handed over is taken back without it, and what it still has is never let run."""
    made(pair, PVH)
    while pair.move("web", kill_at=len(pair.changes) + 1) is None and not pair.target.domains():
        pass
    pair.off = TARGET
    with pytest.raises(StepFailed) as failed:
        pair.move("web")
    assert failed.value.result["code"] == "move_undecided"
    pair.move("web", undo=True)
    assert runs(pair.source, "web")
    pair.off = None
    assert failure(pair.target, PVH).code == "moving"
    pair.move("web")
    assert_there(pair, PVH, TARGET)


def fill(host):
    host.hypervisor.total = sum(domain.memory for domain in host.hypervisor.domains.values()) + 100


REFUSED = {
    "no memory": (PVH, fill, "not_enough_memory"),
    "no kernel": (PVH, lambda host: host.files.pop("/boot/vmlinuz"), "file_unreadable"),
    "no disk": (HVM, lambda host: host.files.pop("/images/disk.img"), "file_unreadable"),
    "no bridge": (PVH, lambda host: host.files.pop("/sys/class/net/xenbr0/mtu"), "cannot_move"),
    "no image": (STUBDOM, lambda host: host.files.pop(f"{FIRMWARE}/qemu-stubdom-linux-rootfs"), "no_stubdom_image"),
    "no image for its TPM": (TPM, lambda host: host.files.pop(f"{FIRMWARE}/vtpm-stubdom-linux-rootfs"), "no_vtpm_image"),
    "its name": (PVH, lambda host: task(host, {**PV, "name": "web"}, state="halted"), "name_taken"),
    "its TPM": (TPM, lambda host: host.files.update({f"{STATE_DIR}/web.img": "another"}), "name_taken"),
    "no such pool": ({**PVH, "cpupool": "Pool-0"}, lambda host: None, None),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_refused_before_anything_is_touched(pair, why):
    guest, spoil, code = REFUSED[why]
    made(pair, guest)
    spoil(pair.target)
    before = [host.snapshot() for host in pair.sides.values()]
    if code is None:
        assert pair.move(guest["name"])["steps"]
        return
    with pytest.raises(StepFailed) as failed:
        pair.move(guest["name"])
    assert failed.value.result["code"] == code
    assert [host.snapshot() for host in pair.sides.values()] == before


@pytest.mark.parametrize("kind", KINDS)
def test_check_mode_tells_the_way(pair, kind):
    made(pair, KINDS[kind])
    before = [host.snapshot() for host in pair.sides.values()]
    told = pair.move(KINDS[kind]["name"], check=True)
    assert (told["method"], [step["step"] for step in told["steps"]]) == (
        "saved", ["prepare", "leave", "raise", "commit", "release", "forget"],
    )  # fmt: skip
    assert [host.snapshot() for host in pair.sides.values()] == before
