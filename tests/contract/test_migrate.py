# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts and a guest between them: it is on one of them, whatever happens on the way, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from one_place import assert_only_on, runs
from xenhost import ENV, KINDS, PATIENT, PULL_THE_PLUG, Host


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
