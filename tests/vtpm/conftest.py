# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The back end of a vTPM domain on this machine: compiled with sanitizers, in a world of files, with a real swtpm."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_of_files import Back

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "roles" / "vtpm" / "files" / "tpmback"
CHECKED = ["-g", "-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
NEEDED = {"gcc": ["gcc", "libc6-dev"], "swtpm": ["swtpm"]}


def _have(program: str) -> None:
    if shutil.which(program):
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *NEEDED[program]]
    if shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(install, check=False, capture_output=True)
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed, and could not be: {' '.join(install)}")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _have("gcc")
    _have("swtpm")
    path = tmp_path_factory.mktemp("tpmback") / "tpmback"
    units = [*sorted(file for file in SOURCES.glob("*.c") if file.name != "world_xen.c"), Path(__file__).parent / "world_files.c"]
    subprocess.run(["gcc", *CHECKED, f"-I{SOURCES}", "-o", str(path), *map(str, units)], check=True)
    return path


@pytest.fixture
def back(program: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Back]:
    """A vTPM domain that is ready; a test is parametrised with `indirect` for another version than 1.2."""
    back = Back(program, tmp_path, getattr(request, "param", "1.2"))
    back.start()
    yield back
    back.stop()
