# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection plugin, into namespaces that a test made: it enters that host's, whatever the pid file says."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from ansible import constants as C
from ansible._internal._errors._alarm_timeout import AnsibleTimeoutError
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext

from ansible_collections.stubdom.xen.plugins.connection import simulated as simulated_plugin

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are entered by root")
UNSHARE = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def first(simulated):
    """A process that is the first of its namespaces, marked as that of the host of the given directory."""
    children = []

    def start(mark=simulated.directory) -> int:
        command = [*UNSHARE, "env", f"XEN_SIMULATED_HOST={mark}", "sh", "-c", "hostname sim1; echo up; read line"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"up\n"
        with open(f"/proc/{child.pid}/task/{child.pid}/children") as file:
            return int(file.read())

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def connection(simulated):
    # not by Ansible's loader, which takes no collection that other tests have imported already
    name = simulated_plugin.Connection.transport
    C.config.initialize_plugin_configuration_definitions(
        "connection", name, yaml.safe_load(simulated_plugin.DOCUMENTATION)["options"]
    )
    made = simulated_plugin.Connection(PlayContext())
    made._load_name = name
    made.set_options(var_options={"ansible_simulated_pid_file": str(simulated.pidfile)})
    yield made
    made.close()


@pytest.fixture
def entered(simulated, first, connection):
    simulated.pidfile.write_text(f"{first()}\n")
    return connection


def test_a_command_runs_there_in_a_clean_environment(entered, monkeypatch):
    monkeypatch.setenv("CONTROLLER", "secret")
    code, out, err = entered.exec_command("hostname; pwd; env; echo bad >&2; exit 7")
    assert (code, err) == (7, b"bad\n")
    lines = out.decode().splitlines()
    assert lines[:2] == ["sim1", "/root"]
    assert {"HOME=/root", "LC_ALL=C.UTF-8"} < set(lines)
    assert not [line for line in lines if "CONTROLLER" in line or "XEN_SIMULATED_HOST" in line]


def test_a_command_gets_what_is_sent_to_it(entered):
    assert entered.exec_command("cat", in_data=b"\0\xff" * 100000) == (0, b"\0\xff" * 100000, b"")
    assert entered.exec_command("cat") == (0, b"", b"")


def test_a_host_that_was_started_in_a_chroot(simulated, connection, tmp_path):
    """As on a controller that is one: the root of its mount namespace is not its own, and is nobody's to write to."""
    (tmp_path / "root").mkdir()
    script = "mount --bind / $0/root && mount -t tmpfs tmpfs $0/root/mnt && touch $0/root/mnt/own && exec chroot $0/root $@"
    mark = f"XEN_SIMULATED_HOST={simulated.directory}"
    inside = ["env", mark, "sh", "-c", '"echo up; read line"']
    command = [*UNSHARE, "sh", "-c", script.replace("$@", " ".join(inside)), str(tmp_path)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    with open(f"/proc/{child.pid}/task/{child.pid}/children") as file:
        simulated.pidfile.write_text(file.read())
    assert connection.exec_command("ls /mnt") == (0, b"own\n", b"")
    child.kill()
    child.communicate()


def test_a_task_s_time_limit_ends_a_command_that_hangs(entered):
    with pytest.raises(AnsibleTimeoutError), AnsibleTimeoutError.alarm_timeout(1):
        entered.exec_command("exec sleep 1000")
    assert entered.exec_command("echo well")[1] == b"well\n"


def test_files_go_there_and_back(entered, tmp_path):
    there = tmp_path / "it's there"
    (tmp_path / "from").write_bytes(b"\0\n\xff")
    entered.put_file(str(tmp_path / "from"), str(there))
    entered.fetch_file(str(there), str(tmp_path / "to"))
    assert (tmp_path / "to").read_bytes() == there.read_bytes() == b"\0\n\xff"


def test_files_that_cannot_be_copied(entered, tmp_path):
    with pytest.raises(AnsibleFileNotFound, match="nothing was to be sent"):
        entered.put_file(str(tmp_path / "nothing"), "/tmp/there")
    with pytest.raises(AnsibleError, match="failed with"):
        entered.fetch_file(str(tmp_path / "nothing"), str(tmp_path / "to"))


@pytest.mark.parametrize("text", ["", "no number", "999999999", pytest.param(str(os.getpid()), id="our own"), None])
def test_a_pid_file_that_names_nobody_of_this_host(simulated, connection, text):
    if text is not None:
        simulated.pidfile.write_text(text)
    with pytest.raises(AnsibleConnectionFailure, match=r"does not run .* Start it"):
        connection.exec_command("true")


def test_another_host_is_not_entered(simulated, first, connection):
    simulated.pidfile.write_text(str(first(mark="/elsewhere/sim1")))
    with pytest.raises(AnsibleConnectionFailure, match="is another's"):
        connection.exec_command("true")


def test_a_process_inside_is_not_taken_for_the_first(simulated, first, connection):
    pid = first()
    inside = subprocess.Popen(["nsenter", "--target", str(pid), "--all", "sh", "-c", "echo up; read line"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env={**os.environ, "XEN_SIMULATED_HOST": str(simulated.directory)})  # fmt: skip
    assert inside.stdout.readline() == b"up\n"
    with open(f"/proc/{inside.pid}/task/{inside.pid}/children") as file:
        simulated.pidfile.write_text(file.read())
    with pytest.raises(AnsibleConnectionFailure, match="is another's"):
        connection.exec_command("true")
    inside.communicate()


def test_a_host_that_ends_and_is_there_anew(simulated, first, entered, tmp_path):
    assert entered.exec_command("true")[0] == 0
    pid = int(simulated.pidfile.read_text())
    os.mkfifo(tmp_path / "running")
    killer = subprocess.Popen(["sh", "-c", f"read line < {tmp_path}/running; kill -9 {pid}"])
    with pytest.raises(AnsibleConnectionFailure, match="ended while a command ran"):
        entered.exec_command(f"echo now > {tmp_path}/running; sleep 1000")
    killer.wait()
    with pytest.raises(AnsibleConnectionFailure, match="does not run"):
        entered.exec_command("true")
    simulated.pidfile.write_text(str(first()))
    assert entered.exec_command("hostname") == (0, b"sim1\n", b"")
