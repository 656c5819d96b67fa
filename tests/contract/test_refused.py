# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input is refused before anything is touched, and the refusal names the option and the value."""

from __future__ import annotations

from typing import Any

import pytest
from xenhost import DIRECT, FROM_DISK, Host

DISK = {"vdev": "xvda", "target": "/var/lib/xen-lab/guest.img", "format": "raw"}
STUBDOM = {**FROM_DISK, "stubdom": {"type": "linux"}, "disks": [DISK]}
OTHER = "11111111-2222-3333-4444-555555555555"


def with_disk(guest: dict[str, Any], **disk: str) -> dict[str, Any]:
    return {**guest, "disks": [{**DISK, **disk}]}


# what is given -> (code, the option and the value that the message names)
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a name of digits": ({"name": "123", "type": "pvh", **DIRECT}, "invalid_input", "name: '123'"),
    "a stubdomain's name": ({"name": "web-dm", "type": "pvh", **DIRECT}, "invalid_input", "name: 'web-dm'"),
    "a path for a name": ({"name": "../etc", "type": "pvh", **DIRECT}, "invalid_input", "name: '../etc'"),
    "pv with a stubdomain": ({"type": "pv", **DIRECT, "stubdom": {"type": "linux"}}, "invalid_input", "stubdom.type: 'linux'"),
    "kernel with a stubdomain": ({**STUBDOM, "kernel": "/var/lib/xen-lab/vmlinuz"}, "invalid_input", "kernel: '/var/lib"),
    "qdisk with a stubdomain": (with_disk(STUBDOM, backendtype="qdisk"), "invalid_input", "disks[0].backendtype: 'qdisk'"),
    "qcow2 with a stubdomain": (with_disk(STUBDOM, format="qcow2"), "invalid_input", "disks[0].format: 'qcow2'"),
    "a size without a unit": ({"type": "pvh", **DIRECT, "memory": "512"}, "invalid_input", "memory: '512'"),
    "a missing kernel": ({"type": "pvh", **DIRECT, "kernel": "/no/such"}, "file_unreadable", "kernel: /no/such"),
    "a missing disk": (with_disk(FROM_DISK, target="/no/such.img"), "file_unreadable", "disks[0].target: /no/such.img"),
    "a UUID in use": ({"type": "pvh", **DIRECT, "uuid": OTHER}, "uuid_in_use", f"uuid: '{OTHER}'"),
    "too much memory": ({"type": "pvh", **DIRECT, "memory": "900GiB"}, "not_enough_memory", "memory: "),
    "too little for guest and stubdomain": ({**STUBDOM, "memory": "4300MiB"}, "not_enough_memory", "and its stubdomain"),
    "MiniOS, whose image is not there": ({**STUBDOM, "stubdom": {"type": "minios"}}, "no_stubdom_image", "stubdom.type"),
    "no type for a new guest": ({"memory": "160MiB"}, "invalid_input", "type: None"),
}  # fmt: skip


@pytest.fixture(scope="module")
def occupied(xen: Host) -> tuple[Host, str]:
    """A host on which another guest has a UUID and some memory, and all that there is on it."""
    xen.guest(**xen.described("pvh", "other"), uuid=OTHER)
    return xen, xen.settle("other")


@pytest.mark.no_guest_code
@pytest.mark.parametrize("case", CASES)
def test_refused(occupied: tuple[Host, str], case: str) -> None:
    options, code, names = CASES[case]
    xen, before = occupied
    refused = xen.refused(**{"name": "wrong", **options})
    assert (refused["code"], names in refused["msg"]) == (code, True), refused["msg"]
    assert refused["hint"]
    assert xen.differs(before) == []
