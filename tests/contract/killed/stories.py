# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens in a guest's life, a row each: what it is before, what is asked of it, and what has to come of it.

`calls` and `CHANGES` say how far a moment may be drawn into a run: how many commands of xl it makes at least, and how many
nodes a command changes. Where there were fewer, nobody is killed, and another moment is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

ALL = ("pv", "pvh", "hvm", "stubdom", "tpm")  # tpm: a pvh guest with a TPM in a domain of its own
HOME = "/run/killed"


def disk(letter: str) -> dict[str, str]:
    return {"vdev": f"xvd{letter}", "target": f"{HOME}/{letter}.img", "format": "raw", "access": "rw"}


GUEST: dict[str, Any] = {
    "vcpus": 1,
    "max_vcpus": 2,
    "disks": [disk("a")],
    "nics": [{"bridge": "xenbr0"}],
    "ready": {"timeout": 60, "retries": 0},
}
TWO_DISKS = {"disks": [disk("a"), disk("b")]}
OTHER_BRIDGE = {"nics": [{"bridge": "xenbr1"}]}
LATER = {"max_vcpus": 3}  # no kind of guest takes it as it runs
MORE_MEMORY = {"memory": "160MiB"}
RUNS: dict[str, Any] = {}
HALTED, PAUSED, ABSENT = ({"state": state} for state in ("halted", "paused", "absent"))


class Story(NamedTuple):
    """before: the task that makes the guest as it is at first; None: there is none. then: the task that is interrupted.

    changing: the commands of it that change nodes. waits: the fields that it leaves for the guest's next start.
    """

    before: Optional[dict[str, Any]]
    then: dict[str, Any]
    calls: int
    changing: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ALL
    reboots: bool = False  # the guest does, while the task runs


STORIES: Mapping[str, Story] = {
    "create": Story(None, RUNS, 10, ("create -p",)),
    "create paused": Story(None, PAUSED, 7, ("create -p",)),
    "another vcpu": Story(RUNS, {"vcpus": 2}, 8, ("vcpu-set",)),
    # Of a guest with QEMU that was made with less than max_memory, libxl tells 1 MiB more after mem-set than was asked for.
    "more memory": Story(RUNS, MORE_MEMORY, 8, ("mem-set",), kinds=("pv", "pvh", "tpm")),
    "a disk more": Story(RUNS, TWO_DISKS, 8, ("block-attach",)),
    "a disk less": Story(TWO_DISKS, {}, 7, ("block-detach",)),
    "another bridge": Story(RUNS, OTHER_BRIDGE, 11, ("network-detach", "network-attach")),
    "waits": Story(RUNS, LATER, 7, waits=("max_vcpus",)),
    "recreated": Story(RUNS, {**LATER, "disruption": "recreate"}, 17, ("shutdown", "create -p")),
    "pause": Story(RUNS, PAUSED, 5),
    "let go": Story(PAUSED, RUNS, 6),
    "halt": Story(RUNS, HALTED, 8, ("shutdown",)),
    "halt what never ran": Story(PAUSED, HALTED, 6, ("destroy",)),
    "start": Story(HALTED, RUNS, 9, ("create -p",)),
    "absent": Story(RUNS, ABSENT, 8, ("shutdown",)),
    "absent that never ran": Story(PAUSED, ABSENT, 6, ("destroy",)),
    "reboots by itself": Story(RUNS, RUNS, 2, reboots=True),
    "reboots, and a change waits": Story(RUNS, LATER, 4, waits=("max_vcpus",), reboots=True),
    "reboots, and is halted": Story(RUNS, HALTED, 4, ("shutdown",), reboots=True),
}

# How many nodes a command changes at least, its guest and back ends with it.
CHANGES: Mapping[str, Mapping[str, int]] = {
    "create -p": {"pv": 185, "pvh": 180, "hvm": 200, "stubdom": 530, "tpm": 180},  # of tpm, its TPM's domain is made first
    # Of some thirty, or sixty with a stubdomain: after them only the hypervisor knows the domain, and the module not whose it is.
    "destroy": {"pv": 28, "pvh": 28, "hvm": 28, "stubdom": 60, "tpm": 28},
    "shutdown": dict.fromkeys(ALL, 2),
    "vcpu-set": dict.fromkeys(ALL, 2),
    "mem-set": dict.fromkeys(ALL, 2),
    "block-attach": dict.fromkeys(ALL, 50),
    "block-detach": dict.fromkeys(ALL, 4),
    "network-attach": dict.fromkeys(ALL, 50),
    "network-detach": dict.fromkeys(ALL, 10),
}
