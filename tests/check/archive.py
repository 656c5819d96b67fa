# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the collection's archive and looks inside: nothing in it but the repository's files, and small. Then installs it.

`ansible-galaxy collection build` knows nothing of .gitignore. What it must leave out is listed a second time, in
galaxy.yml's build_ignore, and this is what holds the two lists together. Installed in an empty directory, away from this
repository, it must document each of its plugins and roles.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from packaging.version import Version
from sources import ROOT, sources

LIMIT_BYTES = 1024 * 1024
# written by the build itself
GENERATED = {"MANIFEST.json", "FILES.json"}


# kinds of plugins that are called by name, and so have documentation that ansible-doc shows; the folder of the modules
DOCUMENTED = ("callback", "connection", "filter", "inventory", "module", "role")
FOLDERS = {"module": "plugins/modules", "role": "roles"}


def at_home(home):
    """The environment of somebody who has nothing of this checkout's or the user's Ansible, at home in a directory (Path)."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "GALAXY_", "MOLECULE_"))}
    return {**plain, "HOME": str(home)}


def told(*command, home=None):
    """The standard output of a command. SystemExit with all its words if it fails.

    home: a directory (Path) to run it in, at_home there.
    """
    env = {**at_home(home), "ANSIBLE_COLLECTIONS_PATH": str(home)} if home else None
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home, env=env)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def build(directory):
    """Build into `directory` (Path) and return the archive's Path."""
    told("ansible-galaxy", "collection", "build", "--output-path", str(directory), str(ROOT))
    return next(directory.glob("*.tar.gz"))


def install(archive, directory):
    """Install the archive (Path) into `directory` (Path); the Path of the collection there."""
    told("ansible-galaxy", "collection", "install", "--offline", "-p", str(directory), str(archive), home=directory)
    return directory / "ansible_collections" / "stubdom" / "xen"


def undocumented(directory, installed):
    """What ansible-doc lacks of the collection installed in `directory` (Path): a sentence for each plugin and role.

    One that came with a later version than the archive's is documented wrongly: it would be missing in the changelog.
    """
    here = json.loads((installed / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]["version"]
    shown = json.loads(told("ansible-doc", "--metadata-dump", "--no-fail-on-errors", "stubdom.xen", home=directory))["all"]
    for kind in DOCUMENTED:
        for path in sorted((installed / FOLDERS.get(kind, f"plugins/{kind}")).iterdir()):
            found = shown.get(kind, {}).get(f"stubdom.xen.{path.stem}", {})
            added = (found.get("entry_points", {}).get("main") or found.get("doc") or {}).get("version_added", "")
            if not added or Version(added) > Version(here):
                yield f"{path.relative_to(installed)}: ansible-doc says that it came with {added or 'nothing'}; this is {here}"


def main():
    """The exit code: 0 when the archive is what it should be."""
    with tempfile.TemporaryDirectory() as directory:
        archive = build(Path(directory))
        size = archive.stat().st_size
        with tarfile.open(archive) as tar:
            names = {member.name for member in tar if not member.isdir()}
        silent = list(undocumented(Path(directory), install(archive, Path(directory))))
    foreign = sorted(names - set(sources()) - GENERATED)
    wrong = [f"{name}: in the archive but not a file of the repository: add it to build_ignore in galaxy.yml" for name in foreign]
    if size > LIMIT_BYTES:
        wrong.append(f"the archive has {size} bytes, {LIMIT_BYTES} at most are wanted: what is big and not needed by users?")
    print(*wrong, *silent, sep="\n", end="\n" * bool(wrong or silent))
    print(f"{archive.name}: {len(names)} files, {size / 1024:.0f} KiB; installed, it documents all that it has")
    return 1 if wrong or silent else 0


if __name__ == "__main__":
    sys.exit(main())
