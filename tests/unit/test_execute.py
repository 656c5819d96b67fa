# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lives of guests on the simulated host: what a task does, what it does again, and what it leaves alone."""

from __future__ import annotations

import pytest
from simulated_host import Behaviour
from stories import DISK, HVM, KINDS, PVH, STUBDOM, by_hand, failure, preview, settle, steps, task

from ansible_collections.stubdom.xen.plugins.module_utils.causes import CAUSES
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.execute import Walk

RUNS = "-b----"
HELD = "--p---"
FORCE = {"shutdown": {"timeout": 5, "force": True}}
LEAST_HVM = 'name = "shop"\ntype = "hvm"\nmemory = 192\ndisk = ["vdev=xvda,format=raw,access=rw,target=/images/disk.img"]\n'


@pytest.mark.parametrize("kind", KINDS)
def test_the_life_of_a_guest(host, kind):
    guest = KINDS[kind]
    name = guest["name"]

    made = preview(host, guest)
    done = task(host, guest)
    assert steps(done) == ["store", "create", "await", "unpause"]
    assert (done["plan_digest"], done["diff"]) == (made["plan_digest"], made["diff"])
    assert (done["guest"]["state"], host.domains()[name]) == ("running", RUNS)
    settle(host, guest)

    held = task(host, guest, state="paused")
    assert (steps(held), host.domains()[name]) == (["pause"], HELD)
    settle(host, guest, state="paused")
    task(host, guest)
    assert host.domains()[name] == RUNS

    halted = task(host, guest, state="halted")
    assert (steps(halted), halted["guest"]["state"], host.domains()) == (["shutdown"], "halted", {})
    settle(host, guest, state="halted")
    settle(host, guest, state="present")

    started = task(host, guest)
    assert steps(started) == ["create", "await", "unpause"]
    assert started["guest"]["uuid"] == done["guest"]["uuid"]

    gone = task(host, {"name": name}, state="absent")
    assert (steps(gone), gone["guest"]["state"], host.domains()) == (["shutdown", "forget"], "absent", {})
    settle(host, {"name": name}, state="absent")
    assert "/images/disk.img" in host.files


@pytest.mark.parametrize("kind", KINDS)
def test_present_alone_makes_a_file_and_no_domain(host, kind):
    assert steps(task(host, KINDS[kind], state="present")) == ["store"]
    assert host.domains() == {}
    settle(host, KINDS[kind], state="present")


@pytest.mark.parametrize("kind", KINDS)
def test_paused_from_nothing_is_made_and_ready_and_held(host, kind):
    done = task(host, KINDS[kind], state="paused")
    assert steps(done) == ["store", "create", "await"]
    assert host.domains()[KINDS[kind]["name"]] == HELD
    settle(host, KINDS[kind], state="paused")
    assert steps(task(host, KINDS[kind])) == ["await", "unpause"]


def test_the_readiness_of_a_guest_with_a_stubdomain_is_told_link_by_link(host):
    links = task(host, STUBDOM)["readiness"]
    assert [(link["link"], link["domain"], link["path"], link["value"]) for link in links] == [
        ("qmp-proxy", 0, "/local/domain/0/device-model/2/qmp-proxy-state", "running"),
        ("console-backend", 0, "/local/domain/0/device-model/2/state", "running"),
        ("device-model", 2, "/local/domain/2/device-model/1/state", "running"),
        ("qmp", 2, "/local/domain/2/device-model/1/qmp-vchan/event-channel", "9"),
    ]
    after = [link["after_s"] for link in links]
    assert after == sorted(after)
    assert 12 < after[2] < after[3] < 14
    assert [link["after_s"] for link in settle(host, STUBDOM)["readiness"]] == [None] * 4


def test_a_change_waits_until_it_is_allowed_to_take_what_it_takes(host):
    first = task(host, HVM)
    waiting = task(host, HVM, memory="256MiB")
    assert steps(waiting) == ["store", "queue"]
    assert [(p["field"], p["from"], p["to"], p["needs"]) for p in waiting["pending"]] == [
        ("memory", 192 << 20, 256 << 20, "reboot"),
    ]  # fmt: skip
    assert settle(host, HVM, memory="256MiB")["pending"] == waiting["pending"]
    assert host.domid("shop") == first["guest"]["domid"]

    done = task(host, HVM, memory="256MiB", disruption="reboot")
    assert steps(done) == ["shutdown", "create", "await", "unpause"]
    assert done["pending"] == []
    assert host.domid("shop") != first["guest"]["domid"]
    assert done["guest"]["uuid"] == first["guest"]["uuid"]
    assert done["guest"]["spec"]["nics"] == first["guest"]["spec"]["nics"]
    settle(host, HVM, memory="256MiB", disruption="recreate")


