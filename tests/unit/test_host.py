# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""XenHost with this machine's own programs: several at once, each with its limit, none of them left behind."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.host import XenHost
from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Readable

MINUTE = 60.0


@pytest.fixture
def host():
    with patch_module_args({}):
        yield XenHost(AnsibleModule(argument_spec={}))


def descriptors():
    gc.collect()  # the sockets of earlier tests
    return len(os.listdir("/proc/self/fd"))


def alive(pid):
    """Whether a process runs: one that its parent has not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_says_what_it_has_to_say_and_how_it_ended(host):
    done = host.finish(host.run(["sh", "-c", "echo out; echo err >&2; printf '\\377' >&2; exit 3"]))
    assert done == (3, "out\n", "err\n\\xff")


def test_much_output_on_both_ways_is_taken_whole(host):
    done = host.finish(host.run(["sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"]))
    assert (len(done.out), len(done.err)) == (300000, 300000)


def test_a_program_that_is_not_there(host):
    with pytest.raises(XenError) as missing:
        host.finish(host.run(["no-such-program"]))
    assert (missing.value.code, missing.value.msg) == ("program_missing", "no-such-program: no such program on this host")


def test_a_program_that_does_not_end_is_ended_and_what_it_said_is_kept(host, tmp_path):
    with pytest.raises(XenError) as late:
        host.finish(host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; echo stuck >&2; exec sleep 600"], 0.5))
    assert (late.value.code, late.value.evidence["said"]) == ("program_timeout", "stuck\n")
    assert not alive(int((tmp_path / "pid").read_text()))


def test_what_a_program_leaves_in_the_background_is_not_waited_for(host, tmp_path):
    done = host.finish(host.run(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; echo done"], MINUTE))
    pid = int((tmp_path / "pid").read_text())
    assert (done.out, alive(pid)) == ("done\n", True)
    os.kill(pid, signal.SIGKILL)


class Bell:
    """A gate: rung by the other end of a socket."""

    def __init__(self, failure=None):
        self.near, self.far = socket.socketpair()
        self.failure, self.rung = failure, 0

    def fileno(self):
        return self.near.fileno()

    async def on_event(self):
        self.near.recv(1)
        self.rung += 1
        if self.failure:
            raise self.failure


def test_a_gate_is_told_while_the_program_runs(host):
    bell = Bell()
    bell.far.send(b"!")
    host.finish(host.run(["sh", "-c", "exec sleep 0.2"], MINUTE, bell))
    assert bell.rung == 1


def test_what_the_gate_raises_ends_the_program(host, tmp_path):
    bell = Bell(XenError("reporter_died", "gone", {}))
    bell.far.send(b"!")
    with pytest.raises(XenError) as died:
        host.finish(host.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"], MINUTE, bell))
    assert died.value.code == "reporter_died"
    written = tmp_path / "pid"
    told = written.read_text() if written.exists() else ""  # it may have been ended before it said its number
    assert not told or not alive(int(told))


async def meets(host, mine, theirs):
    """Makes a file and waits for another walk's: only walks that are in flight together can both end."""
    return (await host.run(["sh", "-c", f"touch {mine}; until [ -e {theirs} ]; do sleep 0.01; done"], MINUTE)).rc


def test_walks_are_in_flight_together(host, tmp_path):
    walks = [meets(host, tmp_path / "a", tmp_path / "b"), meets(host, tmp_path / "b", tmp_path / "a")]
    assert [outcome.get() for outcome in host.together(walks, 2)] == [0, 0]


async def counted(host, together, most):
    together.append(1)
    most.append(len(together))
    await host.run(["true"], MINUTE)
    together.pop()


def test_never_more_than_the_limit(host):
    together, most = [], []
    host.together([counted(host, together, most) for _walk in range(7)], 3)
    assert (max(most), len(most)) == (3, 7)


async def noted(host, name, order):
    order.append(name)
    await host.run(["true"], MINUTE)


def test_a_walk_begins_when_those_that_go_before_it_have_ended(host):
    order = []
    host.together([noted(host, name, order) for name in "abc"], 1, [{1, 2}, {2}, ()])
    assert order == ["c", "b", "a"]


def test_walks_that_wait_for_each_other_are_a_mistake(host):
    with pytest.raises(ValueError, match="wait for each other"):
        host.together([noted(host, name, []) for name in "ab"], 2, [{1}, {0}])


