# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulated domains write, as whom and in which order; xenstore is a dict here. The contract suite has real ones."""

from __future__ import annotations

from pathlib import Path

import behaviours
import hypervisor
import pytest
import stubdomain
import tpm
from devices import Backends, Place
from guest import Guest
from simulation import World

HOME, VM = "/local/domain", "/vm/u"
G, S = 4, 5
OWN = f"{HOME}/{S}/device-model/{G}"
STUBDOM = {
    f"{HOME}/{G}/vm": VM,
    f"{HOME}/{G}/memory/target": "1000",
    f"{HOME}/{S}/console/output": "pty",
    f"{VM}/image/dm-argv/001": "-xen-domid",
    f"{VM}/image/dm-argv/002": str(G),
    f"{VM}/image/dmargs": f"-d {G}",
}


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stubdomain, "RUN", str(tmp_path))


def behaving(**parts: dict[str, object]) -> dict[str, behaviours.Part]:
    return behaviours.choose({"*": parts}, "vault")


def started(kind: str = "qemu_xen", nodes: dict[str, str] | None = None, **parts: dict[str, object]) -> World:
    world = World({**STUBDOM, **(nodes or {})})
    world.stubdomain = stubdomain.KINDS[kind](world, S, G, "vault", behaving(**parts))
    world.stubdomain.start()
    world.loop.run()
    return world


def test_a_linux_stubdomain_reports_on_its_own_path_and_is_then_reachable() -> None:
    world = started()
    told = [path for domid, path, _value in world.written(OWN) if domid == S and "backends" not in path]
    assert told == [f"{OWN}/state", f"{OWN}/qmp-vchan/ring-ref", f"{OWN}/qmp-vchan/event-channel"]
    assert world.tree.nodes[f"{OWN}/state"] == "running"
    assert Path(stubdomain.RUN, f"qmp.{S}").is_socket()
    world.stubdomain.stop()
    assert not Path(stubdomain.RUN, f"qmp.{S}").exists()


def test_a_minios_stubdomain_reports_and_then_answers_commands() -> None:
    world = started("qemu_xen_traditional")
    assert world.written(OWN) == [(S, f"{OWN}/state", "running")]
    world.tree.nodes[f"{OWN}/command"] = "pci-ins"
    world.stubdomain.changed(f"{OWN}/command")
    world.loop.run()
    assert world.tree.nodes[f"{OWN}/state"] == "pci-inserted"


@pytest.mark.parametrize("kind", stubdomain.KINDS)
@pytest.mark.parametrize(
    ("plan", "state", "end"),
    [
        ({"ready": "never"}, None, None),
        ({"value": "runing"}, "runing", None),
        ({"ready": "guest"}, None, None),
        ({"dies_at": "kernel", "dies_by": "crash"}, None, hypervisor.CRASH),
        ({"dies_at": "qemu"}, None, hypervisor.POWEROFF),
        ({"dies_at": "before_ready"}, None, hypervisor.POWEROFF),
        ({"dies_at": "after_ready", "dies_by": "reboot"}, "running", hypervisor.REBOOT),
    ],
)
def test_stubdomains_fail_as_they_are_told(kind: str, plan: dict[str, object], state: str | None, end: int | None) -> None:
    world = started(kind, stubdom=plan)
    assert world.tree.nodes.get(f"{OWN}/state") == state
    assert [order[2] for order in world.hypervisor.orders if order[0] == "shutdown"] == ([] if end is None else [end])


def test_readiness_on_dom0s_path_is_not_on_the_own_one() -> None:
    world = started(stubdom={"ready": "dom0"})
    assert (0, f"{HOME}/0/device-model/{G}/state", "running") in world.written()
    assert f"{OWN}/state" not in world.tree.nodes


def test_it_is_ready_when_it_was_told_to_be() -> None:
    world = World(STUBDOM)
    stubdomain.KINDS["qemu_xen"](world, S, G, "vault", behaving(stubdom={"ready_after": 3})).start()
    world.loop.run(until=2.9)
    assert f"{OWN}/state" not in world.tree.nodes
    world.loop.run(until=3)
    assert world.tree.nodes[f"{OWN}/state"] == "running"


