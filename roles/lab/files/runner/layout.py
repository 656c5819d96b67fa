# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a lab host of any kind keeps what, in a directory of its own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

# The first snapshot, which every host has.
FRESH = "fresh"


class LabError(Exception):
    """What was wanted, what was there, what to do."""


@dataclass(frozen=True)
class Layout:
    """The files of one host; `directory` is LAB_DIR/KIND/NAME, absolute and without symlinks."""

    directory: Path

    kind: ClassVar[str]  # the directory of all hosts of this kind
    make: ClassVar[str]  # what starts one

    @classmethod
    def of(cls, lab_dir: str | Path, name: str) -> Any:
        return cls(Path(os.path.realpath(lab_dir)) / cls.kind / name)

    @classmethod
    def all(cls, lab_dir: str | Path) -> list[Any]:
        return [cls.of(lab_dir, path.parent.name) for path in sorted(Path(lab_dir).glob(f"{cls.kind}/*/host.json"))]

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def images(self) -> Path:
        return self.directory.parent.parent / "images"

    @property
    def pidfile(self) -> Path:
        raise NotImplementedError

    def owns(self, pid: int) -> bool:
        """Whether the process is this host's; OSError if there is none."""
        raise NotImplementedError

    def snapshots(self) -> list[str]:
        """The names of those that the host can go back to."""
        raise NotImplementedError

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    def new_console(self) -> None:
        """The log of the start before stays beside the new one."""
        if self.console_log.exists():
            os.replace(self.console_log, self.directory / "console.log.old")

    def record(self) -> dict[str, Any]:
        """What the host is made of, such as its image and memory (MiB); empty when there is none."""
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

    def require_snapshot(self, name: str) -> None:
        if name not in self.snapshots():
            raise LabError(
                f"{self.name} was to go to its snapshot {name}, but it has {', '.join(self.snapshots()) or 'none'}."
                f" Start it first ({self.make}), or save that snapshot (lab_state: saved)."
            )
