# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of looks at a host: a story is a list of (second, what is there), and of the events that come of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.plugin_utils.events import TEMPLATE, Memory, deadline, judged, lost, seen, text

SETTLE = 5.0


def guest(domid=7, uuid="u", lost=(), holds=True, up=True, paused=False, links=("dm",)):
    there = [{"link": name, "domain": 8, "path": f"/{name}", "want": "running", "value": "x", "holds": holds} for name in links]
    return {"name": "web", "uuid": uuid, "domid": domid, "up": up, "paused": paused, "lost": list(lost), "links": there}


WHOLE, AGAIN = guest(), guest(domid=9)
AWAY = "away"
COMING = guest(domid=9, paused=True, holds=False)
STORIES = {
    "a guest that is there from the beginning": ([(0, [WHOLE])], ["appeared"]),
    "a guest that comes and goes": ([(0, []), (1, [WHOLE]), (2, [])], ["appeared", "gone"]),
    "the same twice": ([(0, [WHOLE]), (1, [WHOLE])], ["appeared"]),
    "its stubdomain dies": ([(0, [WHOLE]), (1, [guest(lost=[8])]), (6, [guest(lost=[8])])], ["appeared", "degraded"]),
    "nobody looks while it settles": ([(0, [WHOLE]), (1, [guest(lost=[8])]), (6, None)], ["appeared", "degraded"]),
    "told once": ([(0, [guest(lost=[8])]), (6, None), (12, None), (18, [guest(lost=[8])])], ["appeared", "degraded"]),
    "it is destroyed, its stubdomain first": ([(0, [WHOLE]), (1, [guest(lost=[8])]), (3, []), (9, None)], ["appeared", "gone"]),
    "it shuts down": ([(0, [WHOLE]), (1, [guest(lost=[8], up=False)]), (9, None)], ["appeared"]),
    "a link that held holds no more": ([(0, [WHOLE]), (1, [guest(holds=False)]), (6, None)], ["appeared", "degraded"]),
    "and holds again at once": ([(0, [WHOLE]), (1, [guest(holds=False)]), (3, [WHOLE]), (8, None)], ["appeared"]),
    "one that is being made": ([(0, []), (1, [COMING]), (60, None), (61, [AGAIN])], ["appeared"]),
    "it is mended as it runs": (
        [(0, [WHOLE]), (1, [guest(holds=False)]), (6, None), (9, [WHOLE])], ["appeared", "degraded", "recovered"],
    ),
    "it is made anew": (
        [(0, [WHOLE]), (1, [guest(lost=[8])]), (6, None), (7, []), (8, [COMING]), (9, [AGAIN])],
        ["appeared", "degraded", "gone", "appeared", "recovered"],
    ),
    "it is anew before anybody looked": ([(0, [WHOLE]), (1, [AGAIN])], ["appeared", "gone", "appeared"]),
    "its host is away": ([(0, [WHOLE]), (1, AWAY), (2, AWAY), (3, [WHOLE])], ["appeared", "host_lost", "host_back"]),
    "a host that never answered": ([(0, AWAY), (9, [WHOLE])], ["host_lost", "host_back", "appeared"]),
    "what happened while nobody looked": (
        [(0, [WHOLE]), (1, AWAY), (9, [guest(lost=[8])]), (14, None)], ["appeared", "host_lost", "host_back", "degraded"],
    ),
}  # fmt: skip


def told(looks):
    memory, found = Memory("x1"), []
    for second, there in looks:
        if there == AWAY:
            found += lost(memory, "it is away")
        elif there is None:
            found += judged(memory, second, SETTLE)
        else:
            found += seen(memory, there, second, SETTLE)
    return found


@pytest.mark.parametrize("story", STORIES)
def test_stories(story):
    looks, expected = STORIES[story]
    assert [event["type"] for event in told(looks)] == expected


def test_what_is_said_of_a_guest():
    event = told([(0, [WHOLE]), (1, [guest(lost=[8], holds=False)]), (6, None)])[-1]
    assert {key: event[key] for key in ("type", "host", "guest", "uuid", "domid", "initial")} == {
        "type": "degraded", "host": "x1", "guest": "web", "uuid": "u", "domid": 7, "initial": False,
    }  # fmt: skip
    assert event["evidence"]["lost_domains"] == [8]
    assert event["evidence"]["links"] == [{"link": "dm", "domain": 8, "path": "/dm", "want": "running", "value": "x"}]


def test_what_was_so_from_the_beginning_is_marked():
    first, second = told([(0, [WHOLE]), (1, [WHOLE, guest(uuid="v")])])
    assert first["initial"] and not second["initial"]


def test_when_to_look_at_the_clock_again():
    memory = Memory("x1")
    seen(memory, [WHOLE], 0, SETTLE)
    assert deadline(memory, SETTLE) is None
    seen(memory, [guest(lost=[8])], 3, SETTLE)
    assert deadline(memory, SETTLE) == 8
    judged(memory, 8, SETTLE)
    assert deadline(memory, SETTLE) is None


@given(st.text())
def test_no_text_is_a_template_or_moves_a_cursor(foreign):
    shown = text(foreign)
    assert not TEMPLATE.search(shown) and "\x1b" not in shown and "\n" not in shown


@pytest.mark.parametrize("foreign", ["{{ lookup('pipe', 'id') }}", "{%raw%}", "{#", "{{{{", "{\x00{", "{\u200b{ 1 }}"])
def test_templates_are_none_any_more(foreign):
    assert "{{" not in text(foreign) and "{%" not in text(foreign) and "{#" not in text(foreign)
