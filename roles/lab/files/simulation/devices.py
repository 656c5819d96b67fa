# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back ends and front ends of domains, each written as the domain that plays it, by the rules of xenbus.py."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, Optional

import xenbus
from behaviours import Part
from loop import Loop
from stores import Store, Stores
from xenbus import QEMUS, kind

BACKEND = re.compile(
    r"(/local/domain/(\d+)/backend/([a-z0-9]+)/(\d+)/(\d+))(?:/(?:state|online|hotplug-status|physical-device))?"
)
FRONTEND = re.compile(r"(/local/domain/(\d+)/device/([a-z0-9]+)/(\d+))(?:/state)?")
SECTOR = 512

Behaviour = Callable[[int, str], Part]  # domid of the guest, kind -> how its back end behaves


class Place(NamedTuple):
    """A device's one end, as its path says it."""

    path: str
    home: int  # the domain that plays it
    kind: str


def backend_at(path: str) -> Optional[Place]:
    """The back end to look at after an event at `path`."""
    found = BACKEND.fullmatch(path)
    return Place(found[1], int(found[2]), found[3]) if found else None


def frontend_at(path: str) -> Optional[Place]:
    found = FRONTEND.fullmatch(path)
    return Place(found[1], int(found[2]), found[3]) if found else None


def backends_of(store: Store, domid: int) -> list[Place]:
    """All back ends that a domain plays."""
    kinds = store.under(f"/local/domain/{domid}/backend")
    paths = [path for name in kinds for guest in store.under(name) for path in store.under(guest)]
    return [place for place in map(backend_at, paths) if place]


def _always(_place: Place) -> bool:
    return True


class Backends:
    """Back ends of one player: a domain's kernel, or a QEMU. plays: whether it can take a step there now."""

    def __init__(self, loop: Loop, stores: Stores, behaviour: Behaviour, plays: Callable[[Place], bool] = _always) -> None:
        self.loop, self.stores, self.behaviour, self.plays = loop, stores, behaviour, plays
        self._waiting: set[str] = set()  # those with a slow step under way

    def look(self, place: Place) -> None:
        """Takes the step that is due."""
        if place.path not in self._waiting:
            self._look(place, patient=True)

    def _look(self, place: Place, patient: bool) -> None:
        seen = self._seen(place)
        own, other = state(seen["state"]), state(seen["other"])
        after = self._next(place, seen, own, other)
        if after == own:
            self._removed(place, seen, own)
            return
        behaves = self.behaviour(int(place.path.split("/")[-2]), place.kind)
        stuck = behaves["stuck_at"]
        if stuck is not None and own >= stuck and after <= xenbus.CONNECTED:
            return
        if patient and behaves["after"]:
            self._waiting.add(place.path)
            self.loop.later(behaves["after"], lambda: self._late(place))
            return
        self._enter(place, seen, after)

    def _late(self, place: Place) -> None:
        self._waiting.discard(place.path)
        if self.plays(place):
            self._look(place, patient=False)

    def _seen(self, place: Place) -> dict[str, Optional[str]]:
        names = ["state", "online", "frontend", "params", *dict(kind(place.kind).waits_for)]
        store = self.stores.of(0)
        found = store.read_many([f"{place.path}/{name}" for name in names])
        seen = {path.rpartition("/")[2]: value for path, value in found.items()}
        seen["other"] = store.read(f"{seen['frontend']}/state") if seen["frontend"] else None
        return seen

    def _next(self, place: Place, seen: Mapping[str, Optional[str]], own: int, other: int) -> int:
        ready = all(seen[name] and value in ("", seen[name]) for name, value in kind(place.kind).waits_for)
        if place.kind == "console" and (seen["frontend"] or "").endswith("/console"):
            return self._first_console(seen, own)
        return xenbus.backend_next(own, other, seen["online"] == "1", ready, place.kind in QEMUS)

    def _first_console(self, seen: Mapping[str, Optional[str]], own: int) -> int:
        """A domain's first console has no front end state; QEMU serves it only where libxl says so."""
        if own == xenbus.CLOSING:
            return xenbus.CLOSED
        served = self.stores.of(0).read(f"{seen['frontend']}/type") == "ioemu"
        return xenbus.CONNECTED if served and own < xenbus.CONNECTED else own

    def _enter(self, place: Place, seen: Mapping[str, Optional[str]], after: int) -> None:
        row = kind(place.kind)
        if after == xenbus.INIT_WAIT:
            self._put(place, row.offers)
        if after == xenbus.CONNECTED:
            self._put(place, row.tells)
            if place.kind == "vbd":
                self._put(place, (("sectors", str(sectors(seen["params"] or ""))),))
            if place.kind == "console":
                self._open_console(seen["frontend"] or "")
            if place.kind in QEMUS:
                self._put(place, (("hotplug-status", "connected"),))
        self._put(place, (("state", str(after)),))
        if after == xenbus.INIT_WAIT:
            self._put(place, row.offers_late)

    def _open_console(self, frontend: str) -> None:
        """Where libxl has a stubdomain's console written to, QEMU makes the file, be it for nothing."""
        output = self.stores.of(0).read(f"{frontend}/output") or ""
        if output.startswith("file:"):
            open(output[len("file:") :], "a").close()

    def _put(self, place: Place, nodes: tuple[tuple[str, str], ...]) -> None:
        for name, value in nodes:
            self.stores.write(place.home, f"{place.path}/{name}", value)

    def _removed(self, place: Place, seen: Mapping[str, Optional[str]], own: int) -> None:
        """In a driver domain `xl devd` removes what is closed for good; libxl in domain 0 waits for that."""
        if place.home and own == xenbus.CLOSED and seen["online"] == "0":
            self.stores.of(0).rm(place.path)


class Frontends:
    """The front ends of one domain's kernel, for the kinds that it has drivers for."""

    def __init__(self, stores: Stores, domid: int, kinds: tuple[str, ...]) -> None:
        self.stores, self.domid, self.kinds = stores, domid, kinds

    def look_at_all(self) -> None:
        home = f"/local/domain/{self.domid}/device"
        for name in self.kinds:
            for path in self.stores.of(0).under(f"{home}/{name}"):
                self.look(Place(path, self.domid, name))

    def look(self, place: Place) -> None:
        """Takes the step that is due."""
        if place.kind not in self.kinds:
            return
        store = self.stores.of(0)
        own, backend = store.read_many([f"{place.path}/state", f"{place.path}/backend"]).values()
        other = store.read(f"{backend}/state") if backend else None
        row = kind(place.kind)
        after = xenbus.frontend_next(state(own), state(other), row.starts)
        if after == state(own):
            return
        for name, value in row.gives if after == row.starts else ():
            self.stores.write(self.domid, f"{place.path}/{name}", value)
        self.stores.write(self.domid, f"{place.path}/state", str(after))


def state(value: Optional[str]) -> int:
    """A XenbusState as it stands in a node, which guests may fill with anything."""
    return int(value) if value and value.isdigit() and len(value) == 1 else xenbus.ABSENT


def sectors(params: str) -> int:
    """The size of a disk's target; `params` is its path, or FORMAT:PATH."""
    path = params if params.startswith("/") else params.partition(":")[2]
    try:
        return os.stat(path).st_size // SECTOR
    except OSError:
        return 0
