# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a simulated host, and how its first process is told from all others."""

from __future__ import annotations

from pathlib import Path

from layout import FRESH, Layout
from tools import run

# In the environment of a host's processes; the plugin stubdom.xen.simulated looks for the same.
MARK = "XEN_SIMULATED_HOST"


class SimulatedHost(Layout):
    """A host whose hypervisor is the library xenfake, in namespaces of its own."""

    kind = "simulated"
    make = "make lab-simulated"

    @property
    def pidfile(self) -> Path:
        return self.directory / "init.pid"

    @property
    def mountpoint(self) -> Path:
        """Where, in the host's own mount namespace, its file systems are put together."""
        return self.directory / "mnt"

    @property
    def saved(self) -> Path:
        return self.directory / "snapshots"

    def owns(self, pid: int) -> bool:
        """The first process of a pid namespace, marked as this host's."""
        marks = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        status = Path(f"/proc/{pid}/status").read_text()
        pids = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        return f"{MARK}={self.directory}".encode() in marks and len(pids) > 1 and pids[-1] == "1"

    def snapshots(self) -> list[str]:
        """Those saved, after the one without anything of the host's own."""
        return [FRESH, *sorted(path.stem for path in self.saved.glob("*.tar"))]

    def snapshot(self, name: str) -> Path:
        return self.saved / f"{name}.tar"

    def layer(self, pid: int) -> Path:
        """The running host's own layer, as seen from here."""
        return Path(f"/proc/{pid}/root/.layers/upper")

    def guests(self, pid: int) -> list[str]:
        """The domids of the running host's guests."""
        lines = run(
            "nsenter", "--target", str(pid), "--all", f"--root=/proc/{pid}/root", "--", "/usr/sbin/xl", "list"
        ).splitlines()
        return [domid for domid in (line.split()[1] for line in lines[1:]) if domid != "0"]
