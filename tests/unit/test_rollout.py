# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which waves a fleet is changed, and what is remembered of it: cases/rollout_waves.yml, laws, and the story of one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.stubdom.xen.plugins.filter import (
    rollout_back,
    rollout_items,
    rollout_seen,
    rollout_state,
    rollout_table,
    rollout_unfit,
    rollout_waves,
)
from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUESTS
from ansible_collections.stubdom.xen.plugins.module_utils.steps import STEPS

CASES = {row["case"]: row for row in yaml.safe_load((Path(__file__).parent / "cases/rollout_waves.yml").read_text("utf-8"))}
# What is done to a guest -> its state before, and the steps of its plan.
DOES = {
    "down": ("running", ["store", "shutdown", "create", "await", "unpause"]),
    "up": ("halted", ["create", "await", "unpause"]),
    "plug": ("running", ["store", "attach"]),
    "idle": ("running", []),
    "lost": ("degraded", []),
}
ON_NET = {"nics": [{"bridge": "xenbr0", "backend": "net"}]}
NOW = "2026-01-01T00:00:00Z"
waves_of = rollout_waves.rollout_waves


def told(name, does):
    """A guest as module guests tells of it in check mode."""
    state, steps = DOES[does]
    return {"name": name, "plan": [{"step": step} for step in steps], "plan_digest": f"digest-{name}", "guest": {"state": state}}


def fleet(hosts, services=None, more=None):
    """more: options of guests, by name."""
    return {
        host: rollout_seen.rollout_seen(
            [told(name, does) for name, does in guests.items()],
            [{"name": n, **(more or {}).get(n, {})} for n in guests],
            services,
        )
        for host, guests in hosts.items()
    }


def hosts_of(waves):
    return [list(wave["hosts"]) for wave in waves]


@pytest.mark.parametrize("name", CASES)
def test_waves(name):
    case = CASES[name]
    given_ = {key: case[key] for key in ("canary", "again", "at_most") if key in case}
    waves = waves_of(fleet(case["hosts"], case.get("services"), case.get("described")), **given_)
    assert hosts_of(waves) == case["waves"]
    assert [wave["canary"] for wave in waves] == [i < case.get("canaries", 1) for i in range(len(waves))]
    turns = {host: [turn["guests"] for turn in work["turns"]] for wave in waves for host, work in wave["hosts"].items()}
    assert {host: turns[host] for host in case.get("turns", {})} == case.get("turns", {})


def test_the_steps_that_bring_a_guest_down_are_those_of_the_engine():
    """Those that begin where it runs and end where it does not; a memory file that is dropped belongs to one that is down."""
    ends = {step.name for step in STEPS.values() if "running" in step.before and "running" not in step.after}
    assert ends == set(rollout_waves.FALLS)


# --- laws

SERVICES = ("web", "db", "mail")
names = st.sampled_from([f"{service}{i}" for service in (*SERVICES, "other") for i in range(4)])
hosts = st.dictionaries(
    st.sampled_from([f"xen{i}" for i in range(9)]), st.dictionaries(names, st.sampled_from(sorted(DOES)), max_size=5), max_size=9
)
BY_NAME = {service: [f"{service}*"] for service in SERVICES}


def service(name):
    return name.rstrip("0123456789")


def of(hosts_, chosen, *does):
    """(host, service) of the guests to which this is done, on the chosen hosts."""
    kinds = [(host, service(name), done) for host in chosen for name, done in hosts_[host].items()]
    return [(host, kind) for host, kind, done in kinds if done in does and kind in SERVICES]


@given(hosts, st.integers(0, 3), st.data())
def test_laws(hosts_, at_most, data):
    some = st.lists(st.sampled_from(sorted(hosts_)), unique=True) if hosts_ else st.just([])
    canary, again = data.draw(some), data.draw(some)
    waves = waves_of(fleet(hosts_, BY_NAME), canary, again, at_most, strict=False)
    placed = [host for wave in waves for host in wave["hosts"]]
    busy = {host for host, guests in hosts_.items() if {"down", "up", "plug"} & set(guests.values())} | set(again)
    assert sorted(placed) == sorted(busy), "every host with something to do, once"
    for wave in waves:
        chosen = list(wave["hosts"])
        assert not at_most or len(chosen) <= at_most
        for host, kind in of(hosts_, chosen, "down"):
            others = [there for there in of(hosts_, chosen, "down", "up", "lost") if there[0] != host]
            assert kind not in [their for _other, their in others], "no wave holds two in conflict"
    first = [wave["canary"] for wave in waves]
    assert first == sorted(first, reverse=True) and (not waves or first[0]), "the canary is first"
    assert waves == waves_of(fleet(hosts_, BY_NAME), canary, again, at_most, strict=False), "the same each time"