async def fails():
    raise XenError("not_ready", "no")


async def answers():
    return "yes"


def test_a_walk_that_fails_stops_no_other(host):
    first, second = host.together([fails(), answers()])
    assert (first.error.code, second.value) == ("not_ready", "yes")


async def breaks():
    raise ZeroDivisionError


def test_a_mistake_of_ours_ends_all_and_leaves_no_program(host, tmp_path):
    walks = [
        host.run(["sh", "-c", f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 600"], MINUTE),
        breaks(),
    ]
    with pytest.raises(ZeroDivisionError):
        host.together(walks, 2)
    written = tmp_path / "pid"
    told = written.read_text() if written.exists() else ""  # it may have been ended before it said its number
    assert not told or not alive(int(told))


async def sleeps(until):
    return await Readable((), until)


def test_a_moment_can_be_waited_for(host):
    begin = time.monotonic()
    assert host.finish(sleeps(begin + 0.2)) == frozenset()
    assert time.monotonic() >= begin + 0.2


def test_the_loop_leaves_no_descriptor_open(host):
    host.finish(host.run(["true"]))
    before = descriptors()
    host.together([host.run(["true"]) for _walk in range(20)], 5)
    assert descriptors() == before


def test_one_lock_one_holder(host, tmp_path, monkeypatch):
    monkeypatch.setattr("ansible_collections.stubdom.xen.plugins.module_utils.host.LOCK_DIR", str(tmp_path))
    order = []

    async def holds(name):
        async with host.lock("web", f"task {name}", MINUTE):
            order.append(f"{name} has it")
            await host.run(["sleep", "0.1"])
            order.append(f"{name} lets go")

    host.together([holds("a"), holds("b")], 2)
    assert order in (["a has it", "a lets go", "b has it", "b lets go"], ["b has it", "b lets go", "a has it", "a lets go"])


def test_a_lock_that_is_not_let_go_names_its_holder(host, tmp_path, monkeypatch):
    monkeypatch.setattr("ansible_collections.stubdom.xen.plugins.module_utils.host.LOCK_DIR", str(tmp_path))

    async def twice():
        async with host.lock("web", "the first", MINUTE), host.lock("web", "the second", 0.1):
            pass

    with pytest.raises(XenError) as locked:
        host.finish(twice())
    assert (locked.value.code, "the first" in locked.value.msg) == ("locked", True)


LOCKS = {
    "a link in the place of the file": lambda locks, mine: (locks / "web").symlink_to(mine),
    "a directory that others may write to": lambda locks, _mine: locks.chmod(0o777),
    "a link in the place of the directory": lambda locks, mine: (locks.rmdir(), locks.symlink_to(mine.parent)),
    "a directory of somebody else's": lambda locks, _mine: os.chown(locks, 65534, 65534),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
@pytest.mark.parametrize("trap", LOCKS)
def test_a_lock_that_somebody_has_laid_out_is_not_taken(host, tmp_path, monkeypatch, trap):
    """/run/lock is everybody's to write to. Who is root there would empty the file that a link leads to."""
    locks, mine = tmp_path / "locks", tmp_path / "mine" / "web"
    for directory in (locks, mine.parent):
        directory.mkdir()
    mine.write_text("mine")
    LOCKS[trap](locks, mine)
    monkeypatch.setattr("ansible_collections.stubdom.xen.plugins.module_utils.host.LOCK_DIR", str(locks))

    async def locks_it():
        async with host.lock("web", "a task", MINUTE):
            pass

    with pytest.raises(XenError) as refused:
        host.finish(locks_it())
    assert (refused.value.code, refused.value.evidence["path"]) == ("file_not_written", f"{locks}/web")
    assert mine.read_text() == "mine" and list(mine.parent.iterdir()) == [mine]


WRITES = {
    "write_file": lambda host, place: host.write_file(f"{place}/web.cfg", "text"),
    "make_directory": lambda host, place: host.make_directory(f"{place}/cache"),
    "keep_copy": lambda host, place: host.keep_copy(__file__, f"{place}/copy"),
    "remove": lambda host, place: host.remove(f"{place}/web.cfg"),
    "link": lambda host, place: host.link(f"{place}/auto/web.cfg", "/etc/xen/web.cfg"),
}


@pytest.mark.parametrize("call", WRITES)
def test_a_write_that_the_system_refuses_is_told_with_its_path(host, tmp_path, call):
    (tmp_path / "file").touch()
    with pytest.raises(XenError) as refused:
        WRITES[call](host, tmp_path / "file")  # a file is no directory
    assert refused.value.code == "file_not_written"
    assert f"{tmp_path}/file" in refused.value.msg and "Not a directory" in refused.value.msg
    assert refused.value.evidence["path"].startswith(f"{tmp_path}/file")


def disk_full(_descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_could_not_be_replaced_is_whole_and_nothing_lies_beside_it(host, tmp_path, monkeypatch):
    host.write_file(f"{tmp_path}/web.cfg", "old")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(XenError, match=r"web.cfg.*No space left on device"):
        host.write_file(f"{tmp_path}/web.cfg", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("web.cfg", "old")]


def test_a_lock_that_cannot_be_made_is_told(host, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("ansible_collections.stubdom.xen.plugins.module_utils.host.LOCK_DIR", f"{tmp_path}/file")

    async def locks():
        async with host.lock("web", "a task", MINUTE):
            pass

    with pytest.raises(XenError, match=r"exists|Not a directory") as refused:
        host.finish(locks())
    assert refused.value.code == "file_not_written"


def test_what_stands_in_the_place_of_a_file_is_told(host, tmp_path):
    (tmp_path / "web.cfg").mkdir()
    with pytest.raises(XenError) as failed:
        host.read_file(str(tmp_path / "web.cfg"))
    assert (failed.value.code, failed.value.evidence) == ("file_unreadable", {"path": str(tmp_path / "web.cfg")})
    assert host.read_file(str(tmp_path / "no" / "web.cfg")) is None


def test_what_a_killed_task_had_half_written_is_replaced(host, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "unlink", disk_full)  # a killed task removes nothing
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(XenError):
        host.write_file(f"{tmp_path}/web.cfg", "the first")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [".web.cfg.new"]
    host.write_file(f"{tmp_path}/web.cfg", "second")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("web.cfg", "second")]


def test_a_scratch_file_has_no_name_that_could_be_left_behind(host):
    with host.scratch("text \udcff") as path:
        said = host.finish(host.run(["sh", "-c", f"cat {path}; cat {path}; readlink {path}"])).out
    assert said.startswith("text \\xfftext \\xff/memfd:")
    assert not os.path.exists(path)


def test_a_process_that_is_just_being_reaped_is_not_waited_for(host):
    """Linux says of it what it says of a thread that leads no process. Seen of xl's monitor on a real host."""
    over, told = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (told.set(), over.wait(MINUTE)))
    thread.start()
    try:
        assert told.wait(MINUTE)
        host.finish(host.await_exit([thread.native_id], time.monotonic() + MINUTE))
    finally:
        over.set()
        thread.join()


def test_the_digest_of_a_file(host, tmp_path):
    path = tmp_path / "memory"
    path.write_bytes(b"\0" * (3 << 20) + b"end")
    assert host.digest(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(XenError) as failed:
        host.digest(str(tmp_path / "none"))
    assert failed.value.code == "file_unreadable"


def an_xl(log, *words):
    """A process that is called as xl is, and waits to be spoken to. It has said that it runs: just begun, it has no words yet."""
    argv = ["xl", "-c", "echo >&2; read word", *words]
    process = subprocess.Popen(argv, executable="/bin/sh", stdin=subprocess.PIPE, stdout=log, stderr=subprocess.PIPE)
    process.stderr.readline()
    return process


def test_who_takes_a_guest_in_and_who_looks_after_one_that_came(host, tmp_path, monkeypatch):
    """Both are called `xl migrate-receive`; the monitor writes a log, by the name that the guest had while it came."""
    monkeypatch.setattr("ansible_collections.stubdom.xen.plugins.module_utils.processes.LOG_DIR", str(tmp_path))
    with (tmp_path / "xl-web--incoming.log").open("w") as log, an_xl(log, "migrate-receive") as monitor:
        receiver = an_xl(subprocess.PIPE, "migrate-receive")
        try:
            found = host.receivers()
            assert receiver.pid in found and monitor.pid not in found
            assert host.makers(str(tmp_path / "web.cfg"), str(tmp_path / "xl-web.log")) == [monitor.pid]
        finally:
            for process in (receiver, monitor):
                process.communicate(b"go\n")