@pytest.mark.parametrize(
    ("words", "error", "reachable"), [("quiet stubdom.fail=exit", True, False), ("stubdom.fail=silent", False, True)]
)
def test_the_command_line_makes_it_fail_as_the_image_does(
    monkeypatch: pytest.MonkeyPatch, words: str, error: bool, reachable: bool
) -> None:
    monkeypatch.setattr(hypervisor, "cmdline", lambda domid: words)
    world = started()
    assert f"{OWN}/state" not in world.tree.nodes
    assert (f"{HOME}/{S}/data/stubdom-error" in world.tree.nodes) == error
    assert (("shutdown", S, hypervisor.POWEROFF) in world.hypervisor.orders) == error
    assert (f"{OWN}/qmp-vchan/event-channel" in world.tree.nodes) == reachable


def test_arguments_that_it_may_not_read_are_its_own_failure() -> None:
    world = started(nodes={f"{HOME}/{G}/vm hidden": ""})
    assert "EACCES" in world.tree.nodes[f"{HOME}/{S}/data/stubdom-error"]


# --- guests


def booted(nodes: dict[str, str] | None = None, **plan: object) -> World:
    world = World({f"{HOME}/{G}/cpu/0/availability": "online", f"{HOME}/{G}/memory/target": "900", **(nodes or {})})
    world.guest = Guest(world, G, "web", behaving(guest=plan))
    world.guest.start()
    world.loop.run()
    return world


def asked(world: World, how: str) -> World:
    world.tree.nodes[f"{HOME}/{G}/control/shutdown"] = how
    world.guest.changed(f"{HOME}/{G}/control/shutdown")
    world.loop.run()
    return world


@pytest.mark.parametrize(("how", "reason"), [("poweroff", 0), ("halt", 0), ("reboot", 1), ("suspend", 2)])
def test_a_guest_that_is_asked_acknowledges_and_ends(how: str, reason: int) -> None:
    world = asked(booted(), how)
    assert world.tree.written[-1] == (G, f"{HOME}/{G}/control/shutdown", "")
    assert world.hypervisor.orders[-1] == ("shutdown", G, reason)


@pytest.mark.parametrize("plan", [{"boots": False}, {"shutdown": "ignores"}])
def test_others_do_not(plan: dict[str, object]) -> None:
    world = asked(booted(**plan), "poweroff")
    world.guest.power()
    world.loop.run()
    assert world.tree.nodes[f"{HOME}/{G}/control/shutdown"] == "poweroff"
    assert not [order for order in world.hypervisor.orders if order[0] == "shutdown"]


def test_the_power_button_and_the_balloon() -> None:
    world = booted()
    world.guest.changed(f"{HOME}/{G}/memory/target")
    world.guest.power()
    world.loop.run()
    assert world.hypervisor.orders[-2:] == [("populate", G, 900), ("shutdown", G, hypervisor.POWEROFF)]


# --- devices

BACK, FRONT = f"{HOME}/0/backend/vbd/{G}/51712", f"{HOME}/{G}/device/vbd/51712"
DISK = {
    f"{BACK}/frontend": FRONT, f"{BACK}/state": "1", f"{BACK}/online": "1", f"{BACK}/params": "/none",
    f"{FRONT}/backend": BACK, f"{FRONT}/state": "1",
}  # fmt: skip


def backends(world: World, stuck_at: int | None = None, after: float = 0) -> Backends:
    return Backends(world.loop, world.stores, lambda domid, kind: {"stuck_at": stuck_at, "after": after})


def test_a_disk_connects_once_its_script_has_run() -> None:
    world = booted(DISK)
    back, place = backends(world), Place(BACK, 0, "vbd")
    for _turn in range(4):
        back.look(place)
        world.guest.changed(f"{FRONT}/state")
    assert (world.tree.nodes[f"{BACK}/state"], world.tree.nodes[f"{FRONT}/state"]) == ("2", "3")
    world.tree.nodes[f"{BACK}/physical-device"] = "7:0"
    for _turn in range(4):
        back.look(place)
        world.guest.changed(f"{FRONT}/state")
    assert (world.tree.nodes[f"{BACK}/state"], world.tree.nodes[f"{FRONT}/state"]) == ("4", "4")
    assert {domid for domid, path, _value in world.written(FRONT)} == {G}, "a guest writes its own end"


