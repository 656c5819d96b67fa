# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's memory goes to a file and comes back, once; and whatever goes wrong on the way, it is in one of the two places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from xenhost import KINDS, PULL_THE_PLUG, Host, mostly_simulated

SAVE_DIR = "/var/lib/stubdom.xen/saved"
RESTORED = ["restore", "await", "spend", "unpause", "tidy"]

# A person at the guest's console: the shell's answer to a command, once it holds the words that are waited for.
CONSOLE = r"""
import os, select, sys, tty
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
tty.setraw(fd)
told, turns = b'', 0
while sys.argv[3].encode() not in told:
    if not select.select([fd], [], [], 5)[0]:  # nobody there yet: what is typed before the shell has its terminal is lost
        turns += 1
        turns < 60 or sys.exit('silent: %r' % told)
        os.write(fd, (sys.argv[2] + '\r').encode())
    else:
        told += os.read(fd, 4096)
print('heard')
"""


# Where the terminal of a guest's console is told: of those that boot from a disk it is the serial port.
TERMINALS = {
    "pv": "/local/domain/{guest}/console/tty",
    "pvh": "/local/domain/{guest}/console/tty",
    "hvm": "/local/domain/{guest}/serial/0/tty",
    "stubdom": "/local/domain/{stubdom}/device/console/3/tty",
}


