# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that runs, and what is changed of it: as it runs where it takes that, else with its next start. Stories.

What may not be done now is in the guest's file, in `pending`, and where xl's monitor finds it when the guest reboots.
"""

from __future__ import annotations

import pytest
from simulated_host import Behaviour, SimulatedHost
from stories import DISK, HVM, PV, PVH, STUBDOM, failure, preview, settle, steps, surveyed, task

SECOND = {"vdev": "xvdb", "target": "/images/disk.img", "format": "raw", "access": "ro"}
DRIVE = {"vdev": "hdc", "devtype": "cdrom", "access": "ro"}
CARD = {"mac": "00:16:3e:00:00:01", "bridge": "xenbr0"}
QUEUE = "config-update FILE"  # libxl keeps no record of where a guest's vcpus may run
ROOMY = {"max_vcpus": 4, "max_memory": "512MiB", "vcpus": 2}
FOUR = {"pv": PV, "pvh": PVH, "hvm": HVM, "stubdom": STUBDOM}

# story, kinds, the guest more than its kind, what changes, steps, the words of xl without the domain
LIVE = [
    ("a vcpu more", "pv pvh hvm stubdom", ROOMY, {"vcpus": 3}, ["resize"], ["vcpu-set -i 3"]),
    ("a vcpu less", "pv pvh", ROOMY, {"vcpus": 1}, ["resize"], ["vcpu-set -i 1"]),
    ("more memory", "pv pvh", ROOMY, {"memory": "256MiB"}, ["resize"], ["mem-set 256m"]),
    ("more memory, of which libxl tells a MiB more", "hvm stubdom", ROOMY, {"memory": "256MiB"}, ["resize"], ["mem-set 255m"]),
    ("less memory", "pv pvh hvm stubdom", {}, {"memory": "96MiB"}, ["resize"], ["mem-set 96m"]),
    ("other CPUs", "pv pvh hvm stubdom", {"cpus": "0-1"}, {"cpus": "2"}, ["adjust", "queue"], ["vcpu-pin all 2", QUEUE]),
    ("any CPU", "pvh", {"cpus": "0-1"}, {"cpus": "0-7"}, ["adjust", "queue"], ["vcpu-pin all 0-7", QUEUE]),
    ("a weight", "pv hvm", {}, {"weight": 512}, ["adjust"], ["sched-credit2 -d -w 512"]),
    ("a cap and back", "pv", {"cap": 50}, {"cap": 0}, ["adjust"], ["sched-credit2 -d -c 0"]),
    ("a disk more", "pv pvh hvm stubdom", {"disks": [DISK]}, {"disks": [DISK, SECOND]}, ["attach"],
     ["block-attach format=raw,vdev=xvdb,access=ro,target=/images/disk.img"]),
    ("a disk less", "pv pvh hvm stubdom", {"disks": [DISK, SECOND]}, {"disks": [DISK]}, ["detach"], ["block-detach xvdb"]),
    ("another disk in its place", "pvh hvm", {"disks": [DISK, SECOND]}, {"disks": [DISK, {**SECOND, "access": "rw"}]},
     ["detach", "attach"], ["block-detach xvdb", "block-attach format=raw,vdev=xvdb,access=rw,target=/images/disk.img"]),
    ("disks in another order", "pvh hvm", {"disks": [DISK, SECOND]}, {"disks": [SECOND, DISK]}, [], []),
    ("another medium in the drive", "hvm", {"disks": [{**DRIVE, "target": "/images/disk.img"}]},
     {"disks": [{**DRIVE, "target": "/boot/vmlinuz"}]}, ["insert"], ["cd-insert hdc /boot/vmlinuz"]),
    ("no medium in the drive", "hvm", {"disks": [{**DRIVE, "target": "/images/disk.img"}]}, {"disks": [DRIVE]}, ["insert"],
     ["cd-eject hdc"]),
    ("a card more", "pv pvh hvm stubdom", {"nics": []}, {"nics": [CARD]}, ["attach"],
     ["network-attach mac=00:16:3e:00:00:01 bridge=xenbr0"]),
    ("a card on another bridge", "pvh hvm", {"nics": [CARD]}, {"nics": [{**CARD, "bridge": "xenbr1"}]}, ["detach", "attach"],
     ["network-detach 00:16:3e:00:00:01", "network-attach mac=00:16:3e:00:00:01 bridge=xenbr1"]),
    ("a card less", "pvh hvm", {"nics": [CARD]}, {"nics": []}, ["detach"], ["network-detach 00:16:3e:00:00:01"]),
]  # fmt: skip
TOLD = [(story, kind, *rest) for story, kinds, *rest in LIVE for kind in kinds.split()]


@pytest.fixture
def host():
    return SimulatedHost()


def told_to_xl(host, domid, since):
    """The commands that changed the guest since, without the domain's number."""
    told = [list(argv[1:]) for argv in host.mutations()[since:]]
    for words in told:
        words.remove(str(domid))
    return [" ".join("FILE" if word.startswith("/etc/xen/") else word for word in words) for words in told]


