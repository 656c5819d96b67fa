# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a test looks at a page: a window of a given size in light or dark, and what questions.js asks of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selenium import webdriver

QUESTIONS = (Path(__file__).parent / "questions.js").read_text(encoding="utf-8")


class Browser:
    """A window on a page that is a file."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def look_like(self, scheme: str = "light", width: int = 1280, height: int = 1000) -> None:
        """scheme: light or dark, as the system has it. width, height: of the window, in CSS pixels."""
        dark = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [dark]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, page: Path, fragment: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(page.as_uri() + fragment)
        self.drawn()

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def ask(self, question: str, *arguments: Any) -> Any:
        """The answer to one of questions.js, once what it did is drawn."""
        asked = f"const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);\n{QUESTIONS}"
        answer = self.driver.execute_async_script(f"{asked}\nPromise.resolve({question}(...given)).then(done);", *arguments)
        self.drawn()
        return answer

    def drawn(self) -> None:
        """Until the browser has drawn two more pictures: what an IntersectionObserver was to see, it has seen."""
        twice = "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))"
        self.driver.execute_async_script(f"const done = arguments[0]; {twice}")

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since it was asked last: errors, and what the page's policy forbade."""
        return [entry["message"] for entry in self.driver.get_log("browser")]
