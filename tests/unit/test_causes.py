# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""causes.py against what was said: recorded/causes/NAME.txt, or NAME-CASE.txt, is the text of a start that failed so.

A file's first line says where its text was seen, or which source it is put together from.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.module_utils import chains
from ansible_collections.stubdom.xen.plugins.module_utils.causes import CAUSES, TEXT_MAX, recognise
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.explain import named as with_cause

ROOT = Path(__file__).resolve().parents[2]
RECORDED = {path.stem: path for path in sorted((Path(__file__).parent / "recorded" / "causes").glob("*.txt"))}
GOOD = [name for name in RECORDED if name.startswith("good")]
BAD = [name for name in RECORDED if name not in GOOD]
NAMES = [cause.name for cause in CAUSES]
BY_LINK = {cause.link: cause for cause in CAUSES if cause.link}


def said(recorded):
    """What xl and the logs said, as one text; where it was seen is no part of it."""
    return RECORDED[recorded].read_text(encoding="utf-8").partition("\n")[2]


def named(recorded):
    """The cause that a recorded text is of."""
    name = recorded.partition("-")[0]
    return next(cause for cause in CAUSES if cause.name == name)


@pytest.mark.parametrize("recorded", BAD)
def test_what_was_said_is_recognised(recorded):
    cause = named(recorded)
    assert recognise([said(recorded)], cause.link if cause.pattern is None else None) == cause


@pytest.mark.parametrize("recorded", BAD)
def test_in_whatever_order_the_texts_come(recorded):
    cause, others = named(recorded), [said(name) for name in GOOD]
    link = cause.link if cause.pattern is None else None
    assert recognise([*others, said(recorded)], link) == recognise([said(recorded), *others], link) == cause


@pytest.mark.parametrize("recorded", GOOD)
def test_a_good_start_has_no_cause(recorded):
    assert recognise([said(recorded)]) is None


def test_every_cause_has_a_text():
    assert {recorded.partition("-")[0] for recorded in BAD} == set(NAMES)
    assert GOOD


@pytest.mark.parametrize("recorded", RECORDED)
def test_every_text_says_where_it_is_from(recorded):
    first = RECORDED[recorded].read_text(encoding="utf-8").partition("\n")[0]
    assert re.match(r"(seen|from source): .*[0-9]", first), "a version, of Xen or of what said it"


@pytest.mark.parametrize("link", BY_LINK)
def test_a_link_that_did_not_hold_is_known_without_a_text(link):
    assert recognise([], link) == BY_LINK[link]
    assert recognise([said(name) for name in GOOD], link) == BY_LINK[link]


def test_the_links_are_those_of_the_chains():
    links = {row.name for table in (chains.CHAINS, chains.DEVICES) for rows in table.values() for row in rows}
    assert set(BY_LINK) <= links


def test_what_was_said_comes_before_the_link_that_follows_from_it():
    assert recognise([said("ioreq_not_mapped")], "qmp").name == "ioreq_not_mapped"


def test_what_to_do_about_the_cause_comes_before_what_to_do_anyway():
    told = with_cause(XenError("create_failed", "It did not start.", {"said": said("qemu_option_unknown")}, "look at the logs"))
    cause = recognise([said("qemu_option_unknown")])
    assert told.msg == f"{cause.what} It did not start."
    assert told.hint == f"{cause.hint}; look at the logs"


def test_the_end_of_a_text_is_looked_at():
    text = said("qemu_option_unknown")
    assert recognise(["x" * TEXT_MAX + text]).name == "qemu_option_unknown"
    assert recognise([text + "x" * TEXT_MAX]) is None


def test_rows():
    assert len(set(NAMES)) == len(NAMES)
    for cause in CAUSES:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", cause.name)
        assert cause.what.endswith(".") and not cause.hint.endswith(".")
        assert cause.pattern or cause.link


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause.pattern], ids=lambda cause: cause.name)
def test_no_pattern_repeats_without_a_bound(cause):
    """A hostile text costs at most its length times the bound: nothing repeats endlessly, and no repeat holds another."""
    plain = re.sub(r"\\.|\[(?:\\.|[^\]])+\]", "x", cause.pattern.pattern)
    assert not re.search(r"[*+]|\{\d*,\}", plain)
    assert "){" not in plain
    assert all(int(bound) <= 300 for bound in re.findall(r",(\d+)\}", plain))


PIECES = st.sampled_from([said(name)[:400] for name in BAD] + ["'", " ", "\n", "/", "x", ": -", "-chardev ", "script: "])
TEXTS = st.one_of(st.text(), PIECES, PIECES.map(lambda piece: piece * 50))


@given(st.lists(TEXTS, max_size=8), st.sampled_from([None, "qmp", "?"]))
@settings(max_examples=200, deadline=None)
def test_any_text_is_taken(texts, link):
    cause = recognise(texts, link)
    assert cause is None or cause in CAUSES


def test_every_cause_is_on_the_page():
    rows = ["cause | means | what to do", "--- | --- | ---"]
    rows += [f"`{cause.name}` | {cause.what} | {cause.hint}" for cause in CAUSES]
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert "\n\n" + "\n".join(rows) + "\n" in page, "docs/errors.md has to say:\n" + "\n".join(rows)
