# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has the archive imported as Ansible Galaxy would, and read for an execution environment: nothing to complain of in either.

galaxy-importer ends well with warnings; here one is enough to fail. It runs from a venv of its own (requirements/importer.txt),
at home in an empty directory, so that neither this checkout nor the user's settings are found. Its own ansible-lint, most of
the time that it takes, looks at less than the gate of that name: it is left out but for --with-lint, before a release.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from archive import at_home, build, install
from sources import ROOT

BIN = ROOT / ".cache" / "importer" / "bin"
COMPLAINT = re.compile(r"(WARNING|ERROR|CRITICAL):")
META = Path("meta") / "execution-environment.yml"


def run(home, *command):
    """Run a command of the venv in the directory `home` (Path): (exit code, what it said on both outputs)."""
    env = {
        **at_home(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP": str(home / "tmp"),
        "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": str("--with-lint" in sys.argv),
    }
    done = subprocess.run(command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def imported(home, archive):
    """What galaxy-importer has to complain of about the archive (Path): list of str."""
    code, said = run(home, "python", "-m", "galaxy_importer.main", str(archive))
    complaints = [line for line in said.splitlines() if COMPLAINT.match(line)]
    return complaints + ([said] if code and not complaints else [])


def introspected(home, archive):
    """What ansible-builder does not find of the things that META names: list of str."""
    installed = install(archive, home)
    code, said = run(home, "ansible-builder", "introspect", str(home))
    if code:
        return [said]
    named = yaml.safe_load((installed / META).read_text(encoding="utf-8"))["dependencies"]
    lines = {line for file in named.values() for line in (installed / file).read_text(encoding="utf-8").splitlines()}
    wanted = sorted(line for line in lines if line and not line.startswith("#"))
    return [f"ansible-builder: {line!r} is missing in\n{said}" for line in wanted if line not in said]


def main():
    """The exit code: 0 when there is nothing to complain of."""
    subprocess.run((ROOT / "requirements" / "venv.sh", "importer"), check=True)
    with tempfile.TemporaryDirectory(prefix="stubdom.xen-") as directory:
        home = Path(directory)
        archive = build(home)
        complaints = imported(home, archive) + introspected(home, archive)
    for complaint in complaints:
        print(complaint)
    print(f"{archive.name}: {len(complaints) or 'no'} complaints of galaxy-importer and ansible-builder")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