@pytest.mark.parametrize(("story", "kind", "more", "change", "names", "said"), TOLD, ids=[f"{t[0]}, {t[1]}" for t in TOLD])
def test_changed_as_it_runs(host, story, kind, more, change, names, said):
    before, after = {**FOUR[kind], **more}, {**FOUR[kind], **more, **change}
    domid = task(host, before)["guest"]["domid"]
    since = len(host.mutations())
    seen = preview(host, after)
    done = task(host, after)
    assert [s for s in steps(done) if s != "store"] == names
    assert (done["plan"], done["plan_digest"]) == (seen["plan"], seen["plan_digest"])
    assert told_to_xl(host, domid, since) == said
    assert (done["pending"], done["guest"]["domid"], done["guest"]["state"]) == ([], domid, "running")
    settle(host, after)
    assert surveyed(host)["guests"][0]["drift"] == []


# story, kind, the guest more, what changes, what it needs, a word of the reason
WAITS = [
    ("more vcpus than it was made for", "pvh", {"vcpus": 1}, {"vcpus": 2}, "reboot", "max_vcpus"),
    ("more memory than it was made for", "pv", {}, {"memory": "256MiB"}, "reboot", "max_memory"),
    ("a vcpu less where QEMU has them", "hvm", ROOMY, {"vcpus": 1}, "reboot", "QEMU"),
    (
        "a medium in an empty drive",
        "hvm",
        {"disks": [DRIVE]},
        {"disks": [{**DRIVE, "target": "/images/disk.img"}]},
        "reboot",
        "QEMU",
    ),
    ("a disk that QEMU serves", "pvh", {}, {"disks": [{**SECOND, "format": "qcow2"}]}, "reboot", "QEMU"),
    ("another pool", "pvh", {}, {"cpupool": "fast"}, "reboot", "weight"),
    ("another kernel", "pvh", {}, {"cmdline": "debug"}, "reboot", ""),
    ("an emulated card", "hvm", {"nics": []}, {"nics": [{**CARD, "type": "ioemu"}]}, "reboot", "emulated"),
    ("a drive", "hvm", {}, {"disks": [DISK, DRIVE]}, "reboot", "drive"),
    ("another firmware", "hvm", {"firmware": "seabios"}, {"firmware": "ovmf"}, "recreate", ""),
    ("a stubdomain", "hvm", {}, {"stubdom": {"type": "linux"}}, "recreate", ""),
]


@pytest.mark.parametrize(("story", "kind", "more", "change", "needs", "why"), WAITS, ids=[row[0] for row in WAITS])
def test_waits_until_a_restart_is_allowed(host, story, kind, more, change, needs, why):
    before, after = {**FOUR[kind], **more}, {**FOUR[kind], **more, **change}
    first = task(host, before)["guest"]
    waiting = task(host, after)
    assert steps(waiting) == ["store", "queue"]
    assert {item["needs"] for item in waiting["pending"]} == {needs}
    assert why in waiting["pending"][0]["reason"]
    assert host.domid(before["name"]) == first["domid"]
    settle(host, after)
    less = {"reboot": "hotplug", "recreate": "reboot"}[needs]
    settle(host, after, disruption=less)
    done = task(host, after, disruption=needs)
    assert steps(done)[0] == "shutdown"
    assert (done["pending"], done["guest"]["uuid"]) == ([], first["uuid"])
    assert done["plan"][0]["disruption"] == needs
    settle(host, after)


@pytest.mark.parametrize("kind", FOUR)
def test_the_guests_own_reboot_brings_what_waits(host, kind):
    """xl's monitor makes the guest anew from what it was given last, not from what it was made of."""
    guest, after = FOUR[kind], {**FOUR[kind], "memory": "256MiB"}
    task(host, guest)
    assert steps(task(host, after)) == ["store", "queue"]
    settle(host, after)
    host.hypervisor.shut_down(host.domid(guest["name"]), "r")
    host.timeline.pass_time(60)
    assert settle(host, after)["pending"] == []
    assert surveyed(host)["guests"][0]["drift"] == []