def test_a_domain_that_never_ran_is_made_anew_whatever_the_ceiling(host):
    task(host, PVH, state="paused")
    assert steps(task(host, PVH, state="paused", memory="256MiB", disruption="none")) == ["store", "discard", "create", "await"]
    assert host.domains() == {"web": HELD}


def test_a_change_of_a_halted_guest_is_a_change_of_its_file(host):
    task(host, PVH, state="halted")
    done = task(host, PVH, state="halted", memory="256MiB")
    assert (steps(done), done["pending"]) == (["store"], [])
    assert "memory = 256" in host.files["/etc/xen/web.cfg"]


def test_what_a_task_does_not_say_stays_as_it_is(host):
    task(host, {**HVM, "boot": "c", "cpus": "0-1"})
    settle(host, {"name": "shop"})
    settle(host, {"name": "shop", "memory": "192MiB"})
    assert 'cpus = "0-1"' in host.files["/etc/xen/shop.cfg"]


def test_autostart_is_a_link_and_goes_with_the_guest(host):
    assert steps(task(host, PVH, autostart=True))[:2] == ["store", "autostart"]
    assert host.links == {"/etc/xen/auto/web.cfg": "/etc/xen/web.cfg"}
    settle(host, PVH, autostart=True)
    settle(host, PVH)
    assert steps(task(host, PVH, autostart=False)) == ["autostart"]
    task(host, PVH, autostart=True)
    task(host, PVH, state="absent")
    assert host.links == {}


# --- guests of others


@pytest.mark.parametrize(
    "text",
    [
        LEAST_HVM,
        LEAST_HVM + 'cpus = "0-1"\nvcpus = 2\non_crash = "rename-restart"\nvif = ["bridge=xenbr0,rate=10Mb/s"]\nvnc = 0\n',
        'name = "shop"\ntype = "pvh"\nmemory = 192\nmaxmem = 256\nkernel = "/boot/vmlinuz"\n',
        LEAST_HVM + 'device_model_version = "qemu-xen"\ndevice_model_stubdomain_override = 1\n',
        LEAST_HVM.replace("format=raw,access=rw,target=/images/disk.img", "devtype=cdrom"),
    ],
    ids=["least", "more", "pvh", "stubdom", "empty-cdrom"],
)
@pytest.mark.parametrize("filed", [True, False], ids=["with its file", "without a file"])
def test_a_guest_made_by_hand_is_adopted_as_it_is(host, text, filed):
    """Its file is written, the domain is left alone, and nothing is said to be otherwise than described."""
    domid = by_hand(host, "shop", text)
    if filed:
        host.files["/etc/xen/shop.cfg"] = text
    preview(host, {"name": "shop"})
    done = task(host, {"name": "shop"})
    assert (steps(done), done["pending"]) == (["store"], [])
    assert (host.domid("shop"), host.domains()["shop"]) == (domid, RUNS)
    settle(host, {"name": "shop"})
    if filed:
        assert host.files["/etc/xen/shop.cfg.before-stubdom.xen"] == text
    assert steps(task(host, {"name": "shop"}, state="halted")) == ["shutdown"]
    assert steps(task(host, {"name": "shop"})) == ["create", "await", "unpause"]


def test_guests_that_are_not_named_are_not_touched(host):
    others = [by_hand(host, "shop", LEAST_HVM), by_hand(host, "mine", LEAST_HVM.replace("shop", "mine"), run=False)]
    task(host, STUBDOM)
    task(host, STUBDOM, state="absent")
    assert [host.domid("shop"), host.domid("mine")] == others
    assert host.domains() == {"shop": RUNS, "mine": HELD}


def test_a_guest_whose_name_looks_like_a_stubdomains_is_nobodys_leftover(host):
    """xl lets a person call a guest vault-dm. It is no stubdomain: it has no target, and libxl keeps its configuration."""
    domid = by_hand(host, "vault-dm", LEAST_HVM.replace("shop", "vault-dm"))
    task(host, STUBDOM, state="halted")
    assert host.domid("vault-dm") == domid
    assert host.domains() == {"vault-dm": RUNS}


