# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of each kind of guest, and the gate: what it takes for a sign of readiness, and how soon it tells of a death."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_host import Behaviour, SimulatedHost
from stories import HVM, STUBDOM, by_hand, task

from ansible_collections.stubdom.xen.plugins.module_utils.again import these
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.readiness import CHAINS, Gate, Link, Subject, chain, kind_of
from ansible_collections.stubdom.xen.plugins.module_utils.spec import DeviceModel, Guest, Stubdom

UUID = "11111111-2222-3333-4444-555555555555"
STATE = "/local/domain/2/device-model/1/state"
PROXY = "/local/domain/2/device-model/1/qmp-vchan/event-channel"
PATHS = {
    "none": [],
    "restricted": [],
    "qemu": [(0, "/local/domain/0/device-model/1/state")],
    "linux": [
        (0, "/local/domain/0/device-model/2/qmp-proxy-state"),
        (0, "/local/domain/0/device-model/2/state"),
        (2, STATE),
        (2, PROXY),
    ],
    "minios": [(2, STATE)],
    "minios-4.5": [(2, "/local/domain/0/device-model/1/state")],
}


@pytest.mark.parametrize("kind", CHAINS)
def test_the_links_of(kind):
    """Each below the home of the domain that reports; up to Xen 4.5 everybody reported below domain 0."""
    assert [(link.reporter, link.path) for link in chain(Subject("web", UUID, 1, kind, 2))] == PATHS[kind]


@pytest.mark.parametrize(
    ("guest", "stubdom", "qemu", "version", "kind"),
    [
        ("pv", None, False, (4, 17), "none"), ("pvh", "none", False, (4, 17), "none"), ("pv", None, True, (4, 17), "qemu"),
        ("hvm", None, False, (4, 17), "qemu"), ("hvm", "none", True, (4, 4), "qemu"), ("hvm", "linux", False, (4, 14), "linux"),
        ("hvm", "minios", False, (4, 6), "minios"), ("hvm", "minios", False, (4, 5), "minios-4.5"),
        (None, None, False, (4, 17), "none"),
    ],
)  # fmt: skip
def test_which_chain_a_guest_has(guest, stubdom, qemu, version, kind):
    assert kind_of(Guest(type=guest, stubdom=Stubdom(type=stubdom)), qemu, version) == kind


def test_a_restricted_qemu_is_asked_by_libxl():
    """It cannot write its node; xl create waits for QMP query-status in its place (4.12)."""
    restricted = Guest(type="hvm", device_model=DeviceModel(restrict=True))
    assert kind_of(restricted, True, (4, 17)) == "restricted"


@pytest.mark.parametrize(
    ("value", "owner", "met"),
    [
        ("running", 2, True), ("Running", 2, False), ("running\n", 2, False), ("", 2, False), (None, None, False),
        ("paused", 2, False), ("running", 0, False), ("running", 1, False), ("running", None, False),
    ],
)  # fmt: skip
def test_a_link_holds_for_the_right_value_of_the_right_owner(value, owner, met):
    assert Link("device-model", 2, STATE, "running", "", "").met_by(value, owner) == met


@pytest.fixture
def host():
    return SimulatedHost()


def gate_on(host, kind="linux", uuid=UUID):
    return Gate(host, lambda domids: these(host, domids), "vault", uuid, kind)


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
