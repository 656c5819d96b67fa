# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who goes where: never more on a host than it has room for, whatever the guests, and no two together that are to be apart."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.filter.evacuation_plan import evacuation_plan

NAMES = st.lists(st.sampled_from([f"g{i}" for i in range(12)]), unique=True)
GUESTS = NAMES.flatmap(
    lambda names: st.tuples(
        *(
            st.fixed_dictionaries(
                {"name": st.just(name), "memory": st.integers(0, 40), "power": st.sampled_from(["running", "halted"])}
            )
            for name in names
        )
    )
)
HOSTS = st.lists(st.sampled_from(["xen2", "xen3", "xen4"]), unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.fixed_dictionaries({"name": st.just(name), "free": st.integers(0, 100), "guests": st.lists(st.just(f"on-{name}"))})
            for name in names
        )
    )
)
APART = st.lists(st.lists(st.sampled_from([f"g{i}" for i in range(12)] + ["on-xen2"]), min_size=2, max_size=4))


def takes(guest):
    return guest["memory"] if guest["power"] == "running" else 0


@given(GUESTS, HOSTS, APART)
def test_never_over_capacity_and_apart_what_is_to_be_apart(guests, hosts, apart):
    try:
        plan = evacuation_plan(guests, hosts, apart)
    except AnsibleFilterError:
        return
    to = {move["name"]: move["to"] for move in plan}
    assert sorted(to) == sorted(guest["name"] for guest in guests), "each once"
    for host in hosts:
        here = [guest for guest in guests if to[guest["name"]] == host["name"]]
        assert sum(map(takes, here)) <= host["free"]
        together = {guest["name"] for guest in here} | set(host["guests"])
        assert all(len(together & set(names)) <= 1 or together.isdisjoint(to) for names in apart)
    sizes = [move["memory"] for move in plan]
    assert sizes == sorted(sizes, reverse=True)


@given(GUESTS, HOSTS)
def test_refused_only_where_some_guest_finds_no_host(guests, hosts):
    """What fits on each host alone is never refused: a host that could take all of them."""
    whole = [*hosts, {"name": "big", "free": sum(map(takes, guests))}]
    assert len(evacuation_plan(guests, whole)) == len(guests)


def test_the_biggest_first_and_each_where_most_is_free():
    guests = [{"name": "small", "memory": 10}, {"name": "big", "memory": 60}, {"name": "middle", "memory": 30}]
    hosts = [{"name": "xen2", "free": 70}, {"name": "xen3", "free": 50}]
    assert [(move["name"], move["to"]) for move in evacuation_plan(guests, hosts)] == [
        ("big", "xen2"), ("middle", "xen3"), ("small", "xen3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hosts", "apart", "says"),
    [
        ([{"name": "xen2", "free": 50 << 20}], [], "b (40MiB)"),
        ([{"name": "xen2", "free": 90 << 20, "guests": []}], [["a", "b"]], "b (40MiB)"),
        ([], [], "left then: none"),
    ],
)
def test_who_finds_no_host_is_named(hosts, apart, says):
    guests = [{"name": "a", "memory": 45 << 20}, {"name": "b", "memory": 40 << 20}]
    with pytest.raises(AnsibleFilterError) as error:
        evacuation_plan(guests, hosts, apart)
    assert says in str(error.value)


def test_what_has_begun_goes_on_where_it_was_to():
    plan = evacuation_plan([{"name": "a", "memory": 1}], [{"name": "xen2", "free": 1}], begun=[{"name": "b", "other": "xen9"}])
    assert [(move["name"], move["to"]) for move in plan] == [("b", "xen9"), ("a", "xen2")]