def test_a_stubdomain_that_serves_a_renamed_guest_is_not_swept(host):
    task(host, STUBDOM)
    host.tree.put("/local/domain/1/name", "treasury")  # xl rename, killed before it renamed the stubdomain
    assert steps(task(host, STUBDOM, state="halted")) == []
    assert sorted(host.domains()) == ["treasury", "vault-dm"]


@pytest.mark.parametrize("moment", [0.005, 0.015, 0.025])
def test_a_guest_that_somebody_makes_by_that_name_meanwhile_is_theirs(host, moment):
    """Seen before the next step, or by xl, which makes no second one. It is not what this task made, and it stays."""
    host.files["/root/web.cfg"] = 'name = "web"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'
    host.timeline.after(moment, lambda: host.machine.run(["xl", "create", "-p", "/root/web.cfg"]))
    assert failure(host, PVH).code in ("create_failed", "step_failed")
    host.timeline.pass_time(5)
    assert (host.domains(), host.domid("web")) == ({"web": HELD}, 1)


def test_a_stubdomain_that_serves_nobody_is_swept(host):
    task(host, STUBDOM)
    guest = host.domid("vault")
    host.tree.remove(f"/local/domain/{guest}")
    host.files.pop(host.machine.userdata(guest))
    del host.hypervisor.domains[guest]
    host.machine.pulses.clear()
    assert preview(host, STUBDOM)["leftovers"][0]["name"] == "vault-dm"
    assert steps(task(host, STUBDOM)) == ["sweep", "create", "await", "unpause"]
    assert sorted(host.domains()) == ["vault", "vault-dm"]
    settle(host, STUBDOM)


def half_destroyed(host, name, kept=False):
    """What xl leaves when it is killed at the end of `xl destroy`: a paused domain that only the hypervisor knows."""
    domid = host.domid(name)
    host.tree.remove(f"/local/domain/{domid}")
    host.hypervisor.domains[domid].paused = True
    if not kept:
        host.files.pop(host.machine.userdata(domid))
    return domid


@pytest.mark.parametrize(("wanted", "then"), [("halted", []), ("running", ["create", "await", "unpause"])])
def test_what_a_killed_destroy_left_is_swept(host, wanted, then):
    """It bears the guest's UUID: no other domain could be started beside it."""
    task(host, PVH)
    half_destroyed(host, "web")
    assert preview(host, PVH, state=wanted)["leftovers"][0]["name"] == "(null)"
    assert steps(task(host, PVH, state=wanted)) == ["sweep", *then]
    assert list(host.domains()) == ["web"] * bool(then)
    settle(host, PVH, state=wanted)


def test_a_guest_that_xenstore_forgot_while_it_was_paused_is_not_swept(host):
    """libxl still keeps its record, and it has run: what it had in memory is nobody's to throw away."""
    task(host, PVH)
    host.timeline.pass_time(5)
    domid = half_destroyed(host, "web", kept=True)
    host.hypervisor.domains[domid].seconds = 1.0
    assert steps(task(host, PVH, state="halted")) == []
    assert failure(host, PVH).code == "uuid_in_use"
    assert list(host.domains()) == ["(null)"]


# --- check mode, approval


def test_only_the_plan_that_was_shown_is_done(host):
    shown = preview(host, PVH)["plan_digest"]
    error = failure(host, PVH, memory="256MiB", expect_plan=shown)
    assert error.code == "plan_changed"
    assert host.mutations() == []
    assert "/etc/xen/web.cfg" not in host.files
    task(host, PVH, expect_plan=shown)
    assert host.domains() == {"web": RUNS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["running", "paused", "halted", "present", "absent"])
@pytest.mark.parametrize("before", ["running", "paused", "halted", "absent"])
def test_check_mode_says_what_is_then_done(host, kind, before, state):
    guest = KINDS[kind]
    task(host, guest, state=before)
    shown = preview(host, guest, state=state)
    done = task(host, guest, state=state, expect_plan=shown["plan_digest"])
    assert (done["plan"], done["pending"], done["changed"]) == (shown["plan"], shown["pending"], shown["changed"])
    settle(host, guest, state=state)


# --- what goes wrong


