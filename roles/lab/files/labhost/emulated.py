# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an emulated host: its directory, and a short one in /run for its sockets."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from layout import Layout
from tools import run

# A Unix socket's path is limited to 108 bytes (sockaddr_un) and ssh appends 17 to its ControlPath: too few for the .lab
# of a deep clone.
RUN = Path("/run/xen-lab")


class EmulatedHost(Layout):
    """A host whose hardware is QEMU's."""

    kind = "hosts"
    make = "make lab"

    @property
    def disk(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def pidfile(self) -> Path:
        return self.directory / "qemu.pid"

    @property
    def run(self) -> Path:
        return RUN / hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]

    @property
    def qmp(self) -> Path:
        return self.run / "qmp"

    @property
    def console(self) -> Path:
        return self.run / "console"

    @property
    def control(self) -> Path:
        """ssh's ControlPath for the inventory, so that a reset can end the connections it cuts."""
        return self.run / "ssh"

    def owns(self, pid: int) -> bool:
        """A QEMU that was given this very pid file."""
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return os.path.basename(arguments[0]).startswith("qemu-system-") and str(self.pidfile) in arguments

    def snapshots(self) -> list[str]:
        """Those in the host's disk, running or not."""
        if not self.disk.exists():
            return []
        info = json.loads(run("qemu-img", "info", "--force-share", "--output=json", str(self.disk)))
        return [snapshot["name"] for snapshot in info.get("snapshots", [])]
