# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture of a readiness chain: what stands where, and that nothing a guest wrote can act on a terminal."""

from __future__ import annotations

import copy
import unicodedata

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.filter.readiness_timeline import BAR, FilterModule, drawn, readiness_timeline

RESULT = {
    "changed": True,
    "guest": {
        "spec": {"name": "secure1"},
        "domid": 5,
        "state": "running",
        "stubdom": {"domid": 6, "name": "secure1-dm", "alive": True},
    },
    "readiness": [
        {"link": link, "domain": domain, "path": path, "want": want, "value": value, "after_s": after}
        for link, domain, path, want, value, after in (
            ("qmp-proxy", 0, "/local/domain/0/device-model/6/qmp-proxy-state", "running", "running", 1.754),
            ("console-backend", 0, "/local/domain/0/device-model/6/state", "running", "running", 3.5),
            ("device-model", 6, "/local/domain/6/device-model/5/state", "running", "running", 13.96),
            ("qmp", 6, "/local/domain/6/device-model/5/qmp-vchan/event-channel", "*", "12", 14.0),
        )
    ],
}
PICTURE = """\
secure1 (domid 5), device model in stubdomain 6
  qmp-proxy        domain 0  █          1.8 s  /local/domain/0/device-model/6/qmp-proxy-state = running
  console-backend  domain 0  ██         3.5 s  /local/domain/0/device-model/6/state = running
  device-model     domain 6  ████████  14.0 s  /local/domain/6/device-model/5/state = running
  qmp              domain 6  ████████  14.0 s  /local/domain/6/device-model/5/qmp-vchan/event-channel = 12
  unpaused: the guest runs"""
UP_BEFORE = """\
secure1 (domid 5), device model in stubdomain 6
  qmp-proxy        domain 0  /local/domain/0/device-model/6/qmp-proxy-state = running
  console-backend  domain 0  /local/domain/0/device-model/6/state = running
  device-model     domain 6  /local/domain/6/device-model/5/state = running
  qmp              domain 6  /local/domain/6/device-model/5/qmp-vchan/event-channel = 12
  unpaused: the guest runs"""


def with_links(**changes):
    """RESULT with these values in every link."""
    result = copy.deepcopy(RESULT)
    for link in result["readiness"]:
        link.update(changes)
    return result


def picture(result, **options):
    return "\n".join(readiness_timeline(result, **options))


def test_a_guest_that_came_up():
    assert picture(RESULT) == PICTURE
    assert max(map(len, PICTURE.splitlines())) < 110


def test_a_guest_that_was_up_before_has_no_seconds():
    assert picture(with_links(after_s=None)) == UP_BEFORE


def test_an_item_of_guest_info_is_as_good():
    item = {"name": "secure1", **RESULT["guest"], "readiness": with_links(after_s=None)["readiness"]}
    assert picture(item) == UP_BEFORE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": None, "want": "running"}, "= (nothing), wanted running"),
        ({"value": None, "want": "*"}, "= (nothing), wanted any value"),
        ({"value": "exited", "want": "running"}, "= exited, wanted running"),
        ({"value": "1", "want": "2 or 3 or 4"}, "= 1, wanted 2 or 3 or 4"),
        ({"value": "running", "want": "running", "holds": False}, "= running, not believed"),
    ],
)
def test_a_link_that_does_not_hold_says_what_was_wanted(changes, said):
    lines = readiness_timeline(with_links(after_s=None, **changes), width=150)[1:-1]
    assert len(lines) == 4 and all(line.endswith(said) for line in lines)


@pytest.mark.parametrize("changes", [{"value": "3", "want": "2 or 3 or 4"}, {"value": "x", "want": "*"}, {"holds": True}])
def test_a_link_that_holds_says_what_is_there(changes):
    assert not any("wanted" in line or "believed" in line for line in readiness_timeline(with_links(after_s=None, **changes)))


@pytest.mark.parametrize(
    ("state", "links", "last"),
    [
        ("running", True, "  unpaused: the guest runs"),
        ("running", False, "  unpaused: the guest runs (its chain has no links)"),
        ("paused", True, "  held: the guest is ready and paused"),
        ("degraded", True, "  the guest is degraded"),
    ],
)
def test_the_last_line_says_what_the_gate_did(state, links, last):
    result = {"guest": {**RESULT["guest"], "state": state}, "readiness": RESULT["readiness"] if links else []}
    assert readiness_timeline(result)[-1] == last


def test_a_guest_without_stubdomain_or_domain():
    guest = {"spec": {"name": "direct1"}, "domid": None, "state": "halted", "stubdom": None}
    assert picture({"guest": guest, "readiness": []}).splitlines()[0] == "direct1 (no domain)"


@pytest.mark.parametrize(
    "wrong",
    [None, [], "text", {}, {"guest": {}}, {"readiness": None}, {"readiness": 3}, {"readiness": "text"}, {"readiness": ["text"]}],
)
def test_what_is_no_result_is_refused(wrong):
    with pytest.raises(AnsibleFilterError, match=r"stubdom\.xen\.guest"):
        readiness_timeline(wrong)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_bar_is_seen_fits_and_grows(one, other):
    short, long = sorted((one, other))
    assert 1 <= len(drawn(short, long)) <= len(drawn(long, long)) <= BAR
    assert drawn(short, long).strip() == drawn(short, long)


FOREIGN = st.text(st.characters(), max_size=60)


@given(FOREIGN, FOREIGN, FOREIGN, FOREIGN, st.integers(1, 120))
def test_what_others_wrote_stays_on_its_line_and_shows(name, link, path, value, width):
    result = with_links(link=link, path=path, value=value)
    result["guest"] = {**result["guest"], "spec": {"name": name}, "state": value}
    lines = readiness_timeline(result, width)
    assert len(lines) == 6
    for line in lines:
        assert len(line) <= width
        assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_the_filter_has_the_documented_name():
    assert FilterModule().filters() == {"readiness_timeline": readiness_timeline}
