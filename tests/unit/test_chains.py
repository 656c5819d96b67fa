# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of each deployment on each Xen: which nodes, whose, and what must stand there."""

from __future__ import annotations

import pytest

from ansible_collections.stubdom.xen.plugins.module_utils.chains import (
    CHAINS,
    DEVICES,
    Device,
    Link,
    Subject,
    chain,
    counts,
    depends_on_version,
    kind_of,
)
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import DeviceModel, Guest, Stubdom

UUID = "11111111-2222-3333-4444-555555555555"
OWN = "/local/domain/2/device-model/1/state"  # of a device model in stubdomain 2
DOM0 = "/local/domain/0/device-model/1/state"
HELPER = "/local/domain/0/device-model/2/state"
PROXY = "/local/domain/0/device-model/2/qmp-proxy-state"
MONITOR = "/local/domain/2/device-model/1/qmp-vchan/event-channel"
SOCKET = "/run/xen/qmp-libxl-1"
EMULATOR = "/run/stubdom.xen/vtpm/web"
XENS = [(4, minor) for minor in range(4, 23)]
MINIOS_HELPED = [(0, HELPER), (2, OWN)]


def since(first, links, last=(4, 22)):
    """The same links on every Xen from the one to the other."""
    return {xen: links for xen in XENS if first <= xen <= last}


# What holds the device model -> Xen -> (who reports, where). A Xen that is missing has no such guests.
EXPECTED = {
    "none": since((4, 4), []),
    "vtpm-domain": since((4, 4), [(1, "/local/domain/1/data/vtpm-state")]),
    "qemu": since((4, 4), [(0, DOM0)]),
    "restricted": {**since((4, 10), [(0, DOM0)], last=(4, 11)), **since((4, 12), [(0, SOCKET)])},
    "qemu-tpm": since((4, 4), [(0, EMULATOR), (0, DOM0)]),
    "restricted-tpm": {
        **since((4, 10), [(0, EMULATOR), (0, DOM0)], last=(4, 11)),
        **since((4, 12), [(0, EMULATOR), (0, SOCKET)]),
    },
    "linux": since((4, 14), [(0, PROXY), (0, HELPER), (2, OWN), (2, MONITOR)]),
    "minios": {
        **since((4, 4), [(0, HELPER), (2, DOM0)], last=(4, 5)),
        **since((4, 6), MINIOS_HELPED, last=(4, 9)),
        **since((4, 10), [(2, OWN)], last=(4, 13)),
        **since((4, 14), MINIOS_HELPED, last=(4, 20)),
    },
}


@pytest.mark.parametrize("xen", XENS, ids=lambda xen: f"Xen {xen[0]}.{xen[1]}")
@pytest.mark.parametrize("kind", CHAINS)
def test_the_links_of(kind, xen):
    """Each below the home of the domain that reports; up to Xen 4.5 everybody reported below domain 0."""
    subject = Subject("web", UUID, 1, kind, 2, version=xen)
    if xen in EXPECTED[kind]:
        assert [(link.reporter, link.path) for link in chain(subject)] == EXPECTED[kind][xen]
        return
    with pytest.raises(XenError) as refused:
        chain(subject)
    assert refused.value.code == "not_on_this_xen", "no chain at all would say that it is ready"


@pytest.mark.parametrize("kind", CHAINS)
def test_xen_is_asked_its_version_where_it_matters(kind):
    answers = {tuple(links) for links in EXPECTED[kind].values()}
    assert depends_on_version(kind) == (len(answers) > 1)


BACK = "/local/domain/5/backend/{}/1/0"
ON_DEVICES = {
    "vtpm": [(5, BACK.format("vtpm") + "/state"), (5, BACK.format("vtpm") + "/feature-protocol-v2")],
    "vtpm-stubdom": [
        (5, "/local/domain/5/data/vtpm-state"), (5, BACK.format("vtpm") + "/state"),
        (5, BACK.format("vtpm") + "/feature-protocol-v2"),
    ],
    "vtpm-manager": [(5, BACK.format("vtpm") + "/state")],
    "vif": [(5, BACK.format("vif") + "/state")],
    "vbd": [(5, BACK.format("vbd") + "/state")],
    "qdisk": [(5, "/local/domain/5/device-model/1/state"), (5, BACK.format("qdisk") + "/state")],
    "xen_9pfs": [(5, "/local/domain/5/libxl/xen-9pfs/state")],
}  # fmt: skip


@pytest.mark.parametrize("kind", ON_DEVICES)
def test_the_links_of_a_device_that_domain_5_serves(kind):
    path = BACK.format(kind.split("-")[0])
    links = chain(Subject("web", UUID, 1, "none", devices=(Device(kind, 5, path),)))
    assert [(link.reporter, link.path) for link in links] == ON_DEVICES[kind]
    assert set(DEVICES) <= {*ON_DEVICES, "other"}


@pytest.mark.parametrize(
    ("kind", "backend", "counted"),
    [("vif", 0, False), ("qdisk", 0, False), ("vif", 5, True), ("vtpm", 0, True), ("vtpm", 5, True), ("xen_9pfs", 0, True)],
)
def test_what_domain_0_serves_is_its_own_business_but_for_these(kind, backend, counted):
    assert counts(kind, backend) == counted


def test_two_disks_of_one_driver_domain_wait_for_its_qemu_once():
    disks = tuple(Device("qdisk", 5, f"/local/domain/5/backend/qdisk/1/{devid}") for devid in (51712, 51728))
    names = [link.name for link in chain(Subject("web", UUID, 1, "none", devices=disks))]
    assert names == ["backend-qemu", "backend", "backend"]


@pytest.mark.parametrize(
    ("guest", "stubdom", "qemu", "kind"),
    [
        ("pv", None, False, "none"), ("pvh", "none", False, "none"), ("pv", None, True, "qemu"), ("hvm", None, False, "qemu"),
        ("hvm", "none", True, "qemu"), ("hvm", "linux", False, "linux"), ("hvm", "minios", False, "minios"),
        (None, None, False, "none"),
    ],
)  # fmt: skip
def test_which_chain_a_guest_has(guest, stubdom, qemu, kind):
    assert kind_of(Guest(type=guest, stubdom=Stubdom(type=stubdom)), qemu) == kind


def test_a_restricted_qemu_has_a_chain_of_its_own():
    assert kind_of(Guest(type="hvm", device_model=DeviceModel(restrict=True)), True) == "restricted"


@pytest.mark.parametrize(
    ("value", "owner", "met"),
    [
        ("running", 2, True), ("Running", 2, False), ("running\n", 2, False), ("", 2, False), (None, None, False),
        ("paused", 2, False), ("running", 0, False), ("running", 1, False), ("running", None, False),
    ],
)  # fmt: skip
def test_a_link_holds_for_the_right_value_of_the_right_owner(value, owner, met):
    assert Link("device-model", 2, OWN, ("running",), "").met_by(value, owner) == met


@pytest.mark.parametrize(("state", "met"), [("1", False), ("2", True), ("3", True), ("4", True), ("5", False), ("6", False)])
def test_a_vtpm_that_waits_for_its_guest_is_ready(state, met):
    """Whoever waits for 4, Connected, before the guest runs waits for ever: the guest's driver makes it so."""
    link = chain(Subject("web", UUID, 1, "none", devices=(Device("vtpm", 5, BACK.format("vtpm")),)))[0]
    assert link.met_by(state, 5) == met
