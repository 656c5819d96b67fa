# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab host keeps what: its directory, and a short one in /run for its sockets."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

# A Unix socket's path is limited to 108 bytes (sockaddr_un) and ssh appends 17 to its ControlPath: too few for the .lab
# of a deep clone.
RUN = Path("/run/xen-lab")


class LabError(Exception):
    """What was wanted, what was there, what to do."""


@dataclass(frozen=True)
class Layout:
    """The files of one host; `directory` is LAB_DIR/hosts/NAME, absolute and without symlinks."""

    directory: Path

    @classmethod
    def of(cls, lab_dir: str | Path, name: str) -> Layout:
        return cls(Path(os.path.realpath(lab_dir)) / "hosts" / name)

    @classmethod
    def all(cls, lab_dir: str | Path) -> list[Layout]:
        return [cls.of(lab_dir, path.parent.name) for path in sorted(Path(lab_dir).glob("hosts/*/host.json"))]

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def images(self) -> Path:
        return self.directory.parent.parent / "images"

    @property
    def disk(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def pidfile(self) -> Path:
        return self.directory / "qemu.pid"

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

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

    def record(self) -> dict[str, Any]:
        """What the host is made of: image, memory (MiB), port, qemu (version); empty when there is none."""
        try:
            return cast("dict[str, Any]", json.loads((self.directory / "host.json").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def write_record(self, record: dict[str, Any]) -> None:
        new = self.directory / "host.json.new"
        new.write_text(json.dumps(record, indent=2) + "\n")
        new.rename(self.directory / "host.json")

    def image(self) -> Path:
        return self.images / str(self.record()["image"])

    def console_end(self, lines: int = 30) -> str:
        """The last lines of the console log, without what only a terminal understands."""
        try:
            text = self.console_log.read_text(errors="replace")
        except FileNotFoundError:
            return "(there is no console log)"
        plain = "".join(c for c in text.replace("\r", "") if c == "\n" or c.isprintable())
        return "\n".join([line for line in plain.splitlines() if line.strip()][-lines:])
