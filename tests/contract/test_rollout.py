# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's guests changed in waves by the playbook stubdom.xen.rollout: one story, told in order.

On simulated hosts it is three of them; on the embedded kind it is the one under test, and one that is booted for it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rollout_fleet import Fleet, Told, direct, down_together, went_down
from xenhost import ROOT, Host, playbook

SIMULATED = [f"roll{os.getpid()}-{i}" for i in (1, 2, 3)]
SERVICES = {"web": ["web*"]}


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = {"embedded": _embedded, "simulated": _simulated}[request.config.getoption("--kind")]
    with made(request) as (hosts, inventory):
        fleet = Fleet(hosts, inventory, tmp_path_factory.mktemp("fleet"))
        fleet.begin()
        yield fleet


@contextlib.contextmanager
def _embedded(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Host], Path]]:
    pair = request.getfixturevalue("pair")
    yield {host.name: host for host in pair}, pair[0].inventory


@contextlib.contextmanager
def _simulated(_request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Host], Path]]:
    inventory = ROOT / f".lab/.roll{os.getpid()}.yml"
    given = {"lab_kind": "simulated", "lab_hosts": SIMULATED, "lab_inventory": str(inventory), "lab_owner": str(os.getpid())}
    playbook("lab", lab_state="running", lab_snapshot="fresh", **given)
    hosts = {name: Host(name, inventory, "simulated") for name in SIMULATED}
    yield hosts, inventory
    for host in hosts.values():
        host.ansible.close()
    playbook("lab", lab_state="absent", **given)
    inventory.unlink()


def guests_of(fleet: Fleet) -> dict[str, list[str]]:
    """Host to its guests. The canary is the last; it has two of the service, the others one.

    On embedded hosts, which take minutes for each, the fewest with which there is a story.
    """
    *others, last = fleet.hosts
    of_web = {host: [f"web{i}"] for i, host in enumerate(others, 1)}
    if fleet.hosts[last].kind == "embedded":
        return {**of_web, last: ["web8"]}
    return {**of_web, others[0]: ["web1", "cache"], last: ["web8", "web9"]}


def describe(fleet: Fleet, word: str, **canary: str) -> None:
    """Every guest says ``word``. canary: what else there is to say of the canary's first."""
    guests = {host: [direct(name, word) for name in names] for host, names in guests_of(fleet).items()}
    last = list(fleet.hosts)[-1]
    guests[last][0].update(canary)
    fleet.describe(guests, rollout_services=SERVICES, rollout_canary=[last], rollout_disruption="reboot")


def words(fleet: Fleet) -> dict[str, list[str]]:
    """Host to the last word of each of its running guests, by the guests' names."""
    said = '(d["config"]["c_info"]["name"], d["config"]["b_info"]["cmdline"]) for d in json.load(sys.stdin) if d["domid"]'
    ask = f"xl list -l | python3 -c 'import json, sys; [print(*said) for said in ({said})]' | sort"
    return {name: [line.split()[-1] for line in host.sh(ask).splitlines()] for name, host in fleet.hosts.items()}


def all_say(fleet: Fleet, word: str) -> None:
    assert words(fleet) == {host: [word] * len(names) for host, names in guests_of(fleet).items()}


def one_at_a_time(fleet: Fleet) -> None:
    service = {host: [name for name in names if name.startswith("web")] for host, names in guests_of(fleet).items()}
    seen = fleet.seen()
    for host, names in service.items():
        for name in names:
            assert went_down(seen[host], name), f"{name} was down, and that was seen"
    assert down_together(seen, service) == []


def domains_and_files(host: Host) -> str:
    """What is another after any change: a guest that was restarted has another number."""
    return host.sh("xl list | awk '{ print $1, $2 }'; md5sum /etc/xen/*.cfg")


def states(told: Told) -> list[str]:
    """Of each host, in the order of its wave."""
    return [state for _wave, _guests, state in told.table.values()]


@pytest.mark.no_guest_code
def test_check_mode_tells_the_waves_and_changes_nothing(fleet: Fleet) -> None:
    describe(fleet, "one")
    *others, last = fleet.hosts
    before = {name: host.everything() for name, host in fleet.hosts.items()}
    told = fleet.roll("--check")
    assert told.ok, told.text
    assert told.table[last] == ("1 canary", "web8 web9", "waiting")
    assert told.table[others[0]] == ("2", "web1 cache", "waiting")
    assert set(told.changed.values()) == {0}
    assert not fleet.state.exists()
    assert {name: host.everything() for name, host in fleet.hosts.items()} == before


