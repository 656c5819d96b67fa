# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code blocks of README.md and docs/*.md are run, page by page and in the order of the page, on a host of their own.

A block of tasks is a play on that host, one of plays is run as it is, and a block that the page gives a file's name to is
written there (FILES) for the commands that come after it. Commands are run by bash in a folder that has what a reader's
checkout has, its inventories leading to the simulated host; make says what it would do, and does not do it. What a page says
would be seen is looked for in the output (SAYS).

A block that is not run is in ELSEWHERE, with what runs the same, or why nothing can. One in no table fails the first test.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml
from doc_blocks import Block, blocks
from xenhost import BIN, ENV, KINDS, LIMIT, ROOT, Host

pytestmark = pytest.mark.only("simulated")

LAB = "/var/lib/xen-lab"
DISKS = "mkdir -p /dev/vg0 && for g in {}; do cp /var/lib/xen-lab/guest.img /dev/vg0/$g; done && echo made"
KERNELS = (
    f"mkdir -p /boot /var/lib/xen/boot && cp {LAB}/vmlinuz /boot/vmlinuz-new && cp {LAB}/vmlinuz /var/lib/xen/boot/vmlinuz && "
)
KERNELS += f"cp {LAB}/tiny.cpio.gz /var/lib/xen/boot/initrd.img && echo made"
TINY = {"type": "pvh", "memory": "160MiB", "vcpus": 1, "kernel": f"{LAB}/vmlinuz", "ramdisk": f"{LAB}/tiny.cpio.gz"}
WEB1 = """name = "web1"
type = "hvm"
memory = 256
vcpus = 1
disk = [ "/dev/vg0/web1,raw,xvda,rw" ]
vnc = 0
"""
BY_XL = (
    'name = "{}"\ntype = "pvh"\nmemory = 160\nkernel = "/var/lib/xen-lab/vmlinuz"\nramdisk = "/var/lib/xen-lab/tiny.cpio.gz"\n'
)


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Page(NamedTuple):
    """What a page takes for granted.

    guests: dicts, described and started before. files: dict of path on the host -> text. run: str, a command on the host.
    variables: dict, of the hosts. tpm: bool, whether the host has an image for a TPM's domain.
    """

    guests: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, str] = NOTHING
    run: str = "echo nothing"
    variables: Mapping[str, Any] = NOTHING
    tpm: bool = False


def stubdom(name: str, **more: Any) -> dict[str, Any]:
    """A guest with a device model in a stubdomain, and its disk in the volume group vg0."""
    disk = {"vdev": "xvda", "target": f"/dev/vg0/{name}", "format": "raw", "access": "rw"}
    return {"name": name, **KINDS["stubdom"], "disks": [disk], **more}


GIVEN = {
    "README.md": Page(run=f"{DISKS.format('web1 build1')}; {KERNELS}"),
    "adopt.md": Page(
        files={"/root/byhand.cfg": BY_XL.format("byhand"), "/root/web1.cfg": WEB1},
        run=f"{DISKS.format('web1')}; xl create -q /root/byhand.cfg; echo made",
    ),
    "audit.md": Page(run=f"{DISKS.format('web1 build1')}; {KERNELS}", variables={"xen_guests": [{"name": "a", **TINY}]}),
    "errors.md": Page(
        run=DISKS.format("web1"),
        files={"/etc/xen/web1.cfg": f'{WEB1}device_model_stubdomain_override = 1\nstubdomain_cmdline = "stubdom.fail=exit"\n'},
    ),
    "guests.md": Page(
        guests=({"name": "build1", **TINY},),
        files={f"/etc/xen/{name}.cfg": BY_XL.format(name) for name in ("shop", "database")},
        run=f"{DISKS.format('web1')}; {KERNELS}",
        variables={"xen_guests": [{"name": "build1", "vcpus": 1}]},
    ),
    "host.md": Page(),
    "inventory.md": Page(guests=({"name": "a", **TINY},)),
    "isolate.md": Page(
        guests=({k: v for k, v in stubdom("web1").items() if k != "stubdom"},), run=DISKS.format("web1")
    ),
    "lab.md": Page(),
    "progress.md": Page(variables={"xen_guests": [{"name": "a", **TINY}]}),
    "quickstart.md": Page(
        guests=({"name": "direct1", **TINY, "cmdline": "console=hvc0 quiet"},),
        run=f"cp {LAB}/guest.img {LAB}/plain1.img && cp {LAB}/guest.img {LAB}/secure1.img && echo made",
    ),
    "readiness.md": Page(
        guests=(stubdom("secure1"),),
        files={"/root/legacy.cfg": BY_XL.format("legacy")},
        run=f"{DISKS.format('secure1')}; xl create -q -p /root/legacy.cfg; echo made",
    ),
    "read-an-error.md": Page(run=DISKS.format("web1")),
    "rollout.md": Page(guests=({"name": "a", **TINY},), variables={"rollout_now": {"guests": ["a"]}}),
    "stubdom-image.md": Page(),
    "testing.md": Page(guests=(stubdom("web1"),), run=DISKS.format("web1")),
    "tpm.md": Page(
        tpm=True,
        run=f"{DISKS.format('desktop1')}; mkdir -p /opt/qemu/bin /etc/xen-simulation; touch /etc/xen-simulation/qemu-has-tpm; "
        "ln -sf /usr/libexec/xen-qemu-system-i386 /opt/qemu/bin/qemu-system-i386; echo made",
    ),
}  # fmt: skip

