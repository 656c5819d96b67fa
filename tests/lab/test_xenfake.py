# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxenfake's sources, as far as they can be judged without Xen's headers. What it does is the contract suite's to see,
and whether it does it cleanly sanitize.sh's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

XENFAKE = Path(__file__).resolve().parents[2] / "roles" / "lab" / "files" / "xenfake"
SOURCES = sorted(XENFAKE.glob("*.c"))
HOUR = 3600  # lines: one a second
NOTHING = "Stands in for nothing of Xen."
EVENTS_OF_STORE = {"REAPED"}  # that concern xenstored alone and are told to nobody


def text(name: str) -> str:
    return (XENFAKE / name).read_text()


def table(source: str, name: str) -> str:
    """The rows of a C table, from its name to the line that ends it."""
    found = re.search(rf"{name}\[\] = \{{(.*?)\n\t?\}};", source, re.DOTALL)
    assert found, f"there is no table {name}"
    return found.group(1)


def headers(name: str) -> set[str]:
    """How a source may include what it names: xen/include/public/domctl.h and domctl.h are <xen/domctl.h>."""
    within = name.replace("xen/include/public/", "xen/")
    return {within, f"xen/{within}"}


def is_linux(name: str) -> bool:
    """Linux's name for a header that is named and included as Xen's too."""
    return name.startswith("include/uapi/")


def test_make_compiles_every_source() -> None:
    listed = re.search(r"^SOURCES := (.*)$", text("Makefile"), re.MULTILINE)
    assert listed
    assert sorted(listed.group(1).split()) == [path.name for path in SOURCES]


def test_the_map_names_every_source() -> None:
    assert [path.name for path in SOURCES if f"`{path.name}`" not in text("README.md")] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_source_begins_with_what_it_stands_in_for(path: Path) -> None:
    comment = path.read_text().partition("*/")[0]
    assert comment.startswith(
        "/* SPDX-FileCopyrightText: The stubdom.xen contributors\n * SPDX-License-Identifier: GPL-3.0-or-later\n"
    )
    named = re.findall(r"[\w/]+\.h\b", comment)
    included = set(re.findall(r"#include <(.*?)>", path.read_text() + text("xenfake.h")))
    assert named or "xen/common/" in comment or NOTHING in " ".join(comment.replace("*", "").split())
    assert [name for name in named if not is_linux(name) and not headers(name) & included] == []


def test_all_of_it_is_read_in_an_hour() -> None:
    lines = [line for path in XENFAKE.glob("*.[ch]") for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) < HOUR


def test_the_readme_has_every_command_of_the_control_socket() -> None:
    commands = re.findall(r'\{ "(\w+)", \w+, \w+ \}', table(text("control.c"), "commands"))
    rows = text("README.md").partition("## The control socket")[2].partition("\n\nAn event")[0]
    cells = re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE)
    assert len(commands) > 10
    assert set(commands) == {word for cell in cells for word in re.findall(r"`(\w+)", cell)}


def test_the_readme_has_every_event() -> None:
    declared = re.search(r"enum event_kind \{(.*?)\}", text("xenfake.h"))
    assert declared
    kinds = {kind.strip() for kind in declared.group(1).split(",")} - EVENTS_OF_STORE
    section = text("README.md").partition("An event is a line")[2].partition("\n## ")[0]
    assert {kind for kind in kinds if f"`{kind.lower()}" not in section} == set()
    assert {kind for kind in kinds if f'[{kind}] = "{kind.lower()}"' not in text("control.c")} == set()
