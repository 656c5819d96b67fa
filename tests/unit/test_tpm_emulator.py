# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose TPM QEMU shows it, kept by swtpm in dom0, on the simulated host: who comes first, and what is never lost."""

from __future__ import annotations

import pytest
from simulated_host import Behaviour, SimulatedHost, TaskKilled
from stories import HVM, PVH, STUBDOM, failure, killed_at_each_command, preview, settle, steps, surveyed, task

from ansible_collections.stubdom.xen.plugins.module_utils import swtpm, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.spec import from_options

TPM = {"vtpm": [{"kind": "emulator"}]}
GUEST = {**HVM, **TPM}
NAME = GUEST["name"]
SOCKET, STATE, MADE = swtpm.socket_path(NAME), f"{swtpm.state_dir(NAME)}/tpm2-00.permall", swtpm.made_path(NAME)
START = ["serve", "create", "await", "unpause"]
QEMU = "/usr/libexec/xen-qemu-system-i386"
RUNS = "-b----"


@pytest.fixture
def on_418(host):
    """The same host with the first Xen whose hvmloader asks which TPM there is."""
    host.machine.info = host.machine.info.replace("xen_minor              : 17", "xen_minor              : 18")
    host.files["/usr/lib/xen-4.18/bin/qemu-system-i386"] = "QEMU"
    return host


def test_the_life_of_a_guest_with_an_emulated_tpm(host):
    shown = preview(host, GUEST)
    done = task(host, GUEST)
    assert (steps(done), steps(shown)) == (["store", *START],) * 2
    link = done["readiness"][0]
    assert (link["link"], link["domain"], link["path"], link["value"]) == ("vtpm-emulator", 0, SOCKET, "connected")
    about = done["guest"]["vtpm"][0]
    assert (about["name"], about["alive"], about["ready"], about["version"]) == ("swtpm", True, True, "2.0")
    assert {STATE, MADE} <= set(host.files)
    assert host.machine.unsafe == []
    settle(host, GUEST)

    shell = host.emulators.serving[SOCKET].shell
    renewed = task(host, GUEST, max_vcpus=4, disruption="recreate")
    assert steps(renewed) == ["store", "shutdown", *START]
    assert host.emulators.serving[SOCKET].shell == shell, "who listens stays, and takes the guest's next QEMU"

    assert steps(task(host, GUEST, state="halted")) == ["shutdown", "release"]
    assert (host.domains(), host.emulators.serving) == ({}, {})
    settle(host, GUEST, state="halted")
    assert steps(task(host, GUEST)) == START

    gone = task(host, {"name": NAME}, state="absent")
    assert steps(gone) == ["shutdown", "release", "forget"]
    assert {STATE, MADE} <= set(host.files), "the state of a TPM is not lost with its guest"
    settle(host, {"name": NAME}, state="absent")
    purged = task(host, {"name": NAME}, state="absent", purge_state=True)
    assert steps(purged) == ["purge"]
    assert not {STATE, MADE} & set(host.files)
    settle(host, {"name": NAME}, state="absent", purge_state=True)


@pytest.mark.parametrize("version", ["1.2", "2.0"])
def test_what_guest_says_of_it_is_valid_input_and_nothing_to_do(host, version):
    spec = task(host, GUEST, vtpm=[{"kind": "emulator", "version": version}])["guest"]["spec"]
    assert spec["vtpm"] == [{"kind": "emulator", "version": version, "model": "tis"}]
    assert "args" not in spec["device_model"]
    settle(host, spec)
    (about,) = surveyed(host)["guests"]
    assert (about["spec"]["vtpm"], about["drift"], about["state"]) == (spec["vtpm"], [], "running")


