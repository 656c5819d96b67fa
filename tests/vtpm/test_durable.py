# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state's disk, made and mounted as the domain's init does it: what was answered is on it when the answer comes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tpm_commands as tpm
from guest_of_files import Back, Guest

INIT = (Path(__file__).resolve().parents[2] / "roles/vtpm/files/init").read_text(encoding="utf-8")
SECRET = b"kept by the TPM"


def can_mount() -> bool:
    return os.geteuid() == 0 and os.path.exists("/dev/loop-control") and shutil.which("mkfs.ext4") is not None


def mounted(image: Path, where: Path) -> None:
    options = re.findall(r"mount -t ext4 -o (\S+)", INIT)
    assert len(options) == 1
    subprocess.run(["mount", "-t", "ext4", "-o", f"loop,{options[0]}", str(image), str(where)], check=True)


def with_file_system(image: Path) -> Path:
    (command,) = re.findall(r"must (mkfs.ext4 .*) /image", INIT)
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run([*command.split(), str(image)], check=True)
    return image


@pytest.mark.skipif(not can_mount(), reason="a disk's image has to be mounted")
def test_a_disk_as_it_is_when_the_answer_comes_has_the_change(program: Path, tmp_path: Path) -> None:
    """The disk of a domain that is destroyed at that moment is a copy of it, its journal not yet replayed."""
    back = Back(program, tmp_path, "1.2")
    image, copy = with_file_system(tmp_path / "image"), tmp_path / "copy"
    mounted(image, tmp_path / "state")
    try:
        back.start()
        guest = Guest(back, 7)
        guest.connect()
        guest.ask(tpm.nv_define(len(SECRET)))
        assert guest.ask(tpm.nv_write(SECRET))[tpm.RESULT] == tpm.SUCCESS
        shutil.copy(image, copy)
        back.stop()
        subprocess.run(["umount", str(tmp_path / "state")], check=True)
        guest.destroyed_with_the_back_end()
        mounted(copy, tmp_path / "state")
        back.start()
        guest = Guest(back, 8)
        guest.connect()
        assert guest.ask(tpm.nv_read(len(SECRET))).endswith(SECRET)
    finally:
        back.stop()
        subprocess.run(["umount", "-l", str(tmp_path / "state")], check=False)
