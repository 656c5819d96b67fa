# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of the image's build: nothing half done is taken for whole, nothing is done twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a stage runs in a mount namespace of its own: root")


@pytest.fixture
def stage(tmp_path: Path, build: Path):
    """Run stages whose scripts the test writes."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(build / "stage.sh", scripts)

    def start(name: str, script: str = "exit 1", digest: str = "d1") -> subprocess.Popen[str]:
        (scripts / f"{name}.sh").write_text(f"#!/bin/bash\nset -e\n{script}\n")
        (scripts / f"{name}.sh").chmod(0o755)
        return subprocess.Popen(
            [scripts / "stage.sh", tmp_path / "images", digest, name],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    return start


def said(child: subprocess.Popen[str]) -> str:
    out = child.communicate(timeout=300)[0]
    return out.split()[0] if child.returncode == 0 else f"failed {child.returncode}"


def test_a_stage_is_done_once_and_publish_names_the_image(stage, tmp_path):
    images = tmp_path / "images"
    assert said(stage("one", "echo x >> result")) == "done"
    assert said(stage("one", "echo x >> result")) == "cached"
    assert not (images / "d1").exists()
    assert said(stage("publish")) == "done"
    assert (images / "d1" / "result").read_text() == "x\n"
    assert said(stage("one", "echo x >> result")) == "cached"
    assert sorted(path.name for path in images.iterdir()) == [".lock", "d1"]


def test_a_stage_that_failed_is_done_again(stage, tmp_path):
    assert said(stage("one", "touch result; exit 3")) == "failed 3"
    assert said(stage("one", "[ -e result ]")) == "done"


def test_a_stage_that_was_killed_is_done_again_and_its_lock_is_free(stage, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = stage("one", f"echo begun > {fifo}; read line < {fifo}")
    assert fifo.read_text() == "begun\n"
    os.killpg(child.pid, signal.SIGKILL)
    assert said(child) == "failed -9"
    assert said(stage("one", "true")) == "done"


def test_a_second_build_waits_for_the_first(stage, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"echo begun > {fifo}; read line < {fifo}; echo x >> result"
    first = stage("one", script)
    assert fifo.read_text() == "begun\n"
    second = stage("one", script)
    fifo.write_text("go on\n")
    assert {said(first), said(second)} == {"done", "cached"}
    assert (tmp_path / "images" / ".build-d1" / "result").read_text() == "x\n"


def test_publish_drops_scratch_and_keeps_the_link_to_what_the_image_is_made_from(stage, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_ROOTFS", "rootfs-1")
    said(stage("one", "touch whole scratch/half"))
    said(stage("publish"))
    made = tmp_path / "images" / "d1"
    assert sorted(path.name for path in made.iterdir()) == ["rootfs", "whole"]
    assert os.readlink(made / "rootfs") == "../rootfs-1"


def test_publish_removes_what_builds_of_other_images_left_long_ago(stage, tmp_path):
    for digest in ("d0", "d2"):
        said(stage("one", "touch half", digest=digest))
    os.utime(tmp_path / "images" / ".build-d0", (0, 0))
    said(stage("one", "touch whole", digest="d1"))
    said(stage("publish", digest="d1"))
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [".build-d2", ".lock", "d1"]


@pytest.mark.parametrize(
    ("changed", "kinds"),
    [
        ("build/rootfs/packages", {"rootfs", "embedded", "simulated"}),
        ("build/shared/syslinux.cfg", {"embedded", "simulated"}),
        ("build/embedded/dom0.sh", {"embedded"}),
        ("build/simulated/layer.sh", {"simulated"}),
        ("xenfake/xenfake.h", {"simulated"}),
        ("xenfake/xenfake.o", set()),
        ("xenfake/README.md", set()),
    ],
)
def test_an_images_name_follows_what_it_is_built_from(build, tmp_path, changed, kinds):
    for name in ("build", "xenfake"):
        shutil.copytree(build.parent / name, tmp_path / name)

    def names() -> dict[str, str]:
        return {kind: digest(kind, "bookworm", "4.17") for kind in ("rootfs", "embedded", "simulated")}

    def digest(*arguments: str) -> str:
        return subprocess.run([tmp_path / "build/digest.sh", *arguments], check=True, capture_output=True, text=True).stdout

    before = names()
    assert before == names()
    assert all(digest(kind, "trixie", "4.20") != name for kind, name in before.items())
    with (tmp_path / changed).open("a") as file:
        file.write("more\n")
    assert {kind for kind, name in names().items() if name != before[kind]} == kinds
