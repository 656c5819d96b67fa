# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of an audit as a file: one, whole, small, and with nothing in it that a guest could have put there.

What a browser makes of it is in tests/browser.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from ansible.errors import AnsibleFilterError
from fleets import MADE, NASTY, SECRETS, fleet, one_of_each
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.filter.audit_page import audit_page
from ansible_collections.stubdom.xen.plugins.filter.audit_report import audit_report
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_page import PARTS, SCRIPTS
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_verdict import WORDS

EMPTY = {"schema": 1, "made": MADE, "summary": {}, "hosts": []}
KIB = 1024


class Elements(HTMLParser):
    """elements: (name, attributes, text) of every element, as an HTML parser sees them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.inside = [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.elements[-1][2] += data

    def texts(self, name):
        return [text for tag, _attributes, text in self.elements if tag == name]


@pytest.fixture(scope="module")
def report():
    return audit_report({"xen1": one_of_each()}, MADE)


@pytest.fixture(scope="module")
def page(report):
    return audit_page(report)


def embedded(page):
    return json.loads(Elements(page).texts("script")[0])


def test_the_report_in_it_is_the_report(report, page):
    assert NASTY in json.dumps(report, ensure_ascii=False).replace('\\"', '"')
    assert embedded(page) == report


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_no_text_leaves_its_place(value):
    found = Elements(audit_page({**EMPTY, "hosts": value}))
    assert json.loads(found.texts("script")[0])["hosts"] == value
    assert [tag for tag, _a, _t in found.elements] == [tag for tag, _a, _t in Elements(audit_page(EMPTY)).elements]


def test_nothing_is_fetched_and_no_other_script_runs(page):
    found = Elements(page)
    named = [value for _tag, attributes, _text in found.elements for key, value in attributes.items() if key in ("src", "href")]
    assert all(value.startswith(("#", "data:")) for value in named)
    [policy] = [a["content"] for tag, a, _text in found.elements if tag == "meta" and a.get("http-equiv")]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    for kind, text in (("script-src", found.texts("script")[1]), ("style-src", found.texts("style")[0])):
        assert allowed[kind] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_elements_from_text(name):
    """Or runs one, or names a place that it would have to be fetched from."""
    script = (PARTS / f"{name}.js").read_text(encoding="utf-8")
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function", script)
    assert not [place for place in re.findall(r"https?://[^\"]+", script) if place != "http://www.w3.org/2000/svg"]


def test_it_knows_every_verdict():
    table = (PARTS / "guest.js").read_text(encoding="utf-8").split("const VERDICTS = {", 1)[1].split("};", 1)[0]
    assert set(re.findall(r"^  (\w+):", table, re.M)) == set(WORDS)


def test_nothing_of_the_frame_is_left_open(page):
    assert "@@" not in page.replace(json.dumps(NASTY), "")
    assert not any(secret in page for secret in SECRETS)


def test_it_is_small():
    assert len(audit_page(EMPTY)) < 64 * KIB
    number = 1000
    assert len(audit_page(fleet(number, 20))) < number * 3 * KIB


def test_what_is_no_report_is_refused():
    with pytest.raises(AnsibleFilterError, match="audit_page: wanted a report"):
        audit_page({"schema": 2})
