# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that fails below the task: xenstored stalled, dead and started again, disks full. Each time the error says what it
is, and afterwards the task goes on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from faults import READY, behave, converges
from xenhost import ENV, LIMIT, Host, appeared

pytestmark = pytest.mark.only("simulated")

STORE = "$(cat /run/xen/xenstored.pid)"


# --- full disks

# what is full -> (the code and the path in its message, or None where the task does without)
FULL = {
    "/etc/xen": ("file_not_written", "/etc/xen/web.cfg"),
    "/run/lock": ("file_not_written", "/run/lock/stubdom.xen"),
    "/var/lib/xen": ("create_failed", "No space left"),
    "/var/cache/stubdom.xen": None,
    "/var/log": None,
}


@pytest.fixture
def full(request: pytest.FixtureRequest, empty: Host) -> Iterator[str]:
    """A directory on a file system of its own, with all that was in it, and full."""
    where = request.param
    empty.sh(
        f"mkdir -p {where}; cp -a {where} /root/copy; mount -t tmpfs -o size=1m none {where}; cp -a /root/copy/. {where}; "
        f"cat /dev/zero > {where}/filler 2>/dev/null; df {where} | grep 100%"
    )
    yield where
    empty.sh(f"umount --lazy {where}; rm -r /root/copy")


@pytest.mark.parametrize("full", FULL, indirect=True)
def test_a_full_disk_at_a_creation(empty: Host, guest: dict[str, Any], full: str) -> None:
    told = empty.module("guest", **guest, **READY)
    assert told["failed"] == bool(FULL[full]), told
    if FULL[full]:
        code, words = FULL[full]
        assert told["code"] == code and words in json.dumps(told) and "No space left on device" in json.dumps(told), told
        assert empty.domains() == ["Domain-0"], "nothing half-made"
        empty.sh(f"rm {full}/filler")
    converges(empty, guest)


@pytest.mark.parametrize("full", ["/etc/xen"], indirect=True)
def test_a_full_disk_leaves_the_file_of_before_whole(empty: Host, guest: dict[str, Any], full: str) -> None:
    """The description grows by more than a page, so that no rest of a page takes it in."""
    empty.sh(f"rm {full}/filler")
    empty.guest(**guest, state="halted")
    look = f"cat {full}/web.cfg; ls -A {full} | grep -v filler"
    before = empty.sh(f"cat /dev/zero > {full}/filler 2>/dev/null; {look}")
    told = empty.refused(**{**guest, "extra_config": {**guest["extra_config"], "remark": "x" * 9000}}, state="halted")
    assert told["code"] == "file_not_written" and f"{full}/web.cfg could not be written: No space left" in told["msg"]
    assert empty.sh(look) == before


# --- xenstored


def test_a_xenstored_that_stalls_for_a_while_is_waited_for(empty: Host, guest: dict[str, Any]) -> None:
    """Stopped when the stubdomain has just been made: until xenstored runs again there is no answer, and then the usual one."""
    behave(empty, stubdom={"ready_after": 1})
    task = subprocess.Popen(empty.command("guest", {**guest, **READY}), env=ENV, stdout=subprocess.PIPE, text=True)
    try:
        empty.sh(f"{appeared('web-dm')} && kill -STOP {STORE} && echo stopped")
        with pytest.raises(subprocess.TimeoutExpired):
            task.wait(timeout=3)
    finally:
        empty.sh(f"kill -CONT {STORE}")
    said = task.communicate(timeout=LIMIT)[0]
    assert task.returncode == 0, said
    converges(empty, guest)


def test_a_xenstored_that_died_is_told_at_once_and_nothing_is_touched(xen: Host, guest: dict[str, Any]) -> None:
    """Started again it has forgotten its domains, which run on: no guest is started beside itself before they are gone."""
    xen.guest(**guest, **READY)
    remains = "md5sum /etc/xen/web.cfg; ls /run/xenfake/mem.*"
    before = xen.sh(remains)
    xen.sh(f"kill -9 {STORE}; timeout 60 pidwait -F /run/xen/xenstored.pid; true")
    for wanted in ({}, {"state": "halted"}, {"memory": "256MiB", "disruption": "recreate"}):
        failed = xen.refused(**{**guest, **wanted}, **READY)
        assert failed["code"] in ("xl_failed", "xenstore_unreachable") and "xenstore" in json.dumps(failed), failed
    assert xen.sh(remains) == before

    xen.sh("/etc/init.d/xen restart >/dev/null 2>&1; xl list")
    assert xen.domains() == ["Domain-0", "(null)", "(null)"]
    lost = xen.refused(**guest, **READY)
    assert lost["code"] == "uuid_in_use" and lost["hint"].count(f"xl destroy {lost['evidence']['domid']}") == 1, lost
    xen.sh("for lost in $(xl list | awk '/^.null/ { print $2 }'); do xl destroy $lost; done; xl list")
    converges(xen, guest)
