# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: what it takes for a sign of readiness, whom it does not believe, and how soon it tells of a death."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_host import Behaviour, SimulatedHost
from simulated_xen import Domain
from stories import HVM, STUBDOM, by_hand, task

from ansible_collections.stubdom.xen.plugins.module_utils.again import these
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.readiness import Gate

UUID = "11111111-2222-3333-4444-555555555555"
STATE = "/local/domain/2/device-model/1/state"
PROXY = "/local/domain/2/device-model/1/qmp-vchan/event-channel"


@pytest.fixture
def host():
    return SimulatedHost()


def gate_on(host, kind="linux", uuid=UUID, **more):
    return Gate(host, lambda domids: these(host, domids), "vault", uuid, kind, **more)


def start_stubdomain_guest(host, behaviour):
    host.behave("vault", behaviour)
    host.files["/root/vault.cfg"] = (
        f'name = "vault"\nuuid = "{UUID}"\ntype = "hvm"\nmemory = 64\n'
        'device_model_version = "qemu-xen"\ndevice_model_stubdomain_override = 1\n'
    )
    host.machine.run(["xl", "create", "-p", "/root/vault.cfg"])


def stubdomain_guest(host):
    """A guest and its stubdomain as libxl has just made them: domains 1 and 2, and nothing ready; and a gate on them."""
    start_stubdomain_guest(host, Behaviour(stubdom_ready=None))
    host.timeline.pass_time(2)
    return gate_on(host)


def report(host, state="running", owner=2, proxy=True):
    host.tree.put(STATE, state, owner=owner)
    if proxy:
        host.tree.put(PROXY, "9", owner=2)


def ended(gate, within, host):
    """The code of the error that the wait ends with, or None; and the seconds it took."""
    start = host.now()
    try:
        host.finish(gate.wait(start + within))
    except XenError as error:
        return error.code, host.now() - start
    return None, host.now() - start


def test_a_chain_that_comes_up_is_proven_for_that_domain(host):
    gate = stubdomain_guest(host)
    host.timeline.after(3, lambda: report(host))
    proof = host.finish(gate.wait(host.now() + 100))
    assert proof.domid == 1
    assert [link["link"] for link in proof.links] == ["qmp-proxy", "console-backend", "device-model", "qmp"]


def test_a_chain_that_holds_already_is_not_waited_for(host):
    gate = stubdomain_guest(host)
    report(host)
    assert ended(gate, 0, host)[0] is None
    gate.close()
    assert ended(gate_on(host, "none"), 0, host)[0] is None


@pytest.mark.parametrize(
    "wrong",
    [{"state": "starting"}, {"owner": 0}, {"owner": 1}, {"proxy": False}],
    ids=["another value", "written by dom0", "written by the guest", "no proxy"],
)
def test_what_is_no_sign_of_readiness_is_waited_out_and_no_longer(host, wrong):
    gate = stubdomain_guest(host)
    report(host, **wrong)
    code, seconds = ended(gate, 20, host)
    assert code == "readiness_timeout"
    assert 20 <= seconds < 20.5


def test_the_helper_in_dom0_is_not_mistaken_for_the_guests_device_model(host):
    """/local/domain/0/device-model/S/state says running seconds before the guest's own does."""
    gate = stubdomain_guest(host)
    host.finish(gate.look())
    assert [link["value"] for link in gate.links()] == ["running", "running", None, None]
    assert not gate.holds()


def test_another_guests_readiness_is_not_mine(host):
    gate = stubdomain_guest(host)
    host.tree.put("/local/domain/2/device-model/7/state", "running", owner=2)
    host.tree.put("/local/domain/3/device-model/1/state", "running", owner=3)
    assert ended(gate, 5, host)[0] == "readiness_timeout"


def test_a_stubdomain_that_serves_another_guest_is_not_believed(host):
    """The guest's node names a stubdomain whose own target is somebody else."""
    gate = stubdomain_guest(host)
    report(host)
    host.tree.put("/local/domain/2/target", "7")
    assert ended(gate, 5, host)[0] == "readiness_timeout"


def test_a_link_that_ceases_to_hold_holds_no_more(host):
    gate = stubdomain_guest(host)
    host.tree.put(STATE, "running", owner=2)
    host.finish(gate.look())
    host.tree.remove(STATE)
    host.timeline.after(1, lambda: host.tree.put(PROXY, "9", owner=2))
    assert ended(gate, 5, host)[0] == "readiness_timeout"


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (lambda host: host.hypervisor.shut_down(2), "reporter_died"),
        (lambda host: host.hypervisor.shut_down(2, "c"), "reporter_died"),
        (lambda host: host.hypervisor.destroy(2), "reporter_died"),
        (lambda host: host.hypervisor.destroy(1), "guest_died"),
        (lambda host: host.hypervisor.shut_down(1, "c"), "guest_died"),
        (lambda host: host.tree.put("/local/domain/2/data/stubdom-error", "no disk", owner=2), "stubdom_failed"),
    ],
    ids=["powered off", "crashed", "destroyed", "guest destroyed", "guest crashed", "says why"],
)
def test_a_death_is_told_within_two_seconds(host, what, code):
    gate = stubdomain_guest(host)
    host.timeline.after(5, lambda: what(host))
    told, seconds = ended(gate, 300, host)
    assert (told, seconds < 7) == (code, True)


