# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the Molecule scenario as a new user does: the collection installed from its archive, the scenario copied from there.

All of it is in a directory of its own outside of this repository, which is also the home: what this checkout, its
ansible.cfg or the user's ~/.ansible have is not found. The scenario runs converge, idempotence, check and verify; see
docs/testing.md. Only the lab's directory is this checkout's, because of the image, and the host's name this run's own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from archive import at_home, build
from sources import ROOT

LAB = ROOT / ".lab"
HOST = f"molecule{os.getpid()}"
SCENARIO = "simulated"
INSTALLED = Path(".ansible/collections/ansible_collections/stubdom/xen/extensions/molecule") / SCENARIO
# in the scenario -> here; with this process ends the host, however it ends
CHANGES = {"simulated1": HOST, "lab_kind: simulated": f"lab_kind: simulated\n        lab_owner: '{os.getpid()}'"}
# against hanging; less than what gates.py gives a gate, so that there is time to clean up
LIMIT_S = 3000


def run(home, *command):
    """Run a command in the directory `home` (Path), to its end or to LIMIT_S; the exit code."""
    print("==", *command, flush=True)
    env = {**at_home(home), "XEN_LAB_DIR": str(LAB)}
    with subprocess.Popen(command, cwd=home, env=env, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            return process.wait(LIMIT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def prepare(home):
    """Install the collection under `home` (Path), as by `ansible-galaxy collection install`, and copy the scenario."""
    archive = build(home)
    if run(home, "ansible-galaxy", "collection", "install", "--offline", str(archive)):
        sys.exit("the archive could not be installed")
    shutil.copytree(home / INSTALLED, home / "molecule" / SCENARIO)
    settings = home / "molecule" / SCENARIO / "molecule.yml"
    text = settings.read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        if old not in text:
            sys.exit(f"{INSTALLED / settings.name} has no '{old}', which is to be replaced here")
        text = text.replace(old, new)
    settings.write_text(text, encoding="utf-8")


def clean(home):
    """Remove the host if the scenario did not come to it, and its lock, which nobody else waits for."""
    if (LAB / "simulated" / HOST).exists():
        run(home, "molecule", "destroy", "-s", SCENARIO)
    (LAB / "simulated" / f".{HOST}.lock").unlink(missing_ok=True)


def main():
    """The exit code: molecule's own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    with tempfile.TemporaryDirectory(prefix="stubdom.xen-") as directory:
        home = Path(directory)
        try:
            prepare(home)
            code = run(home, "molecule", "test", "-s", SCENARIO)
        finally:
            clean(home)
    print(f"scenario {SCENARIO}, copied to an empty folder: {'failed' if code else 'created, idempotent, checked, verified'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
