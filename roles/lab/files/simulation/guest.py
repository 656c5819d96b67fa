# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's own kernel: its front ends, what it says in control/, how it answers xl. The lab's tiny guest is the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import hypervisor
from behaviours import Part
from devices import Frontends, frontend_at

FEATURES = ("feature-poweroff", "feature-reboot", "feature-suspend")
# control/shutdown -> why the domain then shuts down (drivers/xen/manage.c of Linux)
REQUESTS = {
    "poweroff": hypervisor.POWEROFF,
    "halt": hypervisor.POWEROFF,
    "reboot": hypervisor.REBOOT,
    "suspend": hypervisor.SUSPEND,
}
VCPU = re.compile(r"/local/domain/\d+/cpu/\d+/availability")


class Kernel:
    """What a stubdomain's kernel and a guest's have in common. world: see world.py."""

    def __init__(self, world: Any, domid: int, frontends: Frontends) -> None:
        self.world, self.domid, self.frontends = world, domid, frontends
        self.home = f"/local/domain/{domid}"
        self.stopped = False  # it has shut down, or is gone
        self.paused = False
        self.drives = False  # its drivers are up
        self._missed: list[Callable[[], None]] = []  # steps that were due while it was paused

    def start(self) -> None:
        """It runs for the first time."""
        raise NotImplementedError

    def stop(self) -> None:
        """It will never run again."""
        self.stopped = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        """It was paused, and what happened meanwhile it sees now."""
        self.paused = False
        if self.drives:
            self.frontends.look_at_all()
        missed, self._missed = self._missed, []
        for step in missed:
            self.later(0, step)

    def act(self, step: Callable[[], None]) -> None:
        """Takes the step; when it runs again if it is paused, and not at all if it has stopped."""
        if self.paused:
            self._missed.append(step)
        elif not self.stopped:
            step()

    def later(self, seconds: float, step: Callable[[], None]) -> None:
        """Takes the step after that time, as act() does."""
        self.world.loop.later(seconds, partial(self.act, step))

    def changed(self, path: str) -> None:
        """Something at `path`, which is under its home, may have changed."""
        place = frontend_at(path)
        if place and self.drives:
            self.frontends.look(place)

    def power(self) -> None:
        """The power button."""

    def drive_devices(self) -> None:
        """The kernel's drivers start."""
        for name in FEATURES:
            self.world.stores.write(self.domid, f"{self.home}/control/{name}", "1")
        if self.world.stores.of(0).read(f"/libxl/{self.domid}/type") == "hvm":
            self.world.hypervisor.drivers_up(self.domid)
        self.drives = True
        self.frontends.look_at_all()

    def say(self, text: str) -> None:
        """A line on its console: libxl may have sent that to a file, which QEMU in dom0 would write."""
        output = self.world.stores.of(0).read(f"{self.home}/console/output") or ""
        if output.startswith("file:"):
            _append(output[len("file:") :], text)
        else:
            self.world.hypervisor.say(self.domid, text)


def _append(path: str, text: str) -> None:
    """What a full disk does not take is lost, as with QEMU's chardevs: the domain never learns of it."""
    try:
        with open(path, "a") as log:
            log.write(f"{text}\n")
    except OSError as error:
        print(f"world: {error}", flush=True)


class Guest(Kernel):
    """A guest's kernel and what little runs on it."""

    def __init__(self, world: Any, domid: int, name: str, behaves: Mapping[str, Part]) -> None:
        self.behaves = behaves["guest"]
        super().__init__(world, domid, Frontends(world.stores, domid, tuple(self.behaves["frontends"])))
        self.name = name

    def start(self) -> None:
        if self.behaves["dies_after"] is not None:
            self.later(self.behaves["dies_after"], lambda: self._shut_down(self.behaves["dies_by"]))
        if self.behaves["boots"]:
            self.later(self.behaves["boots_after"], self._boot)

    def resume(self) -> None:
        super().resume()
        if self.drives:
            self._look_around()

    def changed(self, path: str) -> None:
        super().changed(path)
        if not self.drives:
            return
        if path == f"{self.home}/control/shutdown":
            self._obey()
        elif path == f"{self.home}/memory/target":
            self._balloon()
        elif VCPU.fullmatch(path):
            self._count_vcpus()

    def power(self) -> None:
        if self.drives and self.behaves["shutdown"] == "obeys":
            self.later(self.behaves["shutdown_after"], lambda: self._shut_down("poweroff"))

    def _boot(self) -> None:
        self.drive_devices()
        self.say("tiny guest up")
        self._look_around()

    def _look_around(self) -> None:
        """What the tool stack has asked for while it did not listen: watches fire when they are set."""
        self._count_vcpus()
        self._balloon()
        self._obey()

    def _obey(self) -> None:
        """What xl wrote into control/shutdown; the node is emptied first, which xl takes for "heard"."""
        path = f"{self.home}/control/shutdown"
        asked = self.world.stores.of(0).read(path)
        if asked not in REQUESTS or self.behaves["shutdown"] != "obeys":
            return
        self.world.stores.write(self.domid, path, "")
        self.later(self.behaves["shutdown_after"], lambda: self._shut_down(asked))

    def _shut_down(self, how: str) -> None:
        self.world.hypervisor.shutdown(self.domid, {**REQUESTS, **hypervisor.REASONS}[how])

    def _balloon(self) -> None:
        self.world.hypervisor.populate(self.domid, self.world.stores.of(0).memory(self.domid))

    def _count_vcpus(self) -> None:
        store = self.world.stores.of(0)
        states = store.read_many([f"{path}/availability" for path in store.under(f"{self.home}/cpu")]).values()
        self.world.hypervisor.vcpus(self.domid, sum(state == "online" for state in states))