@pytest.fixture(params=mostly_simulated(sorted(KINDS), "stubdom"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def guest(xen: Host) -> Iterator[dict[str, Any]]:
    """A guest that runs, and is no more afterwards, nor any file of it."""
    described = xen.described("pvh", "kept")
    xen.guest(**described)
    xen.booted("kept")
    yield described
    xen.sh("xl destroy kept 2>/dev/null; true")
    xen.guest(name="kept", state="absent", **PULL_THE_PLUG)
    assert saved_files(xen) == []


def saved_files(xen: Host) -> list[str]:
    return xen.sh(f"ls -A {SAVE_DIR} 2>/dev/null; true").split()


def steps(result: dict[str, Any]) -> list[str]:
    return [step["step"] for step in result["plan"]]


def at_its_console(xen: Host, name: str, command: str, answer: str) -> None:
    """Has the guest's shell answer; on a simulated host there is none."""
    if xen.kind == "simulated":
        return
    guest = xen.domid(name)
    place = TERMINALS[name.rpartition("-")[2]].format(
        guest=guest, stubdom=int(xen.sh(f"xl domid {name}-dm 2>/dev/null || echo 0"))
    )
    xen.put("/run/console.py", CONSOLE)
    terminal = xen.sh(f"xenstore-read {place}")
    assert xen.sh(f"python3 /run/console.py {terminal} '{command}' '{answer}'") == "heard"


@pytest.fixture
def turns(xen: Host, request: pytest.FixtureRequest) -> int:
    """Twice, as what was restored can be saved again; on the embedded host, where a turn takes a minute, with --whole only."""
    return 1 if xen.kind == "embedded" and not request.config.getoption("--whole") else 2


def test_saved_and_restored_twice_the_guest_runs_on(xen: Host, kind: str, turns: int) -> None:
    name, guest = f"saved-{kind}", xen.described(kind, f"saved-{kind}")
    made = xen.guest(**guest)
    xen.booted(name)
    at_its_console(xen, name, "echo mark-$((40+2)) >/tmp/mark; cat /tmp/mark", "mark-42")

    for _turn in range(turns):
        seen = xen.guest(check=True, **guest, state="saved")
        saved = xen.guest(**guest, state="saved")
        assert (steps(saved), saved["plan_digest"]) == (["save"], seen["plan_digest"])
        assert (saved["guest"]["state"], xen.domains()) == ("saved", ["Domain-0"])
        file = saved["guest"]["saved"]
        assert file == f"{SAVE_DIR}/{name}.{made['guest']['uuid']}.save"
        assert xen.sh(f"stat -c %a:%U {SAVE_DIR} {file}").split() == ["700:root", "600:root"]
        assert [(g["name"], g["state"]) for g in xen.module("guest_info", names=[name])["guests"]] == [(name, "saved")]
        for state in ("saved", "present"):
            again = xen.guest(**guest, state=state)
            assert (again["changed"], again["pending"], again["guest"]["state"]) == (False, [], "saved")

        restored = xen.guest(**guest)
        assert steps(restored) == RESTORED
        assert (restored["guest"]["state"], restored["guest"]["uuid"]) == ("running", made["guest"]["uuid"])
        assert all(link["after_s"] is not None for link in restored["readiness"]), "it went through its chain"
        at_its_console(xen, name, "cat /tmp/mark", "mark-42")
        again = xen.guest(**guest)
        assert (again["changed"], again["pending"], saved_files(xen)) == (False, [], [])
    xen.guest(name=name, state="absent", **PULL_THE_PLUG)


@pytest.mark.no_guest_code
def test_its_memory_is_not_lost_by_a_word(xen: Host, guest: dict[str, Any]) -> None:
    xen.guest(**guest, state="saved")
    for state in ("halted", "absent"):
        refused = xen.refused(name="kept", state=state)
        assert (refused["code"], saved_files(xen) != []) == ("saved_memory", True)
    dropped = xen.guest(name="kept", state="halted", **PULL_THE_PLUG)
    assert (steps(dropped), saved_files(xen), dropped["guest"]["state"]) == (["drop"], [], "halted")


@pytest.mark.no_guest_code
def test_restored_as_it_was_saved_and_then_changed(xen: Host, guest: dict[str, Any]) -> None:
    """What is described meanwhile waits; what a running guest takes it gets once it runs, the rest with a restart."""
    xen.guest(**guest, state="saved")
    other = {**guest, "memory": "144MiB", "cmdline": "console=hvc0 quiet other"}
    waits = xen.guest(**other, state="saved")
    assert [item["field"] for item in waits["pending"]] == ["memory", "cmdline"]
    restored = xen.guest(**other)
    assert steps(restored) == [*RESTORED, "resize", "queue"]
    assert [item["field"] for item in restored["pending"]] == ["cmdline"]
    assert not xen.guest(**other)["changed"]


@pytest.mark.no_guest_code
def test_refused_before_anything_is_done(xen: Host, guest: dict[str, Any]) -> None:
    xen.sh(f"mkdir -p {SAVE_DIR} && mount -t tmpfs -o size=64m none {SAVE_DIR} && echo small")
    try:
        before = xen.domid("kept")
        assert xen.refused(**guest, state="saved")["code"] == "not_enough_space"
        assert (xen.domid("kept"), saved_files(xen)) == (before, [])
    finally:
        xen.sh(f"umount {SAVE_DIR} && echo gone")
    assert xen.refused(**guest, state="saved", autostart=True)["code"] == "cannot_save"
    xen.guest(name="kept", state="halted", **PULL_THE_PLUG)
    assert xen.refused(**guest, state="saved")["code"] == "cannot_save"


@pytest.mark.no_guest_code
def test_the_file_of_another_uuid_is_refused(xen: Host, guest: dict[str, Any]) -> None:
    saved = xen.guest(**guest, state="saved")["guest"]
    another = saved["uuid"][:-1] + ("0" if saved["uuid"][-1] != "0" else "1")
    assert xen.refused(**{**guest, "uuid": another})["code"] == "saved_of_another"
    xen.sh(f"mv {saved['saved']} {SAVE_DIR}/kept.{another}.save && echo renamed")
    assert xen.refused(**guest)["code"] == "saved_of_another"
    xen.sh(f"mv {SAVE_DIR}/kept.{another}.save {saved['saved']} && echo renamed")
    assert steps(xen.guest(**guest)) == RESTORED


# Stands before xl and has one command of it go wrong, once: how is in the name.
FAILING_XL = """#!/bin/sh
if [ "$1" = "{command}" ]; then
    rm -f /usr/local/sbin/xl
    {how}
fi
exec /usr/sbin/xl "$@"
"""
KILLED = '/usr/sbin/xl "$@" & while [ "$(stat -c %s "$3")" -lt 4000 ]; do :; done; kill -9 $!; wait $!; exit 137'
FULL = 'trap "" XFSZ; ulimit -f 2048; exec /usr/sbin/xl "$@"'
BEFORE = "exit 1"


def failing(xen: Host, command: str, how: str) -> None:
    xen.put("/usr/local/sbin/xl", FAILING_XL.format(command=command, how=how))
    xen.sh("chmod 755 /usr/local/sbin/xl && xl info | grep -c xen_major")


@pytest.mark.parametrize("how", mostly_simulated({"full disk": FULL, "killed": KILLED, "xl refuses": BEFORE}))
def test_a_save_that_fails_leaves_the_guest_running(xen: Host, guest: dict[str, Any], how: str) -> None:
    before = xen.domid("kept")
    failing(xen, "save", {"full disk": FULL, "killed": KILLED, "xl refuses": BEFORE}[how])
    failed = xen.refused(**guest, state="saved")
    assert failed["code"] == "save_failed", json.dumps(failed, indent=1)
    assert (failed["evidence"]["state"], xen.domid("kept"), saved_files(xen)) == ("running", before, [])
    assert xen.sh("xl list kept | tail -n1").split()[4][2:4] == "--"
    assert not xen.guest(**guest)["changed"]


# Of `xl restore -p FILE`: killed when the domain is there, cut off from the disk, or not even begun.
BREAKS = {
    "killed": '/usr/sbin/xl "$@" & until /usr/sbin/xl domid kept 2>/dev/null; do :; done; kill -9 $!; wait $!; exit 137',
    "xl refuses": BEFORE,
}


@pytest.mark.parametrize("how", mostly_simulated(BREAKS))
def test_a_restore_that_fails_leaves_the_file(xen: Host, guest: dict[str, Any], how: str) -> None:
    file = xen.guest(**guest, state="saved")["guest"]["saved"]
    failing(xen, "restore", BREAKS[how])
    failed = xen.refused(**guest)
    assert failed["code"] == "restore_failed", json.dumps(failed, indent=1)
    assert (xen.domains(), [f"{SAVE_DIR}/{name}" for name in saved_files(xen)]) == (["Domain-0"], [file])
    restored = xen.guest(**guest)
    assert (steps(restored), restored["guest"]["state"], saved_files(xen)) == (RESTORED, "running", [])


@pytest.mark.no_guest_code
def test_a_file_that_is_not_whole_is_refused(xen: Host, guest: dict[str, Any]) -> None:
    file = xen.guest(**guest, state="saved")["guest"]["saved"]
    xen.sh(f"cp -a {file} /root/whole && truncate -s 100K {file} && ls {file}")
    refused = xen.refused(**guest)
    assert (refused["code"], refused["evidence"]["file"], xen.domains()) == ("cannot_restore", file, ["Domain-0"])
    xen.sh(f"mv /root/whole {file} && ls {file}")
    assert steps(xen.guest(**guest)) == RESTORED


@pytest.mark.only("simulated")
@pytest.mark.parametrize("dies_at", ["kernel", "qemu", "before_ready"])
def test_a_chain_that_breaks_at_the_restore_leaves_the_file(xen: Host, dies_at: str) -> None:
    """The restored guest's stubdomain is a new one. When it does not come up, the guest's memory is still in its file."""
    isolated = xen.described("stubdom", "kept")
    xen.guest(**isolated)
    file = xen.guest(**isolated, state="saved")["guest"]["saved"]
    xen.put("/etc/xen-simulation/behaviours.json", json.dumps({"kept": {"stubdom": {"dies_at": dies_at}}}))
    failed = xen.refused(**isolated, ready={"timeout": 60, "retries": 0})
    assert failed["code"] in ("stubdom_failed", "reporter_died"), json.dumps(failed, indent=1)
    assert (xen.domains(), [f"{SAVE_DIR}/{name}" for name in saved_files(xen)]) == (["Domain-0"], [file])
    xen.put("/etc/xen-simulation/behaviours.json", "{}")
    restored = xen.guest(**isolated)
    assert (steps(restored), restored["guest"]["state"], saved_files(xen)) == (RESTORED, "running", [])
    xen.guest(name="kept", state="absent", **PULL_THE_PLUG)
