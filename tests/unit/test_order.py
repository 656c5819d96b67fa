# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who of a set goes before whom: what others lean on comes first when guests come up, and last when they go."""

from __future__ import annotations

import graphlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.order import Part, before, leans_on
from ansible_collections.stubdom.xen.plugins.module_utils.spec import from_options


def part(state, *others):
    return Part(state, frozenset(others))


# What is described -> for each guest, those that go before it.
ORDERS = {
    "nobody leans on anybody": ({"web": part("running"), "db": part("running")}, {"web": [], "db": []}),
    "what it leans on comes first": ({"web": part("running", "db"), "db": part("running")}, {"web": ["db"], "db": []}),
    "a manager, a vTPM domain, a guest": (
        {"web": part("running", "vtpm"), "vtpm": part("running", "vtpmmgr"), "vtpmmgr": part("running")},
        {"web": ["vtpm"], "vtpm": ["vtpmmgr"], "vtpmmgr": []},
    ),
    "both go: who leans goes first": ({"web": part("absent", "db"), "db": part("halted")}, {"web": [], "db": ["web"]}),
    "who leans goes, the other is made anew": ({"web": part("halted", "db"), "db": part("running")}, {"web": [], "db": ["web"]}),
    "a paused guest waits as well": ({"web": part("paused", "db"), "db": part("running")}, {"web": ["db"], "db": []}),
    "nothing is said of power": ({"web": part("present", "db"), "db": part("present")}, {"web": ["db"], "db": []}),
    "domains that are not of the set": ({"web": part("running", "driver")}, {"web": []}),
}


@pytest.mark.parametrize("story", ORDERS)
def test_who_goes_before_whom(story):
    parts, expected = ORDERS[story]
    assert {name: sorted(others) for name, others in before(parts).items()} == expected


REFUSED = {
    "a ring": ({"a": part("running", "b"), "b": part("running", "c"), "c": part("running", "a")}, "a -> "),
    "itself": ({"a": part("running", "a")}, "a -> a"),
    "up, and what it leans on is to be halted": ({"web": part("running", "db"), "db": part("halted")}, "guests[db].state"),
    "up, and what it leans on is to be paused": ({"web": part("paused", "db"), "db": part("paused")}, "web leans on it"),
}


@pytest.mark.parametrize("story", REFUSED)
def test_what_has_no_order_is_refused(story):
    parts, says = REFUSED[story]
    with pytest.raises(XenError) as refused:
        before(parts)
    assert refused.value.code == "invalid_input"
    assert says in f"{refused.value.msg} {refused.value.hint}"


def test_back_ends_are_leant_on():
    guest = from_options(
        {
            "name": "web",
            "disks": [{"vdev": "xvda", "backend": "storage"}, {"vdev": "xvdb", "backend": "0"}],
            "nics": [{"backend": "network"}, {"bridge": "xenbr0"}],
            "vtpm": [{"backend": "vtpm1"}],
        }
    )
    assert leans_on(guest, ["db"]) == {"storage", "network", "vtpm1", "db"}


NAMES = st.sampled_from("abcdefg")


@given(
    st.dictionaries(NAMES, st.builds(Part, st.sampled_from(["running", "absent", "halted"]), st.frozensets(NAMES, max_size=3)))
)
def test_every_order_is_one_in_which_nobody_runs_without_what_it_leans_on(parts):
    """Told step by step: at any moment, whoever is up has all of the set on which it leans up as well."""
    try:
        order = graphlib.TopologicalSorter(before(parts)).static_order()
    except XenError:
        return
    up = {name for name, one in parts.items() if one.state != "running"}
    for name in order:
        up = up | {name} if parts[name].state == "running" else up - {name}
        for there in up & {n for n, one in parts.items() if one.state == "running"}:
            assert parts[there].leans_on & parts.keys() <= up