def test_arguments_of_the_users_own_stay_beside_it(host):
    mine = {**GUEST, "device_model": {"args": ["-global", "PIIX4_PM.disable_s3=0"]}}
    assert task(host, mine)["guest"]["spec"]["device_model"]["args"] == mine["device_model"]["args"]
    settle(host, mine)
    settle(host, HVM)
    assert "-tpmdev" in host.files[f"/etc/xen/{NAME}.cfg"], "who says nothing of the TPM leaves it"
    waits = task(host, mine, device_model={"args": ["-nodefaults"]})
    assert [entry["field"] for entry in waits["pending"]] == ["device_model.args"]
    assert "-tpmdev" in host.files[f"/etc/xen/{NAME}.cfg"]


def test_the_arguments_are_read_as_they_are_written():
    """And those of somebody else's swtpm are theirs."""
    guest = from_options(
        {**HVM, "device_model": {"args": ["-x"]}, "vtpm": [{"kind": "emulator", "version": "2.0", "model": "crb"}]}
    )
    assert xlcfg.read(xlcfg.settings(guest)) == guest
    text = xlcfg.settings(guest)
    assert f"path={SOCKET}" in text and "tpm-crb" in text and "vtpm =" not in text
    other = xlcfg.read(text.replace(SOCKET, "/run/mine"))
    assert (other.vtpm, len(other.device_model.args)) == (None, 7)


def test_a_guest_that_is_to_have_no_tpm_any_more(host):
    task(host, GUEST)
    waits = task(host, HVM, vtpm=[])
    assert [(entry["field"], entry["needs"]) for entry in waits["pending"]] == [("vtpm[0]", "reboot")]
    assert SOCKET in host.emulators.serving
    done = task(host, HVM, vtpm=[], disruption="reboot")
    assert steps(done) == ["shutdown", "release", "create", "await", "unpause"]
    assert (host.emulators.serving, STATE in host.files) == ({}, True)
    settle(host, HVM, vtpm=[])


@pytest.mark.parametrize("kinds", [("stubdom", "emulator"), ("emulator", "stubdom")])
def test_the_other_kind_is_another_tpm_and_the_first_one_is_kept(host, kinds):
    first, second = ({**HVM, "vtpm": [{"kind": kind}]} for kind in kinds)
    task(host, first)
    done = task(host, second, disruption="reboot")
    assert steps(done) == ["store", "shutdown", "release", *START]
    assert (f"{NAME}-vtpm" in host.domains(), SOCKET in host.emulators.serving) == (kinds[1] == "stubdom", kinds[1] == "emulator")
    settle(host, second)
    assert {STATE, f"/var/lib/stubdom.xen/vtpm/{NAME}.img"} <= set(host.files)
    gone = task(host, {"name": NAME}, state="absent", purge_state=True)
    assert steps(gone) == ["shutdown", "release", "forget", "purge"]
    assert [path for path in host.files if "/vtpm/" in path] == []


def test_a_guest_that_gets_one_as_it_runs_has_it_after_a_restart_by_a_task(host):
    """Its own reboot brings none: nobody would have started the emulator, and QEMU would not start without it."""
    task(host, HVM)
    waits = task(host, GUEST)
    assert (steps(waits), [entry["field"] for entry in waits["pending"]]) == (["store"], ["vtpm[0]"])
    host.hypervisor.shut_down(host.domid(NAME), "r")
    host.timeline.pass_time(20)
    assert host.domains() == {NAME: RUNS}
    assert steps(task(host, GUEST, disruption="reboot")) == ["shutdown", *START]
    settle(host, GUEST)


def test_the_guests_own_reboot_finds_the_emulator_there(host):
    task(host, GUEST)
    before = host.domid(NAME)
    host.hypervisor.shut_down(before, "r")
    host.timeline.pass_time(20)
    assert host.domid(NAME) not in (None, before)
    assert host.machine.unsafe == []
    assert task(host, GUEST)["guest"]["state"] == "running"
    settle(host, GUEST)


# --- hvmloader


def told(host):
    return host.tree.value(f"/local/domain/{host.domid(NAME)}/platform/tpm_version")