def test_a_reporter_that_died_before_the_wait_began_is_told_at_once(host):
    """The node still says running: it says that a device model started, not that it lives."""
    gate = stubdomain_guest(host)
    report(host)
    host.hypervisor.shut_down(2, "c")
    code, seconds = ended(gate, 300, host)
    assert (code, seconds < 1) == ("reporter_died", True)


def test_a_stubdomain_that_is_gone_before_the_wait_began_is_told_at_once(host):
    """Its nodes are gone with it; the guest's own node still names it."""
    gate = stubdomain_guest(host)
    host.hypervisor.destroy(2)
    host.tree.remove("/local/domain/2")
    with pytest.raises(XenError) as failed:
        host.finish(gate.wait(host.now() + 300))
    assert (failed.value.code, failed.value.evidence["link"]) == ("reporter_died", "device-model")
    assert failed.value.evidence["waited_s"] < 1


def test_the_death_of_a_domain_that_matters_not_is_no_news(host):
    gate = stubdomain_guest(host)
    other = by_hand(host, "shop", 'name = "shop"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n')
    host.timeline.after(2, lambda: host.hypervisor.destroy(other))
    host.timeline.after(4, lambda: report(host))
    assert ended(gate, 20, host)[0] is None


def test_a_failure_names_the_link_the_path_and_who_should_have_written_it(host):
    gate = stubdomain_guest(host)
    with pytest.raises(XenError) as failed:
        host.finish(gate.wait(host.now() + 5))
    evidence = failed.value.evidence
    assert (evidence["link"], evidence["path"], evidence["want"], evidence["observed"]) == (
        "device-model",
        STATE,
        "running",
        None,
    )
    assert "domain 2" in evidence["reporter"]
    assert STATE in failed.value.msg


def test_what_a_stubdomain_writes_cannot_move_the_readers_cursor(host):
    gate = stubdomain_guest(host)
    host.tree.put("/local/domain/2/data/stubdom-error", "bad\x1b[2J\u202edisk" + "x" * 5000, owner=2)
    with pytest.raises(XenError) as failed:
        host.finish(gate.wait(host.now() + 5))
    assert not {"\x1b", "\u202e"} & set(failed.value.msg)
    assert len(failed.value.msg) < 2000


def test_a_guest_that_is_not_there_yet_is_waited_for(host):
    gate = gate_on(host)
    host.timeline.after(3, lambda: start_stubdomain_guest(host, Behaviour(stubdom_ready=4)))
    assert ended(gate, 60, host)[0] is None


def test_a_gate_leaves_no_watch_behind(host):
    gate = stubdomain_guest(host)
    ended(gate, 1, host)
    gate.close()
    assert host.xenstore().watches == set()
    for guest in (STUBDOM, HVM):
        task(host, {**guest, "name": f"n-{guest['name']}"})
    assert host.xenstore().watches == set()


@pytest.mark.parametrize(
    ("node", "owner"), [("/local/domain/1/image/device-model-domid", 1), ("/local/domain/2/target", 2), ("/local/domain/1/vm", 1)]
)
def test_who_serves_whom_is_believed_of_domain_0_only(host, node, owner):
    gate = stubdomain_guest(host)
    report(host)
    host.tree.put(node, host.tree.value(node), owner=owner)
    assert ended(gate, 5, host)[0] == "readiness_timeout"


def test_a_guest_whose_number_another_has_now_is_dead(host):
    gate = stubdomain_guest(host)
    host.finish(gate.look())

    def reused():
        host.hypervisor.domains[1].uuid = "99999999-2222-3333-4444-555555555555"
        host.tree.fire("@releaseDomain")

    host.timeline.after(3, reused)
    assert ended(gate, 60, host)[0] == "guest_died"


# --- domain 0's own QEMU

STALE = "/local/domain/0/device-model/1/state"


def hvm_guest(host, **behaviour):
    """An HVM guest that xl makes from now on: domain 1."""
    host.behave("vault", Behaviour(**behaviour))
    host.files["/root/vault.cfg"] = f'name = "vault"\nuuid = "{UUID}"\ntype = "hvm"\nmemory = 64\n'
    return host.machine.run(["xl", "create", "-p", "/root/vault.cfg"])