def test_libxls_own_limit_is_met_by_another_try(host):
    """libxl gives a stubdomain 30 s and nobody can give it more; on a busy host the second try may do."""
    host.behave("vault", Behaviour(stubdom_ready=None), Behaviour())
    done = task(host, STUBDOM, ready={"retries": 1})
    assert done["guest"]["state"] == "running"
    assert sorted(host.domains()) == ["vault", "vault-dm"]
    assert host.now() - 1000 < 60
    settle(host, STUBDOM)


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (Behaviour(stubdom_dies=2, stubdom_error="qemu: failed to map ioreq server resources: error 2"), "ioreq_not_mapped"),
        (Behaviour(stubdom_dies=2, stubdom_error="qemu-system-i386: -nonsense: invalid option"), "qemu_option_unknown"),
        (Behaviour(qmp_proxy=False), "qmp_proxy_absent"),
    ],
    ids=["by what the stubdomain said", "by what QEMU said", "by the link that did not hold"],
)
def test_a_known_cause_is_named_first(host, behaviour, cause):
    host.behave("vault", behaviour)
    error = failure(host, STUBDOM, ready={"retries": 0})
    known = next(row for row in CAUSES if row.name == cause)
    assert error.evidence["cause"] == cause
    assert error.msg.startswith(known.what) and "guest vault" in error.msg
    assert error.hint.startswith(known.hint)


def test_a_stubdomain_that_never_answers(host):
    host.behave("vault", Behaviour(stubdom_ready=None))
    error = failure(host, STUBDOM, ready={"retries": 1})
    assert error.code == "readiness_timeout"
    assert (error.evidence["link"], error.evidence["observed"]) == ("device-model", None)
    assert "startup timed out" in error.evidence["said"]
    assert (host.domains(), error.evidence["left"]["state"]) == ({}, "halted")


def test_a_deadline_of_ones_own_ends_the_wait(host):
    host.behave("vault", Behaviour(stubdom_ready=25))
    error = failure(host, STUBDOM, ready={"timeout": 10.0, "retries": 0})
    assert error.code == "readiness_timeout"
    assert 10 <= host.now() - 1000 < 13
    assert host.domains() == {}


def test_a_stubdomain_that_says_why_it_gives_up(host):
    host.behave("vault", Behaviour(stubdom_ready=None, stubdom_dies=5, stubdom_error="QEMU exited 1"))
    error = failure(host, STUBDOM)
    assert error.code == "stubdom_failed"
    assert "QEMU exited 1" in error.msg
    assert "stubdom: QEMU exited 1" in error.evidence["logs"][0]["tail"]
    assert host.domains() == {}
    assert host.now() - 1000 < 5 + 2 + 2  # since its start; then its remains are cleared


@pytest.mark.parametrize("end", ["-", "c"], ids=["powers off", "crashes"])
def test_a_stubdomain_that_dies_while_it_is_waited_for(host, end):
    host.behave("vault", Behaviour(stubdom_ready=None, stubdom_dies=5, stubdom_end=end))
    assert failure(host, STUBDOM).code == "reporter_died"
    assert host.domains() == {}
    assert host.now() - 1000 < 5 + 2 + 2


@pytest.mark.parametrize(
    ("said", "code"),
    [("Parsing config from /etc/xen/vault.cfg\n", "reporter_died"), ("libxl: error: Domain 1:No space left\n", "create_failed")],
)
def test_libxl_that_gives_up_destroys_the_stubdomain_itself(host, monkeypatch, said, code):
    """That it is gone is then no more than what follows; libxl's own error is the reason."""
    run = host.run

    async def runs(argv, *more):
        if list(argv[:3]) == ["xl", "create", "-p"]:
            raise XenError("reporter_died", "domain 2 is gone", {"said": said})
        return await run(argv, *more)

    monkeypatch.setattr(host, "run", runs)
    error = failure(host, STUBDOM, ready={"retries": 0})
    assert (error.code, error.evidence["said"]) == (code, said)
    assert code == "reporter_died" or "No space left" in error.msg


def test_a_stubdomain_that_dies_between_report_and_proxy(host):
    """The node says running, nobody serves the guest any more: the value alone proves nothing."""
    host.behave("vault", Behaviour(qmp_proxy=False, stubdom_dies=20))
    assert failure(host, STUBDOM, ready={"retries": 0}).code == "reporter_died"
    assert host.domains() == {}


def test_a_stubdomain_that_reports_below_domain_0_is_not_believed(host):
    """Where Xen up to 4.5 had it, and where a QEMU of dom0 might write."""
    host.behave("vault", Behaviour(stubdom_writes_in="dom0"))
    assert failure(host, STUBDOM, ready={"retries": 0}).code == "readiness_timeout"