def test_hvmloader_is_told_of_a_tpm_behind_crb_before_the_guest_runs(on_418):
    host = on_418
    assert task(host, GUEST)["guest"]["spec"]["vtpm"][0]["model"] == "crb"
    assert told(host) == "2"
    settle(host, GUEST)
    host.hypervisor.shut_down(host.domid(NAME), "r")
    host.timeline.pass_time(20)
    waits = task(host, GUEST)
    assert (told(host), waits["guest"]["state"], waits["pending"][0]["needs"]) == (None, "degraded", "reboot")
    assert "rebooted by itself" in waits["pending"][0]["reason"]
    task(host, GUEST, disruption="reboot")
    assert told(host) == "2"
    settle(host, GUEST)


@pytest.mark.parametrize("vtpm", [{"version": "1.2"}, {"version": "2.0", "model": "tis"}])
def test_of_one_behind_tis_it_need_not_be_told(on_418, vtpm):
    task(on_418, HVM, vtpm=[{"kind": "emulator", **vtpm}])
    assert told(on_418) is None
    settle(on_418, HVM, vtpm=[{"kind": "emulator", **vtpm}])


def test_a_task_killed_before_it_told_hvmloader(on_418):
    host = on_418
    task(host, GUEST, state="halted")
    host.kill_task_in_create = True
    host.machine.kill_create_at = None
    host.kill_task_at = len(host.commands) + [argv[:3] for argv in commands_of(GUEST)].index(["xl", "create", "-p"]) + 2
    with pytest.raises(TaskKilled):
        task(host, GUEST)
    host.close()
    host.locks.clear()
    host.kill_task_at = None
    assert (host.domains()[NAME][2], told(host)) == ("p", None)
    assert steps(task(host, GUEST)) == ["await", "unpause"]
    assert told(host) == "2"


def commands_of(guest):
    """What a task that starts the halted guest runs, in order."""
    trial = SimulatedHost()
    trial.machine.info = trial.machine.info.replace("xen_minor              : 17", "xen_minor              : 18")
    task(trial, guest, state="halted")
    begun = len(trial.commands)
    task(trial, guest)
    return trial.commands[begun:]


# --- what goes wrong


@pytest.mark.parametrize("who", ["swtpm", "both"])
def test_a_dead_emulator_makes_the_guest_degraded_and_is_repaired(host, who):
    task(host, GUEST)
    one = host.emulators.serving[SOCKET]
    if who == "both":
        host.end([one.pid])
    else:
        host.emulators.disconnect(SOCKET)  # it ended well: another listens, but QEMU does not come again
    waits = task(host, GUEST)
    assert (waits["guest"]["state"], waits["changed"], waits["guest"]["vtpm"][0]["ready"]) == ("degraded", False, False)
    assert [(entry["field"], entry["needs"]) for entry in waits["pending"]] == [("state", "reboot")]
    assert "emulator of its TPM" in waits["pending"][0]["reason"]
    (about,) = surveyed(host)["guests"]
    link = about["readiness"][0]
    assert (about["state"], link["link"], link["holds"]) == ("degraded", "vtpm-emulator", False)
    assert steps(task(host, GUEST, disruption="reboot")) == ["shutdown", *START]
    settle(host, GUEST)


def test_after_a_boot_of_the_host_the_next_task_brings_both(host):
    task(host, GUEST)
    host.xl("destroy", NAME)
    host.end([host.emulators.serving[SOCKET].shell])
    host.files.pop(SOCKET)
    assert steps(task(host, GUEST)) == START
    settle(host, GUEST)


def test_a_guest_whose_start_fails_takes_its_emulator_down_again(host):
    host.behave(NAME, Behaviour(qemu_exits=True))
    assert failure(host, GUEST, ready={"retries": 0}).code == "create_failed"
    assert (host.domains(), host.emulators.serving, STATE in host.files) == ({}, {}, True)


