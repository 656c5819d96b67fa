# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's monitor asked for its status, over a real socket: what a QEMU says that is well, late, odd, silent or gone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time

import pytest

from ansible_collections.stubdom.xen.plugins.module_utils import qmp, waiting

WANT = ("running", "paused", "prelaunch")
SHORT, AMPLE = 0.1, 300.0  # seconds: a limit that a test means to reach, and one that only a hanging client does
GREETING = {"QMP": {"version": {}, "capabilities": []}}
AGREED, EVENT = {"return": {}}, {"event": "RESUME"}


def status(word):
    return {"return": {"status": word, "running": word == "running"}}


class Monitor:
    """A socket where a script is played: what to say at once, then what to say to each command that comes."""

    def __init__(self, path, script):
        self.commands, self.script, self.done = [], script, threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self._play)
        self.thread.start()

    def _play(self):
        with contextlib.suppress(OSError):  # nobody came, or the client left in the middle
            self._serve(*self.listener.accept())

    def _serve(self, client, _address):
        with client, client.makefile("rb") as lines:
            for number, messages in enumerate(self.script):
                if number:
                    self.commands.append(json.loads(lines.readline() or "{}").get("execute"))
                for message in messages:
                    client.sendall(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\r\n")
            self.done.wait()

    def close(self):
        self.done.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


@pytest.fixture
def ask(tmp_path):
    """Has a script played by a monitor, and asks it. Returns (what the client returns, the commands that it sent)."""
    path, monitors, pipe = str(tmp_path / "qmp-libxl-7"), [], os.pipe()

    def asked(*script, stay=True, seconds=AMPLE, woken=False):
        monitors.append(Monitor(path, script))
        if not stay:
            monitors[0].done.set()
        if woken:
            os.write(pipe[1], b"!")
        walk = qmp.query_status(path, WANT, time.monotonic() + seconds, pipe[0])
        return waiting.together([walk])[0].get(), monitors[0].commands

    yield asked
    for monitor in monitors:
        monitor.close()
    for fd in pipe:
        os.close(fd)


@pytest.mark.parametrize("word", WANT)
def test_a_qemu_that_is_made_says_so(ask, word):
    assert ask([GREETING], [AGREED], [status(word)]) == (word, ["qmp_capabilities", "query-status"])


def test_a_qemu_that_is_on_its_way_is_asked_again_at_its_next_event(ask):
    told, commands = ask([GREETING], [AGREED], [status("inmigrate"), EVENT], [status("paused")])
    assert (told, commands) == ("paused", ["qmp_capabilities", "query-status", "query-status"])


def test_a_status_that_is_not_wanted_is_told_at_the_deadline(ask):
    assert ask([GREETING], [AGREED], [status("internal-error")], seconds=SHORT)[0] == "internal-error"


def test_an_answer_may_come_in_pieces_and_with_others(ask):
    whole = json.dumps(status("running")).encode()
    assert ask([b'{"QM', b'P": {}}\n', EVENT], [AGREED], [EVENT, whole[:7], whole[7:], b"\n"])[0] == "running"


@pytest.mark.parametrize(
    "said",
    [b"hello\n", b"[1]\n", b"7\n", b"\xff\xfe\n", {"error": {"class": "GenericError"}}, b"x" * (3 * qmp.MOST)],
    ids=["no JSON", "a list", "a number", "no text", "a refusal", "without an end"],
)
def test_what_is_no_monitor_is_no_answer(ask, said):
    assert ask([said]) == (None, [])


def test_a_status_before_the_capabilities_is_not_believed(ask):
    """Whatever comes in the place of that answer ends the negotiation and nothing else."""
    assert ask([GREETING], [status("running")], [status("internal-error")], seconds=SHORT)[0] == "internal-error"


@pytest.mark.parametrize("script", [[[]], [[GREETING]], [[GREETING], [AGREED]]], ids=["at once", "greeted", "agreed"])
def test_a_silent_qemu_has_the_time_it_is_given(ask, script):
    began = time.monotonic()
    assert ask(*script, seconds=SHORT)[0] is None
    assert time.monotonic() - began >= SHORT


def test_a_qemu_that_ends_is_no_answer_and_is_not_waited_for(ask):
    assert ask([GREETING], [AGREED], [], stay=False)[0] is None


def test_news_from_elsewhere_break_the_wait_off(ask):
    assert ask([GREETING], [AGREED], woken=True)[0] is None


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("")], ids=["nothing", "a file"])
def test_no_socket_is_no_answer(tmp_path, make):
    path = tmp_path / "qmp-libxl-7"
    make(path)
    walk = qmp.query_status(str(path), WANT, time.monotonic() + AMPLE, -1)
    assert waiting.together([walk])[0].get() is None


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """libxl's lock of the monitor of domain 7, held by another client."""
    monkeypatch.setattr(qmp, "LOCKS", str(tmp_path / "userdata-l.{}.*.qmp-socket-lock"))
    path = tmp_path / "userdata-l.7.11111111-2222-3333-4444-555555555555.qmp-socket-lock"
    with path.open("wb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        yield holder


def test_libxl_at_work_on_the_monitor_is_not_disturbed(ask, lock):
    assert ask([GREETING], [AGREED], [status("running")], seconds=SHORT) == (None, [])


def test_libxl_that_is_done_is_followed(ask, lock):
    release = threading.Timer(SHORT, fcntl.flock, (lock, fcntl.LOCK_UN))
    release.start()
    assert ask([GREETING], [AGREED], [status("running")])[0] == "running"
    release.join()
