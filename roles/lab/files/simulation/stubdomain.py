# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The device model's stubdomains: what role stubdom_image's init and the QEMU in it write, and what a MiniOS one writes.

All of it is written as the stubdomain, through its own ring: xenstored's permissions hold for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Optional

import hypervisor
import traditional
from behaviours import Part
from chardevs import listen
from devices import Frontends
from guest import Kernel
from monitor import Monitor
from qemu_machine import Machine

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

RUN = "/run/xen-simulation"
QEMU_BACKENDS = ("9pfs", "console", "qusb", "vkbd")
FRONTENDS = ("vbd", "console", "vif", "pci")
REASON_LIMIT = 1000  # characters of a reason, as the real init cuts it


class Stubdomain(Kernel):
    """A running stubdomain: its kernel's front ends and, below, its QEMU."""

    def __init__(self, world: Any, domid: int, target: int, name: str, behaves: Mapping[str, Part]) -> None:
        super().__init__(world, domid, Frontends(world.stores, domid, FRONTENDS))
        self.target, self.name, self.behaves = target, name, behaves
        self.own = f"/local/domain/{domid}/device-model/{target}"
        self.plan = behaves["stubdom"]
        self.monitor: Optional[Monitor] = None
        self.is_ready = False

    def start(self) -> None:
        if self.plan["dies_at"] == "kernel":
            self.die()
            return
        self.drive_devices()
        self.boot()

    def boot(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        super().stop()
        if self.monitor:
            self.monitor.close()
            self.monitor = None

    def die(self) -> None:
        self.world.hypervisor.shutdown(self.domid, hypervisor.REASONS[self.plan["dies_by"]])

    def report(self) -> None:
        """QEMU has begun to run its machine."""
        if self.plan["ready"] == "never":
            return
        self.world.hypervisor.populate(self.target, self.world.stores.of(0).memory(self.target))  # video memory and ROMs
        if self.plan["dies_at"] == "before_ready":
            self.die()
            return
        writer, path = {
            "own": (self.domid, f"{self.own}/state"),
            "guest": (self.target, f"{self.own}/state"),
            "dom0": (0, f"/local/domain/0/device-model/{self.target}/state"),
        }[self.plan["ready"]]
        if not self.world.stores.write(writer, path, self.plan["value"]):
            self.say(f"domain {writer} may not write {path}")
        self.is_ready = True
        if self.plan["dies_at"] == "after_ready":
            self.die()


class LinuxStubdomain(Stubdomain):
    """QEMU in a Linux, as libxl wants it since Xen 4.14."""

    def boot(self) -> None:
        try:
            arguments = self._arguments()
        except XenError as error:
            self.fail(str(error))
            return
        words = hypervisor.cmdline(self.domid).split()
        fault = next((word.partition("=")[2] for word in words if word.startswith("stubdom.fail=")), "")
        if not arguments:
            self.fail("xenstore-list of QEMU's arguments told nothing")
        elif fault == "exit":
            self.fail("QEMU exited with code 1: qemu-system-i386: -stubdom.fail: invalid option")
        elif self.plan["dies_at"] == "qemu":
            self.fail("QEMU exited with code 1: qemu-system-i386: it was told to exit")
        elif fault == "silent":
            self.serve_qmp(arguments)
        else:
            self.later(self.plan["ready_after"], lambda: self.run_qemu(arguments))

    def fail(self, reason: str) -> None:
        """As the image's init does: the reason for xenstore and for the console, then the power is cut."""
        self.world.stores.write(self.domid, f"/local/domain/{self.domid}/data/stubdom-error", reason[:REASON_LIMIT])
        self.say(f"stubdomain: {reason}")
        self.world.hypervisor.shutdown(self.domid, hypervisor.POWEROFF)

    def run_qemu(self, arguments: list[str]) -> None:
        for name in QEMU_BACKENDS:
            self.world.stores.write(self.domid, f"{self.own}/backends/{name}", "")
        self.world.stores.write(self.domid, f"/local/domain/{self.domid}/data/stubdom-save", "1")
        self.report()
        self.serve_qmp(arguments)

    def serve_qmp(self, arguments: list[str]) -> None:
        """The monitor, and the nodes by which the proxy in dom0 finds it."""
        machine = Machine(
            arguments, quit=self.die, powerdown=lambda: self.world.press_power(self.target), online=self._online, saves=self._save
        )
        says = self.behaves["qmp"]
        listener = listen(f"{RUN}/qmp.{self.domid}")
        self.monitor = Monitor(self.world.loop, listener, machine.commands(), not says["answers"], says["after"], self.later)
        for name, value in (("ring-ref", "13"), ("event-channel", "12")):
            perms = [("n", self.domid), ("r", 0)]
            self.world.stores.write(self.domid, f"{self.own}/qmp-vchan/{name}", value, perms)

    def _save(self) -> None:
        """What a Linux one writes to its console 1, QEMU in dom0 puts into the file that libxl reads (libxl_dm.c)."""
        with open(f"/var/lib/xen/qemu-save.{self.target}", "wb"):
            pass

    def _online(self, count: int) -> None:
        self.world.hypervisor.vcpus(self.target, count)

    def _arguments(self) -> list[str]:
        """As domain S: it may read them only if libxl let it."""
        store = self.world.stores.of(self.domid)
        vm = store.read(f"/local/domain/{self.target}/vm")
        keys = sorted(store.under(f"{vm}/image/dm-argv")) if vm else []
        return [value or "" for value in store.read_many(keys).values()]


class MiniosStubdomain(Stubdomain):
    """qemu-traditional, linked into MiniOS: no QMP, but commands in xenstore (docs/misc/stubdom.txt, up to Xen 4.20)."""

    def boot(self) -> None:
        store = self.world.stores.of(self.domid)
        vm = store.read(f"/local/domain/{self.target}/vm")
        if not (vm and store.read(f"{vm}/image/dmargs")):
            self.say("no arguments for QEMU")
            self.die()
        elif self.plan["dies_at"] == "qemu":
            self.die()
        else:
            self.later(self.plan["ready_after"], self.report)

    def changed(self, path: str) -> None:
        super().changed(path)
        if path == f"{self.own}/command" and self.is_ready and self.behaves["qmp"]["answers"]:
            asked = self.world.stores.of(0).read(path)
            if asked in traditional.ANSWERS:
                self.later(self.behaves["qmp"]["after"], lambda: self._answer(traditional.ANSWERS[asked]))

    def _answer(self, value: str) -> None:
        self.world.stores.write(self.domid, f"{self.own}/state", value)


KINDS: Mapping[str, Callable[..., Stubdomain]] = {"qemu_xen": LinuxStubdomain, "qemu_xen_traditional": MiniosStubdomain}
