# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that fails below the task: xenstored stalled or dead, quotas used up, disks full, a clock that jumps; and domains
that write what they are not to be believed. Each time the error says what it is, and afterwards the task goes on."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xenhost import ENV, LIMIT, WHOLE, Host, appeared

pytestmark = pytest.mark.only("simulated")

READY = {"ready": {"timeout": 60, "retries": 0}}
BRIEF = {"ready": {"timeout": 3, "retries": 0}}
STORE = "$(cat /run/xen/xenstored.pid)"


@pytest.fixture(scope="module")
def guest(xen: Host) -> dict[str, Any]:
    return xen.described("stubdom", "web")


@pytest.fixture
def empty(xen: Host, guest: dict[str, Any]) -> Iterator[Host]:
    """The host without a guest, and with well-behaved domains."""
    yield xen
    xen.sh("xl destroy web 2>/dev/null; rm -f /etc/xen-simulation/behaviours.json")
    xen.guest(name="web", state="absent")
    assert xen.domains() == ["Domain-0"]


def behave(host: Host, **parts: Any) -> None:
    host.sh("mkdir -p /etc/xen-simulation")
    host.put("/etc/xen-simulation/behaviours.json", json.dumps({"web": parts}))


def converges(host: Host, guest: dict[str, Any]) -> dict[str, Any]:
    """The same task again brings it about, and once more changes nothing."""
    again = host.guest(**guest, **READY)
    assert (again["guest"]["state"], again["leftovers"]) == ("running", [])
    assert not host.guest(**guest, **READY)["changed"]
    assert host.domains() == ["Domain-0", "web", "web-dm"]
    return again


# --- whom not to believe

UNTRUSTED = {
    "the guest writes the stubdomain's node": {"ready": "guest"},
    "dom0's QEMU writes where it was before Xen 4.6": {"ready": "dom0"},
}


@pytest.mark.parametrize("who", UNTRUSTED)
def test_a_readiness_that_is_not_the_stubdomains_own_is_not_believed(empty: Host, guest: dict[str, Any], who: str) -> None:
    behave(empty, stubdom=UNTRUSTED[who])
    failed = empty.refused(**guest, **BRIEF)
    assert failed["code"] == "readiness_timeout" and failed["evidence"]["link"] == "device-model"
    assert failed["evidence"]["left"] == {"state": "halted", "leftovers": []}
    assert empty.domains() == ["Domain-0"]


def test_nobody_writes_what_another_domain_has_to_report(empty: Host, guest: dict[str, Any]) -> None:
    empty.guest(**guest, **READY)
    empty.guest(**empty.described("pvh", "other"))
    web, stubdom, other = (empty.domid(name) for name in ("web", "web-dm", "other"))
    state = f"/local/domain/{stubdom}/device-model/{web}/state"
    proxy = f"/local/domain/0/device-model/{stubdom}/qmp-proxy-state"
    home = f"/local/domain/{other}/device-model"
    tries = [(web, state), (other, state), (stubdom, proxy), (stubdom, f"/local/domain/{other}/name"), (other, home)]
    for domid, path in tries:
        said = empty.sh(f"/usr/lib/xen-simulation/xenstore-as {domid} write {path} dead 2>&1 || true")
        assert "refuses WRITE" in said and "EACCES" in said, (domid, path, said)
    assert not empty.guest(**guest)["changed"]
    empty.sh("xl destroy other; rm /etc/xen/other.cfg")


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


# --- a clock that jumps

CLOCK = Path(__file__).with_name("jumping_clock.c")
JUMPS = {"forward": 3600, "backward": -3600}