def test_what_was_changed_as_it_ran_is_kept_over_the_guests_own_reboot(host):
    guest = {**PVH, **ROOMY}
    task(host, guest)
    task(host, {**guest, "vcpus": 3})
    host.hypervisor.shut_down(host.domid("web"), "r")
    host.timeline.pass_time(10)
    assert settle(host, {**guest, "vcpus": 3})["pending"] == []


def test_a_wish_that_was_taken_back_does_not_come_with_the_guests_own_reboot(host):
    task(host, PVH)
    task(host, {**PVH, "memory": "256MiB"})
    back = task(host, PVH)
    assert (steps(back), back["pending"]) == (["store", "queue"], []) or back["pending"] == []
    host.hypervisor.shut_down(host.domid("web"), "r")
    host.timeline.pass_time(10)
    assert settle(host, {**PVH, "memory": "160MiB"})["pending"] == []


def test_a_guest_that_does_not_come_back_by_itself_has_nothing_queued(host):
    task(host, {**PVH, "on_reboot": "destroy"})
    assert steps(task(host, {**PVH, "on_reboot": "destroy", "memory": "256MiB"})) == ["store"]


def test_what_the_guest_takes_is_done_and_the_rest_waits(host):
    task(host, {**PVH, **ROOMY})
    done = task(host, {**PVH, **ROOMY, "vcpus": 3, "cmdline": "debug"})
    assert steps(done) == ["store", "resize", "queue"]
    assert [item["field"] for item in done["pending"]] == ["cmdline"]
    settle(host, {**PVH, **ROOMY, "vcpus": 3, "cmdline": "debug"})


def test_a_restart_is_not_used_for_what_the_guest_takes_as_it_runs(host):
    domid = task(host, {**PVH, **ROOMY})["guest"]["domid"]
    done = task(host, {**PVH, **ROOMY, "vcpus": 3}, disruption="recreate")
    assert (steps(done), done["guest"]["domid"]) == (["store", "resize"], domid)


def test_nothing_that_the_guest_notices_is_done_where_nothing_is_allowed(host):
    task(host, {**PVH, **ROOMY, "cpus": "0-1"})
    done = task(host, {**PVH, **ROOMY, "cpus": "2", "vcpus": 3}, disruption="none")
    assert steps(done) == ["store", "adjust", "queue"]
    assert [(item["field"], item["needs"]) for item in done["pending"]] == [("vcpus", "hotplug")]
    settle(host, {**PVH, **ROOMY, "cpus": "2", "vcpus": 3}, disruption="none")


def test_a_reboot_that_would_bring_more_than_is_allowed_is_not_made(host):
    """All that waits comes with a restart: with a new kernel, the new firmware too."""
    task(host, {**HVM, "firmware": "seabios"})
    after = {**HVM, "firmware": "ovmf", "boot": "d"}
    told = task(host, after, disruption="reboot")
    assert steps(told) == ["store", "queue"]
    assert {item["field"]: item["reason"] for item in told["pending"]} == {
        "boot": "a restart would bring all that waits, and of that disruption does not allow everything",
        "firmware": "needs recreate, disruption allows reboot",
    }


def test_a_held_guest_takes_what_only_the_hypervisor_does(host):
    task(host, {**PVH, **ROOMY}, state="running")
    task(host, {**PVH, **ROOMY}, state="paused")
    done = task(host, {**PVH, **ROOMY, "vcpus": 3, "weight": 512}, state="paused")
    assert steps(done) == ["store", "adjust", "queue"]
    assert ["paused" in item["reason"] for item in done["pending"]] == [True]
    assert steps(task(host, {**PVH, **ROOMY, "vcpus": 3, "weight": 512})) == ["await", "unpause", "resize"]


def test_a_disk_that_the_guest_does_not_let_go_of_fails_the_task_and_stays(host):
    host.behave("web", Behaviour(lets_go=False))
    guest = {**PVH, "disks": [DISK, SECOND]}
    task(host, guest)
    error = failure(host, {**guest, "disks": [DISK]})
    assert (error.code, error.evidence["field"]) == ("change_failed", "disks[xvdb]")
    assert "timed out" in error.evidence["said"]
    host.behave_all_well()
    assert steps(task(host, {**guest, "disks": [DISK]})) == ["detach"]
    settle(host, {**guest, "disks": [DISK]})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"disks": [DISK, {**SECOND, "target": "/images/none.img"}]}, "file_unreadable"),
        ({"memory": "8GiB"}, "not_enough_memory"),
        ({"kernel": "/boot/none"}, "file_unreadable"),
        ({"memory": "8GiB", "cmdline": "debug"}, "not_enough_memory"),
    ],
    ids=["a disk that is not there", "memory that the host has not got", "a kernel for the next start", "memory for it"],
)
def test_what_the_host_cannot_give_is_refused_before_anything_is_touched(host, change, code):
    guest = {**PVH, "disks": [DISK], "max_memory": "16GiB"}
    task(host, guest)
    before = host.snapshot()
    assert failure(host, {**guest, **change}).code == code
    assert host.snapshot() == before


