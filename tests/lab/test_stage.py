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


def test_publish_removes_what_builds_of_other_images_left(stage, tmp_path):
    said(stage("one", "touch half", digest="d0"))
    said(stage("one", "touch whole", digest="d1"))
    said(stage("publish", digest="d1"))
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [".lock", "d1"]


def test_the_images_name_follows_what_it_is_built_from(build, tmp_path):
    copy = shutil.copytree(build, tmp_path / "build")

    def digest(*arguments: str) -> str:
        return subprocess.run([copy / "digest.sh", *arguments], check=True, capture_output=True, text=True).stdout

    before = digest("bookworm", "4.17")
    assert before == digest("bookworm", "4.17") != digest("trixie", "4.20")
    with (copy / "packages").open("a") as packages:
        packages.write("less\n")
    assert digest("bookworm", "4.17") != before