def test_no_proxy_in_the_stubdomain_means_that_unpause_is_not_even_tried(host):
    host.behave("vault", Behaviour(qmp_proxy=False))
    error = failure(host, STUBDOM, ready={"timeout": 40.0, "retries": 0})
    assert (error.code, error.evidence["link"]) == ("readiness_timeout", "qmp")
    assert not any(argv[1] == "unpause" for argv in host.commands)
    assert host.domains() == {}


def test_what_failed_is_kept_when_told_so(host):
    host.behave("vault", Behaviour(qmp_proxy=False))
    failure(host, STUBDOM, ready={"timeout": 40.0, "retries": 0, "on_failure": "keep"})
    assert host.domains() == {"vault": HELD, "vault-dm": RUNS}


def test_a_qemu_in_dom0_that_exits_at_once(host):
    host.behave("shop", Behaviour(qemu_exits=True))
    error = failure(host, HVM)
    assert error.code == "create_failed"
    assert "did not start: -3" in error.msg
    assert host.domains() == {}


def test_unpause_that_exits_0_and_did_nothing_is_an_error(host):
    host.behave("shop", Behaviour(unpause_works=False))
    error = failure(host, HVM)
    assert (error.code, error.evidence["step"], error.evidence["state"]) == ("step_failed", "unpause", "paused")


def test_a_guest_that_takes_no_request_is_waited_for_as_long_as_the_task_says_and_no_longer(host):
    """xl alone would wait a minute for the guest to take its request."""
    host.behave("web", Behaviour(ignores_shutdown=True))
    task(host, PVH)
    began = host.now()
    error = failure(host, PVH, state="halted", shutdown={"timeout": 2.0})
    assert error.code == "shutdown_timeout"
    assert host.now() - began < 5
    assert host.domains() == {"web": RUNS}


@pytest.mark.parametrize(
    ("behaviour", "options", "code"),
    [
        (Behaviour(), {}, None),
        (Behaviour(pv_control=False), {}, None),
        (Behaviour(ignores_shutdown=True), {}, "shutdown_timeout"),
        (Behaviour(ignores_shutdown=True), {"shutdown": {"force": True}}, None),
    ],
    ids=["listens", "knows ACPI only", "does not listen", "does not listen, force"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_how_a_guest_is_halted(host, kind, behaviour, options, code):
    guest = KINDS[kind]
    host.behave(guest["name"], behaviour)
    task(host, guest)
    before = host.now()
    if code:
        assert failure(host, guest, state="halted", **options).code == code
        assert host.domains()[guest["name"]] == RUNS
        assert 120 <= host.now() - before < 125
    else:
        task(host, guest, state="halted", **options)
        assert host.domains() == {}


def test_a_guest_that_shut_itself_down_is_started_again(host):
    task(host, PVH)
    host.hypervisor.shut_down(host.domid("web"))
    host.timeline.pass_time(5)
    assert host.domains() == {}
    assert steps(task(host, PVH)) == ["create", "await", "unpause"]


def test_unless_it_is_to_be_kept_for_somebody_to_look_at(host):
    guest = {**PVH, "on_poweroff": "preserve"}
    task(host, guest)
    host.hypervisor.shut_down(host.domid("web"))
    host.timeline.pass_time(5)
    done = settle(host, guest)
    assert [item["field"] for item in done["pending"]] == ["state"]
    assert done["guest"]["state"] == "shutdown"


def test_a_guest_that_is_restarted_when_it_powers_off_can_be_halted(host):
    """xl's monitor obeys on_poweroff for a shutdown that was asked for, too: it is ended first."""
    guest = {**PVH, "on_poweroff": "restart"}
    task(host, guest)
    assert steps(task(host, guest, state="halted")) == ["shutdown"]
    host.timeline.pass_time(10)
    assert host.domains() == {}


@pytest.mark.parametrize("file", ["/etc/xen/shop.cfg", "/root/shop.cfg"])
@pytest.mark.parametrize("moment", [0.0, 0.05, 0.5, 1.0, 2.3, 2.8, 20.0])
def test_a_guest_that_reboots_just_when_it_is_to_go_stays_away(host, file, moment):
    """xl's monitor clears the domain, sleeps two seconds and makes the guest anew, whatever has become of the file."""
    if file.startswith("/root"):
        by_hand(host, "shop", LEAST_HVM)
    task(host, HVM if file.startswith("/etc") else {"name": "shop"})
    host.hypervisor.shut_down(host.domid("shop"), "r")
    host.timeline.pass_time(moment)
    task(host, {"name": "shop"}, state="absent", **FORCE)
    host.timeline.pass_time(60)
    assert host.domains() == {}


def test_a_guest_that_answers_the_request_to_shut_down_with_a_reboot(host):
    host.behave("web", Behaviour(ends_with="r"))
    task(host, PVH)
    task(host, PVH, state="halted")
    host.timeline.pass_time(60)
    assert host.domains() == {}


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.5, 1.0, 2.3, 2.8, 5.0, 20.0])
def test_a_guest_that_reboots_is_left_to_its_monitor(host, moment):
    """A task that wants it running does not race with xl for it."""
    task(host, STUBDOM)
    host.hypervisor.shut_down(host.domid("vault"), "r")
    host.timeline.pass_time(moment)
    assert steps(task(host, STUBDOM)) == []
    assert sorted(host.domains()) == ["vault", "vault-dm"]


