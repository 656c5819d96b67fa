# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One QEMU process in dom0: of a guest, of a stubdomain's consoles, or dom0's own for disks."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Sequence

import behaviours
import traditional
from chardevs import monitors, opened, vnc, words
from devices import Backends, Place, backend_at, frontend_at
from emulated_tpm import EmulatedTpm, QemuError, connected
from hypervisor import command
from loop import Loop
from monitor import Monitor
from qemu_machine import Machine, option
from stores import Stores
from xenbus import QEMUS

FILE = re.compile(r"(?:^|,)file=([^,]+)")
# What QEMU 7.2 registers in its node `backends` (hw/xen/xen-legacy-backend.c)
REGISTERS = ("9pfs", "console", "qnic", "qusb", "vfb", "vkbd")


class Dom0Qemu:
    """argv: without the program's name."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self.is_traditional = "-xen-domid" not in argv
        self.domid = int(option(argv, "-xen-domid") or option(argv, "-d") or 0)
        self.loop, self.stores = Loop(), Stores()
        self.own = f"/local/domain/0/device-model/{self.domid}"
        self.behaves = behaviours.of(self._name())
        self.machine = Machine(argv, self._exit, self._powerdown, self._online, self._begin)
        self.tpms: list[EmulatedTpm] = []
        self.backends = Backends(self.loop, self.stores, self._backend_behaviour)

    def run(self) -> str | None:
        """Until it is killed or told to quit; a text is why it exits with 1."""
        start = self.behaves["qemu"]["start"]
        missing = [path for path in self._files() if not os.path.exists(path)]
        if missing:
            return f"qemu-system-i386: -drive file={missing[0]}: Could not open '{missing[0]}': No such file or directory"
        if start == "exits":
            return "qemu-system-i386: it was told to exit"
        try:
            self.tpms = connected(self.argv)
        except QemuError as error:
            return f"qemu-system-i386: {error}"
        chardevs = opened(self.argv)
        self.machine.chardevs = {one.name: f"pty:{one.terminal}" if one.terminal else "null" for one in chardevs}
        self.machine.vnc = vnc(self.argv)
        if any("xenfv" in word for word in self.argv):
            command(f"populate {self.domid} {self.stores.of(0).memory(self.domid)}")  # with video memory and ROMs
        silent = not self.behaves["qmp"]["answers"]
        for listener in monitors(self.argv, chardevs):
            Monitor(self.loop, listener, self.machine.commands(), silent, self.behaves["qmp"]["after"])
        if start == "runs":
            self.loop.later(self.behaves["qemu"]["ready_after"], self._serve)
        if self.behaves["qemu"]["dies_after"] is not None:
            self.loop.later(self.behaves["qemu"]["dies_after"], lambda: os._exit(1))
        self._write_pid()
        self._run_as(option(self.argv, "-runas"))
        self.loop.run()
        return None

    def end(self) -> None:
        """Somebody ends it, in good order."""
        for tpm in self.tpms:
            with contextlib.suppress(OSError):
                tpm.end()
        os._exit(0)

    def _name(self) -> str:
        return (option(self.argv, "-name") or option(self.argv, "-domain-name") or "").split(",")[0]

    def _files(self) -> list[str]:
        paths = [found[1] for found in map(FILE.search, words(self.argv, "-drive")) if found]
        return [path for path in paths if path.startswith("/")]

    def _serve(self) -> None:
        """Back ends first, then readiness: nobody may run before its disks can be served."""
        store = self.stores.of(0)
        for name in REGISTERS if "xenpv" in self.argv else ():
            store.write(f"{self.own}/backends/{name}", "")
            store.chmod(f"{self.own}/backends/{name}", [("n", 0), ("n", self.domid)])
        for path in self._watched():
            store.watch(path, "qemu")
        self.loop.drained(self._take_events)
        self.loop.readable(store, self._take_events)
        for kind in QEMUS:
            for path in store.under(f"/local/domain/0/backend/{kind}/{self.domid}"):
                self._look(path)
        if self.machine.running:
            self._begin()

    def _watched(self) -> list[str]:
        """Our back ends, our guest's front ends, and what libxl asks of a qemu-traditional."""
        backends = [f"/local/domain/0/backend/{kind}/{self.domid}" for kind in QEMUS]
        return [*backends, f"/local/domain/{self.domid}/device", f"{self.own}/command"]

    def _begin(self) -> None:
        """The machine runs. A QEMU that is restricted to its guest cannot say so in xenstore."""
        if "-xen-domid-restrict" not in self.argv:
            self.stores.of(0).write(f"{self.own}/state", "running")

    def _take_events(self) -> None:
        for path in self.stores.of(0).come():
            self._look(path)

    def _look(self, path: str) -> None:
        place = self._backend_of(path)
        if place:
            self.backends.look(place)
        elif self.is_traditional and path == f"{self.own}/command":
            answer = traditional.ANSWERS.get(self.stores.of(0).read(path) or "")
            if answer:
                self.stores.of(0).write(f"{self.own}/state", answer)

    def _backend_of(self, path: str) -> Place | None:
        front = frontend_at(path)
        if front and front.home == self.domid:
            path = self.stores.of(0).read(f"{front.path}/backend") or ""
        place = backend_at(path)
        ours = place and place.home == 0 and place.kind in QEMUS and place.path.split("/")[-2] == str(self.domid)
        return place if ours else None

    def _backend_behaviour(self, _domid: int, kind: str) -> behaviours.Part:
        return self.behaves.get(f"backend.{kind}", {"stuck_at": None, "after": 0})

    def _powerdown(self) -> None:
        command(f"trigger {self.domid} power")

    def _online(self, count: int) -> None:
        command(f"vcpus {self.domid} {count}")

    def _exit(self) -> None:
        self.loop.later(0, self.loop.stop)

    def _run_as(self, user: str | None) -> None:
        """libxl ends a deprivileged QEMU by killing all that its user runs. -runas NAME or UID:GID."""
        if user:
            uid, gid = map(int, user.split(":")) if ":" in user else pwd.getpwnam(user)[2:4]
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)

    def _write_pid(self) -> None:
        path = option(self.argv, "-pidfile")
        if path:
            with open(path, "w") as pid:
                pid.write(f"{os.getpid()}\n")
