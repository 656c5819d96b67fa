# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where guests run, as xl 4.17 prints it, and that xl is asked for it only where somebody describes it."""

from __future__ import annotations

import pytest
from simulated_host import SimulatedHost
from stories import PVH, settle, task

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.placement import read_pools, read_vcpus

VCPU_LIST = """\
Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)
hvm                                 25     0    3   -b-      42.3  all / all
hvm                                 25     1    -   --p       0.0  all / all
a name / all                         7     0    2   r--       1.3  0-1,3 / all
(null)                               8     0    0   -b-       9.0  none / all
"""
LIST = """\
Name                                        ID   Mem VCPUs\tState\tTime(s)         Cpupool
Domain-0                                     0  1536     1     r-----    1220.9          Pool-0
pvh                                         13   160     1     r-----      58.6             lxp
hvm                                         23   160     1     ------       6.1          Pool-0
"""


def test_the_cpus_of_each_vcpu():
    assert read_vcpus(VCPU_LIST) == {25: ["all", "all"], 7: [[0, 1, 3]], 8: [[]]}


def test_the_pool_of_each_domain():
    assert read_pools(LIST) == {0: "Pool-0", 13: "lxp", 23: "Pool-0"}


@pytest.mark.parametrize(("read", "text"), [(read_vcpus, VCPU_LIST), (read_pools, LIST)])
def test_a_line_that_is_none_is_told(read, text):
    with pytest.raises(XenError) as unclear:
        read(f"{text}what is this\n")
    assert (unclear.value.code, unclear.value.evidence) == ("xl_output", "what is this")


@pytest.mark.parametrize(
    ("described", "asked"),
    [
        ({}, []),
        ({"cpus": "0-1"}, [["xl", "vcpu-list", "1"]]),
        ({"cpus": "0-7"}, [["xl", "vcpu-list", "1"], ["xl", "info"]]),
        ({"cpupool": "Pool-0"}, [["xl", "list", "-c", "1"]]),
    ],
    ids=str,
)
def test_nobody_is_asked_for_more_than_is_described(described, asked):
    host = SimulatedHost()
    task(host, {**PVH, **described})
    host.commands.clear()
    settle(host, {**PVH, **described})
    assert [argv for argv in host.commands if argv[:3] not in (["xl", "list", "-v"], ["xl", "list", "-l"])] == asked