def test_a_card_for_which_there_is_no_bridge_fails_the_task_and_is_taken_away_again(host):
    """xl leaves it in its record, and the guest with a card that is none: `xl list -l` would say that all is well."""
    task(host, {**PVH, "nics": []})
    host.machine.bridges = {"xenbr0"}
    error = failure(host, {**PVH, "nics": [{**CARD, "bridge": "nobr"}]})
    assert error.code == "change_failed"
    assert "nobr" in error.evidence["said"]
    assert error.evidence["cause"] == "bridge_missing"
    assert error.hint.startswith("make the bridge first")
    assert surveyed(host)["guests"][0]["live"].get("nics", []) == []
    task(host, {**PVH, "nics": [CARD]})
    settle(host, {**PVH, "nics": [CARD]})


class TestCompare:
    """The policy `compare`: a field is as described, or holds what is described, or is left as it is."""

    def test_contains_takes_no_device_away_that_somebody_added(self, host):
        task(host, {**PVH, "disks": [DISK]})
        host.xl("block-attach", "web", "format=raw,vdev=xvdc,access=rw,target=/images/disk.img")
        settle(host, {**PVH, "disks": [DISK]}, compare={"disks": "contains"})
        done = task(host, {**PVH, "disks": [DISK, SECOND]}, compare={"disks": "contains"})
        assert steps(done) == ["store", "attach"]
        assert steps(task(host, {**PVH, "disks": [DISK, SECOND]})) == ["detach"]

    def test_contains_keeps_the_other_devices_in_the_file(self, host):
        task(host, {**PVH, "disks": [DISK, SECOND]}, state="halted")
        settle(host, {**PVH, "disks": [SECOND]}, state="halted", compare={"disks": "contains"})
        changed = task(host, {**PVH, "disks": [{**SECOND, "access": "rw"}]}, state="halted", compare={"disks": "contains"})
        assert [(d["vdev"], d["access"]) for d in changed["guest"]["spec"]["disks"]] == [("xvda", "rw"), ("xvdb", "rw")]

    @pytest.mark.parametrize("field", ["cmdline", "device_model.args", "vnc", "extra_config"])
    def test_ignored_fields_are_given_to_a_new_guest_and_left_alone_after(self, host, field):
        values = {"cmdline": "a", "device_model": {"args": ["-a"]}, "vnc": {"display": 3}, "extra_config": {"nestedhvm": 1}}
        others = {"cmdline": "b", "device_model": {"args": ["-b"]}, "vnc": {"display": 4}, "extra_config": {"nestedhvm": 0}}
        head = field.partition(".")[0]
        base = PVH if field == "cmdline" else HVM
        task(host, {**base, head: values[head]}, compare={field: "ignore"})
        settle(host, {**base, head: others[head]}, compare={field: "ignore"})
        assert task(host, {**base, head: others[head]})["pending"] != []

    @pytest.mark.parametrize(
        "said", [{"colour": "exact"}, {"disks": "roughly"}, {"memory": "contains"}, {"device_model.colour": "ignore"}]
    )
    def test_what_is_no_comparison_is_refused(self, host, said):
        assert failure(host, PVH, compare=said).code == "invalid_input"
        assert host.commands == []


def test_another_xl_that_is_at_work_on_its_devices_is_waited_for(host):
    """As that of a task that was killed: while it works libxl may list none of the guest's devices."""
    two = {**PVH, "disks": [DISK, SECOND]}
    host.behave(PVH["name"], Behaviour(lets_go_after=5.0))
    domid = task(host, two)["guest"]["domid"]
    other = host.machine.run(["xl", "block-detach", str(domid), "xvdb"])
    assert other.rc is None, "it is at work"
    done = task(host, {**PVH, "disks": [DISK]})
    assert (other.rc, steps(done)) == (0, ["store"]), "it has been done, and is not done again"
    settle(host, {**PVH, "disks": [DISK]})
