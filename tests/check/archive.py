# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection's archive and looks inside: nothing in it but the repository's files, and small.

`ansible-galaxy collection build` knows nothing of .gitignore. What it must leave out is listed a second time, in
galaxy.yml's build_ignore, and this is what holds the two lists together.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sources import ROOT, sources

LIMIT_BYTES = 1024 * 1024
# written by the build itself
GENERATED = {"MANIFEST.json", "FILES.json"}


def build(directory):
    """Build into `directory` (Path) and return the archive's Path. SystemExit with the tool's words if it cannot."""
    done = subprocess.run(
        ("ansible-galaxy", "collection", "build", "--output-path", str(directory), str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout)
    return next(directory.glob("*.tar.gz"))


def main():
    """The exit code: 0 when the archive is what it should be."""
    with tempfile.TemporaryDirectory() as directory:
        archive = build(Path(directory))
        size = archive.stat().st_size
        with tarfile.open(archive) as tar:
            names = {member.name for member in tar if not member.isdir()}
    foreign = sorted(names - set(sources()) - GENERATED)
    for name in foreign:
        print(f"{name}: in the archive but not a file of the repository: add it to build_ignore in galaxy.yml")
    if size > LIMIT_BYTES:
        print(f"the archive has {size} bytes, {LIMIT_BYTES} at most are wanted: what is big and not needed by users?")
    print(f"{archive.name}: {len(names)} files, {size / 1024:.0f} KiB")
    return 1 if foreign or size > LIMIT_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
