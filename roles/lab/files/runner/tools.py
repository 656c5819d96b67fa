# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of this machine, run to their end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from layout import LabError


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a tool to its end and return what it printed.

    :raises LabError: it is missing or failed.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, check=False, capture_output=True, text=True, errors="replace"
        )
    except FileNotFoundError as error:
        raise LabError(
            f"{command[0]} was to run, but it is not installed. The role lab installs it (lab_state: running)."
        ) from error
    if done.returncode:
        raise LabError(f"{' '.join(command)} failed with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
