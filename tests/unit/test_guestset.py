# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module guests: a set of guests looked at once, refused together, brought up side by side."""

from __future__ import annotations

from collections import Counter

import pytest
from simulated_host import Behaviour, SimulatedHost
from stories import DISK, HVM, PV, PVH, STUBDOM, by_hand, surveyed, task

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.guestset import converge_all

SLOW = Behaviour(stubdom_ready=10.0)
NEVER = Behaviour(stubdom_ready=None)


def guests(host, *described, check=False, **how):
    """Runs one task of module guests."""
    options = {"concurrency": 8, "continue_on_error": False, **how}
    return host.finish(converge_all(host, {"guests": list(described), **options}, check))


def stubdoms(*names):
    return [{**STUBDOM, "name": name, "ready": {"timeout": 60.0, "retries": 0}} for name in names]


def words(result):
    return {guest["name"]: guest["guest"]["state"] for guest in result["guests"] if not guest["failed"]}


def test_the_set_comes_up_and_the_second_run_changes_nothing():
    host = SimulatedHost()
    first, second = guests(host, PVH, HVM, STUBDOM), guests(host, PVH, HVM, STUBDOM)
    assert words(first) == words(second) == {"web": "running", "shop": "running", "vault": "running"}
    assert (first["changed"], second["changed"], second["diff"]) == (True, False, [])
    assert host.machine.unsafe == []


def test_each_guest_is_told_of_as_module_guest_tells_of_it():
    alone, together = SimulatedHost(), SimulatedHost()
    one = task(alone, STUBDOM)
    [of_many] = guests(together, STUBDOM)["guests"]
    assert {key: value for key, value in of_many.items() if key not in ("name", "failed")} == {
        key: value for key, value in one.items() if key != "diff"
    }


def test_nothing_to_do_asks_xl_as_often_for_many_as_for_few():
    counts = []
    for number in (2, 12):
        host = SimulatedHost(memory=64 * 1024)
        described = [{**PVH, "name": f"web{i}"} for i in range(number)]
        guests(host, *described)
        guests(host, *described)
        host.commands.clear()
        assert not guests(host, *described)["changed"]
        counts.append(Counter(" ".join(argv[:3]) for argv in host.commands))
    assert counts[0] == counts[1] == {"xl list -v": 1, "xl list -l": 1}


def test_a_host_so_full_that_xl_takes_minutes_to_list_it_is_looked_at():
    """1000 guests, on a simulated host with oxenstored: `xl list -l` took more than the 60 s that a look at one may take."""
    host = SimulatedHost(memory=64 * 1024)
    described = [{**PVH, "name": f"web{i}"} for i in range(200)]
    guests(host, *described)
    host.machine.slowness = 0.4
    assert not guests(host, *described)["changed"]


def test_slow_device_models_are_waited_for_side_by_side():
    host = SimulatedHost(memory=64 * 1024)
    described = stubdoms(*(f"vault{i}" for i in range(8)))
    for guest in described:
        host.behave(guest["name"], SLOW)
    begin = host.now()
    guests(host, *described)
    assert host.now() - begin < 2 * 10
    assert host.machine.unsafe == []


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_than_the_limit_at_a_time(limit):
    host = SimulatedHost(memory=64 * 1024)
    described = stubdoms(*(f"vault{i}" for i in range(6)))
    for guest in described:
        host.behave(guest["name"], SLOW)
    begin = host.now()
    guests(host, *described, concurrency=limit)
    assert host.now() - begin >= 6 / limit * 10


def test_a_guest_that_fails_leaves_those_in_flight_as_described():
    host = SimulatedHost()
    described = stubdoms("good", "bad")
    host.behave("good", SLOW)
    host.behave("bad", NEVER)
    told = guests(host, *described)
    assert (told["failed"], told["code"], told["evidence"]) == (True, "readiness_timeout", {"failed": ["bad"]})
    assert words(told) == {"good": "running"}
    assert "bad" not in host.domains() and "bad-dm" not in host.domains()


def created(host):
    """The guests in the order in which they were begun."""
    return [argv[3].rsplit("/", 1)[1][:-4] for argv in host.commands if argv[:3] == ["xl", "create", "-p"]]


@pytest.mark.parametrize("limit", [1, 8])
def test_what_others_lean_on_is_up_before_they_are_begun(limit):
    host = SimulatedHost()
    slow, web = {**stubdoms("db")[0]}, {**PVH, "depends_on": ["db"]}
    host.behave("db", SLOW)
    told = guests(host, web, slow, concurrency=limit)
    assert (words(told), created(host)) == ({"web": "running", "db": "running"}, ["db", "web"])
    unpaused = [argv for argv in host.commands if argv[:2] == ["xl", "unpause"]]
    assert host.commands.index(unpaused[0]) < next(i for i, a in enumerate(host.commands) if a[-1].endswith("/web.cfg"))


