# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a QEMU knows of the machine that it emulates, as its monitor tells it. Its arguments say what there is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from monitor import VERSION, Command, QmpError


class Machine:
    """The state behind a monitor. quit, powerdown and online are what it does to the world."""

    def __init__(
        self,
        argv: Sequence[str],
        quit: Callable[[], None],
        powerdown: Callable[[], None],
        online: Callable[[int], None],
        started: Optional[Callable[[], None]] = None,
        saves: Optional[Callable[[], None]] = None,
    ) -> None:
        self.argv = list(argv)
        self.running = "-S" not in argv
        self.begun = self.running
        self._saves = saves
        self.chardevs: dict[str, str] = {}  # label -> where the outer end is
        self.vnc: Optional[socket.socket] = None
        self._quit, self._powerdown, self._online, self._started = quit, powerdown, online, started
        smp = option(argv, "-smp") or "1"
        self.cpus = int(smp.split(",")[0])
        self.max_cpus = int(dict(pair.split("=") for pair in smp.split(",")[1:]).get("maxcpus", self.cpus))
        self.devices: set[str] = set()

    def commands(self) -> Mapping[str, Command]:
        return {
            "qmp_capabilities": _nothing,
            "query-version": lambda _: VERSION,
            "query-status": self._status,
            "query-chardev": lambda _: [{"label": label, "filename": at, "frontend-open": True}
                                        for label, at in self.chardevs.items()],
            "query-vnc": self._vnc,
            "change-vnc-password": _nothing,
            "query-cpus-fast": lambda _: [{"cpu-index": n, "thread-id": 1, "qom-path": f"/machine/unattached/device[{n}]",
                                           "target": "i386"} for n in range(self.cpus)],
            "query-hotpluggable-cpus": lambda _: self._cpus(),
            "query-pci": lambda _: [],
            "device_add": self._add,
            "device_del": self._remove,
            "cont": self._continue,
            "stop": self._stop,
            "system_powerdown": lambda _: _done(self._powerdown),
            "quit": lambda _: _done(self._quit),
            "eject": _nothing, "blockdev-change-medium": _nothing, "change": _nothing,
            "add-fd": lambda _: {"fdset-id": 1, "fd": 9}, "remove-fd": _nothing, "xen-save-devices-state": self._save,
            "xen-set-global-dirty-log": _nothing,
        }  # fmt: skip

    def _status(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        status = "running" if self.running else "paused" if self.begun else "prelaunch"
        return {"running": self.running, "status": status, "singlestep": False}

    def _continue(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        self.running, first = True, not self.begun
        self.begun = True
        if first and self._started:
            self._started()
        return {}

    def _save(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        """The state of its devices: there are none, and the file that libxl has opened for it stays empty."""
        if self._saves is not None:
            self._saves()
        return {}

    def _stop(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        self.running = False
        return {}

    def _vnc(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        if self.vnc is None:
            return {"enabled": False}
        host, port = self.vnc.getsockname()[:2]
        return {"enabled": True, "host": host, "service": str(port), "family": "ipv4", "auth": "none", "clients": []}

    def _cpus(self) -> list[dict[str, Any]]:
        return [
            {"props": {"socket-id": n, "core-id": 0, "thread-id": 0}, "vcpus-count": 1, "type": "qemu64-i386-cpu",
             **({"qom-path": f"/machine/peripheral/cpu-{n}"} if n < self.cpus else {})}
            for n in reversed(range(self.max_cpus))
        ]  # fmt: skip

    def _add(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if "cpu" in str(arguments.get("driver")):
            if self.cpus >= self.max_cpus:
                raise QmpError("GenericError", "all cpus are there already")
            self.cpus += 1
            self._online(self.cpus)
        self.devices.add(str(arguments.get("id")))
        return {}

    def _remove(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("id") not in self.devices:
            raise QmpError("DeviceNotFound", f"Device '{arguments.get('id')}' not found")
        self.devices.remove(str(arguments["id"]))
        return {}


def option(argv: Sequence[str], name: str) -> Optional[str]:
    """The word after an option; None if it is not given."""
    return argv[argv.index(name) + 1] if name in argv[:-1] else None


def _nothing(_arguments: dict[str, Any]) -> dict[str, Any]:
    return {}


def _done(action: Callable[[], None]) -> dict[str, Any]:
    action()
    return {}
