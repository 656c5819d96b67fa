# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest with a TPM in a domain of its own, on the simulated host: who comes first, who goes last, and what is kept."""

from __future__ import annotations

import pytest
from simulated_host import Behaviour
from stories import PVH, STUBDOM, by_hand, failure, killed_at_each_command, preview, settle, steps, task

RUNS = "-b----"
TPM = {"vtpm": [{"kind": "stubdom"}]}
KINDS = {"pvh": {**PVH, **TPM}, "stubdom": {**STUBDOM, **TPM}}
GUEST = KINDS["pvh"]
STATE, FILE = "/var/lib/stubdom.xen/vtpm/web.img", "/etc/xen/web-vtpm.cfg"
START = ["serve", "create", "await", "unpause"]
CREATED = ["xl", "create", "-p"]


def created(host):
    """The files of which domains were made, in order."""
    return [argv[3].rpartition("/")[2] for argv in host.commands if argv[:3] == CREATED]


def kill(host, name):
    """`xl destroy` by a person, of a domain that somebody leans on."""
    host.xl("destroy", name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_life_of_a_guest_with_a_tpm(host, kind):
    guest, name = KINDS[kind], KINDS[kind]["name"]
    own = f"{name}-vtpm"
    shown = preview(host, guest)
    done = task(host, guest)
    assert (steps(done), steps(shown)) == (["store", *START],) * 2
    assert created(host) == [f"{own}.cfg", f"{name}.cfg"]
    assert host.domains()[own] == host.domains()[name] == RUNS
    assert [(link["link"], link["domain"]) for link in done["readiness"]][-3:] == [
        ("vtpm-domain", host.domid(own)), ("vtpm", host.domid(own)), ("vtpm-protocol", host.domid(own)),
    ]  # fmt: skip
    about = done["guest"]["vtpm"][0]
    assert (about["name"], about["domid"], about["ready"], about["version"]) == (own, host.domid(own), True, "2.0")
    settle(host, guest)

    domid = host.domid(own)
    renewed = task(host, guest, max_vcpus=4, disruption="recreate")
    assert steps(renewed) == ["store", "shutdown", *START]
    assert host.domid(own) == domid, "a TPM that serves is not made anew"
    assert renewed["guest"]["spec"]["vtpm"] == done["guest"]["spec"]["vtpm"], "it is the same TPM"

    assert steps(task(host, guest, state="halted")) == ["shutdown", "release"]
    assert host.domains() == {}
    settle(host, guest, state="halted")
    assert steps(task(host, guest)) == START

    gone = task(host, {"name": name}, state="absent")
    assert (steps(gone), host.domains()) == (["shutdown", "release", "forget"], {})
    assert f"/etc/xen/{own}.cfg" not in host.files
    assert f"/var/lib/stubdom.xen/vtpm/{name}.img" in host.files, "the state of a TPM is not lost with its guest"
    settle(host, {"name": name}, state="absent")


def test_what_guest_says_of_it_is_valid_input_and_nothing_to_do(host):
    spec = task(host, GUEST, vtpm=[{"kind": "stubdom", "version": "1.2"}])["guest"]["spec"]
    assert spec["vtpm"] == [{"kind": "stubdom", "version": "1.2", "uuid": spec["vtpm"][0]["uuid"]}]
    settle(host, spec)


def test_a_task_that_says_nothing_of_the_tpm_leaves_it(host):
    task(host, GUEST)
    settle(host, PVH)
    assert steps(task(host, PVH, state="halted")) == ["shutdown", "release"]
    assert steps(task(host, PVH)) == START


def test_the_state_goes_only_where_that_is_said(host):
    task(host, GUEST)
    done = task(host, {"name": "web"}, state="absent", purge_state=True)
    assert steps(done) == ["shutdown", "release", "forget", "purge"]
    assert STATE not in host.files
    settle(host, {"name": "web"}, state="absent", purge_state=True)


def test_a_guest_that_is_to_have_no_tpm_any_more(host):
    task(host, GUEST)
    waits = task(host, PVH, vtpm=[])
    assert [(entry["field"], entry["needs"]) for entry in waits["pending"]] == [("vtpm[0]", "reboot")]
    assert host.domains() == {"web": RUNS, "web-vtpm": RUNS}
    done = task(host, PVH, vtpm=[], disruption="reboot")
    assert steps(done) == ["shutdown", "release", "create", "await", "unpause"]
    assert (host.domains(), FILE in host.files, STATE in host.files) == ({"web": RUNS}, False, True)
    settle(host, PVH, vtpm=[])


def test_the_guests_own_reboot_brings_no_tpm_whose_domain_is_still_to_be_made(host):
    """xl's monitor would make the guest of its file, wait ten seconds for a back end in no domain, and have no guest."""
    task(host, PVH)
    assert steps(task(host, GUEST)) == ["store"]
    host.hypervisor.shut_down(host.domid("web"), "r")
    host.timeline.pass_time(30)
    assert host.domains() == {"web": RUNS}
    assert steps(task(host, GUEST, disruption="reboot")) == ["shutdown", *START]
    settle(host, GUEST)


# --- what goes wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_tpm_domain_makes_the_guest_degraded_and_is_repaired(host, kind):
    guest, name = KINDS[kind], KINDS[kind]["name"]
    task(host, guest)
    kill(host, f"{name}-vtpm")
    waits = task(host, guest)
    assert (waits["guest"]["state"], waits["changed"]) == ("degraded", False)
    assert [(entry["field"], entry["needs"]) for entry in waits["pending"]] == [("state", "reboot")]
    assert "domain of its TPM is gone" in waits["pending"][0]["reason"]
    done = task(host, guest, disruption="reboot")
    assert steps(done) == ["shutdown", *START]
    assert sorted(name for name in host.domains() if name.startswith(name)) == sorted(host.domains())
    settle(host, guest)


def test_one_that_was_made_anew_is_not_the_one_that_the_guest_has(host):
    """Its domid is baked into the guest's device."""
    task(host, GUEST)
    kill(host, "web-vtpm")
    host.xl("create", FILE)
    assert task(host, GUEST)["guest"]["state"] == "degraded"
    assert steps(task(host, GUEST, disruption="reboot")) == ["shutdown", *START]
    settle(host, GUEST)


def test_a_tpm_domain_that_never_gets_ready_leaves_nothing_running(host):
    host.behave("web-vtpm", Behaviour(tpm_ready=None))
    error = failure(host, GUEST)
    assert (error.code, error.evidence["link"]) == ("readiness_timeout", "vtpm-domain")
    assert "guest web: its TPM:" in error.msg
    assert created(host) == ["web-vtpm.cfg", "web-vtpm.cfg"], "tried again, as time may cure it; the guest was never made"
    assert host.domains() == {}
    host.behave_all_well()
    assert steps(task(host, GUEST)) == START


@pytest.mark.parametrize("after", [0, 2])
def test_a_tpm_domain_that_gives_up_is_told_at_once_with_its_reason(host, after):
    host.behave("web-vtpm", Behaviour(tpm_ready=None, tpm_dies=after, tpm_error="swtpm: the state is not a TPM's"))
    began = host.now()
    error = failure(host, GUEST)
    assert (error.code, error.evidence["link"]) == ("stubdom_failed", "vtpm-domain")
    assert "the state is not a TPM's" in error.msg
    assert (host.now() - began < 10, host.domains()) == (True, {})


def test_a_guest_whose_start_fails_takes_its_tpm_down_again(host):
    host.behave("vault", Behaviour(stubdom_ready=None, stubdom_dies=2, stubdom_error="QEMU exited"))
    assert failure(host, KINDS["stubdom"], ready={"retries": 0}).code == "stubdom_failed"
    assert host.domains() == {}


def test_one_that_shut_itself_down_is_cleared_and_made_anew(host):
    """It is kept, for what it said when it gave up; a new start does not wait for a person to look at it."""
    task(host, GUEST)
    host.hypervisor.shut_down(host.domid("web-vtpm"))
    assert task(host, GUEST)["guest"]["state"] == "degraded"
    task(host, GUEST, disruption="reboot")
    assert host.domains() == {"web": RUNS, "web-vtpm": RUNS}


REFUSED = {
    "another version": ({"vtpm": [{"kind": "stubdom", "version": "1.2"}], "disruption": "recreate", "vcpus": 3}, "vtpm_version"),
    "two of them": ({"vtpm": [{"kind": "stubdom"}, {"kind": "stubdom"}]}, "invalid_input"),
    "of somebody else's": ({"vtpm": [{"kind": "stubdom", "backend": "tpm"}]}, "invalid_input"),
    "a version of somebody else's": ({"vtpm": [{"backend": "tpm", "version": "2.0"}]}, "invalid_input"),
    "a start without it": ({"autostart": True}, "invalid_input"),
    "no size": ({"vtpm": [{"kind": "stubdom", "memory": "much"}]}, "invalid_input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(host, case):
    given, code = REFUSED[case]
    task(host, GUEST)
    task(host, GUEST, state="halted")
    before = host.snapshot()
    assert failure(host, {**GUEST, **given}).code == code
    assert host.snapshot() == before


def test_without_the_image_nothing_is_touched(host):
    host.files.pop("/usr/lib/xen-4.17/boot/vtpm-stubdom-linux-kernel")
    before = host.snapshot()
    error = failure(host, GUEST)
    assert (error.code, "stubdom.xen.vtpm" in error.hint) == ("no_vtpm_image", True)
    assert host.snapshot() == before


def test_a_state_that_is_gone_is_not_replaced_by_an_empty_one(host):
    task(host, GUEST)
    task(host, GUEST, state="halted")
    host.files.pop(STATE)
    assert failure(host, GUEST).code == "tpm_state_missing"
    assert STATE not in host.files
    task(host, GUEST, purge_state=True)
    assert STATE in host.files


def test_somebody_elses_guest_by_that_name_is_not_touched(host):
    domid = by_hand(host, "web-vtpm", 'name = "web-vtpm"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n')
    assert failure(host, GUEST).code == "name_taken"
    task(host, {"name": "web"}, state="absent")
    assert (host.domid("web-vtpm"), host.domains()) == (domid, {"web-vtpm": RUNS})


@pytest.mark.parametrize("wanted", ["running", "halted", "absent"])
def test_killed_before_any_command_and_run_again(wanted):
    """At each command of xl in turn, until there is none left: the same task again brings it about."""
    for moment, host in killed_at_each_command(GUEST, wanted):
        assert sorted(host.domains()) == (["web", "web-vtpm"] if wanted == "running" else []), moment
