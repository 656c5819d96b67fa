# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Xen host in memory behind the engine's port: the public methods of XenHost, on virtual time.

A simulator and no mock: commands change a table of domains and a xenstore tree, waiting lets time pass, and what a test
asserts is the state that is left. test_simulated_host.py holds it against XenHost's signatures and recorded outputs.
"""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import hashlib
from pathlib import Path

from simulated_saves import RESUME_ONLY
from simulated_waiting import Until, together
from simulated_xen import Hypervisor, SimulatedXenstore, Timeline, Tree
from simulated_xl import Behaviour, Machine

from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.host import ENDED, Done
from ansible_collections.stubdom.xen.plugins.module_utils.memory import RESUME
from ansible_collections.stubdom.xen.plugins.module_utils.processes import CHANGES_DEVICES
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Progress

RECORDED = Path(__file__).parent / "recorded" / "xen-4.17"
FIRMWARE = "/usr/lib/xen-4.17/boot"
FILES = {
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/boot/vmlinuz": "kernel",
    "/boot/initrd": "ramdisk",
    "/images/disk.img": "disk",
    f"{FIRMWARE}/qemu-stubdom-linux-kernel": "kernel",
    f"{FIRMWARE}/qemu-stubdom-linux-rootfs": "ramdisk",
    f"{FIRMWARE}/vtpm-stubdom-linux-kernel": "kernel",
    f"{FIRMWARE}/vtpm-stubdom-linux-rootfs": "ramdisk",
    "/usr/libexec/xen-qemu-system-i386": "QEMU",
    f"{FIRMWARE}/qemu-stubdom-linux.json": '{"able": ["save"]}',
}
NEVER_MUTATES = (["xl", "list"], ["xl", "info"], ["xl", "vcpu-list"])


class TaskKilled(BaseException):
    """What kill -9 of the module's process is to the engine: it never returns from where it was. close() the host then."""


