# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes docs/audit.webp, the picture of an audit's page, anew: `pytest tests/browser/picture.py`. It judges nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chromium import Browser
from fleets import fleet

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "audit.webp"
SIZE = {"width": 1060, "height": 980}
FIRST = "document.querySelector('details.guest[data-is=degraded]').open = true"


def test_picture(browser: Browser, page_of: Callable[[str, dict[str, Any]], Path]) -> None:
    browser.look_like(**SIZE)
    browser.open(page_of("picture", fleet(240, 5, seed=32)))
    browser.run(FIRST)
    browser.drawn()
    taken = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 70})
    PICTURE.write_bytes(base64.b64decode(taken["data"]))