@given(hosts)
def test_turns_of_a_host(hosts_):
    for wave in waves_of(fleet(hosts_, BY_NAME), strict=False):
        for host, work in wave["hosts"].items():
            turns = [turn["guests"] for turn in work["turns"]]
            busy = [name for name, does in hosts_[host].items() if does in ("down", "up", "plug")]
            assert sorted(name for turn in turns for name in turn) == sorted(busy), "every guest with something to do, once"
            for turn in work["turns"]:
                falls = [service(name) for name in turn["falls"] if service(name) in SERVICES]
                assert len(falls) == len(set(falls)), "no two of a service"
                ups = [service(name) for name in turn["guests"] if hosts_[host][name] == "up"]
                assert not set(falls) & set(ups), "none goes down beside one that is coming up"


@given(hosts)
def test_whoever_has_to_run_meanwhile_is_named(hosts_):
    """A turn's peers are all other guests of its services, on whatever host, but those that go down in it."""
    for wave in waves_of(fleet(hosts_, BY_NAME), strict=False):
        for host, work in wave["hosts"].items():
            for turn in work["turns"]:
                kinds = {service(name) for name in turn["falls"]} & set(SERVICES)
                wanted = {(h, n) for h, guests in hosts_.items() for n in guests if service(n) in kinds}
                wanted -= {(host, name) for name in turn["falls"]}
                assert {(h, n) for h, ns in turn["peers"].items() for n in ns} == wanted


@given(hosts)
def test_few_waves(hosts_):
    """First fit needs at most one more than the most conflicts of a host, and one for the canary."""
    bringing = {host: {kind for _host, kind in of(hosts_, [host], "down")} for host in hosts_}
    most = max((sum(bool(mine & bringing[o]) for o in hosts_ if o != host) for host, mine in bringing.items()), default=0)
    if not any("up" in guests.values() or "lost" in guests.values() for guests in hosts_.values()):
        assert len(waves_of(fleet(hosts_, BY_NAME), strict=False)) <= most + 2


# --- what is refused


@pytest.mark.parametrize(
    ("hosts_", "more", "said"),
    [
        ([], {}, "wanted host to"),
        ({"xen1": {"guests": []}}, {}, "wanted host to"),
        (fleet({"xen1": {"web1": "down"}}), {"canary": ["xen7"]}, "xen7: not among the hosts xen1"),
        (fleet({"xen1": {"web1": "down"}}), {"at_most": -1}, "at_most: wanted a number of hosts"),
        (fleet({"xen1": {"web1": "down"}}, {"web": ["web1", "wbe2"]}), {}, r"guests that no host has \(web: wbe2\)"),
        (
            fleet(
                {"xen1": {"net": "down", "web1": "idle", "web2": "idle"}},
                {"web": ["web*"]},
                dict.fromkeys(("web1", "web2"), ON_NET),
            ),
            {},
            "web1 and web2 on xen1 are of service web, and are made anew together",
        ),
    ],
)
def test_what_is_refused(hosts_, more, said):
    with pytest.raises(AnsibleFilterError, match=f"rollout_waves: .*{said}"):
        waves_of(hosts_, **more)


@pytest.mark.parametrize(
    ("guests", "more", "said"),
    [
        ({}, {}, "wanted the guests"),
        ([{"name": "web1"}], {}, "wanted the guests"),
        ([], {"services": ["web1"]}, "services: wanted lists"),
        ([], {"services": {"web": "web1"}}, "services: wanted lists"),
    ],
)
def test_what_was_not_seen_is_refused(guests, more, said):
    with pytest.raises(AnsibleFilterError, match=f"rollout_seen: {said}"):
        rollout_seen.rollout_seen(guests, [], **more)


def test_nothing_secret_is_seen():
    described = [{"name": "web1", "vnc": {"password": "hunter2"}, "state": "halted", "depends_on": ["db"], **ON_NET}]
    seen = rollout_seen.rollout_seen([{**told("web1", "down"), "diff": {"before": "hunter2"}}], described)
    assert "hunter2" not in json.dumps(seen)
    wanted = {"state": "running", "wanted": "halted", "after": ["db"], "backends": ["net"], "digest": "digest-web1"}
    assert {key: seen["guests"][0][key] for key in wanted} == wanted


# --- what is remembered

TWO = {"xen1": {"web1": "down"}, "xen2": {"web2": "down"}}
WAS = {"state": {"web1": "running"}, "file": {"web1": True}, "autostart": {}}