class SimulatedHost:
    """files: path -> text. links: path -> target. commands: every argv that was run."""

    def __init__(self, memory=8192):
        self.timeline, self.tree = Timeline(), Tree()
        self.hypervisor = Hypervisor(self.timeline, self.tree, memory)
        self.files, self.links = dict(FILES), {}
        self.machine = Machine(self.timeline, self.tree, self.hypervisor, self.files, (RECORDED / "info.txt").read_text())
        self.commands = []
        self.free_disk = 1 << 40
        self.progress = Progress()
        self.locks = {}  # name -> who holds it
        self.kill_task_in_create = False
        self.kill_task_at = None  # the number of the command that is not even begun
        self.emulators = self.machine.emulators
        self.qemu_has = {"-accel": "xen", "-tpmdev": "emulator"}  # what it answers when it is asked for help
        self.lacks = set()  # programs that are not installed
        self._connection = None
        self._write_home_of_dom0()

    def _write_home_of_dom0(self):
        for path, value in (("name", "Domain-0"), ("device-model/0/state", "running")):
            self.tree.put(f"/local/domain/0/{path}", value)

    # --- what a test does to the host, and asks of it

    def behave(self, name, *behaviours):
        """How the guest `name` will behave: one Behaviour for each creation, the last for all that follow."""
        self.machine.behaviours[name] = list(behaviours)

    def behave_all_well(self):
        """From now on nothing goes wrong by itself, nor with the domains that are there."""
        self.machine.kill_create_at = None
        self.machine.behaviours.clear()
        self.machine.present.update(dict.fromkeys(self.machine.present, Behaviour()))

    def xl(self, *words):
        """A person at the host types `xl ...`. Not among the engine's commands."""
        done = self.finish(self.run(["xl", *words], 600.0))
        self.commands.pop()
        return done

    def mutations(self):
        """The commands that were run and are no mere look."""
        return [
            argv
            for argv in self.commands
            if argv[:2] not in NEVER_MUTATES and argv[:3] != ["xl", "create", "-n"] and argv[2:] != ["help"]
        ]

    def domains(self):
        """name -> flags of every domain but dom0."""
        return {self.machine.name_of(d) or "(null)": dom.flags for d, dom in self.hypervisor.domains.items() if d}

    def domid(self, name):
        return self.machine.domid_of(name)

    def snapshot(self):
        """Everything that a task could have changed."""
        nodes = {path: (node.value, list(node.perms)) for path, node in self.tree.nodes.items()}
        others = (self.hypervisor.domains, nodes, self.hypervisor.last, self.locks, self.emulators.serving)
        return copy.deepcopy((self.files, self.links, *others))

    # --- the port

    def together(self, walks, limit=1, after=()):
        return together(self.timeline, walks, limit, after)

    def tell(self, source):
        self.progress.tell(self, source)

    def tell_set(self, done, of):
        self.progress.begin(done, of)

    def tell_end(self):
        self.progress.end(self)

    def finish(self, walk):
        return self.together([walk])[0].get()

    def sibling(self):
        other = copy.copy(self)
        other._connection = None
        return other

    async def run(self, argv, timeout=60.0, gate=None, meanwhile=None, fds=()):
        self.commands.append(list(argv))
        if len(self.commands) == self.kill_task_at:
            raise TaskKilled
        if list(argv[: len(RESUME)]) == list(RESUME):
            argv = ["xl", RESUME_ONLY, *argv[len(RESUME) :]]
        if "qemu" in argv[0] and argv[2:] == ["help"]:
            return Done(0 if argv[1] in self.qemu_has else 1, self.qemu_has.get(argv[1], ""), "")
        if argv[0] != "xl":
            raise XenError("program_missing", f"{argv[0]}: no such program on this host", list(argv))
        process, deadline = self.machine.run(list(argv)), self.now() + timeout
        try:
            if meanwhile is not None:
                meanwhile()
            while process.rc is None:
                if not await Until(lambda: process.rc is not None or (gate is not None and self._events()), deadline):
                    raise XenError("program_timeout", f"`{' '.join(argv)}` did not end in time", {})
                if process.rc is None:
                    await gate.on_event()
        except XenError as failure:
            process.kill(15)
            if isinstance(failure.evidence, dict):
                failure.evidence["said"] = printable(process.err, SAID_MAX)
            raise
        self._killed_with(process)
        return Done(process.rc, process.out, process.err)

    async def serve(self, path, argv, log):
        self.commands.append(["setsid", "--fork", "sh", *argv])
        if len(self.commands) == self.kill_task_at:
            raise TaskKilled
        self.emulators.serve(path, argv, log)

    async def converse(self, path, requests, deadline):
        found = self.emulators.answers(path, requests)
        if found is None and path in self.emulators.serving:
            await Until(lambda: False, deadline)
        return found

    def having(self, word, groups=()):
        return self.emulators.having(word)

    def runs(self, pid, word):
        return pid in self.having(word)

    def remove_directory(self, path):
        for name in [name for name in self.files if name.startswith(f"{path}/")]:
            del self.files[name]

    async def pause(self, seconds):
        await Until(lambda: False, self.now() + seconds)

    async def next_event(self, deadline, pids=()):
        await Until(lambda: self._events() or self.machine.ended.intersection(pids), deadline)
        if self._events():
            return self._connection.events.popleft()
        return ENDED if self.machine.ended.intersection(pids) else None

    def serves(self, pid, domid):
        """A device model ends with what it serves."""
        return pid not in self.machine.ended and domid in self.hypervisor.domains

    async def query_status(self, path, deadline, want):
        domid = int(path.rsplit("-", 1)[1])
        await Until(lambda: self.machine.answers(domid) or self._events(), deadline)
        return self.machine.status(domid) if self.machine.answers(domid) else None

    def _events(self):
        return bool(self.xenstore().events)

    def _killed_with(self, process):
        if self.kill_task_in_create and process.argv[:3] == ["xl", "create", "-p"] and process.rc == -9:
            raise TaskKilled

    def read_file(self, path, limit=1 << 20):
        if path == "/proc/net/unix":
            return self.emulators.table()
        return self.files[path][:limit] if path in self.files else None

    def tail(self, path, limit=4096):
        return printable(self.files[path], limit) if path in self.files else None

    def write_file(self, path, text, mode=0o600):
        self.files[path] = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")

    def peek(self, path, offset, length):
        return self.files.get(path, "").encode("latin-1", "replace")[offset : offset + length]

    def digest(self, path):
        if path not in self.files:
            raise XenError("file_unreadable", f"{path} could not be read", {"path": path}, "is it there?")
        return hashlib.sha256(self.files[path].encode("utf-8", "surrogateescape")).hexdigest()

    def rename(self, path, to):
        self.files[to] = self.files.pop(path)

    def free_space(self, path):
        return self.free_disk

    def make_directory(self, path, mode=0o700):
        pass  # files here need none

    def make_sparse(self, path, size):
        self.files.setdefault(path, "\0")

    def stamp(self, program):
        return "" if program in self.lacks else f"/usr/sbin/{program} 1 1"

    def keep_copy(self, path, copy):
        self.files.setdefault(copy, self.files[path])

    def remove(self, path):
        self.files.pop(path, None)
        self.links.pop(path, None)

    def link(self, path, target):
        self.links[path] = target

    def linked(self, path):
        return self.links.get(path)

    def exists(self, path):
        return path in self.files or any(name.startswith(path.rstrip("/") + "/") for name in self.files)

    def file_kind(self, path):
        if path not in self.files:
            return "block" if path.startswith("/dev/vg0/") else "missing"
        return "file"

    def find(self, pattern):
        return sorted(path for path in self.files if fnmatch.fnmatch(path, pattern))

    @contextlib.contextmanager
    def scratch(self, text):
        self.write_file("/tmp/stubdom-xen-1.cfg", text)
        try:
            yield "/tmp/stubdom-xen-1.cfg"
        finally:
            self.remove("/tmp/stubdom-xen-1.cfg")

    def now(self):
        return self.timeline.now

    def machine_id(self):
        return self.files["/etc/machine-id"].strip()

    def xenstore(self):
        if self._connection is None:
            self._connection = SimulatedXenstore(self.tree, self.timeline)
        return self._connection

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def makers(self, path, log):
        return [
            p.pid
            for p in self.machine.processes
            if p.rc is None and {"create", "restore"} & set(p.argv) and (path in p.argv or p.log == log)
        ]

    def savers(self, domid, name):
        return [p.pid for p in self.machine.processes if p.rc is None and "save" in p.argv and {str(domid), name} & set(p.argv)]

    def changers(self, domid, name):
        running = [p for p in self.machine.processes if p.rc is None and {str(domid), name} & set(p.argv)]
        return [p.pid for p in running if any(word.encode() in CHANGES_DEVICES for word in p.argv)]

    def receivers(self):
        return [p.pid for p in self.machine.processes if p.rc is None and "migrate-receive" in p.argv]

    def end(self, pids):
        self.emulators.end(pids)
        for process in self.machine.processes:
            if process.pid in pids and process.rc is None:
                process.kill(15)

    async def await_exit(self, pids, deadline):
        watched = [p for p in self.machine.processes if p.pid in pids]
        await Until(lambda: self.machine.ended.intersection(pids) or any(p.rc is not None for p in watched), deadline)

    @contextlib.asynccontextmanager
    async def lock(self, name, purpose, timeout):
        if not await Until(lambda: name not in self.locks, self.now() + timeout):
            raise XenError("locked", f"another task is at work on this guest: {self.locks[name]}")
        self.locks[name] = purpose
        try:
            yield
        finally:
            del self.locks[name]


__all__ = ["RECORDED", "Behaviour", "SimulatedHost", "TaskKilled"]
