# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated hosts of this machine's own files, with an init of the test's: what the runner itself does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import frame
import process
import pytest
from simulated import SimulatedHost

ROOT = Path(__file__).resolve().parents[2]
SIMHOST = ROOT / "roles/lab/files/simhost"
MAY = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, check=False)
pytestmark = pytest.mark.skipif(bool(MAY.returncode), reason="namespaces are not permitted here")

# It takes its orders from the image: /order is a line of shell.
INIT = """\
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(*sys.argv[1:], flush=True)
line = subprocess.run(["sh", "/order"], stdout=subprocess.PIPE).stdout
if not line: sys.exit("nothing to say")
os.write(3, line)
os.close(3)
while True: signal.pause()
"""


@pytest.fixture
def lab():
    """A lab with one image, over this machine's own file system, and a runner with the init above."""
    # an overlay's layers may not contain each other: not below the root directory's own file system
    lab = Path(tempfile.mkdtemp(dir="/dev/shm"))
    layer = lab / "images/simulated-1/layer"
    (layer / ".layers").mkdir(parents=True)
    (layer / "usr/lib/xen-simulation").mkdir(parents=True)
    (layer / "usr/lib/xen-simulation/init").write_text(INIT)
    (layer / "order").write_text("echo ready\n")
    (lab / "images/program-1").mkdir()
    (lab / "images/rootfs-1").mkdir()
    (lab / "images/rootfs-1/root").symlink_to("/")
    (lab / "images/simulated-1/rootfs").symlink_to("../rootfs-1")
    yield lab
    for host in SimulatedHost.all(lab):
        process.stop(host, gently=False)
    shutil.rmtree(lab)


@pytest.fixture
def simhost(lab, monkeypatch):
    """Run the runner in a process of its own, on a program that is not compiled anew for each test."""
    start = (
        f"import sys; sys.path[:0] = [{str(SIMHOST)!r}, {str(SIMHOST.parent / 'runner')!r}]\n"
        "import pathlib, program, runpy\n"
        "program.layer = lambda images, rootfs: images / 'program-1'\n"
        f"runpy.run_path({str(SIMHOST)!r}, run_name='__main__')"
    )

    def run(command: str, *names: str, **options: object):
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        given = ["--image", "simulated-1", "--memory", "4096", *words]
        argv = [sys.executable, "-c", start, command, str(lab), *names, *given]
        return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)

    return run


def did(done) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["did"]


def inside(lab: Path, name: str, command: str) -> str:
    pid = process.pid_of(SimulatedHost.of(lab, name))
    argv = ["nsenter", "--target", str(pid), "--all", f"--root=/proc/{pid}/root", "sh", "-c", command]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_hosts_start_together_and_each_is_a_machine_of_its_own(lab, simhost):
    assert did(simhost("start", "a", "b")) == dict.fromkeys("ab", "started at snapshot fresh")
    assert did(simhost("start", "a", "b")) == dict.fromkeys("ab", "")
    inside(lab, "a", "echo own > /etc/own")
    assert inside(lab, "a", "hostname; cat /etc/own; tr '\\0' ' ' < /proc/1/cmdline").split()[:3] == ["a", "own", "python3"]
    assert inside(lab, "b", "hostname; ls /etc/own 2> /dev/null || echo none").split() == ["b", "none"]
    assert not Path("/etc/own").exists()
    assert "--name a --memory-mib 4096 --cpus 2 --xenstored ocaml" in SimulatedHost.of(lab, "a").console_log.read_text()


def test_another_xenstored_makes_the_host_anew(lab, simhost):
    did(simhost("start", "a"))
    assert did(simhost("start", "a", xenstored="c")) == {"a": "started at snapshot fresh"}
    assert did(simhost("reset", "a")) == {"a": "back at snapshot fresh"}
    assert "--xenstored c\n" in SimulatedHost.of(lab, "a").console_log.read_text()


def test_hosts_beyond_the_descriptors_that_a_careless_runner_would_use(lab, simhost):
    names = [f"many{number}" for number in range(60)]
    assert set(did(simhost("start", *names))) == set(names)
    assert set(did(simhost("stop", *names)).values()) == {"stopped"}


