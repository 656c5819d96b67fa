# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed anywhere in a guest's life: the same task again brings it about, and a third time there is nothing to do.

A seed stands for a kind of guest, a story (killed/stories.py) and a moment of it. Hundreds of them take minutes because
they are told on the host itself, without Ansible between: killed/__main__.py. A seed at which nobody was killed does not
count. To tell some again: `KILL_SEEDS="17 105" pytest tests/contract/test_faults_anywhere.py --faults`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from xenhost import DIRECT, ENV, FROM_DISK, LIMIT, PATIENT, ROOT, Host

pytestmark = pytest.mark.only("simulated")

HERE, HOME = Path(__file__).parent, "/run/killed"
WRAP = "import pathlib, payload, sys; payload.unwrapped(payload.wrapped('stubdom.xen.guest', {}), pathlib.Path(sys.argv[1]))"
BATCHES = [range(first, first + 21) for first in range(0, 210, 21)]
ASKED_FOR = [int(seed) for seed in os.environ.get("KILL_SEEDS", "").split()]
# On a simulated host nothing runs a kernel: one that is small costs the least to load.
SMALL = {"memory": "128MiB", "max_memory": "192MiB", "kernel": "/usr/lib/xenfake/kernel"}
LINUX = {"type": "linux", "kernel": SMALL["kernel"], "ramdisk": SMALL["kernel"]}
# libxl waits two seconds for each QEMU that serves a keyboard or a screen of a dead domain (libxl_internal.h, 4.17).
HVM = {
    "type": "hvm",
    "memory": SMALL["memory"],
    "max_memory": SMALL["max_memory"],
    "vnc": {"enabled": False},
    "extra_config": {"vkb_device": 0},
}
TPM = {"type": "pvh", **SMALL, "vtpm": [{"kind": "stubdom"}]}
GUESTS = {
    "tpm": TPM,
    "pv": {"type": "pv", **SMALL},
    "pvh": {"type": "pvh", **SMALL},
    "hvm": HVM,
    "stubdom": {**HVM, "stubdom": LINUX},
}

REAL = {**PATIENT, "shutdown": {"timeout": 60, "force": True}, "max_memory": "192MiB"}
REAL_GUESTS = {
    "pvh": {"type": "pvh", **DIRECT, "memory": "128MiB", **REAL},
    "stubdom": {**FROM_DISK, "stubdom": {"type": "linux"}, "memory": "128MiB", **REAL},
}
# On the real host a dozen are told with --whole, so that each command of xl that changes anything is hit, and one without:
# (kind, story, command, when, whom).
MODULE, BOTH = ["module"], ["module", "xl"]
A_FEW = (("pvh", "create", "create -p", 90, BOTH),)
A_DOZEN = (
    *A_FEW,
    ("stubdom", "absent that never ran", "destroy", 20, BOTH),
    ("pvh", "another bridge", "network-attach", 20, MODULE),
    ("pvh", "create paused", "create -p", 120, MODULE),
    ("pvh", "another vcpu", "vcpu-set", "ends", MODULE),
    ("pvh", "more memory", "mem-set", 1, MODULE),
    ("pvh", "a disk more", "block-attach", 20, BOTH),
    ("pvh", "waits", "config-update", "begins", MODULE),
    ("pvh", "recreated", "shutdown", "begins", MODULE),
    ("pvh", "pause", "pause", "ends", ["xl"]),
    ("pvh", "let go", "unpause", "begins", MODULE),
    ("stubdom", "create paused", "create -p", 300, BOTH),
)


@pytest.fixture(scope="module")
def teller(xen: Host, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The host with module guest as Ansible packs it, and what kills it there."""
    archive = tmp_path_factory.mktemp("killed") / "killed.zip"
    subprocess.run([sys.executable, "-c", WRAP, str(archive)], cwd=ROOT / "tests/bench", env=ENV, check=True)
    with zipfile.ZipFile(archive, "a") as whole:
        for source in (*(HERE / "killed").glob("*.py"), HERE / "faulty_xl.py"):
            whole.write(source, source.name)
    done = xen.ansible.run(xen.arguments("ansible.builtin.copy", json.dumps({"src": str(archive), "dest": f"{HOME}.zip"})), LIMIT)
    assert done.returncode == 0, done.stdout
    if xen.kind == "simulated":  # where guests with a TPM are told of
        xen.have_tpm_image()
    xen.sh(f"python3 -m zipfile -e {HOME}.zip {HOME} && echo unpacked")
    return xen


def told(host: Host, **asked: Any) -> list[dict[str, Any]]:
    """What became of each seed or moment; what went wrong with any of them is this test's failure."""
    host.put(f"{HOME}/asked.json", json.dumps(asked))
    said = host.sh(f"cd {HOME} && python3 {HOME}/__main__.py < asked.json")
    found: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    wrong = [one for one in found if one["wrong"] or not one["killed"]]
    assert not wrong, json.dumps(wrong, indent=1)
    return found


def batch(seeds: Sequence[int]) -> Any:
    """A test of its own, on whichever worker is free."""
    name = f"{seeds[0]}-{seeds[-1]}"
    return pytest.param(seeds, id=name, marks=pytest.mark.xdist_group(f"anywhere {name}"))


@pytest.mark.parametrize("seeds", map(batch, [ASKED_FOR] if ASKED_FOR else BATCHES))
def test_killed_at_a_moment_that_a_seed_draws(teller: Host, seeds: Sequence[int]) -> None:
    teller.put("/etc/xen-simulation/behaviours.json", json.dumps({"*": {"stubdom": {"ready_after": 0.1}}}))
    assert len(told(teller, guests=GUESTS, seeds=list(seeds))) == len(seeds)


@pytest.mark.only("embedded")
def test_killed_on_the_real_host(teller: Host, request: pytest.FixtureRequest) -> None:
    told_of = A_DOZEN if request.config.getoption("--whole") else A_FEW
    moments = [
        {"kind": kind, "story": story, "moment": {"call": f"{words} *", "nth": 1, "at": at, "whom": whom}}
        for kind, story, words, at, whom in told_of
    ]
    assert len(told(teller, guests=REAL_GUESTS, moments=moments)) == len(told_of)
