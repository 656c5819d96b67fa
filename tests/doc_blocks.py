# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code blocks of README.md and docs/*.md, as the tests of the documentation read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    """name: page:number, counted from 1 on each page, whatever the language."""

    name: str
    page: str
    language: str
    text: str


def blocks() -> list[Block]:
    """All of them, page by page."""
    return [
        Block(f"{path.name}:{number}", path.name, language, text)
        for path in PAGES
        for number, (language, text) in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), 1)
    ]
