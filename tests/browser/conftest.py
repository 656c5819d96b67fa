# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an audit in a real browser: Debian's Chromium without a window, driven by Selenium and Debian's chromedriver."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from chromium import Browser
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "unit"), str(ROOT / ".cache" / "collections")]

NEEDED = {"chromium": "chromium", "chromedriver": "chromium-driver"}
MINUTES = 60


def _have(program: str) -> str:
    """The program's path. Installed by apt where it is missing and may be."""
    if not shutil.which(program) and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *NEEDED.values()]
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(install, check=False, capture_output=True)
    found = shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed, and could not be: apt-get install {' '.join(NEEDED.values())}")
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = _have("chromium")
    # no sandbox: the tests run as root, in containers too; the pages are our own
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_have("chromedriver")))
    driver.set_page_load_timeout(5 * MINUTES)
    driver.set_script_timeout(5 * MINUTES)
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """After every test: the page wrote nothing to the browser's console."""
    chromium.look_like()
    chromium.complaints()
    yield chromium
    assert chromium.complaints() == []


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, dict[str, Any]], Path]:
    """Writes a report's page to a file."""
    from ansible_collections.stubdom.xen.plugins.filter.audit_page import audit_page

    directory = tmp_path_factory.mktemp("pages")

    def write(name: str, report: dict[str, Any]) -> Path:
        path = directory / f"{name}.html"
        path.write_text(audit_page(report), encoding="utf-8")
        return path

    return write