def test_a_driver_domain_of_the_set_comes_before_its_guests():
    host = SimulatedHost()
    driver = {**PVH, "name": "network"}
    told = guests(host, {**PVH, "nics": [{"bridge": "xenbr0", "backend": "network"}]}, driver)
    assert (words(told), created(host)) == ({"web": "running", "network": "running"}, ["network", "web"])


def test_a_driver_domain_made_anew_brings_its_guests_along():
    """Their devices are bound to the domain that was there: no other task would ever notice, as nothing is described anew."""
    host = SimulatedHost()
    driver, web = {**PVH, "name": "network"}, {**PVH, "nics": [{"bridge": "xenbr0", "backend": "network"}]}
    may = {"disruption": "recreate"}
    guests(host, driver, web)
    before = host.domid("web")
    told = guests(host, {**driver, "cmdline": "other", **may}, {**web, **may})
    assert words(told) == {"network": "running", "web": "running"}
    assert host.domid("web") > host.domid("network") > before
    assert not guests(host, {**driver, "cmdline": "other"}, web)["changed"]


@pytest.mark.parametrize("may", ["hotplug", "reboot"])
def test_a_guest_whose_driver_domain_is_gone_is_degraded(may):
    host = SimulatedHost()
    driver, web = {**PVH, "name": "network"}, {**PVH, "nics": [{"bridge": "xenbr0", "backend": "network"}]}
    guests(host, driver, web)
    host.xl("destroy", "network")
    degraded = {g["name"]: g["state"] for g in surveyed(host)["guests"]}
    assert degraded == {"network": "halted", "web": "degraded"}
    told = guests(host, driver, {**web, "disruption": may})
    assert words(told) == {"network": "running", "web": "degraded" if may == "hotplug" else "running"}
    assert [item["needs"] for item in told["guests"][1]["pending"]] == (["reboot"] if may == "hotplug" else [])


def test_they_go_the_other_way_round():
    host = SimulatedHost()
    both = [{**PVH, "name": "db"}, {**PVH, "depends_on": ["db"]}]
    guests(host, *both)
    host.commands.clear()
    guests(host, *({**guest, "state": "halted"} for guest in both))
    assert [argv[-1] for argv in host.commands if argv[:2] == ["xl", "shutdown"]] == [str(number) for number in (2, 1)]


@pytest.mark.parametrize("regardless", [False, True])
def test_who_leans_on_a_guest_that_failed_is_not_begun(regardless):
    host = SimulatedHost()
    host.behave("db", NEVER)
    web, last = {**PVH, "depends_on": ["db"]}, {**PVH, "name": "last", "depends_on": ["web"]}
    told = guests(host, last, web, *stubdoms("db"), {**PVH, "name": "other"}, continue_on_error=regardless)
    codes = {guest["name"]: guest.get("code") for guest in told["guests"]}
    assert codes["db"] == "readiness_timeout"
    assert (codes["web"], codes["last"]) == ("not_begun", "not_begun")
    assert "web" not in host.domains() and "last" not in host.domains()
    assert words(told) == {"other": "running"}


def test_a_guest_that_is_refused_stops_those_that_lean_on_it():
    host = SimulatedHost()
    bad = {**HVM, "disks": [{**HVM["disks"][0], "target": "/no/such"}]}
    told = guests(host, bad, {**PVH, "depends_on": ["shop"]}, continue_on_error=True)
    assert [guest["code"] for guest in told["guests"]] == ["file_unreadable", "not_begun"]


WITHOUT = {"nobody of that name": None, "halted": "halted", "paused": "paused"}


@pytest.mark.parametrize("case", WITHOUT)
@pytest.mark.parametrize("by", ["guest", "guests"])
def test_a_guest_of_another_task_has_to_run(case, by):
    host = SimulatedHost()
    if WITHOUT[case]:
        task(host, {**HVM, "state": WITHOUT[case]})
    before = host.snapshot()
    with pytest.raises(XenError) as refused:
        (task if by == "guest" else guests)(host, {**PVH, "depends_on": ["shop"]})
    assert (refused.value.code, host.snapshot()) == ("dependency_down", before)
    task(host, {**HVM, "state": "running"})
    (task if by == "guest" else guests)(host, {**PVH, "depends_on": ["shop"]})
    assert host.domains()["web"]


ON = {False: ("not_begun", []), True: (None, ["third"])}


@pytest.mark.parametrize("regardless", ON)
def test_what_becomes_of_those_not_begun(regardless):
    host, (code, up) = SimulatedHost(), ON[regardless]
    host.behave("bad", NEVER)
    told = guests(host, *stubdoms("bad", "third"), concurrency=1, continue_on_error=regardless)
    assert told["failed"] and told["guests"][1].get("code") == code
    assert [name for name in host.domains() if name == "third"] == up
    assert told["msg"].endswith("(1 of 2)" if regardless else "(and 1 more of 2)")