def test_all_come_up(fleet: Fleet) -> None:
    describe(fleet, "one")
    told = fleet.roll()
    assert told.ok, told.text
    assert set(states(told)) == {"done"}
    all_say(fleet, "one")


@pytest.mark.no_guest_code
def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    remembered = fleet.state.read_bytes()
    again = fleet.roll()
    assert again.ok and "Nothing is to be done" in again.text
    assert set(again.changed.values()) == {0}
    assert fleet.state.read_bytes() == remembered


def test_a_canary_that_fails_stops_it(fleet: Fleet) -> None:
    """Its new kernel is none: the guest is down, the other of its service is left up, and nobody else is touched."""
    describe(fleet, "two", kernel="/etc/hostname")
    fleet.forget()
    *others, last = fleet.hosts
    before = {name: domains_and_files(fleet.hosts[name]) for name in others}
    told = fleet.roll()
    assert not told.ok
    assert "Wave 1 failed, and the rollout stops" in told.text
    assert states(told) == ["failed"] + ["waiting"] * len(others)
    of_canary = guests_of(fleet)[last]
    assert told.table[last][1] == " > ".join(f"{name} v" for name in of_canary)
    assert words(fleet)[last] == ["one"] * (len(of_canary) - 1), "web8 is down, and of its service no other was begun"
    assert {name: domains_and_files(fleet.hosts[name]) for name in others} == before
    assert {word for name in others for word in words(fleet)[name]} == {"one"}


def test_mended_it_goes_on_where_it_stopped(fleet: Fleet) -> None:
    describe(fleet, "two")
    *_others, last = fleet.hosts
    told = fleet.roll()
    assert told.ok, told.text
    assert ", goes on" in told.text
    assert told.table[last][::2] == ("1 canary", "done")
    assert set(states(told)) == {"done"}
    all_say(fleet, "two")
    one_at_a_time(fleet)


@pytest.mark.no_guest_code
def test_a_probe_that_says_no_stops_it_and_the_wave_is_brought_back(fleet: Fleet) -> None:
    describe(fleet, "three")
    *others, last = fleet.hosts
    told = fleet.roll(disliked=[last])
    assert not told.ok
    assert "the user does not like it" in told.text
    assert states(told) == ["failed"] + ["waiting"] * len(others)
    assert words(fleet)[last] == ["three", "two"], "web8 is up and not liked, web9 was not begun"

    back = fleet.roll(rollout_rollback=True)
    assert back.ok, back.text
    assert back.table[last][::2] == ("1 canary", "back")
    all_say(fleet, "two")


@pytest.mark.no_guest_code
def test_one_of_a_service_that_is_down_holds_the_others(fleet: Fleet) -> None:
    """Somebody stops a guest after the waves were found: nobody brings down another of its service, and it comes up first."""
    *others, last = fleet.hosts
    probe = fleet.where / "probe.yml"
    kept = probe.read_text(encoding="utf-8")
    stop = {"name": "Somebody stops a guest", "ansible.builtin.command": "xl destroy web1", "delegate_to": others[0]}
    probe.write_text(kept + yaml.safe_dump([stop]), encoding="utf-8")
    told = fleet.roll()
    probe.write_text(kept, encoding="utf-8")
    assert not told.ok
    assert "web9 would be down together with web1 of the same service" in told.text
    assert words(fleet)[last] == ["three", "two"]

    told = fleet.roll()
    assert told.ok, told.text
    assert told.table[others[0]][::2] == ("1 canary", "done")
    assert told.table[last][::2] == ("2 canary", "done")
    all_say(fleet, "three")


def test_what_is_seen_would_tell() -> None:
    """The check above can fail: two that are down at a time, and two after each other."""
    up, paused = "1:-b----", "2:--p---"
    service = {"a": ["web1"], "b": ["web2"]}
    apart = {"a": [(1.0, {}), (2.0, {"web1": paused}), (3.0, {"web1": up})], "b": [(0.0, {"web2": up}), (4.0, {})]}
    assert went_down(apart["a"], "web1") and went_down([(0.0, {"web1": up}), (1.0, {"web1": "2:-b----"})], "web1")
    assert not went_down([(0.0, {"web1": up}), (1.0, {"web1": "1:r-----"})], "web1")
    assert down_together(apart, service) == []
    assert down_together({**apart, "b": [(0.0, {"web2": up}), (2.5, {})]}, service) == [["a/web1", "b/web2"]]
