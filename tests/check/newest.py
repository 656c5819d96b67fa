# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection with the newest ansible-core, on the newest Python of this machine: .venv has that of Python 3.11.

What is run is what meets Ansible: the tests of what runs on the controller, and one guest's life on a simulated Xen host. None
of it may use what that release calls deprecated. A machine without a newer Python is told so in the last line, and passes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from sanity import CONTROLLER, PYTHONS, directory_of
from sources import ROOT

BIN = ROOT / ".cache" / "newest" / "bin"
LOG = ROOT / ".cache" / "newest.log"
# those that import Ansible or run it
UNIT = (
    "asking", "audit_report", "docs_blocks", "evacuation", "events", "filters", "handover", "hosts_of_guests", "migrate",
    "progress", "rollout",
)  # fmt: skip
COMMANDS = (
    ("pytest", "-n", "2", *(f"tests/unit/test_{name}.py" for name in UNIT), "tests/lab/test_connection.py"),
    ("pytest", "tests/contract/test_life.py", "--kind", "simulated", "-k", "pvh"),
)
DEPRECATED = "[DEPRECATION WARNING]"
# what ansible-core 2.21 does itself and warns of, whenever it copies its loaders (plugins/loader.py: __setstate__)
ITS_OWN = re.compile(r": Instantiating \w+ PluginLoader with aliases is deprecated")


def newest():
    """(version, Path of the interpreter) of the newest Python here that is newer than .venv's, or None."""
    for version in reversed(PYTHONS):
        directory = directory_of(version) if version != CONTROLLER else None
        if directory:
            return version, directory / f"python{version}"
        if version == CONTROLLER:
            return None
    return None


def deprecations():
    """What Ansible said of things that it will not have for ever: list of str, each once."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines() if LOG.exists() else []
    said = {line.partition(DEPRECATED)[2] for line in lines if DEPRECATED in line}
    return sorted(one for one in said if not ITS_OWN.match(one))


def main():
    """The exit code: 0 when everything passed, or when there is no newer Python to try it with."""
    found = newest()
    if found is None:
        print(f"NOT CHECKED: the newest ansible-core (no Python newer than {CONTROLLER} on this machine)")
        return 0
    version, python = found
    subprocess.run((ROOT / "requirements" / "venv.sh", "newest", python), check=True)
    LOG.unlink(missing_ok=True)
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "ANSIBLE_LOG_PATH": str(LOG)}
    failed = [command for command in COMMANDS if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode]
    old = deprecations()
    for line in old:
        print(f"deprecated: {line}")
    core = subprocess.run((BIN / "ansible", "--version"), capture_output=True, text=True, check=True).stdout.split("]")[0]
    print(f"{core}] on Python {version}: {f'{len(failed)} of {len(COMMANDS)} failed' if failed else 'passed'}")
    return 1 if failed or old else 0


if __name__ == "__main__":
    sys.exit(main())
