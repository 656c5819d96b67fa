# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Xen host for the tests here: prepared once, put into a snapshot, and back to it before each file.

One suite, two kinds of host: `pytest tests/contract --kind simulated` makes its own host, which ends with it;
`--kind embedded` takes xen1, which `make lab` has booted, or `--host`. A test that needs no guest's own code runs on the embedded
host only with --whole: it would say there what it says on the simulated one, some minutes later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import cleared
from xenhost import ROOT, Host, playbook

KINDS = ("embedded", "simulated")
RUNNERS = {"embedded": "labhost", "simulated": "simhost"}
TWO_HOSTS = ("test_evacuate.py", "test_migrate.py", "test_rollout.py")
# They are begun first where there are several workers, as the last to end tells how long it takes.
LONGEST = (
    "test_migrate.py",
    "test_rollout.py",
    "test_faults_anywhere.py",
    "test_faults.py",
    "test_faults_clock.py",
    "test_faults_killed.py",
    "test_faults_domains.py",
    "test_pains.py",
    "test_changes.py",
    "test_evacuate.py",
    "test_failing_stubdom.py",
    "test_killed.py",
    "test_life.py",
    "test_xl.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kind", choices=KINDS, default="simulated", help="the kind of Xen host to test on")
    parser.addoption("--host", default="xen1", help="the embedded host to test on")
    parser.addoption("--suite", default="bookworm", help="the Debian suite that the embedded host is of")
    parser.addoption("--prepared", action="store_true", help="the hosts have their snapshots 'prepared' from earlier runs")
    parser.addoption("--faults", action="store_true", help="also what goes wrong on purpose: full disks, kills, stalls")
    parser.addoption("--whole", action="store_true", help="on the embedded host also what needs no guest's own code")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "no_guest_code: needs no guest's own code; not run on the embedded host but with --whole")
    config.addinivalue_line("markers", "thorough: takes its time, and is run with --faults only")
    config.addinivalue_line("markers", "only(kind): what only this kind of host can be made to do")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not _belongs(item, config)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted((item for item in items if item not in left_out), key=_order(config.getoption("--kind")))
    for item in items:  # the tests of a file share its host, unless they say otherwise
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def _order(kind: str) -> Callable[[pytest.Item], bool]:
    """The key by which the tests are sorted: on the embedded kind a second host comes late, as the machine is small."""
    return lambda item: item.path.name in TWO_HOSTS if kind == "embedded" else item.path.name not in LONGEST


def _belongs(item: pytest.Item, config: pytest.Config) -> bool:
    kind, only = config.getoption("--kind"), item.get_closest_marker("only")
    moved = item.get_closest_marker("no_guest_code") is not None and kind == "embedded" and not config.getoption("--whole")
    thorough = item.path.name.startswith("test_faults") or item.get_closest_marker("thorough") is not None
    left_out = thorough and kind == "simulated" and not config.getoption("--faults")
    return not (moved or left_out) and (only is None or only.args[0] == kind)