# block -> the file that the page has its reader write it to
FILES = {
    "adopt.md:2": "adopt.yml",
    "audit.md:4": "rollout.yml",
    "inventory.md:1": "xen.guests.yml",
    "quickstart.md:5": "first.yml",
    "tpm.md:1": "sealed.yml",
}

# Blocks that are not run here, and what runs the same, or why nothing does.
ELSEWHERE = {
    "audit.md:3": "README.md:4 runs the first playbook, audit.md:1 the second",
    "host.md:2": "its guest is judged in tests/unit/test_docs_blocks.py",
    "host.md:3": "README.md:4 runs the same playbook on such an inventory",
    "events.md:1": "tests/contract/test_faults_rulebook.py, with ansible-rulebook and a Java",
    "events.md:2": "the same; the event source judges it in tests/unit/test_docs_blocks.py",
    "events.md:3": "the same",
    "lab.md:2": "tests/contract/conftest.py does so before each file of tests",
    "migrate.md:1": "tests/contract/test_migrate.py, with the two hosts that it takes",
    "migrate.md:2": "a simulated host has no live migration: tests/contract/test_migrate.py, on embedded ones",
    "migrate.md:3": "tests/contract/test_migrate.py",
    "rollout.md:1": "its guests are judged in tests/unit/test_docs_blocks.py; tests/contract/test_rollout.py has such a fleet",
    "rollout.md:2": "tests/contract/test_rollout.py, with the fleet that it takes",
    "rollout.md:5": "tests/contract/test_rollout.py",
    "testing.md:1": "tests/check/molecule.py, from the archive that ansible-galaxy would bring",
    "testing.md:4": "tests/contract/conftest.py starts its hosts by the same role",
    "testing.md:5": "the same; they would be ten",
    "testing.md:3": "the same scenario on an embedded host, which takes half an hour",
    "vtpm-domain.md:1": "tests/contract/test_vtpm_domain.py: the image is for a real Xen",
}

# What the page says is seen: block -> what its output has to show.
SAYS = {
    "audit.md:1": [r"web1: missing"],
    "quickstart.md:4": [r"direct1: drifted: vcpus \(needs reboot\)"],
    "quickstart.md:6": [r"first-dm|stubdomain \d+", r"changed=0 [^\n]*\s*\Z"],
    "inventory.md:2": [r"xen_state_running", r"--a\b"],
}
FAILS = {"audit.md:2"}
# Pages whose commands are whole playbooks, which take half a minute and more: in `make test`, and not in `make check`.
WHOLE_PLAYBOOKS = {"README.md", "adopt.md", "audit.md", "inventory.md", "quickstart.md"}
# block -> a file that is there afterwards
LEAVES = {"adopt.md:3": "host_vars/xen1.yml", "audit.md:1": "audit/audit.html", "audit.md:2": "drift/audit.json"}

# A line of a page -> what stands for it here.
INSTEAD = {
    # the role builds an image for a real Xen; the simulated host was given one that is never run
    "tpm.md": ("    - stubdom.xen.vtpm\n", "")
}

RUN = [block for block in blocks() if block.language in ("sh", "yaml") and block.name not in ELSEWHERE]


def test_every_block_is_run_or_it_is_said_why_not() -> None:
    known = {block.name for block in blocks() if block.language in ("sh", "yaml")}
    tables = {"ELSEWHERE": set(ELSEWHERE), "FILES": set(FILES), "SAYS": set(SAYS), "FAILS": FAILS, "LEAVES": set(LEAVES)}
    assert {name: sorted(table - known) for name, table in tables.items() if table - known} == {}, "blocks that are not there"
    tests = re.findall(r"tests/[\w/]+\.py", " ".join(ELSEWHERE.values()))
    assert [path for path in tests if not (ROOT / path).exists()] == []
    unknown = [block.name for block in RUN if block.page not in GIVEN]
    assert unknown == [], "say in GIVEN what their page takes for granted, or in ELSEWHERE why they are not run"


@functools.cache
def variables(host: Host) -> dict[str, Any]:
    return host.variables()