def test_an_emulator_that_dies_while_the_guest_is_made_is_told_at_once(host):
    path = f"/var/log/xen/{swtpm.log_name(NAME)}"
    host.files[path] = "swtpm: a bad page\n"
    began = host.now()
    host.timeline.after(0.6, lambda: host.end([host.emulators.serving[SOCKET].pid]))  # QEMU is connected, xl at work
    error = failure(host, GUEST, ready={"timeout": 60, "retries": 0})
    assert (error.code, error.evidence["link"]) == ("reporter_died", "vtpm-emulator")
    assert "swtpm in dom0 does not live any more" in error.msg
    assert {"path": path, "tail": "swtpm: a bad page\n"} in error.evidence["logs"]
    assert (host.now() - began < 10, host.domains(), host.machine.unsafe) == (True, {}, [])


def test_a_guest_with_one_is_not_saved(host):
    task(host, GUEST)
    error = failure(host, GUEST, state="saved")
    assert (error.code, "emulated TPM" in error.msg) == ("cannot_save", True)


def test_a_task_killed_before_it_marked_the_state(host):
    task(host, GUEST, state="halted")
    task(host, GUEST)
    host.files.pop(MADE)
    settle(host, GUEST)
    task(host, GUEST, state="halted")
    task(host, GUEST)
    assert MADE in host.files


def test_an_emulator_that_does_not_answer_leaves_nothing_started(host):
    host.emulators.silent = True
    error = failure(host, GUEST, ready={"timeout": 5, "retries": 0})
    assert (error.code, "does not answer" in error.msg) == ("tpm_emulator_failed", True)
    assert (host.domains(), host.emulators.serving) == ({}, {})


def test_a_state_that_swtpm_cannot_read_is_left_as_it_is(host):
    task(host, GUEST, state="halted")
    task(host, GUEST)
    task(host, GUEST, state="halted")
    host.files[STATE] = "spoilt"
    error = failure(host, GUEST)
    assert (error.code, error.evidence["result"]) == ("tpm_emulator_failed", 9)
    assert (host.files[STATE], host.domains(), host.emulators.serving) == ("spoilt", {}, {})


@pytest.mark.parametrize("lost", [[STATE], "the whole directory"])
def test_a_state_that_is_gone_is_not_replaced_by_an_empty_one(host, lost):
    task(host, GUEST)
    task(host, GUEST, state="halted")
    host.remove_directory(swtpm.state_dir(NAME))
    before = host.snapshot()
    error = failure(host, GUEST)
    assert (error.code, error.evidence["marked_by"]) == ("tpm_state_missing", MADE)
    assert host.snapshot() == before
    task(host, GUEST, purge_state=True)
    assert STATE in host.files
    settle(host, GUEST)


def test_one_that_vanished_under_an_emulator_that_idles(host):
    """Its swtpm would make a new TPM at the next start, and say nothing."""
    task(host, GUEST)
    host.hypervisor.shut_down(host.domid(NAME))
    host.timeline.pass_time(20)
    shell = host.emulators.serving[SOCKET].shell
    host.files.pop(STATE)
    assert failure(host, GUEST).code == "tpm_state_missing"
    task(host, GUEST, purge_state=True)
    assert host.emulators.serving[SOCKET].shell != shell