def test_what_a_dead_guest_left_in_domain_0_does_not_count(host):
    """Domain 1 was another guest; libxl only makes the directory of the new one's QEMU, it does not empty it."""
    host.tree.put(STALE, "running", owner=0)
    gate = gate_on(host, "qemu", from_the_start=True)
    hvm_guest(host, qemu_exits=True)
    host.timeline.pass_time(0.2)
    host.finish(gate.on_event())
    assert gate.links()[0]["value"] == "running"
    assert not gate.holds()


def test_what_the_new_guests_qemu_writes_over_it_counts(host):
    host.tree.put(STALE, "running", owner=0)
    gate = gate_on(host, "qemu", from_the_start=True)
    hvm_guest(host)
    assert ended(gate, 10, host)[0] is None


def test_a_qemu_that_ended_is_not_ready_whatever_its_node_says(host):
    hvm_guest(host)
    host.timeline.pass_time(2)
    host.machine.ended.add(9001)
    code, seconds = ended(gate_on(host, "qemu"), 300, host)
    assert (code, seconds < 1) == ("reporter_died", True)


def test_the_end_of_a_qemu_is_told_at_once(host):
    """No domain dies with it: the gate watches the process."""
    start_stubdomain_guest(host, Behaviour(stubdom_ready=None))
    host.timeline.pass_time(2)
    gate = gate_on(host)
    host.timeline.after(5, lambda: host.machine.ended.add(9002))
    code, seconds = ended(gate, 300, host)
    assert (code, seconds < 7) == ("reporter_died", True)


@pytest.mark.parametrize("node", ["x", "-1", "0", "", "99999999999", "9001\n"])
def test_a_process_number_that_is_none_tells_nothing(host, node):
    hvm_guest(host)
    host.timeline.pass_time(2)
    host.tree.put("/local/domain/1/image/device-model-pid", node)
    assert ended(gate_on(host, "qemu"), 5, host)[0] is None


def test_a_restricted_qemu_is_asked_over_its_monitor(host):
    """Its node says nothing, ever: it gave up the right to write it."""
    hvm_guest(host)
    host.timeline.pass_time(2)
    host.tree.remove(STALE)
    host.machine.pulses.discard(1)
    gate = gate_on(host, "restricted")
    host.timeline.after(7, lambda: host.machine.pulses.add(1))
    code, seconds = ended(gate, 60, host)
    assert (code, 7 <= seconds < 7.5) == (None, True)
    assert gate.links()[0]["value"] == "prelaunch"


# --- devices that other domains serve

VTPM = "/local/domain/9/backend/vtpm/1/0"


def served(host, path, frontend="/libxl/1/device/vtpm/0", domid=9):
    """A device of domain 1, whose back end is in another domain, as libxl writes it; that domain lives."""
    host.hypervisor.last = max(host.hypervisor.last, domid)
    host.hypervisor.domains.setdefault(domid, Domain(domid, f"{domid:08d}-0000-0000-0000-000000000000", 64, paused=False))
    host.tree.put(f"/local/domain/{domid}/name", f"helper{domid}")
    host.tree.put(f"{frontend}/backend", path)


def pvh_guest(host):
    host.files["/root/vault.cfg"] = f'name = "vault"\nuuid = "{UUID}"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'
    host.machine.run(["xl", "create", "-p", "/root/vault.cfg"])
    host.timeline.pass_time(2)


def vtpm_answers(host, state="2", owner=9, protocol="1"):
    host.tree.put(f"{VTPM}/state", state, owner=owner)
    if protocol:
        host.tree.put(f"{VTPM}/feature-protocol-v2", protocol, owner=owner)


def test_a_vtpm_domain_is_a_link_of_the_chain(host):
    pvh_guest(host)
    served(host, VTPM)
    gate = gate_on(host, "none")
    host.timeline.after(4, lambda: vtpm_answers(host))
    code, seconds = ended(gate, 60, host)
    assert (code, 4 <= seconds < 4.5) == (None, True)
    assert [(link["link"], link["domain"]) for link in gate.links()] == [("vtpm", 9), ("vtpm-protocol", 9)]


@pytest.mark.parametrize(
    "wrong",
    [{"state": "1"}, {"state": "5"}, {"owner": 0}, {"owner": 1}, {"protocol": ""}, {"protocol": "0"}],
    ids=["initialising", "closing", "written by dom0", "written by the guest", "protocol 1", "protocol 0"],
)
def test_a_vtpm_that_is_not_ready_is_waited_for(host, wrong):
    pvh_guest(host)
    served(host, VTPM)
    vtpm_answers(host, **wrong)
    assert ended(gate_on(host, "none"), 5, host)[0] == "readiness_timeout"