@pytest.mark.parametrize(("status", "state"), [("error", "2"), ("connected", "4")])
def test_a_nic_connects_only_if_its_script_succeeded(status: str, state: str) -> None:
    back, front = f"{HOME}/0/backend/vif/{G}/0", f"{HOME}/{G}/device/vif/0"
    world = World({f"{back}/frontend": front, f"{back}/state": "2", f"{front}/state": "4", f"{back}/hotplug-status": status})
    backends(world).look(Place(back, 0, "vif"))
    assert world.tree.nodes[f"{back}/state"] == state


@pytest.mark.parametrize("stuck", [1, 2])
def test_a_back_end_sticks_where_it_was_told_to(stuck: int) -> None:
    world = booted({**DISK, f"{BACK}/physical-device": "7:0"})
    back = backends(world, stuck_at=stuck)
    for _turn in range(4):
        back.look(Place(BACK, 0, "vbd"))
        world.guest.changed(f"{FRONT}/state")
    assert world.tree.nodes[f"{BACK}/state"] == str(stuck)
    world.tree.nodes.update({f"{BACK}/state": "5", f"{BACK}/online": "0", f"{FRONT}/state": "6"})
    back.look(Place(BACK, 0, "vbd"))
    assert world.tree.nodes[f"{BACK}/state"] == "6", "but it can be removed"


def test_a_slow_back_end_takes_its_time_for_each_step() -> None:
    world = booted(DISK)
    back = backends(world, after=2)
    back.look(Place(BACK, 0, "vbd"))
    back.look(Place(BACK, 0, "vbd"))
    world.loop.run(until=1)
    assert world.tree.nodes[f"{BACK}/state"] == "1"
    world.loop.run(until=2)
    assert world.tree.nodes[f"{BACK}/state"] == "2"


def test_a_driver_domain_removes_what_is_closed_for_good() -> None:
    path = f"{HOME}/{S}/backend/vtpm/{G}/0"
    world = World({f"{path}/state": "5", f"{path}/online": "0", f"{path}/frontend": f"{HOME}/{G}/device/vtpm/0"})
    back, place = backends(world), Place(path, S, "vtpm")
    back.look(place)
    back.look(place)
    assert not world.stores.of(0).under(f"{HOME}/{S}/backend/vtpm/{G}")


# --- domains that hold a TPM


def tpm_domain(**plan: object) -> World:
    """It runs, as libxl made it of our image."""
    nodes = {"memory/target": "1000", "console/output": "pty", "vm": VM}
    world = World({f"{HOME}/{S}/{name}": value for name, value in nodes.items()} | {f"{VM}/image/cmdline": "vtpm.version=2.0"})
    assert (tpm.is_one(world.stores.of(0), S), tpm.is_one(world.stores.of(0), G)) == (True, False)
    tpm.TpmDomain(world, S, "vault-vtpm", behaving(vtpm=plan)).start()
    world.loop.run()
    return world


def test_a_domain_that_holds_a_tpm_reports_in_its_own_home() -> None:
    world = tpm_domain()
    assert (S, f"{HOME}/{S}/data/vtpm-state", "running") in world.written(f"{HOME}/{S}/data")


def test_one_that_fails_says_why_and_ends() -> None:
    world = tpm_domain(fails="no TPM's state")
    assert world.written(f"{HOME}/{S}/data") == [(S, f"{HOME}/{S}/data/stubdom-error", "no TPM's state")]
    assert ("shutdown", S, hypervisor.POWEROFF) in world.hypervisor.orders


def test_one_that_never_gets_ready_says_nothing() -> None:
    assert tpm_domain(ready="never").written(f"{HOME}/{S}/data") == []
