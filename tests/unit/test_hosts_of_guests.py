# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests as hosts of an inventory: what they are called, what is said of them, and what is not believed."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.plugin_utils.hosts_of_guests import (
    NOWHERE,
    PLAIN,
    clean,
    guests_in,
    named,
    variables,
)

UUID = "6cd682d6-52e6-583b-b7db-3f4252750c{:02d}"


def guest(host, name, number=0, **more):
    told = {"name": name, "uuid": UUID.format(number), "state": "running", "spec": {"name": name}, **more}
    return variables(host, guests_in({"guests": [told]})[0])


NAMES = {
    # what is there: (guests as (Xen host, name), hostnames, names of others) -> names in the inventory
    "one name each": ([("x1", "web"), ("x2", "db")], ["name", "name@host"], [], ["web", "db"]),
    "one name on two hosts is neither's": ([("x1", "web"), ("x2", "web")], ["name", "name@host"], [], ["web@x1", "web@x2"]),
    "the host's always": ([("x1", "web"), ("x2", "db")], ["name@host"], [], ["web@x1", "db@x2"]),
    "by uuid": ([("x1", "web")], ["uuid"], [], [UUID.format(0)]),
    "called like a Xen host": ([("x1", "x1")], ["name"], ["x1"], ["x1@x1"]),
    "called like another host": ([("x1", "db")], ["name", "name@host"], ["db"], ["db@x1"]),
    "called like this machine": ([("x1", "localhost")], ["name"], [], ["localhost@x1"]),
    "called like every group": ([("x1", "all")], ["name"], [], ["all@x1"]),
    "a template": ([("x1", "{{ lookup('pipe', 'id') }}")], ["name", "name@host"], [], [UUID.format(0)]),
    "an option of ssh": ([("x1", "-oProxyCommand=id")], ["name"], [], [UUID.format(0)]),
    "a pattern": ([("x1", "web:&db"), ("x2", "web[1:9]")], ["name"], [], [UUID.format(0), UUID.format(1)]),
    "a user of ssh": ([("x1", "root@x2")], ["name"], [], [UUID.format(0)]),
    "names that differ in what nobody sees": ([("x1", "a\x01"), ("x1", "a\x02")], ["name"], [], [UUID.format(0), UUID.format(1)]),
}  # fmt: skip


@pytest.mark.parametrize("story", NAMES)
def test_what_guests_are_called(story):
    there, prefer, others, expected = NAMES[story]
    found = named([guest(*one, number) for number, one in enumerate(there)], prefer, others, ())
    assert list(found.hosts) == expected


def test_who_has_no_name_of_his_own_is_left_out_and_told_of():
    twins = [guest("x1", "a b"), guest("x1", "a c")]  # no plain names, and a host that lies about their UUIDs
    found = named(twins, ["name"], (), ())
    assert found.hosts == {}
    assert len(found.remarks) == 2 and "left out" in found.remarks[0]


def test_a_guest_whose_name_is_another_machine_s_is_told_of():
    found = named([guest("x1", "db")], ["name"], (), ["db"])
    assert list(found.hosts) == ["db@x1"] and "'db' is something else" in found.remarks[0]
    assert named([guest("x1", "db")], ["name"], (), ()).remarks == []


def test_a_name_that_ssh_would_misread_leads_nowhere():
    """ssh web@x1 is user web on the Xen host."""
    hosts = named([guest("x1", "web"), guest("x2", "web"), guest("x2", "db")], ["name", "name@host"], (), ()).hosts
    assert hosts["web@x1"]["ansible_host"] == hosts["web@x2"]["ansible_host"] == NOWHERE
    assert "ansible_host" not in hosts["db"], "by its name, as any host"


ADDRESSES = {
    # (nics' ip, what the guest reported, whose word is taken) -> ansible_host
    "described": (["10.0.0.1"], ["10.9.9.9"], ["described"], "10.0.0.1"),
    "several": (["10.0.0.2 10.0.0.3"], [], ["described"], "10.0.0.2"),
    "with the length of its net": (["10.0.0.1/24"], [], ["described"], "10.0.0.1"),
    "of version 6": (["2001:DB8::0:1"], [], ["described"], "2001:db8::1"),
    "nobody asked the guest": ([], ["10.9.9.9"], ["described"], None),
    "the guest's word": ([], ["10.9.9.9"], ["described", "reported"], "10.9.9.9"),
    "the guest's word first": (["10.0.0.1"], ["10.9.9.9"], ["reported", "described"], "10.9.9.9"),
    "no address": (["10.0.0.1; id"], ["-oProxyCommand=id", "{{ 1 }}", 7, None], ["described", "reported"], None),
    "this machine": (["127.0.0.1"], ["::1", "0.0.0.0", "169.254.1.1", "224.0.0.1"], ["described", "reported"], None),
}  # fmt: skip


@pytest.mark.parametrize("story", ADDRESSES)
def test_where_a_guest_is(story):
    ips, reported, prefer, expected = ADDRESSES[story]
    told = {"name": "web", "spec": {"nics": [{"ip": ip} for ip in ips] + [{"bridge": "xenbr0"}]}, "addresses": reported}
    assert variables("x1", told, prefer).get("ansible_host") == expected


def test_what_is_said_of_a_guest():
    spec = {"name": "web", "type": "hvm", "memory": "2GiB", "vcpus": 2}
    found = guest("x1", "web", state="degraded", domid=7, spec=spec, stubdom={"domid": 8}, drift=[{"field": "memory"}])
    assert {key: found[f"xen_{key}"] for key in ("host", "state", "domid", "type", "memory", "vcpus", "degraded")} == {
        "host": "x1", "state": "degraded", "domid": 7, "type": "hvm", "memory": 2 << 30, "vcpus": 2, "degraded": True,
    }  # fmt: skip
    assert found["xen_spec"] == spec and found["xen_stubdom"]["domid"] == 8 and found["xen_serves"] is None


@pytest.mark.parametrize("result", [{}, {"guests": None}, {"guests": "web"}, {"guests": [None, "web", 7]}])
def test_a_host_that_answers_something_else_has_no_guests(result):
    assert guests_in(result) == []


@pytest.mark.parametrize("told", [{}, {"spec": None}, {"spec": []}, {"spec": {"nics": 7, "memory": "much"}}, {"name": None}])
def test_a_guest_of_which_little_is_told(told):
    found = variables("x1", told)
    assert found["xen_memory"] is None and found["xen_addresses"] == {"described": [], "reported": []}
    assert named([found], ["name"], (), ()).hosts == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_no_text_has_a_control_character(value):
    def texts(found):
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            for key, inner in found.items():
                yield key
                yield from texts(inner)
        elif isinstance(found, list):
            for inner in found:
                yield from texts(inner)

    seen = "".join(texts(clean(value)))
    assert not [c for c in seen if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]


@given(st.lists(st.tuples(st.sampled_from(["x1", "x2"]), st.text(max_size=4), st.integers(0, 3)), max_size=8))
def test_guests_are_never_merged(there):
    """Each guest has a name of its own, or is told of; and no name can be anything but a name."""
    guests = [guest(*one) for one in there]
    found = named(guests, ["name", "name@host"], ["x1", "x2"], ["web"])
    assert len(found.hosts) + len([remark for remark in found.remarks if "left out" in remark]) == len(guests)
    assert all(PLAIN.match(part) for name in found.hosts for part in name.split("@"))
    assert not {"x1", "x2", "web", "localhost", "all"} & set(found.hosts)
