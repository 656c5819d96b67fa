# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest side of a simulated host: `world.py FD`. Writes "ready" to descriptor FD, then plays until xenstored ends.

Two sources of events move it: the hypervisor (a domain is created, runs, is paused, shuts down, is gone) and one xenstore
watch on /local/domain. It runs everything that is no program of dom0: kernels, stubdomains, and dom0's own back ends.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Optional

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import behaviours
import tpm
from devices import Backends, Place, backend_at, backends_of, frontend_at
from guest import Guest, Kernel
from hypervisor import CRASH, Happened, Hypervisor, HypervisorLost
from loop import Callback, Loop
from stores import Stores
from stubdomain import KINDS, RUN
from xenbus import QEMUS

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

HOMES = "/local/domain"
HOME = re.compile(rf"{HOMES}/(\d+)/.+")
DOM0_FEATURES = ("feature-poweroff", "feature-reboot", "feature-suspend")


class World:
    """All domains of one host, as long as they are there."""

    def __init__(self) -> None:
        self.loop = Loop(guard=self._survive)
        self.stores = Stores()
        self.hypervisor = Hypervisor()
        self.kernels: dict[int, Kernel] = {}  # of the domains that have run
        self.backends = Backends(self.loop, self.stores, self._backend_behaviour, self._plays)
        self._behaviours: dict[int, Mapping[str, behaviours.Part]] = {}

    def play(self, ready: int) -> None:
        os.makedirs(RUN, exist_ok=True)
        store = self.stores.of(0)
        for name in DOM0_FEATURES:
            store.write(f"{HOMES}/0/control/{name}", "1")
        store.watch(HOMES, "world")
        self.loop.drained(self._take_events)
        self.loop.readable(store, self._take_events)
        self.loop.readable(self.hypervisor, self._hear)
        with os.fdopen(ready, "w") as pipe:
            pipe.write("ready\n")
        self.loop.run()

    def press_power(self, domid: int) -> None:
        if domid in self.kernels:
            self.kernels[domid].power()

    # --- the hypervisor's events

    def _hear(self) -> None:
        for event in self.hypervisor.events():
            react = {
                "unpaused": self._unpaused,
                "paused": self._paused,
                "shutdown": self._shut_down,
                "trigger": self._triggered,
                "destroyed": self._destroyed,
            }.get(event.what)
            if react:
                self._survive(partial(react, event))

    def _paused(self, event: Happened) -> None:
        if event.domid in self.kernels:
            self.kernels[event.domid].pause()

    def _shut_down(self, event: Happened) -> None:
        if event.domid in self.kernels:
            self.kernels[event.domid].stop()

    def _unpaused(self, event: Happened) -> None:
        if event.domid in self.kernels:
            kernel = self.kernels[event.domid]
            kernel.stopped = False  # if it was: it was suspended, and is resumed
            self._resume(kernel)
        elif self.stores.of(0).ls(f"{HOMES}/{event.domid}") is not None:
            self._begin(event)

    def _begin(self, event: Happened) -> None:
        """It runs for the first time. One that is unknown to xenstore was there before that was started again."""
        try:
            kernel = self._kernel_of(event.domid)
        except behaviours.BehaviourError as error:
            print(f"world: domain {event.domid} crashes: {error}", flush=True)
            self.hypervisor.shutdown(event.domid, CRASH)
            return
        self.kernels[event.domid] = kernel
        kernel.start()

    def _resume(self, kernel: Kernel) -> None:
        """Its back ends have seen nothing while it was paused either."""
        kernel.resume()
        for place in backends_of(self.stores.of(0), kernel.domid):
            if self._plays(place):
                self.backends.look(place)

    def _kernel_of(self, domid: int) -> Kernel:
        """What the domain runs: xenstore tells what it is."""
        store = self.stores.of(0)
        target = store.read(f"{HOMES}/{domid}/target")
        name = store.read(f"{HOMES}/{target or domid}/name") or ""
        behaves = behaviours.of(name)
        if target is None:
            return (tpm.TpmDomain if tpm.is_one(store, domid) else Guest)(self, domid, name, behaves)
        version = store.read(f"/libxl/{target}/dm-version") or "qemu_xen"
        return KINDS[version](self, domid, int(target), name, behaves)

    def _triggered(self, event: Happened) -> None:
        if event.detail == "power":
            self.press_power(event.domid)

    def _destroyed(self, event: Happened) -> None:
        self._shut_down(event)
        self.kernels.pop(event.domid, None)
        self._behaviours.pop(event.domid, None)
        self.stores.close(event.domid)

    # --- xenstore's events

    def _take_events(self) -> None:
        for path in self.stores.of(0).come():
            self._survive(partial(self._changed, path))

    def _survive(self, act: Callback) -> None:
        """A domain may vanish, or be refused something, in the middle of its step: that is its own misfortune."""
        try:
            act()
        except (XenError, OSError) as error:
            print(f"world: {error}", flush=True)
            self.stores.of(0).fileno()  # raises if it is xenstored that has gone

    def _changed(self, path: str) -> None:
        for place in self._ends(path):
            if self._plays(place):
                self.backends.look(place)
        found = HOME.fullmatch(path)
        kernel = self.kernels.get(int(found[1])) if found else None
        if kernel and not kernel.paused and not kernel.stopped:
            kernel.changed(path)
        back = backend_at(path)
        if back:
            self._tell_frontend(back)

    def _ends(self, path: str) -> list[Place]:
        """The back ends that an event at `path` concerns: the one there, or that of the front end there."""
        back = backend_at(path)
        if back:
            return [back]
        front = frontend_at(path)
        other = backend_at(self.stores.of(0).read(f"{front.path}/backend") or "") if front else None
        return [other] if other else []

    def _plays(self, place: Place) -> bool:
        """QEMU's back ends are its own; those of another domain live while its kernel runs."""
        if place.home == 0:
            return place.kind not in QEMUS
        kernel: Optional[Kernel] = self.kernels.get(place.home)
        return bool(kernel and kernel.drives and not kernel.paused and not kernel.stopped)

    def _tell_frontend(self, back: Place) -> None:
        front = frontend_at(self.stores.of(0).read(f"{back.path}/frontend") or "")
        kernel = self.kernels.get(front.home) if front else None
        if kernel and front and not kernel.paused and not kernel.stopped:
            kernel.changed(f"{front.path}/state")

    def _backend_behaviour(self, domid: int, kind: str) -> behaviours.Part:
        """Read once a domain: its devices come in bursts."""
        if domid not in self._behaviours:
            name = self.stores.of(0).read(f"{HOMES}/{domid}/name") or ""
            self._behaviours[domid] = behaviours.of(name)
        return self._behaviours[domid].get(f"backend.{kind}", NO_BEHAVIOUR)


NO_BEHAVIOUR = {"stuck_at": None, "after": 0}

if __name__ == "__main__":
    try:
        World().play(int(sys.argv[1]))
    except (XenError, HypervisorLost) as error:
        print(f"world: {error}", flush=True)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
