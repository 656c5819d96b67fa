# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests that tests tell stories about, and how to converge one on the simulated host and see that nothing is amiss."""

from __future__ import annotations

import itertools

import pytest
from simulated_host import SimulatedHost, TaskKilled

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.execute import converge
from ansible_collections.stubdom.xen.plugins.module_utils.survey import survey

DISK = {"vdev": "xvda", "target": "/images/disk.img", "format": "raw", "access": "rw"}
PVH = {"name": "web", "type": "pvh", "memory": "160MiB", "kernel": "/boot/vmlinuz", "nics": [{"bridge": "xenbr0"}]}
PV = {"name": "old", "type": "pv", "memory": "128MiB", "kernel": "/boot/vmlinuz", "cmdline": "quiet"}
HVM = {"name": "shop", "type": "hvm", "memory": "192MiB", "vcpus": 1, "disks": [DISK], "nics": [{"bridge": "xenbr0"}]}
STUBDOM = {"name": "vault", "type": "hvm", "memory": "192MiB", "stubdom": {"type": "linux"}, "disks": [DISK]}
KINDS = {"pvh": PVH, "pv": PV, "hvm": HVM, "stubdom": STUBDOM}


def task(host, guest, **options):
    """Runs one task of module guest. Returns its result; raises what it raises."""
    return host.finish(converge(host, {**guest, **options}, check_mode=False))


def surveyed(host):
    """What module guest_info returns of all guests."""
    return host.finish(survey(host, None))


def preview(host, guest, **options):
    """The same in check mode. Nothing of the host may be otherwise afterwards."""
    before, told = host.snapshot(), len(host.mutations())
    try:
        return host.finish(converge(host, {**guest, **options}, check_mode=True))
    finally:
        assert host.snapshot() == before
        assert len(host.mutations()) == told


def failure(host, guest, **options):
    """The XenError that the task ends with."""
    try:
        result = task(host, guest, **options)
    except XenError as error:
        return error
    raise AssertionError(f"the task did not fail: {result}")


def steps(result):
    """The names of the plan's steps. `store` is told once for each field that changes in the file."""
    return [name for name, _same in itertools.groupby(step["step"] for step in result["plan"])]


def settle(host, guest, **options):
    """The task again: nothing to do, and no command run that could change anything."""
    told = len(host.mutations())
    again = task(host, guest, **options)
    assert (again["changed"], steps(again)) == (False, [])
    assert len(host.mutations()) == told
    return again


def killed_at_each_command(guest, state):
    """The task that brings the guest there is killed before each command of xl in turn, until there is none left.

    Yields (moment, the host once the same task was run again), then holds that nothing is left to do.
    """
    asked = {"name": guest["name"]} if state == "absent" else guest
    for moment in range(1, 60):
        host = SimulatedHost()
        task(host, guest, state="halted" if state == "running" else "running")
        host.kill_task_at = len(host.commands) + moment
        try:
            task(host, asked, state=state)
            break
        except TaskKilled:
            host.close()
            host.locks.clear()
        host.kill_task_at = None
        task(host, asked, state=state)
        yield moment, host
        assert host.machine.unsafe == []
        settle(host, asked, state=state)
    else:
        pytest.fail("there was always one command more")
    assert moment > 5


def by_hand(host, name, text, run=True):
    """Somebody makes a guest with xl, from a file of their own."""
    path = f"/root/{name}.cfg"
    host.files[path] = text
    done = host.xl("create", *([] if run else ["-p"]), path)
    assert done.rc == 0, done.err
    host.timeline.pass_time(1)
    return host.domid(name)
