# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab host is made of: an older Debian's list has something in the place of packages that the others are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOTFS = Path(__file__).resolve().parents[2] / "roles/lab/files/build/rootfs"


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("own", sorted(ROOTFS.glob("packages.*")), ids=lambda path: path.suffix)
def test_what_a_suite_replaces_is_a_package_of_the_list(own: Path) -> None:
    known = {name for (name,) in lines(ROOTFS / "packages")}
    replaced = lines(own)
    assert replaced and all(len(words) in (1, 2) for words in replaced)
    assert {words[0] for words in replaced} <= known
