# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose process a pid file names."""

from __future__ import annotations

import os
import subprocess

import process
import pytest


@pytest.fixture
def spawn():
    """Start a sleeping process that calls itself by the given words."""
    children = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        # the shell's own words are what /proc shows, once it runs; `read` keeps it waiting for us
        command = [words[0], "-c", "echo up; read line", *words]
        child = subprocess.Popen(command, executable="/bin/bash", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"up\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_stop_ends_the_qemu_of_this_pid_file(host, spawn):
    child = spawn("qemu-system-x86_64", "-pidfile", str(host.pidfile))
    host.pidfile.write_text(str(child.pid))
    assert process.pid_of(host) == child.pid
    assert process.stop(host)
    assert child.wait(60) < 0
    assert process.pid_of(host) is None


@pytest.mark.parametrize(
    "words",
    [("qemu-system-x86_64", "-pidfile", "/elsewhere/qemu.pid"), ("sleep", "-pidfile", "{pidfile}")],
    ids=["another host's QEMU", "not a QEMU"],
)
def test_stop_leaves_others_alone(host, spawn, words):
    child = spawn(*(word.format(pidfile=host.pidfile) for word in words))
    host.pidfile.write_text(str(child.pid))
    assert not process.stop(host)
    assert child.poll() is None


@pytest.mark.parametrize("text", ["", "no number", "999999999", pytest.param(str(os.getpid()), id="our own")])
def test_a_pid_file_that_names_nobody_of_ours(host, text):
    host.pidfile.write_text(text)
    assert process.pid_of(host) is None
