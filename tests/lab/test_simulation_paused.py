# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A paused domain takes no step; what it has missed it does when it runs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import behaviours
import hypervisor
import pytest
import stubdomain
from guest import Guest
from simulation import World

G, S = 4, 5
HOME = f"/local/domain/{G}"
OWN = f"/local/domain/{S}/device-model/{G}"
CPUS = {f"{HOME}/cpu/{n}/availability": "online" for n in range(2)}


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stubdomain, "RUN", str(tmp_path))


def guest(**plan: object) -> tuple[World, Guest]:
    world = World({**CPUS, f"{HOME}/memory/target": "900"})
    made = Guest(world, G, "web", behaviours.choose({"*": {"guest": plan}}, "web"))
    made.start()
    return world, made


def held(world: World, kernel: Any) -> list[tuple[Any, ...]]:
    """The orders of a domain that is paused now, whatever is due."""
    kernel.pause()
    before = len(world.hypervisor.orders)
    world.loop.run()
    return world.hypervisor.orders[before:]


def resumed(world: World, kernel: Any) -> list[tuple[Any, ...]]:
    before = len(world.hypervisor.orders)
    kernel.resume()
    world.loop.run()
    return world.hypervisor.orders[before:]


def test_a_guest_boots_when_it_runs_again() -> None:
    world, made = guest(boots_after=1)
    assert held(world, made) == [] and not made.drives
    assert ("console", G, "tiny guest up") not in world.hypervisor.orders
    assert ("say", G, "tiny guest up") in resumed(world, made)


def test_what_stopped_while_it_was_paused_does_not_come_back() -> None:
    world, made = guest(boots_after=1)
    held(world, made)
    made.stop()
    assert resumed(world, made) == []


@pytest.mark.parametrize("press", [True, False])
def test_a_guest_shuts_down_when_it_runs_again(press: bool) -> None:
    world, made = guest(shutdown_after=1)
    world.loop.run()
    world.tree.nodes[f"{HOME}/control/shutdown"] = "poweroff"
    made.power() if press else made.changed(f"{HOME}/control/shutdown")
    assert held(world, made) == []
    assert ("shutdown", G, hypervisor.POWEROFF) in resumed(world, made)


def test_the_power_button_of_a_paused_guest_is_felt_later() -> None:
    world, made = guest()
    world.loop.run()
    made.pause()
    made.power()
    assert held(world, made) == []
    assert ("shutdown", G, hypervisor.POWEROFF) in resumed(world, made)


def test_it_dies_when_it_runs_again() -> None:
    world, made = guest(boots=False, dies_after=1)
    assert held(world, made) == []
    assert resumed(world, made) == [("shutdown", G, hypervisor.CRASH)]


def test_vcpus_and_memory_set_meanwhile_are_taken() -> None:
    world, made = guest()
    world.loop.run()
    held(world, made)
    world.tree.nodes.update({f"{HOME}/cpu/1/availability": "offline", f"{HOME}/memory/target": "700"})
    assert resumed(world, made) == [("vcpus", G, 1), ("populate", G, 700)]


def test_memory_set_before_the_boot_is_taken_by_it() -> None:
    world, made = guest(boots_after=1)
    world.tree.nodes[f"{HOME}/memory/target"] = "700"
    made.changed(f"{HOME}/memory/target")
    assert world.hypervisor.orders == []
    world.loop.run()
    assert ("populate", G, 700) in world.hypervisor.orders


@pytest.mark.parametrize("kind", stubdomain.KINDS)
def test_a_stubdomain_reports_when_it_runs_again(kind: str) -> None:
    arguments = {"/vm/u/image/dm-argv/001": "-xen-domid", "/vm/u/image/dmargs": "-d 4", f"{HOME}/vm": "/vm/u"}
    world = World(arguments)
    made = stubdomain.KINDS[kind](world, S, G, "web", behaviours.choose({}, "web"))
    made.start()
    held(world, made)
    assert f"{OWN}/state" not in world.tree.nodes and not Path(stubdomain.RUN, f"qmp.{S}").exists()
    resumed(world, made)
    assert world.tree.nodes[f"{OWN}/state"] == "running"
    made.stop()