def test_a_monitor_that_hangs_holds_nobody_up_for_long(host):
    """As one does whose domain xenstored forgot: it will never do anything again."""
    task(host, PVH)
    forgotten = next(process for process in host.machine.processes if process.log)
    forgotten._go = lambda held: None  # it is deaf from now on
    host.hypervisor.destroy(host.domid("web"))
    host.tree.remove("/local/domain/1")
    began = host.now()
    assert steps(task(host, PVH)) == ["create", "await", "unpause"]
    assert host.now() - began < 20


def test_a_domain_that_goes_without_news_is_not_waited_for_to_the_limit(host):
    """xenstore tells that a domain dies, not when the last of its pages is given back (seen on 4.17, oxenstored)."""
    task(host, STUBDOM)
    host.hypervisor.held = 3.0
    began = host.now()
    task(host, STUBDOM, state="absent", **FORCE)
    assert host.domains() == {}
    assert host.now() - began < 20


def test_a_domain_whose_memory_stays_mapped_holds_nobody_up_for_ever(host):
    task(host, PVH)
    host.hypervisor.held = 3600.0
    assert task(host, PVH, state="absent", **FORCE)["guest"]["state"] == "absent"
    assert list(host.domains()) == ["(null)"]


def test_a_guest_whose_xl_monitor_is_gone_is_cleared_and_started(host):
    task(host, PVH)
    for process in host.machine.processes:
        process.kill(9)
    host.hypervisor.shut_down(host.domid("web"))
    assert steps(task(host, PVH)) == ["clear", "create", "await", "unpause"]


def test_a_stubdomain_that_dies_under_a_running_guest(host):
    """libxl does not notice. The guest is degraded: only a new start helps, which the task has to allow."""
    task(host, STUBDOM)
    host.xl("destroy", "vault-dm")
    host.machine.pulses.clear()
    waits = settle(host, STUBDOM)
    assert [(p["field"], p["from"], p["needs"]) for p in waits["pending"]] == [("state", "degraded", "recreate")]
    preview(host, STUBDOM, disruption="recreate")
    done = task(host, STUBDOM, disruption="recreate")
    assert steps(done) == ["shutdown", "create", "await", "unpause"]
    assert sorted(host.domains()) == ["vault", "vault-dm"]
    settle(host, STUBDOM)


@pytest.mark.parametrize(
    ("behaviour", "code"), [(Behaviour(ignores_shutdown=True), "shutdown_timeout"), (Behaviour(pv_control=False), None)],
    ids=["lives on its PV drivers", "has lost all its devices"],
)  # fmt: skip
def test_the_plug_of_a_degraded_guest_is_pulled_only_where_it_can_do_nothing_any_more(host, behaviour, code):
    host.behave("vault", behaviour)
    task(host, STUBDOM)
    host.xl("destroy", "vault-dm")
    host.machine.pulses.clear()
    if code:
        assert failure(host, STUBDOM, state="halted").code == code
        assert "vault" in host.domains()
    else:
        task(host, STUBDOM, state="halted")
        assert host.domains() == {}