def planned(known, hosts_, **more):
    waves = waves_of(fleet(hosts_, {"web": ["web*"]}), **more)
    return rollout_state.rollout_state(known, waves, hosts=list(hosts_), now=NOW)


def noted(known, **notes):
    """The file as the role writes it: through JSON, and with what became of each host."""
    hosts_ = {host: {**record, **notes.get(host, {})} for host, record in known["hosts"].items()}
    return json.loads(json.dumps({**known, "hosts": hosts_}))


def brief(known):
    return {host: (record["wave"], record["state"]) for host, record in known["hosts"].items()}


def test_a_rollout_that_stops_and_goes_on():
    known = planned({}, TWO)
    assert brief(known) == {"xen1": (1, "waiting"), "xen2": (2, "waiting")}
    failed = noted(known, xen1={"state": "failed", "why": "web1 did not come up", "was": WAS})

    mended = planned(failed, {**TWO, "xen1": {"web1": "idle"}}, again=["xen1"])
    assert brief(mended) == {"xen1": (1, "waiting"), "xen2": (2, "waiting")}
    assert (mended["begun"], mended["hosts"]["xen1"]["was"]) == (NOW, WAS), "what it was before the run that failed"

    later = noted(mended, xen1={"state": "done"}, xen2={"state": "failed"})
    last = planned(later, {"xen1": {"web1": "idle"}, "xen2": {"web2": "down"}}, again=["xen2"])
    assert brief(last) == {"xen1": (1, "done"), "xen2": (2, "waiting")}

    done = noted(last, xen2={"state": "done"})
    idle = {"xen1": {"web1": "idle"}, "xen2": {"web2": "idle"}}
    assert planned(done, idle) == done, "nothing to do: nothing to write"
    assert brief(planned(done, {**idle, "xen2": {"web2": "down"}})) == {"xen2": (1, "waiting")}, "a new one"


def test_hosts_that_were_not_looked_at_are_left_as_they_were():
    known = noted(planned({}, TWO), xen1={"state": "failed"})
    assert brief(planned(known, {"xen2": {"web2": "down"}})) == {"xen1": (1, "failed"), "xen2": (1, "waiting")}


def test_a_wave_brought_back():
    known = noted(planned({}, TWO), xen1={"state": "done", "was": WAS}, xen2={"state": "failed"})
    back = rollout_back.rollout_back(known, hosts=["xen1", "xen2"])
    assert list(back["hosts"]) == ["xen1"], "nothing of xen2's was changed"
    items = rollout_items.rollout_items(
        [{"name": "web1", "memory": "1GiB", "ready": {"timeout": 5}}], back["hosts"]["xen1"], 0, back=True
    )
    assert items == [
        {"name": "web1", "state": "running", "autostart": False, "disruption": "recreate", "ready": {"timeout": 5}}
    ], "what is not said is in its file"
    with pytest.raises(AnsibleFilterError, match="nothing to bring back"):
        rollout_back.rollout_back(noted(known, xen1={"state": "back", "was": WAS}), hosts=["xen1", "xen2"])


@pytest.mark.parametrize(
    ("was", "wanted"),
    [
        ("running", "running"),
        ("halted", "halted"),
        ("paused", "paused"),
        ("saved", "saved"),
        ("crashed", "running"),
        ("degraded", "running"),
    ],
)
def test_the_state_a_guest_is_brought_back_to(was, wanted):
    back = rollout_back.described_before("web1", {**WAS, "state": {"web1": was}})
    assert (back["state"], back["autostart"]) == (wanted, False)


def test_a_guest_that_was_not_there_is_brought_back_to_nothing():
    assert rollout_back.described_before("web1", {"state": {"web1": "absent"}, "file": {}, "autostart": {}}) == {
        "name": "web1",
        "state": "absent",
    }


@pytest.mark.parametrize(
    ("known", "more", "said"),
    [
        ({}, {}, "no wave has something to undo"),
        (noted(planned({}, TWO), xen1={"was": WAS}), {"wave": 2}, "waves with something to undo: 1"),
        (noted(planned({}, TWO), xen1={"was": WAS}), {"hosts": ["xen2"]}, "xen1 as well, which this run leaves out"),
        (noted(planned({}, TWO), xen1={"was": {**WAS, "file": {}}}), {}, "no file before this rollout"),
        ({"hosts": []}, {}, "wanted what is remembered"),
    ],
)
def test_what_cannot_be_brought_back(known, more, said):
    with pytest.raises(AnsibleFilterError, match=f"rollout_back: .*{said}"):
        rollout_back.rollout_back(known, **{"hosts": ["xen1", "xen2"], **more})