def test_a_stopped_host_is_gone_with_all_that_ran_in_it(lab, simhost):
    did(simhost("start", "a"))
    inside(lab, "a", "setsid sleep 1000 > /dev/null 2>&1 & echo $!")
    mounted = len(Path("/proc/mounts").read_text().splitlines())
    with process.running(SimulatedHost.of(lab, "a")) as pidfd:
        assert did(simhost("stop", "a")) == {"a": "stopped"}
        assert process.exited(pidfd, 60)
    assert len(Path("/proc/mounts").read_text().splitlines()) == mounted
    assert did(simhost("stop", "a")) == {"a": ""}


@pytest.mark.parametrize(
    ("order", "said"),
    [("echo failed: no xenstored", "no xenstored"), ("true", "its init ended"), ("sleep 100", "did not say so in time")],
)
def test_a_host_that_does_not_come_up_says_why_and_is_not_left(lab, simhost, order, said):
    (lab / "images/simulated-1/layer/order").write_text(f"echo on the console >&2; {order}\n")
    done = simhost("start", "a", timeout=3 if "sleep" in order else 300)
    assert done.returncode == 1
    assert said in done.stderr and "on the console" in done.stderr and "Traceback" not in done.stderr
    assert process.pid_of(SimulatedHost.of(lab, "a")) is None


def test_a_host_that_cannot_start_does_not_keep_others_from_it(lab, simhost):
    did(simhost("start", "a", "b"))
    did(simhost("stop", "a", "b"))
    (lab / "simulated/a/snapshots").mkdir()
    (lab / "simulated/a/snapshots/broken.tar").write_text("no archive")
    done = simhost("reset", "a", snapshot="broken")
    assert done.returncode == 1 and "a was to start, but: tar" in done.stderr
    assert did(simhost("start", "a", "b")) == dict.fromkeys("ab", "started at snapshot fresh")


def test_a_host_ends_with_its_owner(lab, simhost):
    owner = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    did(simhost("start", "a", owner=owner.pid))
    with process.running(SimulatedHost.of(lab, "a")) as pidfd:
        assert not process.exited(pidfd, 0)
        owner.communicate()
        assert process.exited(pidfd, 60)
    done = simhost("start", "a", owner=owner.pid)
    assert done.returncode == 1 and f"as long as process {owner.pid}, but there is none" in done.stderr


def test_snapshots_keep_what_was_changed_and_what_was_removed(lab, simhost, monkeypatch):
    did(simhost("start", "a"))
    change = "echo new > /root-new; rm /order; rm -r /usr/lib/xen-simulation; mkdir -p /usr/lib/xen-simulation"
    inside(
        lab,
        "a",
        f"cp -r /usr/lib/xen-simulation /kept; {change}; cp /kept/init /usr/lib/xen-simulation/; echo echo ready > /order",
    )
    host = SimulatedHost.of(lab, "a")
    monkeypatch.setattr(SimulatedHost, "guests", lambda self, pid: [])
    import filesystem

    filesystem.save(host.layer(process.pid_of(host)), host.snapshot("changed"))
    assert did(simhost("reset", "a")) == {"a": "back at snapshot fresh"}
    assert "root-new" not in inside(lab, "a", "ls /")
    assert did(simhost("reset", "a", snapshot="changed")) == {"a": "back at snapshot changed"}
    assert inside(lab, "a", "cat /root-new; ls -A /usr/lib/xen-simulation").split() == ["new", "init"]
    refused = simhost("reset", "a", snapshot="other")
    assert refused.returncode == 1 and "it has fresh, changed" in refused.stderr


def test_status_prune_and_absent(lab, simhost):
    did(simhost("start", "a"))
    for name in ("simulated-0", "program-0"):
        (lab / "images" / name).mkdir()
    (lab / "images/rootfs-0").mkdir()
    os.utime(lab / "images/rootfs-0", (0, 0))
    status = json.loads(simhost("status").stdout)["a"]
    assert status["pid"] == process.pid_of(SimulatedHost.of(lab, "a")) and status["pidfile"] == str(lab / "simulated/a/init.pid")
    assert json.loads(simhost("prune").stdout)["did"] == "program-0 rootfs-0 simulated-0"
    assert did(simhost("absent", "a")) == {"a": "removed"}
    assert did(simhost("absent", "a")) == {"a": ""}


def test_one_host_that_fails_does_not_keep_the_rest_from_their_turn():
    from layout import LabError

    def command(host, options):
        if host.name == "b":
            raise LabError("b cannot")
        return "done"

    hosts = [SimulatedHost.of("/lab", name) for name in "abc"]
    outcomes = frame.each(command)(hosts, None)
    assert [str(outcomes[name]) for name in "abc"] == ["done", "b cannot", "done"]