class Reader:
    """Somebody who does what a page says, in a folder of his own."""

    def __init__(self, host: Host, where: Path, page: str) -> None:
        self.host, self.where, self.page = host, where, GIVEN.get(page, Page())
        for name in (".venv", ".cache", "Makefile", "playbooks", "requirements", "tests"):
            (where / name).symlink_to(ROOT / name)
        for path, name in INVENTORIES.items():
            self.write(path, yaml.safe_dump({"xen": {"hosts": {name: variables(host)}, "vars": dict(self.page.variables)}}))
        yours = (ROOT / "examples/yours/group_vars/xen.yml").read_text(encoding="utf-8")
        self.write("examples/yours/group_vars/xen.yml", yours.replace("4GiB", "1GiB"))  # the host has 4.5 GiB for guests
        shutil.copytree(ROOT / "examples/demo", where / "examples/demo")
        self.write("examples/demo/group_vars/xen.yml", demo_as_edited())

    def write(self, name: str, text: str) -> None:
        path = self.where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def have_what_is_taken_for_granted(self) -> None:
        files = [f"cat > {path} <<'END'\n{text}END\n" for path, text in self.page.files.items()]
        self.host.sh("".join(files) + self.page.run)
        if self.page.tpm:
            self.host.have_tpm_image()
        if self.page.guests:
            done = self.host.module("guests", guests=list(self.page.guests))
            assert not done["failed"], done

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        env = {**ENV, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "MAKEFLAGS": "n", "LC_ALL": "C.UTF-8"}
        return subprocess.run(argv, cwd=self.where, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)


def demo_as_edited() -> str:
    """The guests of `make demo` after what quickstart.md has its reader write; without a TPM, see INSTEAD."""
    demo = yaml.safe_load((ROOT / "examples/demo/group_vars/xen.yml").read_text(encoding="utf-8"))
    guests = [{key: value for key, value in guest.items() if key != "vtpm"} for guest in demo["xen_guests"]]
    edited = [{**guest, "vcpus": 2} if guest["name"] == "direct1" else guest for guest in guests]
    return yaml.safe_dump({**demo, "xen_guests": edited})


INVENTORIES = {
    "hosts.yml": "xen1",
    ".lab/inventory.yml": "xen1",
    ".lab/simulated.yml": "sim1",
    "examples/yours/hosts.yml": "xen1.example.org",
}


def kind(block: Block) -> str:
    """What becomes of a block. Plays that follow each other are one run."""
    if block.name in FILES:
        return "file"
    return "source" if block.text.startswith("plugin:") else {"sh": "sh", "yaml": "play"}[block.language]


def pages() -> list[Any]:
    names = sorted({block.page for block in RUN})
    return [pytest.param(name, marks=pytest.mark.thorough) if name in WHOLE_PLAYBOOKS else name for name in names]


@pytest.mark.parametrize("page", pages())
def test_page(lab: Any, xen: Host, tmp_path: Path, page: str) -> None:
    lab.reset("prepared")
    reader = Reader(xen, tmp_path, page)
    reader.have_what_is_taken_for_granted()
    here = [block._replace(text=block.text.replace(*INSTEAD.get(page, ("\0", "")))) for block in RUN if block.page == page]
    for what, some in itertools.groupby(here, kind):
        STEPS[what](reader, list(some))


def keep(reader: Reader, some: list[Block]) -> None:
    for block in some:
        reader.write(FILES[block.name], block.text)


def command(reader: Reader, some: list[Block]) -> None:
    """Each is a bash of its own, in which the variables that an earlier one exports are set."""
    for block in some:
        done = reader.run("bash", "-euc", block.text)
        said = f"{block.name}\n{block.text}\n{done.stdout}{done.stderr}"
        assert (done.returncode != 0) == (block.name in FAILS), said
        assert [text for text in SAYS.get(block.name, ()) if not re.search(text, done.stdout)] == [], said
        assert block.name not in LEAVES or (reader.where / LEAVES[block.name]).exists(), said


def play(reader: Reader, some: list[Block]) -> None:
    plays: list[Any] = []
    for block in some:
        tasks = yaml.safe_load(block.text)
        plays += tasks if "hosts" in tasks[0] else [{"name": block.name, "hosts": "xen", "gather_facts": False, "tasks": tasks}]
    reader.write("page.yml", yaml.safe_dump(plays, sort_keys=False))
    done = reader.run("ansible-playbook", "-i", "hosts.yml", "page.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = [text for block in some for text in SAYS.get(block.name, ())]
    assert [text for text in wanted if not re.search(text, done.stdout)] == [], done.stdout


def source(reader: Reader, some: list[Block]) -> None:
    for block in some:
        reader.write("xen.guests.yml", block.text)
        done = reader.run("ansible-inventory", "-i", "xen.guests.yml", "--graph")
        assert done.returncode == 0 and "@xen_guests" in done.stdout, block.text + done.stdout + done.stderr


STEPS = {"file": keep, "sh": command, "play": play, "source": source}