def test_a_guest_of_a_run_that_was_broken_off_is_brought_back_once():
    two = {"xen1": {"web1": "down", "web2": "down"}}
    broken = noted(planned({}, two), xen1={"state": "failed", "was": {**WAS, "state": {"web1": "running", "web2": "running"}}})
    broken["hosts"]["xen1"]["was"]["file"]["web2"] = True
    again = planned(broken, {"xen1": {"web1": "idle", "web2": "down"}}, again=["xen1"])
    record = rollout_back.rollout_back(noted(again, xen1={"state": "failed"}), hosts=["xen1"])["hosts"]["xen1"]
    assert [turn["guests"] for turn in record["turns"]] == [["web1"], ["web2"]]


def test_what_follows_from_another_guest_was_not_approved():
    waves = waves_of(fleet({"xen1": {"net": "down", "web1": "idle"}}, None, {"web1": ON_NET}))
    record = waves[0]["hosts"]["xen1"]
    items = rollout_items.rollout_items([{"name": "net"}, {"name": "web1"}], record, 0)
    assert items == [{"name": "net", "expect_plan": "digest-net"}, {"name": "web1"}]
    assert record["turns"][0]["falls"] == ["net", "web1"]


def test_a_turn_is_valid_input_of_the_module():
    known = planned({}, {"xen1": {"web1": "down", "web2": "down"}})
    described = [{"name": name, "memory": "1GiB"} for name in ("web1", "web2")]
    items = rollout_items.rollout_items(described, known["hosts"]["xen1"], 1)
    assert items == [{"name": "web2", "memory": "1GiB", "expect_plan": "digest-web2"}]
    assert ArgumentSpecValidator(GUESTS).validate({"guests": items}).error_messages == []
    assert rollout_items.rollout_items(described, known["hosts"]["xen1"], 2) == []
    with pytest.raises(AnsibleFilterError, match="web2: no guest is described"):
        rollout_items.rollout_items(described[:1], known["hosts"]["xen1"], 1)


# --- what speaks against going on

LINK = {"link": "device-model", "path": "/local/domain/3/device-model/2/state", "want": "running", "holds": False, "value": None}
FIT = {
    "name": "web1",
    "state": "running",
    "readiness": [{**LINK, "value": "running", "holds": True}],
    "leftovers": [],
    "drift": [],
}


@pytest.mark.parametrize(
    ("found", "more", "said"),
    [
        ({}, {}, []),
        ({"state": "degraded"}, {}, ["web1 is degraded, wanted running"]),
        ({"state": "halted"}, {"wanted": {"web1": "halted"}}, []),
        ({"state": "halted"}, {"wanted": {"web1": "present"}}, []),
        ({"readiness": [LINK]}, {}, [f"web1: link device-model does not hold: {LINK['path']} = nothing, wanted running"]),
        ({"leftovers": [{"domid": 7, "name": "web1-dm"}]}, {}, ["web1 has left domain 7 (web1-dm)"]),
        ({"drift": [{"field": "vcpus"}]}, {"changed": [{"name": "web1"}]}, ["web1 is otherwise than its file says: vcpus"]),
        ({"drift": [{"field": "vcpus"}]}, {"changed": [{"name": "web1", "pending": [{"field": "vcpus"}]}]}, []),
        ({"drift": [{"field": "vcpus"}]}, {}, []),
    ],
)
def test_what_speaks_against_going_on(found, more, said):
    assert rollout_unfit.rollout_unfit([{**FIT, **found}], **more) == said


# --- the table


def test_the_table():
    hosts_ = {"xen1": {"web1": "down", "web2": "down", "db1": "plug"}, "xen2": {"web3": "down"}}
    known = noted(planned({}, hosts_), xen1={"state": "failed", "why": "web1 is \x1b[31mhalted\nwanted running"})
    assert rollout_table.rollout_table(known) == [
        "wave      host  guests (v: goes down, >: then)  state    why",
        "1 canary  xen1  web1 v db1 > web2 v             failed   web1 is \ufffd[31mhalted wanted running",
        "2         xen2  web3 v                          waiting",
    ]
    assert all(len(line) <= 40 for line in rollout_table.rollout_table(known, width=40))


# --- the documentation


@pytest.mark.parametrize(
    "module", [rollout_back, rollout_items, rollout_seen, rollout_state, rollout_table, rollout_unfit, rollout_waves]
)
def test_the_filters_have_the_documented_names_and_options(module):
    documented = yaml.safe_load(module.DOCUMENTATION)
    function = module.FilterModule().filters()[documented["name"]]
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    assert set(documented["options"]) == {"_input", *arguments[1:]}
    yaml.safe_load(module.EXAMPLES), yaml.safe_load(module.RETURN)
