# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated host against what was recorded on a real one, and against the interfaces that it stands in for."""

from __future__ import annotations

import inspect
import json

import pytest
from simulated_host import RECORDED, Behaviour, SimulatedHost
from simulated_libxl import dry_run, live
from simulated_xen import SimulatedXenstore

from ansible_collections.stubdom.xen.plugins.module_utils.cfgtext import parse
from ansible_collections.stubdom.xen.plugins.module_utils.host import XenHost
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import parse_info, parse_json, parse_list
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore

CONFIGS = sorted(path.stem for path in RECORDED.glob("*.cfg"))
STUBDOM = """name = "vault"
uuid = "11111111-2222-3333-4444-555555555555"
type = "hvm"
memory = 192
device_model_version = "qemu-xen"
device_model_stubdomain_override = 1
"""


def methods(cls):
    public = inspect.getmembers(cls, lambda member: inspect.isfunction(member) or isinstance(member, property))
    return {
        name: str(inspect.signature(member)).split(" ->", maxsplit=1)[0] for name, member in public if not name.startswith("_")
    }


def bare(signature):
    """The parameters by name and default, without annotations."""
    parameters = inspect.signature(signature).parameters.values()
    return [(p.name, p.default, p.kind) for p in parameters]


@pytest.mark.parametrize("name", sorted(methods(XenHost)))
def test_the_simulated_host_has_the_ports_methods(name):
    assert bare(getattr(SimulatedHost, name)) == bare(getattr(XenHost, name))


@pytest.mark.parametrize("name", sorted(methods(SimulatedXenstore)))
def test_the_simulated_xenstore_has_the_clients_methods(name):
    assert bare(getattr(SimulatedXenstore, name)) == bare(getattr(Xenstore, name))


def recorded(name):
    path = RECORDED / name
    return path.read_text() if path.exists() else None


def without_random(config, values):
    """What xl makes up at each run: the UUID of a file that has none."""
    return {**config, "c_info": {**config["c_info"], "uuid": values.get("uuid")}}


@pytest.mark.parametrize("name", CONFIGS)
def test_it_prints_configurations_as_the_real_xl_does(name):
    values = parse(recorded(f"{name}.cfg"))
    printed = recorded(f"{name}.create-n.txt")
    if printed is not None:
        assert without_random(dry_run(values), values) == without_random(parse_json(printed), values)
    listed = recorded(f"{name}.list-l.txt")
    if listed is not None:
        [entry] = parse_json(listed)
        mac = entry["config"].get("nics", [{}])[0].get("mac")
        made = json.loads(json.dumps(live(dry_run(values), lambda: mac)))
        assert without_random(made, values) == without_random(entry["config"], values)


def test_it_lists_domains_as_the_real_xl_does():
    host = host_with("vault")
    lines, real = host.xl("list", "-v").out.splitlines(), recorded("list.txt").splitlines()
    assert lines[0] == real[0]
    assert {len(line) for line in lines[1:]} == {len(line) for line in real[1:]}
    assert [(d.name, d.flags) for d in parse_list(host.xl("list", "-v").out)] == [
        ("Domain-0", "r-----"), ("vault", "--p---"), ("vault-dm", "-b----"),
    ]  # fmt: skip


def test_it_says_about_itself_what_the_real_xl_does():
    about = parse_info(SimulatedHost(memory=4096).xl("info").out)
    assert (about.version, about.free_memory >> 20) == ((4, 17), 4096 - 1536)


def host_with(name, behaviour=None, text=STUBDOM):
    host = SimulatedHost()
    host.behave(name, behaviour or Behaviour())
    host.files["/etc/xen/vault.cfg"] = text
    host.created = host.xl("create", "-p", "/etc/xen/vault.cfg")
    return host


def test_the_nodes_of_a_stubdomain_guest_come_in_the_order_that_was_seen():
    host = SimulatedHost()
    host.files["/etc/xen/vault.cfg"] = STUBDOM
    seen, xenstore = [], host.xenstore()
    xenstore.watch("/local/domain", "all")
    host.xl("create", "-p", "/etc/xen/vault.cfg")
    host.timeline.pass_time(5)
    seen += [path for path, _token in xenstore.events]
    expected = [
        "/local/domain/2/target",
        "/local/domain/2/device-model/1",
        "/local/domain/0/device-model/2/qmp-proxy-state",
        "/local/domain/0/device-model/2/state",
        "/local/domain/2/device-model/1/state",
        "/local/domain/2/device-model/1/qmp-vchan/ring-ref",
        "/local/domain/2/device-model/1/qmp-vchan/event-channel",
    ]
    assert [path for path in seen if path in expected] == expected
    assert xenstore.perms("/local/domain/2/device-model/1/state") == [("n", 2), ("r", 1)]


def test_libxl_gives_up_on_a_stubdomain_after_30_seconds():
    host = host_with("vault", Behaviour(stubdom_ready=None))
    assert host.created.rc == 3
    assert "startup timed out" in host.created.err
    assert host.domains() == {}
    assert 30 < host.now() - 1000 < 33


def test_libxl_does_not_notice_a_stubdomain_that_shut_down():
    host = host_with("vault", Behaviour(stubdom_ready=None, stubdom_dies=2))
    assert host.now() - 1000 > 30


def test_unpause_without_a_qmp_proxy_takes_a_minute_exits_0_and_does_nothing():
    host = host_with("vault", Behaviour(qmp_proxy=False))
    before = host.now()
    assert host.xl("unpause", "1").rc == 0
    assert host.now() - before > 60
    assert host.domains()["vault"] == "--p---"


def test_a_destroyed_stubdomain_stays_as_a_zombie_until_its_guest_goes():
    host = host_with("vault")
    host.timeline.pass_time(1)
    host.xl("unpause", "1")
    host.xl("destroy", "vault-dm")
    assert host.domains() == {"vault": "-b----", "(null)": "--p--d"}
    assert host.xenstore().read("/local/domain/1/image/device-model-domid") == "2"
    assert parse_json(host.xl("list", "-l", "1").out) == []
    host.xl("destroy", "vault")
    assert host.domains() == {}


def test_xl_killed_while_creating_leaves_both_domains_and_no_userdata():
    host = SimulatedHost()
    host.machine.kill_create_at = 7
    host.files["/etc/xen/vault.cfg"] = STUBDOM
    assert host.xl("create", "-p", "/etc/xen/vault.cfg").rc == -9
    assert list(host.domains()) == ["vault", "vault-dm"]
    assert not host.find("/var/lib/xen/userdata*")


def test_xls_monitor_clears_a_guest_that_shut_itself_down_unless_told_to_keep_it():
    host = host_with("vault")
    host.timeline.pass_time(1)
    host.xl("unpause", "1")
    host.xl("shutdown", "1")
    host.timeline.pass_time(10)
    assert host.domains() == {}
    kept = host_with("vault", text=STUBDOM + 'on_poweroff = "preserve"\n')
    kept.timeline.pass_time(1)
    kept.xl("unpause", "1")
    kept.xl("shutdown", "1")
    kept.timeline.pass_time(10)
    assert kept.domains()["vault"][3] == "s"