def test_a_vtpm_domain_that_dies_is_told_at_once(host):
    pvh_guest(host)
    served(host, VTPM)
    host.timeline.after(3, lambda: host.hypervisor.shut_down(9, "c"))
    code, seconds = ended(gate_on(host, "none"), 300, host)
    assert (code, seconds < 4) == ("reporter_died", True)


def test_a_vtpm_managers_link_comes_before_the_vtpms(host):
    """The vTPM domain is a guest of its manager; its own driver runs, so that there 4, Connected, is demanded."""
    pvh_guest(host)
    served(host, VTPM)
    served(host, "/local/domain/8/backend/vtpm/9/0", "/libxl/9/device/vtpm/0", domid=8)
    vtpm_answers(host)
    gate = gate_on(host, "none")
    for seconds, state in ((2, "2"), (4, "4")):
        host.timeline.after(seconds, lambda state=state: host.tree.put("/local/domain/8/backend/vtpm/9/0/state", state, owner=8))
    code, seconds = ended(gate, 60, host)
    assert (code, 4 <= seconds < 4.5) == (None, True)
    assert [link["link"] for link in gate.links()] == ["vtpm-manager", "vtpm", "vtpm-protocol"]


def test_a_disk_of_a_driver_domain_waits_for_the_qemu_there(host):
    pvh_guest(host)
    back = "/local/domain/9/backend/qdisk/1/51712"
    served(host, back, "/libxl/1/device/vbd/51712")
    gate = gate_on(host, "none")
    host.timeline.after(2, lambda: host.tree.put(f"{back}/state", "2", owner=9))
    host.timeline.after(5, lambda: host.tree.put("/local/domain/9/device-model/1/state", "running", owner=9))
    code, seconds = ended(gate, 60, host)
    assert (code, 5 <= seconds < 5.5) == (None, True)


def test_a_device_that_comes_while_the_gate_waits_is_waited_for_too(host):
    """libxl adds the devices one after the other once the device model runs."""
    gate = stubdomain_guest(host)
    host.timeline.after(2, lambda: served(host, VTPM))
    host.timeline.after(3, lambda: report(host))
    host.timeline.after(6, lambda: vtpm_answers(host))
    code, seconds = ended(gate, 60, host)
    assert (code, 6 <= seconds < 6.5) == (None, True)


def test_a_device_for_which_libxl_gave_up_is_told(host):
    """libxl takes the device away before it says that it failed."""
    pvh_guest(host)
    gate = gate_on(host, "none")
    gate.xl_at_work = True
    served(host, VTPM)
    host.finish(gate.on_event())
    host.tree.remove("/libxl/1/device")
    host.finish(gate.on_event())
    assert gate.failure("readiness_timeout", "did not come up").evidence["link"] == "vtpm"


@pytest.mark.parametrize("back", ["/local/domain/9/backend/vtpm/7/0", "/etc/passwd", "", "/local/domain/x/backend/vtpm/1/0"])
def test_what_is_no_back_end_of_this_guest_is_no_link(host, back):
    pvh_guest(host)
    served(host, back)
    assert ended(gate_on(host, "none"), 5, host)[0] is None


NODES = {"/local/domain/0/device-model/2/qmp-proxy-state": 0, "/local/domain/0/device-model/2/state": 0, STATE: 2, PROXY: 2}
HAPPENING = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(sorted(NODES)), st.sampled_from(["running", "paused"]), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("remove"), st.sampled_from(sorted(NODES))),
    st.tuples(st.just("shut_down"), st.sampled_from([1, 2])),
)


@given(st.lists(HAPPENING, max_size=8))
def test_a_proof_is_given_only_when_everything_holds_at_that_moment(happenings):
    """Whatever is written, removed or dies in whatever order: the gate says ready only of what is ready."""
    host = SimulatedHost()
    gate = stubdomain_guest(host)
    for seconds, (what, *args) in enumerate(happenings, 1):
        act = {
            "put": lambda p, v, o: host.tree.put(p, v, owner=o),
            "remove": host.tree.remove,
            "shut_down": host.hypervisor.shut_down,
        }
        host.timeline.after(seconds, lambda act=act[what], args=args: act(*args))
    code, _seconds = ended(gate, 15, host)
    tree, lives = host.tree, {d for d, domain in host.hypervisor.domains.items() if not domain.reason}
    holds = all(
        path in tree.nodes and tree.nodes[path].perms[0][1] == owner and (path == PROXY or tree.value(path) == "running")
        for path, owner in NODES.items()
    )
    assert (code is None) <= (holds and {1, 2} <= lives)
    if code == "readiness_timeout":
        assert not holds
