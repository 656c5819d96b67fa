# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that all guests leave, and get back: one story, told in order.

On the embedded hosts, where guests' own code runs, it is live where that is possible.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from one_place import assert_only_on
from xenhost import PATIENT, Host, playbook

KEY = "/root/.ssh/between_hosts"
# The hosts of the lab reach each other by the gateway of their emulated network, which is this machine.
GATEWAY = "10.0.2.2"
LINK = f"ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -i {KEY} -p {{port}}"


@pytest.fixture(scope="module")
def guests(pair: tuple[Host, Host]) -> dict[str, tuple[dict[str, Any], str]]:
    """By their names the guests of the first host, as they are described, and their uuids; their own systems have come up."""
    one, two = pair
    two.disk("left-hvm")
    described = [one.described(kind, f"left-{kind}") for kind in ("pv", "hvm")]
    guests = {guest["name"]: (guest, one.guest(**guest)["guest"]["uuid"]) for guest in described}
    for name in guests:
        one.booted(name)
    return guests


@pytest.fixture(scope="module")
def ways(pair: tuple[Host, Host]) -> list[dict[str, Any]]:
    """For the way to each host, what the playbook takes: on simulated hosts, which have no network, there is none."""
    return [{}, {}] if pair[0].kind == "simulated" else [_way_to(host) for host in pair]


def _way_to(host: Host) -> dict[str, Any]:
    about = host.variables()
    host.put(KEY, Path(about["ansible_ssh_private_key_file"]).read_text(encoding="utf-8"))
    host.sh(f"chmod 600 {KEY} && echo private")
    return {"xen_migrate_ssh": LINK.format(port=about["ansible_port"]), "xen_migrate_address": f"root@{GATEWAY}"}


def evacuate(pair: tuple[Host, Host], **more: Any) -> str:
    """What the playbook says."""
    one, two = pair
    given = {"evacuate_from": one.name, "evacuate_to": two.name, "evacuate_ready": PATIENT["ready"]}
    return playbook("evacuate", inventory=two.inventory, **given, **more)


def test_all_guests_leave_the_host(pair: tuple[Host, Host], guests: dict[str, Any], ways: list[dict[str, Any]]) -> None:
    one, two = pair
    told = evacuate(pair, **ways[1])
    live = "live" if ways[1] else "saved"
    assert f"left-hvm: from {one.name} to {two.name}, {live}; running" in told, told
    assert f"left-pv: from {one.name} to {two.name}, saved; running" in told, told
    for name in guests:
        assert_only_on(two, one, name)


@pytest.mark.no_guest_code
def test_there_is_nobody_left_to_move(pair: tuple[Host, Host], guests: dict[str, Any], ways: list[dict[str, Any]]) -> None:
    assert "nobody has to move" in evacuate(pair, **ways[1])


@pytest.mark.no_guest_code  # the way back is as long as the way there
def test_they_come_back_as_they_were(pair: tuple[Host, Host], guests: dict[str, Any], ways: list[dict[str, Any]]) -> None:
    one, two = pair
    evacuate(pair, **ways[0], evacuate_back=True)
    for name, (guest, uuid) in guests.items():
        assert_only_on(one, two, name)
        again = one.guest(**guest)
        assert (again["changed"], again["guest"]["uuid"]) == (False, uuid)