REFUSED = {
    "two of one name": ([PVH, {**PVH, "vcpus": 2}], "invalid_input", "each guest once"),
    "a disk that is not there": (
        [PVH, {**HVM, "disks": [{**HVM["disks"][0], "target": "/no/such"}]}],
        "file_unreadable",
        "guest shop: disks[0].target",
    ),
    "two of one UUID": (
        [{**PVH, "uuid": "11111111-2222-3333-4444-555555555555"}, {**HVM, "uuid": "11111111-2222-3333-4444-555555555555"}],
        "uuid_in_use",
        "web and shop",
    ),
    "each fits, the two do not": ([{**PVH, "memory": "4GiB"}, {**HVM, "memory": "4GiB"}], "not_enough_memory", "the 2 guests"),
    "none at a time": ([PVH], "invalid_input", "concurrency"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_the_first_change(case):
    described, code, names = REFUSED[case]
    host = SimulatedHost()
    before = host.snapshot()
    with pytest.raises(XenError) as refused:
        guests(host, *described, concurrency=0 if case == "none at a time" else 8)
    assert (refused.value.code, names in refused.value.msg) == (code, True), refused.value.msg
    assert host.snapshot() == before


def test_a_refused_guest_among_others_that_may_go_on():
    host = SimulatedHost()
    told = guests(host, PVH, {**HVM, "disks": [{**HVM["disks"][0], "target": "/no/such"}]}, continue_on_error=True)
    assert (words(told), told["code"]) == ({"web": "running"}, "file_unreadable")


def test_check_mode_says_what_would_be_done_and_that_plan_can_be_approved():
    host = SimulatedHost()
    task(host, PVH)
    before = host.snapshot()
    shown = guests(host, PVH, HVM, check=True)
    assert host.snapshot() == before
    assert [(guest["name"], guest["changed"]) for guest in shown["guests"]] == [("web", False), ("shop", True)]
    with pytest.raises(XenError) as other:
        guests(host, PVH, {**HVM, "vcpus": 3}, expect_plan=shown["plan_digest"])
    assert (other.value.code, host.snapshot()) == ("plan_changed", before)
    assert guests(host, PVH, HVM, expect_plan=shown["plan_digest"])["plan_digest"] == shown["plan_digest"]


def purged(host, *described, limit=1, **how):
    return guests(host, *described, purge=True, purge_limit=limit, **how)


def test_what_is_described_no_more_is_purged():
    host = SimulatedHost()
    guests(host, PVH, HVM)
    shown = purged(host, PVH, check=True)
    assert shown["purged"] == ["shop"] and "shop" in host.domains()
    told = purged(host, PVH, expect_plan=shown["plan_digest"])
    assert (told["changed"], told["purged"]) == (True, ["shop"])
    assert (list(host.domains()), "/etc/xen/shop.cfg" in host.files, DISK["target"] in host.files) == (["web"], False, True)
    assert (purged(host, PVH)["changed"], purged(host, PVH)["purged"]) == (False, [])


def test_without_purge_they_stay():
    host = SimulatedHost()
    guests(host, PVH, HVM)
    assert not guests(host, PVH)["changed"]
    assert set(host.domains()) == {"web", "shop"}


def test_more_than_the_limit_are_refused_before_anything_is_touched():
    host = SimulatedHost()
    guests(host, PVH, HVM, PV)
    before = host.snapshot()
    with pytest.raises(XenError) as refused:
        purged(host, {**PVH, "vcpus": 2})
    assert (refused.value.code, refused.value.evidence["guests"]) == ("purge_limit", ["old", "shop"])
    assert host.snapshot() == before
    assert purged(host, PVH, limit=2)["purged"] == ["old", "shop"]


def test_no_guest_of_others_is_purged():
    """One by xl from a file anywhere, one with a file in /etc/xen, and one that took the name of a guest of ours."""
    host = SimulatedHost()
    by_hand(host, "foreign", 'name = "foreign"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n')
    host.files["/etc/xen/hand.cfg"] = 'name = "hand"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n'
    task(host, {**HVM, "state": "halted"})
    by_hand(host, "shop", 'name = "shop"\ntype = "pvh"\nmemory = 64\nkernel = "/boot/vmlinuz"\n')
    told = purged(host, PVH, limit=9)
    assert (told["purged"], set(host.domains())) == ([], {"web", "foreign", "shop"})


def test_a_guest_that_is_not_described_goes_before_what_it_leans_on():
    host = SimulatedHost()
    network, web = {**PVH, "name": "network"}, {**PVH, "nics": [{"bridge": "xenbr0", "backend": "network"}]}
    guests(host, network, web)
    host.commands.clear()
    assert purged(host, limit=2)["purged"] == ["network", "web"]
    assert [argv[-1] for argv in host.commands if argv[:2] == ["xl", "shutdown"]] == ["2", "1"]


def test_a_dead_stubdomain_of_somebody_else_is_not_asked():
    """`xl list -l` would ask its guest's QEMU, for 10 s."""
    host = SimulatedHost()
    task(host, STUBDOM)
    guests(host, PVH, HVM)
    host.hypervisor.shut_down(host.domid("vault-dm"), "c")
    host.commands.clear()
    guests(host, PVH, HVM)
    assert ["xl", "list", "-l"] not in host.commands
