# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest side as a whole: what one domain suffers is not the others' end."""

from __future__ import annotations

import os

import pytest
import world
from guest import Guest
from hypervisor import Happened, HypervisorLost
from simulation import Noted, Tree, TreeStores

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

HOMES = "/local/domain"
DISK = f"{HOMES}/5/backend/vbd/4/51712"


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> world.World:
    """Domain 4, and 5 with a back end for it; 6 is unknown to xenstore."""
    tree = Tree({f"{HOMES}/4/name": "web", f"{HOMES}/5/name": "disks", f"{HOMES}/4/console/output": "file:/dev/full"})
    monkeypatch.setattr(world, "Stores", lambda: TreeStores(tree))
    monkeypatch.setattr(world, "Hypervisor", Noted)
    return world.World()


def turn(played: world.World, until: str) -> None:
    """Runs what is due, and what comes of that."""
    played.loop.later(0.01, played.loop.stop)
    played.loop.run()
    assert not played.loop._timers, until


def unpause(played: world.World, domid: int) -> None:
    played._unpaused(Happened("unpaused", domid, ""))


def test_a_full_disk_takes_no_console_line_and_nothing_else(played: world.World, capfd: pytest.CaptureFixture[str]) -> None:
    played.stores.tree.nodes[f"{HOMES}/4/control/shutdown"] = "poweroff"
    unpause(played, 4)
    turn(played, "the guest has booted")
    assert os.strerror(28) in capfd.readouterr().out
    assert ("shutdown", 4, 0) in played.hypervisor.orders, "it goes on to what it was asked"


@pytest.mark.parametrize("error", [XenError("xenstore_refused", "EQUOTA"), OSError(28, "no space")])
def test_a_step_that_fails_later_is_survived(
    played: world.World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(_guest: Guest) -> None:
        raise error

    monkeypatch.setattr(Guest, "drive_devices", fail)
    unpause(played, 4)
    turn(played, "the guest has failed to boot")
    assert str(error) in capfd.readouterr().out


def test_without_the_hypervisor_it_ends(played: world.World) -> None:
    def lost() -> None:
        raise HypervisorLost("xenstored has ended")

    played.loop.later(0, lost)
    with pytest.raises(HypervisorLost):
        turn(played, "never")


def test_a_domain_that_xenstore_does_not_know_is_not_started_again(played: world.World) -> None:
    unpause(played, 6)
    assert not played.kernels and not played.hypervisor.orders


def test_a_back_end_does_what_its_domain_missed_while_paused(played: world.World) -> None:
    unpause(played, 5)
    turn(played, "it has booted")
    played._paused(Happened("paused", 5, ""))
    played.stores.tree.nodes.update({f"{DISK}/state": "1", f"{DISK}/online": "1", f"{DISK}/frontend": f"{HOMES}/4/device/vbd/0"})
    played._changed(f"{DISK}/state")
    assert played.stores.tree.nodes[f"{DISK}/state"] == "1"
    unpause(played, 5)
    assert played.stores.tree.nodes[f"{DISK}/state"] == "2"


def test_a_slow_back_end_takes_no_step_while_its_domain_is_paused(played: world.World) -> None:
    unpause(played, 5)
    turn(played, "it has booted")
    played._behaviours[4] = {"backend.vbd": {"stuck_at": None, "after": 0.001}}
    played.stores.tree.nodes.update({f"{DISK}/state": "1", f"{DISK}/online": "1", f"{DISK}/frontend": f"{HOMES}/4/device/vbd/0"})
    played._changed(f"{DISK}/state")
    played._paused(Happened("paused", 5, ""))
    turn(played, "its time has come")
    assert played.stores.tree.nodes[f"{DISK}/state"] == "1"
