# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in which a task tells what it waits for: whole while it is there, gone with the task, and never elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from ansible_collections.stubdom.xen.plugins.module_utils import progress_file, waiting
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Waits
from ansible_collections.stubdom.xen.plugins.module_utils.progress_file import VARIABLE, ProgressFile, sweep

TOKEN = "0123456789abcdef"
WAITS = Waits("web", "shutdown", 0.0, 60.0, "have the guest shut itself down")


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(progress_file, "FIRST", 0.0)
    monkeypatch.setattr(progress_file, "PAUSE", 0.0)


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "stubdom.xen")


def telling(where, waits=WAITS, token=TOKEN):
    file = ProgressFile(token, where)
    file.progress.tell(file, lambda: waits)
    return file


def read(where):
    [name] = os.listdir(where)
    with open(f"{where}/{name}") as stream:
        return json.load(stream)


def test_it_is_root_s_alone_and_gone_with_the_task(at_once, where):
    file = telling(where)
    file.due()
    [name] = os.listdir(where)
    assert name.startswith(f"progress.{TOKEN}.{os.getpid()}.")
    assert (os.stat(where).st_mode & 0o777, os.stat(f"{where}/{name}").st_mode & 0o777) == (0o700, 0o600)
    assert read(where)["waits"][0]["guest"] == "web"
    file.close()
    assert not os.path.exists(where)


def test_it_is_written_when_something_changed(at_once, where):
    file = telling(where)
    file.due()
    before = os.stat(f"{where}/{os.listdir(where)[0]}").st_ino
    file.due()
    assert os.stat(f"{where}/{os.listdir(where)[0]}").st_ino == before
    file.progress.tell(file, lambda: WAITS._replace(guest="other"))
    file.due()
    assert read(where)["waits"][0]["guest"] == "other"


def test_a_task_that_is_soon_over_writes_nothing(where):
    file = telling(where)
    assert file.due() == file._next, "the loop is told when to come again"
    file.close()
    assert not os.path.exists(where)


@pytest.mark.parametrize("token", [None, "", "../../etc/passwd", "0123456789ABCDEF", f"{TOKEN}\n", f"{TOKEN}0", "*"])
def test_nothing_but_a_token_is_one(at_once, where, token):
    file = telling(where, token=token)
    assert file.due() is None
    file.close()
    assert not os.path.exists(where)


def test_programs_of_the_task_do_not_know_of_it(monkeypatch):
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert ProgressFile.asked_for()._name.startswith(f"progress.{TOKEN}.")
    assert VARIABLE not in os.environ


def test_a_walk_that_waits_is_told_of_by_the_loop(monkeypatch, where):
    """Nothing happens for a while: the loop itself has to come back to write."""
    monkeypatch.setattr(progress_file, "FIRST", 0.05)
    file, reading = telling(where), os.pipe()
    told = []

    async def walk():
        await waiting.Readable([reading[0]], None)

    def idle():
        due = file.due()
        if due is None:
            told.append(read(where)["waits"][0]["what"])
            os.write(reading[1], b"!")
        return due

    waiting.together([walk()], idle=idle)
    assert told[0] == "shutdown"
    file.close()


# --- who else may have been there


def test_a_directory_that_others_can_write_to_is_left_alone(at_once, where):
    os.mkdir(where)
    os.chmod(where, 0o777)
    file = telling(where)
    assert file.due() is None
    file.close()
    assert os.listdir(where) == []


def test_a_link_in_place_of_the_directory_is_not_followed(at_once, where, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", where)
    file = telling(where)
    file.due()
    file.close()
    sweep(where)
    assert os.path.islink(where) and os.listdir(tmp_path / "elsewhere") == []


def test_a_link_in_place_of_the_file_is_not_followed(at_once, where, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    os.mkdir(where, 0o700)
    file = telling(where)
    os.symlink(precious, f"{where}/{file._name}")
    file.due()
    assert read(where)["of"] == 1, "the link is replaced, not written through"
    file.progress.tell(file, lambda: WAITS._replace(guest="other"))
    os.symlink(precious, f"{where}/.{file._name}")
    file.due()
    file.close()
    assert precious.read_text() == "mine"
    assert not os.path.exists(where)


def test_a_task_that_cannot_write_does_its_work(at_once, tmp_path):
    file = telling(str(tmp_path / "no" / "such" / "place"))
    assert file.due() is None and file.due() is None


# --- what killed tasks leave

KILLED = f"""
import os, signal, sys
from ansible_collections.stubdom.xen.plugins.module_utils import progress_file
progress_file.FIRST = 0.0
file = progress_file.ProgressFile("{TOKEN}", sys.argv[1])
file.due()
print(flush=True)
sys.stdin.read()
"""


def test_what_a_killed_task_leaves_is_swept_and_nothing_else(at_once, where):
    task = subprocess.Popen(
        [sys.executable, "-c", KILLED, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert task.stdout.readline() == b"\n"
    sweep(where)
    [left] = os.listdir(where)
    assert f".{task.pid}." in left, "it is still at work"

    task.send_signal(signal.SIGKILL)
    task.wait()
    mine = telling(where)
    mine.due()
    others = ["notes.txt", f"progress.{TOKEN}.x.y", f".progress.{TOKEN}.{task.pid}.1"]
    for name in others:
        open(f"{where}/{name}", "w").close()
    sweep(where)
    assert sorted(os.listdir(where)) == sorted([mine._name, *others[:2]])


def test_a_pid_that_is_another_s_by_now_keeps_no_file(where):
    os.mkdir(where, 0o700)
    open(f"{where}/progress.{TOKEN}.{os.getpid()}.1", "w").close()
    sweep(where)
    assert not os.path.exists(where)


def test_nothing_to_sweep_is_nothing_to_do(where):
    sweep(where)
    assert not os.path.exists(where)
