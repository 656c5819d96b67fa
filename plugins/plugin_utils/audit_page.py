# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page of an audit: what is in page/, put together, with the report in it as JSON.

The script makes every element from text, never from HTML; the policy of the page lets no other script run and
nothing be fetched. So what a guest wrote has two walls before it, and the escaping here is the third.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "page"
SCRIPTS = ("elements", "guest", "panel", "views", "main")
PLACE = re.compile(r"@@([A-Z]+)@@")
# In a script element nothing ends the text but `</script`, and `<!--` changes how it is read (HTML, 13.2.5.4 and 4.12.1.3).
HARMLESS = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def page_of(report: Mapping[str, Any]) -> str:
    """The page as text."""
    style, script = _part("style.css"), "\n".join(_part(f"{name}.js") for name in SCRIPTS)
    parts = {
        "STYLE": style, "SCRIPT": script, "STYLEHASH": digest(style), "SCRIPTHASH": digest(script), "REPORT": embedded(report),
    }  # fmt: skip
    return PLACE.sub(lambda place: parts[place[1]], _part("frame.html"))


def embedded(report: Mapping[str, Any]) -> str:
    """The report as JSON that may stand in a script element: without a character that HTML takes for its own."""
    return json.dumps(report, ensure_ascii=False, separators=(",", ":")).translate(HARMLESS)


def digest(text: str) -> str:
    """By which a Content-Security-Policy knows a script or a style (CSP level 3, hash-source)."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")