class Lab:
    """The playbook stubdom.xen.lab for the one host of this run, or for a second one."""

    def __init__(self, kind: str, where: Path, embedded: str, suite: str, second: bool = False) -> None:
        name = {"embedded": embedded, "simulated": f"contract{os.getpid()}"}[kind] + "-second" * second
        self.inventory = where / {"embedded": "inventory.yml", "simulated": f".{name}.yml"}[kind]
        self.given = {"lab_kind": kind, "lab_hosts": [name], "lab_inventory": str(self.inventory)}
        self.given |= {"embedded": {"lab_suite": suite}, "simulated": {"lab_owner": str(os.getpid())}}[kind]
        self.host = Host(name, self.inventory, kind)

    def snapshot(self, name: str) -> Path:
        """Where the runner of simulated hosts keeps one."""
        return ROOT / ".lab" / "simulated" / self.host.name / "snapshots" / f"{name}.tar"

    def have(self, state: str, **more: str) -> None:
        playbook("lab", lab_state=state, **self.given, **more)
        self._favour()

    def reset(self, snapshot: str) -> None:
        """What the playbook's reset has the host's runner do, without the seconds that a play takes: done for each file."""
        owner = ["--owner", str(os.getpid())] if self.host.kind == "simulated" else []
        command = [sys.executable, str(ROOT / "roles/lab/files" / RUNNERS[self.host.kind]), "reset", str(ROOT / ".lab")]
        subprocess.run([*command, self.host.name, "--snapshot", snapshot, *owner], check=True, stdout=subprocess.DEVNULL)
        self._favour()

    def _favour(self) -> None:
        """Gives an emulated host the machine before all that runs beside it, whose nice values count in their sessions only.

        sched(7): each session is a group of its own, and the groups share the processors. It takes root, and is a favour.
        """
        with contextlib.suppress(OSError):
            pid = (ROOT / ".lab" / "hosts" / self.host.name / "qemu.pid").read_text(encoding="ascii").strip()
            Path(f"/proc/{pid}/autogroup").write_text("-10", encoding="ascii")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab with a host that the roles host and stubdom_image have made ready, saved as the snapshot 'prepared'."""
    given = request.config.getoption
    lab = Lab(given("--kind"), ROOT / ".lab", given("--host"), given("--suite"))
    {"embedded": _embedded, "simulated": _simulated}[lab.host.kind](lab, request.config)
    yield lab
    lab.host.ansible.close()
    if lab.host.kind == "simulated":
        lab.have("absent")
        lab.inventory.unlink()


def _embedded(lab: Lab, config: pytest.Config) -> None:
    if not lab.inventory.exists():
        pytest.exit("there is no Xen host to test on: `make lab` boots one", returncode=3)
    if not config.getoption("--prepared"):
        lab.have("reset", lab_snapshot="fresh")
        _prepare(lab)


def _simulated(lab: Lab, config: pytest.Config) -> None:
    """One worker of a run (pytest-xdist) prepares its host, the others take the snapshot that it saved."""
    run = getattr(config, "workerinput", {}).get("testrunuid", str(os.getpid()))
    mine, shared = lab.snapshot("prepared"), Path(tempfile.gettempdir()) / f"stubdom.xen-{run}.tar"
    lab.have("running", lab_snapshot="fresh")
    with (ROOT / ".cache" / "contract.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if shared.exists():
            mine.parent.mkdir(exist_ok=True)
            shutil.copy(shared, mine)
        else:
            _prepare(lab)
            shutil.copy(mine, shared)
            config.add_cleanup(lambda: shared.unlink(missing_ok=True))


def _prepare(lab: Lab) -> None:
    playbook("site", inventory=lab.inventory, xen_guests=[], xen_site_hosts=lab.host.name)
    lab.have("saved", lab_snapshot="prepared")


@pytest.fixture(scope="session")
def second(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Another prepared host, which ends with the run. An embedded one has no image of a stubdomain: its build takes minutes."""
    given = request.config.getoption
    second = Lab(lab.host.kind, ROOT / ".lab", given("--host"), given("--suite"), second=True)
    if second.host.kind == "simulated":
        _simulated(second, request.config)
    else:
        second.have("running", lab_snapshot="fresh")
        if not given("--prepared"):
            second.host.role_of("host")
            second.have("saved", lab_snapshot="prepared")
    yield second
    second.host.ansible.close()
    if not given("--prepared"):
        second.have("absent")
    if second.inventory != lab.inventory:
        second.inventory.unlink()


@pytest.fixture(scope="module")
def pair(lab: Lab, second: Lab) -> Iterator[tuple[Host, Host]]:
    """Two prepared hosts, and no guest on them but Domain-0. Both are in the inventory of each."""
    for one in (lab, second):
        one.reset("prepared")
    first = Host(lab.host.name, second.inventory, lab.host.kind)  # what was started last wrote both into its inventory
    yield first, second.host
    first.ansible.close()


@pytest.fixture(scope="module")
def xen(lab: Lab) -> Host:
    """The prepared host as the snapshot has it: no guest but Domain-0."""
    lab.reset("prepared")
    assert lab.host.domains() == ["Domain-0"]
    return lab.host


# --- for the tests of faults; other files have a guest of their own, or none


@pytest.fixture(scope="module")
def guest(xen: Host) -> dict[str, Any]:
    return xen.described("stubdom", "web")


@pytest.fixture
def empty(xen: Host) -> Iterator[Host]:
    """The host without a guest, and with well-behaved domains."""
    yield xen
    cleared(xen)