def test_a_failure_is_told_also_where_clearing_up_fails(host, monkeypatch):
    """As while xenstored stalls: what is told is why the start failed, and that something may be left."""
    host.behave("vault", Behaviour(stubdom_dies=3.0, stubdom_error="no disk"))

    async def stalls(*_arguments):
        raise XenError("xenstore_timeout", "xenstored did not answer")

    monkeypatch.setattr(Walk, "_clear_failed_start", stalls)
    error = failure(host, STUBDOM)
    assert (error.code, error.evidence["not_cleared"]["code"]) == ("stubdom_failed", "xenstore_timeout")
    assert "run it again" in error.hint
    monkeypatch.undo()
    host.behave_all_well()
    task(host, STUBDOM)
    settle(host, STUBDOM)


def test_a_guest_whose_device_model_does_not_answer_is_not_guessed_at(host):
    task(host, HVM)
    host.machine.pulses.clear()
    assert failure(host, HVM).code == "opaque"
    task(host, HVM, state="halted")
    assert host.domains() == {}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"disks": [{**DISK, "target": "/images/none.img"}]}, "file_unreadable"),
        ({"memory": "64GiB"}, "not_enough_memory"),
        ({"device_model": {"version": "qemu_xen_traditional"}, "stubdom": {"type": "minios"}}, "no_stubdom_image"),
        ({"firmware": "nonsense"}, "cfg_refused"),
        ({"uuid": "00000000-0000-4000-8000-000000000001"}, "uuid_in_use"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_host_cannot_give_is_refused_before_anything_is_touched(host, change, code):
    by_hand(host, "other", LEAST_HVM.replace("shop", "other") + 'uuid = "00000000-0000-4000-8000-000000000001"\n')
    guest, before = {**HVM, **change}, host.snapshot()
    with pytest.raises(XenError) as shown:
        preview(host, guest)
    assert shown.value.code == failure(host, guest).code == code
    assert host.snapshot() == before


def test_another_task_on_the_same_guest_is_waited_for(host):
    host.locks["web"] = "guest web: running"
    host.timeline.after(20, lambda: host.locks.pop("web"))
    task(host, PVH)
    assert host.now() - 1000 > 20
    host.locks["web"] = "guest web: running"
    assert failure(host, PVH).code == "locked"


def test_a_running_guest_whose_devices_have_no_option_is_not_adopted_without_them(host):
    """Its file would lack them, and with them the next start: nothing of a guest is lost."""
    host.files["/root/handmade.cfg"] = (
        'name="handmade"\ntype="pvh"\nmemory=160\nvcpus=1\nkernel="/boot/vmlinuz"\npvcalls=["backend=0"]\n'
    )
    host.xl("create", "/root/handmade.cfg")
    with pytest.raises(XenError) as refused:
        task(host, {"name": "handmade"})
    assert refused.value.code == "cannot_adopt" and "extra_config.pvcalls" in refused.value.hint


def test_a_log_that_is_written_a_moment_after_the_news_is_in_the_evidence(host):
    """The log's writer, QEMU or xenconsoled, is another process than the one that says in xenstore that all is lost."""
    host.behave("vault", Behaviour(stubdom_dies=1.0, stubdom_error="QEMU exited with code 1"))
    log = "/var/log/xen/qemu-dm-vault.log"
    host.timeline.waiting.append((
        lambda: any(path.endswith("/data/stubdom-error") for path in host.tree.nodes),
        lambda: (host.files.pop(log, None), host.timeline.after(0.3, lambda: host.files.update({log: "invalid option"}))),
    ))  # fmt: skip
    failed = failure(host, STUBDOM)
    assert (failed.code, {"path": log, "tail": "invalid option"} in failed.evidence["logs"]) == ("stubdom_failed", True)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("state", ["halted", "absent"])
def test_a_paused_guest_that_may_not_run_any_more_is_taken_away_by_force_alone(host, state, force):
    """It would be let run to shut itself down, but the vTPM domain that it leans on is gone."""
    task(host, PVH)
    domid = host.domid("web")
    host.hypervisor.domains[domid].seconds += 10
    host.tree.put(f"/libxl/{domid}/device/vtpm/0/backend", f"/local/domain/77/backend/vtpm/{domid}/0")
    assert host.xl("pause", "web").rc == 0
    if force:
        gone = task(host, {"name": "web"}, state=state, shutdown={"timeout": 5, "force": True})
        assert (gone["guest"]["state"], host.domains()) == (state, {})
        return
    error = failure(host, {"name": "web"}, state=state)
    assert (error.code, "shutdown.force" in error.hint) == ("reporter_died", True)
    assert (host.domains()["web"][2], host.machine.unsafe) == ("p", [])