REFUSED = {
    "another version": ({"vtpm": [{"kind": "emulator", "version": "1.2"}]}, "vtpm_version"),
    "two of them": ({"vtpm": [{"kind": "emulator"}, {"kind": "emulator"}]}, "invalid_input"),
    "beside one in a domain": ({"vtpm": [{"kind": "emulator"}, {"kind": "stubdom"}]}, "invalid_input"),
    "of a domain": ({"vtpm": [{"kind": "emulator", "backend": "tpm"}]}, "invalid_input"),
    "with a UUID": ({"vtpm": [{"kind": "emulator", "uuid": "5c0a1ee4-36bb-4b35-8d0c-1d6a0e5a4c0f"}]}, "invalid_input"),
    "with memory": ({"vtpm": [{"kind": "emulator", "memory": "64MiB"}]}, "invalid_input"),
    "1.2 behind CRB": ({"vtpm": [{"kind": "emulator", "version": "1.2", "model": "crb"}]}, "invalid_input"),
    "a start without it": ({"autostart": True}, "invalid_input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(host, case):
    given, code = REFUSED[case]
    task(host, GUEST)
    task(host, GUEST, state="halted")
    before = host.snapshot()
    assert failure(host, {**GUEST, **given}).code == code
    assert host.snapshot() == before


@pytest.mark.parametrize("guest", [PVH, {**PVH, "type": "pv"}, STUBDOM], ids=["pvh", "pv", "stubdom"])
def test_only_where_qemu_is_in_dom0(host, guest):
    before = host.snapshot()
    error = failure(host, guest, **TPM)
    assert (error.code, error.evidence["option"]) == ("invalid_input", "vtpm[0].kind")
    assert "stubdom" in error.msg and "QEMU in dom0" in error.hint
    assert host.snapshot() == before


def test_a_guest_called_as_anothers_file_has_its_own(host):
    other = {**GUEST, "name": f"{NAME}.pid", "disks": []}
    task(host, GUEST)
    task(host, other)
    settle(host, GUEST)
    settle(host, other)
    assert len(host.emulators.serving) == 2


def test_a_longer_name_than_a_sockets_path_may_be(host):
    assert failure(host, {**GUEST, "name": "n" * 81}).evidence["option"] == "vtpm[0].kind"
    assert len(swtpm.socket_path("n" * 80)) < 108


LACKING = {
    "a QEMU without TPM": (lambda host: host.qemu_has.pop("-tpmdev"), "has no emulated TPM", "kind: stubdom"),
    "a QEMU without Xen": (lambda host: host.qemu_has.update({"-accel": "tcg kvm"}), "without Xen", "device_model.path"),
    "no QEMU": (lambda host: host.files.pop(QEMU), "is not there", "--enable-tpm"),
    "no swtpm": (lambda host: host.lacks.add("swtpm"), "no swtpm", "Debian: swtpm"),
}


@pytest.mark.parametrize("case", LACKING)
@pytest.mark.parametrize("state", ["running", "halted"])
def test_what_the_host_lacks_is_told_before_anything_is_touched(host, case, state):
    lack, what, hint = LACKING[case]
    lack(host)
    before = host.snapshot()
    error = failure(host, GUEST, state=state)
    assert (error.code, what in error.msg, hint in error.hint) == ("no_tpm_emulator", True, True)
    assert host.snapshot() == before


def asked(host):
    return [argv for argv in host.commands if argv[2:] == ["help"]]


def test_qemu_is_asked_once(host):
    task(host, GUEST)
    assert len(asked(host)) == 2
    task(host, GUEST, state="halted")
    task(host, GUEST)
    assert len(asked(host)) == 2


def test_another_qemu_is_asked_itself(host):
    task(host, GUEST, state="halted")
    host.files["/opt/qemu-system-i386"] = "QEMU"
    task(host, GUEST, device_model={"path": "/opt/qemu-system-i386"})
    assert {argv[0] for argv in asked(host)} == {QEMU, "/opt/qemu-system-i386"}


@pytest.mark.parametrize("wanted", ["running", "halted", "absent"])
def test_killed_before_any_command_and_run_again(wanted):
    """At each command of xl in turn, until there is none left: the same task again brings it about."""
    for moment, host in killed_at_each_command(GUEST, wanted):
        assert sorted(host.domains()) == ([NAME] if wanted == "running" else []), moment
        assert sorted(host.emulators.serving) == ([SOCKET] if wanted == "running" else []), moment
