# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts and a guest between them: it is on one of them, whatever happens on the way, and comes back.

On the embedded hosts, where guests' own code runs, one story: an evacuation, live where that is possible, and back.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xenhost import ENV, KINDS, PATIENT, PULL_THE_PLUG, Host, playbook

KEY = "/root/.ssh/between_hosts"
# The hosts of the lab reach each other by the gateway of their emulated network, which is this machine.
GATEWAY = "10.0.2.2"
LINK = f"ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR -i {KEY} -p {{port}}"


@pytest.fixture
def hosts(pair: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    """Both hosts; afterwards nothing is left on them but Domain-0."""
    yield pair
    for host in pair:
        host.sh("rm -f /usr/local/sbin/xl; rm -rf /var/lib/stubdom.xen/moves; echo clean")
        for found in host.module("guest_info")["guests"]:
            if not found["serves"]:
                host.guest(name=found["name"], state="absent", purge_state=True, **PULL_THE_PLUG)


def migrate(source: Host, target: Host, name: str, **options: Any) -> dict[str, Any]:
    """The result of a move, which must succeed."""
    result = source.module("guest_migrate", name=name, to=target.name, **{**PATIENT, **options})
    assert not result["failed"], result
    return result


def runs(host: Host, name: str) -> bool:
    """Whether the guest has a domain there that has been let run."""
    lines = [line.split() for line in host.sh("xl list").splitlines()]
    return any(words[0] == name and words[4][2:4] == "--" for words in lines[1:])


def assert_only_on(host: Host, other: Host, name: str) -> None:
    assert (runs(host, name), runs(other, name)) == (True, False)
    assert name not in other.domains()
    assert host.sh(f"ls /etc/xen/{name}*.cfg") != "" and other.sh(f"ls /etc/xen/{name}*.cfg 2>/dev/null; true") == ""
    for one in (host, other):
        assert one.sh("ls -A /var/lib/stubdom.xen/saved 2>/dev/null; true") == ""
    notes = host.module("guest_handover", step="list")["told"]["notes"]
    assert [note for note in notes if note["name"] == name] == []


@pytest.mark.no_guest_code
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_there_and_back(hosts: tuple[Host, Host], kind: str) -> None:
    one, two = hosts
    guest = one.described(kind, f"moves-{kind}")
    if "disks" in guest:
        two.disk(guest["name"])
    made = one.guest(**guest)
    seen = one.module("guest_migrate", check=True, name=guest["name"], to=two.name)
    assert (seen["changed"], seen["method"], runs(one, guest["name"])) == (True, "saved", True)
    done = migrate(one, two, guest["name"])
    assert [step["step"] for step in done["steps"]] == ["prepare", "leave", "raise", "commit", "release", "forget"]
    assert done["guest"]["uuid"] == made["guest"]["uuid"]
    assert [link["link"] for link in done["readiness"]] == [link["link"] for link in made["readiness"]]
    assert_only_on(two, one, guest["name"])
    assert not migrate(one, two, guest["name"])["changed"]
    assert not two.guest(**guest)["changed"]
    assert one.refused(**guest)["code"] == "moving", "a playbook that still describes it there makes no second one"
    migrate(two, one, guest["name"])
    assert_only_on(one, two, guest["name"])
    assert not one.guest(**guest)["changed"]


@pytest.mark.no_guest_code
def test_its_tpm_goes_along(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    for host in hosts:
        host.have_tpm_image()
    guest = {**one.described("pvh", "sealed"), "vtpm": [{"kind": "stubdom"}]}
    one.guest(**guest)
    image = "/var/lib/stubdom.xen/vtpm/sealed.img"
    one.sh(f"echo sealed | dd of={image} conv=notrunc status=none && echo done")
    done = migrate(one, two, "sealed", shutdown={"timeout": 60, "force": True})
    assert (done["method"], "vTPM" in done["why_not"]["saved"]) == ("halt", True)
    assert_only_on(two, one, "sealed")
    assert two.sh(f"head -c 6 {image}") == "sealed"
    assert one.sh(f"ls {image} 2>/dev/null; true") == "", "a TPM is on one host"
    assert "sealed-vtpm" in two.domains()


# Stands before xl, and has its one command wait: a person who holds the pen.
WAITING_XL = """#!/bin/sh
if [ "$1" = "{command}" ]; then
    rm -f /usr/local/sbin/xl
    echo reached >/run/reached
    read go </run/go
    {then}
fi
exec /usr/sbin/xl "$@"
"""
POINTS = {
    "the source saves": (0, "save"), "the target restores": (1, "restore"), "the target lets it run": (1, "unpause"),
}  # fmt: skip


def ansible_processes(pid: int) -> list[int]:
    """The command and its workers, which are in sessions of their own; not what they set going on the hosts."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    found = [mine for child in children for mine in ansible_processes(int(child))]
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [pid, *found] if any(word.endswith(b"/ansible") for word in words) else found


@pytest.mark.no_guest_code
@pytest.mark.parametrize("who", ["controller", "module"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_on_the_way(hosts: tuple[Host, Host], point: str, who: str) -> None:
    """The controller's Ansible is killed while the hosts go on; or the module dies on its host, and its xl with it."""
    side, command = POINTS[point]
    one, two = hosts
    guest = one.described("pvh", "torn")
    one.guest(**guest)
    at = hosts[side]
    then = "kill -9 $PPID; exit 1" if who == "module" else ""
    at.sh("rm -f /run/reached /run/go; mkfifo /run/reached /run/go && echo made")
    at.put("/usr/local/sbin/xl", WAITING_XL.format(command=command, then=then))
    at.sh("chmod 755 /usr/local/sbin/xl && echo done")
    argv = one.command("guest_migrate", {"name": "torn", "to": two.name, **PATIENT})
    with subprocess.Popen(argv, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as task:
        assert at.sh("timeout 600 cat /run/reached") == "reached"
        assert runs(one, "torn") + runs(two, "torn") <= 1
        if who == "controller":
            for pid in ansible_processes(task.pid):
                os.kill(pid, signal.SIGKILL)
        at.sh("echo go >/run/go; echo told")
        task.wait(timeout=900)
    assert runs(one, "torn") + runs(two, "torn") <= 1
    migrate(one, two, "torn")
    assert_only_on(two, one, "torn")
    assert not two.guest(**guest)["changed"]


def between(hosts: tuple[Host, Host]) -> list[dict[str, Any]]:
    """For the way to each host, what the playbook takes: on simulated hosts, which have no network, there is none."""
    if hosts[0].kind == "simulated":
        return [{}, {}]
    found = []
    for host in hosts:
        about = host.variables()
        host.put(KEY, Path(about["ansible_ssh_private_key_file"]).read_text(encoding="utf-8"))
        host.sh(f"chmod 600 {KEY} && echo private")
        found.append({"xen_migrate_ssh": LINK.format(port=about["ansible_port"]), "xen_migrate_address": f"root@{GATEWAY}"})
    return found


@pytest.mark.no_guest_code  # on two embedded hosts it takes more than twenty minutes
def test_a_host_is_evacuated_and_has_its_guests_back(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    guests = {kind: one.described(kind, f"left-{kind}") for kind in ("pv", "hvm")}
    two.disk("left-hvm")
    identities = {guest["name"]: one.guest(**guest)["guest"]["uuid"] for guest in guests.values()}
    for name in identities:
        one.booted(name)
    ways = between(hosts)
    given = {"evacuate_from": one.name, "evacuate_to": two.name, "evacuate_ready": PATIENT["ready"]}

    told = playbook("evacuate", inventory=two.inventory, **given, **ways[1])
    live = "live" if ways[1] else "saved"
    assert f"left-hvm: from {one.name} to {two.name}, {live}; running" in told, told
    assert f"left-pv: from {one.name} to {two.name}, saved; running" in told, told
    for name in identities:
        assert_only_on(two, one, name)
    assert "nobody has to move" in playbook("evacuate", inventory=two.inventory, **given, **ways[1])

    playbook("evacuate", inventory=two.inventory, **given, **ways[0], evacuate_back=True)
    for kind, guest in guests.items():
        assert_only_on(one, two, guest["name"])
        again = one.guest(**guest)
        assert (again["changed"], again["guest"]["uuid"], kind) == (False, identities[guest["name"]], kind)