@pytest.fixture
def jumping(empty: Host, tmp_path: Path) -> Iterator[Host]:
    """A host whose programs see the clock jump: xl with libxl's timers, and Python. Those that ran before, xenstored, do not."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT CHECKED: no C compiler (cc) to make a clock that jumps with")
    flags = ("-shared", "-fPIC", "-nostdlib", "-fno-stack-protector", "-O1", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, "-o", str(tmp_path / "clock.so"), *flags, str(CLOCK)], check=True)
    library = base64.b64encode((tmp_path / "clock.so").read_bytes()).decode()
    empty.sh(
        f"cp /etc/ld.so.preload /root/; echo {library} | base64 -d >/root/clock.so && echo /root/clock.so >>/etc/ld.so.preload"
    )
    yield empty
    empty.sh("cp /root/ld.so.preload /etc/; rm -f /run/clock")


def across(host: Host, seconds: int, **guest: Any) -> dict[str, Any]:
    """The result of module guest, in whose middle, with the stubdomain just made, the clock jumps; and how long it took."""
    begin = time.monotonic()
    task = subprocess.Popen(host.command("guest", guest), env=WHOLE, stdout=subprocess.PIPE, text=True)
    now = host.sh(f"{appeared('web-dm')}; echo {seconds} >/run/clock; date +%s")
    assert abs(int(now) - time.time() - seconds) < 1800 and task.poll() is None
    told: dict[str, Any] = json.loads(task.communicate(timeout=LIMIT)[0].splitlines()[-1])
    return {**told, "took": time.monotonic() - begin}


@pytest.mark.parametrize("way", JUMPS)
def test_a_clock_that_jumps_while_a_guest_comes_up(jumping: Host, guest: dict[str, Any], way: str) -> None:
    """libxl counts its own patience by that clock, and may lose it when it jumps forward; then the guest is made once more."""
    behave(jumping, stubdom={"ready_after": 3})
    told = across(jumping, JUMPS[way], **guest, ready={"timeout": 60, "retries": 1})
    assert told["outcome"] == "ok" and told["guest"]["state"] == "running", told
    after = {link["link"]: link["after_s"] for link in told["readiness"]}
    assert 3 <= after["device-model"] <= told["took"], told
    converges(jumping, guest)


@pytest.mark.parametrize("way", JUMPS)
def test_a_clock_that_jumps_changes_no_limit(jumping: Host, guest: dict[str, Any], way: str) -> None:
    """The module's own; libxl's patience may end at the jump, and is then what the evidence tells of."""
    behave(jumping, stubdom={"ready": "never"})
    failed = across(jumping, JUMPS[way], **guest, ready={"timeout": 10, "retries": 0})
    evidence = failed["evidence"]
    assert failed["code"] == "readiness_timeout" and evidence["waited_s"] <= failed["took"], json.dumps(failed)
    assert evidence["waited_s"] >= 10 or "timed out" in evidence["said"], json.dumps(failed)
    assert failed["evidence"]["left"] == {"state": "halted", "leftovers": []}


# --- a guest or a stubdomain at its quota

FILL = """import sys
sys.path.insert(0, "/usr/lib/xen-simulation")
from stores import connect
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
domid = int(sys.argv[1])
with connect(domid, timeout=30) as store:
    try:
        for number in range(100000):
            store.write(f"/local/domain/{domid}/data/{number}", "x")
    except XenError as error:
        print(error.evidence["errno"])
"""


@pytest.mark.parametrize("whose", ["web", "web-dm"])
def test_a_domain_that_has_used_up_its_quota_of_xenstore_is_served_all_the_same(
    empty: Host, guest: dict[str, Any], whose: str
) -> None:
    empty.guest(**guest, **READY)
    empty.put("/root/fill.py", FILL)
    assert empty.sh(f"chmod +r /root/fill.py; python3 /root/fill.py $(xl domid {whose})") in ("EQUOTA", "ENOSPC")
    assert not empty.guest(**guest)["changed"]
    for state in ("paused", "running"):
        assert empty.guest(**guest, state=state, **READY)["guest"]["state"] == state
    converges(empty, {**guest, "memory": "256MiB", "disruption": "recreate"})


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
