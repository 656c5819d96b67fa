# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that make up this repository, as git sees them: committed, or new and not ignored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sources():
    """Sorted list of str, paths relative to ROOT. SystemExit outside of a git checkout."""
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        sys.exit(f"git must tell which files belong to the repository, and cannot: {listed.stderr.strip()}")
    # a file deleted but not yet committed as such is still listed
    return sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()})
