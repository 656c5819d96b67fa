# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate for guests that others made: what module guest_ready waits for, tells, and lets run."""

from __future__ import annotations

import pytest
from simulated_host import Behaviour, SimulatedHost
from stories import by_hand

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.observe import look
from ansible_collections.stubdom.xen.plugins.module_utils.readiness import Proof
from ansible_collections.stubdom.xen.plugins.module_utils.ready import await_ready
from ansible_collections.stubdom.xen.plugins.module_utils.unpause import unpause

STUBDOM = """name = "vault"
uuid = "11111111-2222-3333-4444-555555555555"
type = "hvm"
memory = 64
device_model_version = "qemu-xen"
device_model_stubdomain_override = 1
"""
HVM = 'name = "shop"\ntype = "hvm"\nmemory = 64\n'
PVH = 'name = "web"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'
GUESTS = {"vault": STUBDOM, "shop": HVM, "web": PVH}
LINKS = {"vault": ["qmp-proxy", "console-backend", "device-model", "qmp"], "shop": ["device-model"], "web": []}


@pytest.fixture
def host():
    return SimulatedHost()


def wait_for(host, name, check_mode=False, **options):
    given = {"name": name, "timeout": 180, "unpause": False, **options}
    return host.finish(await_ready(host, given, check_mode))


def failed(host, name, **options):
    """The XenError that the task ends with, and the seconds that it took."""
    start = host.now()
    with pytest.raises(XenError) as failure:
        wait_for(host, name, **options)
    assert host.xenstore().watches == set()
    return failure.value, host.now() - start


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_that_is_held_is_waited_for_and_left_so(host, name):
    by_hand(host, name, GUESTS[name], run=False)
    told = wait_for(host, name)
    assert (told["ready"], told["changed"], told["guest"]["state"]) == (True, False, "paused")
    assert [link["link"] for link in told["readiness"] if link["holds"]] == LINKS[name]
    assert host.domains()[name][2] == "p"


@pytest.mark.parametrize("name", GUESTS)
def test_it_is_let_run_if_asked_and_once(host, name):
    by_hand(host, name, GUESTS[name], run=False)
    told = wait_for(host, name, unpause=True)
    assert (told["changed"], told["guest"]["state"]) == (True, "running")
    assert not wait_for(host, name, unpause=True)["changed"]
    assert host.machine.unsafe == []
    assert host.locks == {}


def test_a_guest_that_another_tool_is_just_making(host):
    """`xl create -p` is on its way; libxl writes its record of the guest last."""
    host.files["/root/vault.cfg"] = STUBDOM
    host.machine.run(["xl", "create", "-p", "/root/vault.cfg"])
    host.timeline.pass_time(1)
    told = wait_for(host, "vault", unpause=True)
    assert (told["guest"]["state"], host.machine.unsafe) == ("running", [])
    assert told["guest"]["stubdom"]["alive"]


@pytest.mark.parametrize("unpause", [True, False])
def test_a_guest_that_runs_is_ready_when_its_chain_holds(host, unpause):
    by_hand(host, "vault", STUBDOM)
    told = wait_for(host, "vault", unpause=unpause)
    assert (told["ready"], told["changed"]) == (True, False)


@pytest.mark.parametrize(
    ("state", "make"),
    [
        ("absent", lambda host: None),
        ("halted", lambda host: host.write_file("/etc/xen/web.cfg", PVH)),
        ("shutdown", lambda host: host.hypervisor.shut_down(by_hand(host, "web", PVH + 'on_poweroff = "preserve"\n'))),
        ("crashed", lambda host: host.hypervisor.shut_down(by_hand(host, "web", PVH + 'on_crash = "preserve"\n'), "c")),
    ],
)
def test_a_guest_that_cannot_become_ready_is_told_at_once(host, state, make):
    make(host)
    error, seconds = failed(host, "web")
    assert (error.code, error.evidence["state"], seconds < 1) == ("no_guest", state, True)


def test_a_creation_that_never_ends_is_told_at_the_deadline(host):
    host.files["/root/vault.cfg"] = STUBDOM
    xl = host.machine.run(["xl", "create", "-p", "/root/vault.cfg"])
    host.timeline.pass_time(1)
    xl.kill(9)
    error, seconds = failed(host, "vault", timeout=20)
    assert (error.code, 20 <= seconds < 21.5) == ("readiness_timeout", True)
    assert "its creation did not end" in error.msg


def test_a_device_model_without_a_monitor_is_named(host):
    """`xl list -l` does not describe such a guest: what it is, libxl's record tells."""
    host.behave("vault", Behaviour(qmp_proxy=False))
    by_hand(host, "vault", STUBDOM, run=False)
    error, _seconds = failed(host, "vault", timeout=20, unpause=True)
    assert (error.code, error.evidence["link"]) == ("readiness_timeout", "qmp")
    assert host.machine.unsafe == []


def test_a_stubdomain_that_dies_is_told_at_once(host):
    host.behave("vault", Behaviour(qmp_proxy=False))
    by_hand(host, "vault", STUBDOM, run=False)
    host.timeline.after(5, lambda: host.hypervisor.shut_down(2, "c"))
    error, seconds = failed(host, "vault", unpause=True)
    assert (error.code, seconds < 7) == ("reporter_died", True)
    assert error.evidence["logs"] == [] or all(log["tail"] for log in error.evidence["logs"])


def test_an_unpause_that_does_nothing_is_told(host):
    host.behave("shop", Behaviour(unpause_works=False))
    by_hand(host, "shop", HVM, run=False)
    error, _seconds = failed(host, "shop", unpause=True)
    assert (error.code, error.evidence["state"]) == ("step_failed", "paused")


@pytest.mark.parametrize("name", GUESTS)
def test_in_check_mode_it_looks_once_and_changes_nothing(host, name):
    by_hand(host, name, GUESTS[name], run=False)
    before = host.snapshot()
    told = wait_for(host, name, check_mode=True, unpause=True)
    assert (told["changed"], told["ready"], told["guest"]["state"]) == (True, True, "paused")
    assert host.snapshot() == before


def test_in_check_mode_a_guest_that_is_not_there_yet_is_no_failure(host):
    told = wait_for(host, "web", check_mode=True, unpause=True)
    assert (told["changed"], told["ready"]) == (False, False)


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_that_is_none_is_refused(host, timeout):
    assert failed(host, "web", timeout=timeout)[0].code == "invalid_input"


@pytest.mark.parametrize(
    "proof",
    [None, Proof(7, "11111111-2222-3333-4444-555555555555", ()), Proof(1, "99999999-2222-3333-4444-555555555555", ())],
    ids=["none", "of another domain", "of another guest that had its number"],
)
def test_nothing_is_unpaused_without_the_proof_for_this_very_domain(host, proof):
    by_hand(host, "vault", STUBDOM, run=False)
    domain = host.finish(look(host, "vault")).domain
    with pytest.raises(XenError) as refused:
        host.finish(unpause(host, "vault", domain, proof))
    assert refused.value.code == "not_ready"
    assert host.mutations() == []
