# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests/check/docsite.py finds out about a built site, and where it has the links of a page lead."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def docsite():
    sys.path.insert(0, str(ROOT / "tests/check"))
    yield importlib.import_module("docsite")
    sys.path.remove(str(ROOT / "tests/check"))


WITHIN = {
    "a page": ('<a href="b.html">', []),
    "an anchor": ('<a href="b.html#here">', []),
    "the page itself": ('<p id="top"><a href="#top">', []),
    "another site": ('<a href="https://example.org/x">', []),
    "no page": ('<a href="c.html">', ["a.html leads nowhere: c.html"]),
    "no anchor": ('<a href="b.html#there">', ["a.html leads nowhere: b.html#there"]),
    "no picture": ('<img src="x.svg">', ["a.html leads nowhere: x.svg"]),
    "a script of another site": ('<script src="https://example.org/x.js">', ["a.html loads https://example.org/x.js"]),
    "a style of another site": ('<link href="//example.org/x.css">', ["a.html loads //example.org/x.css"]),
}


@pytest.mark.parametrize("case", WITHIN)
def test_dead_links(docsite, monkeypatch, tmp_path, case):
    text, lost = WITHIN[case]
    (tmp_path / "a.html").write_text(text, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="here">', encoding="utf-8")
    monkeypatch.setattr(docsite, "HTML", tmp_path)
    assert docsite.dead_links()[0] == lost


LINKS = {
    ("docs/audit.md", "guests.md#states"): "guests.md#states",
    ("docs/audit.md", "#verdicts"): "#verdicts",
    ("docs/audit.md", "../README.md"): "about.md",
    ("README.md", "docs/README.md"): "index.md",
    ("docs/audit.md", "audit.webp"): "audit.webp",
    ("docs/audit.md", "https://example.org/"): "https://example.org/",
    ("README.md", "LICENSE"): "https://github.com/stubdom/xen/blob/main/LICENSE",
    ("README.md", "examples/yours"): "https://github.com/stubdom/xen/tree/main/examples/yours",
}


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_where_links_lead(docsite, page, target):
    assert docsite.leads_to(page, target, docsite.pages()) == LINKS[page, target]


def test_a_page_that_is_not_written_is_missed(docsite, monkeypatch, tmp_path):
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "guest_module.html").touch()
    monkeypatch.setattr(docsite, "HTML", tmp_path)
    assert "module guest" not in docsite.without_page() and "module guests" in docsite.without_page()


def test_both_venvs_make_the_reference_with_one_antsibull_docs():
    pinned = [
        {
            line
            for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
            if line.startswith("antsibull-docs")
        }
        for name in ("dev.txt", "docs.txt")
    ]
    assert pinned[0] == pinned[1] != set()
