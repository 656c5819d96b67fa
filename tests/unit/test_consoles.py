# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Linux stubdomain needs where a newer QEMU of dom0 serves its consoles is given by itself, and only there."""

from __future__ import annotations

import json

import pytest
from simulated_host import FIRMWARE
from stories import HVM, STUBDOM, settle, surveyed, task

from ansible_collections.stubdom.xen.plugins.module_utils.consoles import PORTS, QUIET, SERIAL

OLD, NEW = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "QEMU emulator version 10.0.11 (Debian 1:10.0.11+ds-0+deb13u1)"
MANIFEST = f"{FIRMWARE}/qemu-stubdom-linux.json"


def built_with(host, qemu):
    """What role stubdom_image leaves on a host with this QEMU."""
    host.files[MANIFEST] = json.dumps({"able": ["save"], "versions": {"qemu": qemu}})


def spec_of(host):
    """What guest_info says of the only guest, as valid input."""
    (about,) = surveyed(host)["guests"]
    return about["spec"]


def own(cmdline=None, **extra):
    """The stubdomain guest with settings of the user's own."""
    stubdom = {"type": "linux", **({"cmdline": cmdline} if cmdline else {})}
    return {**STUBDOM, "stubdom": stubdom, "extra_config": extra}


# what is described; the QEMU of the host; the stubdomain's command line, and its helper's arguments, in the guest's file
CASES = {
    "an older QEMU needs nothing": (STUBDOM, OLD, None, None),
    "a newer one needs both": (STUBDOM, NEW, QUIET, list(PORTS)),
    "a guest without a stubdomain": (HVM, NEW, None, None),
    "a command line of the user's own is kept": (own("loglevel=7"), NEW, "loglevel=7", list(PORTS)),
    "and so are arguments": (own(**{SERIAL: ["-serial", "pty"]}), NEW, QUIET, ["-serial", "pty"]),
    "beside other keys": (own(vga="stdvga"), NEW, QUIET, list(PORTS)),
    "whose version says nothing": (STUBDOM, "QEMU of my own", None, None),
}


@pytest.mark.parametrize("described, qemu, cmdline, arguments", CASES.values(), ids=CASES)
def test_a_guest_has_what_it_needs(host, described, qemu, cmdline, arguments):
    built_with(host, qemu)
    task(host, described)
    found = spec_of(host)
    assert found.get("stubdom", {}).get("cmdline") == cmdline
    assert found.get("extra_config", {}).get(SERIAL) == arguments
    settle(host, described)
    settle(host, found)


@pytest.mark.parametrize("manifest", [None, "not JSON", "[]", '{"versions": []}', '{"versions": {"qemu": null}}'])
def test_of_an_image_of_somebodys_own_nothing_is_known(host, manifest):
    host.files.pop(MANIFEST) if manifest is None else host.files.update({MANIFEST: manifest})
    task(host, STUBDOM)
    assert "extra_config" not in spec_of(host)


def test_no_process_is_run_for_it_where_nothing_is_needed(host):
    """A set of guests comes by for each of them."""
    task(host, STUBDOM)
    host.commands.clear()
    settle(host, STUBDOM)
    assert ["xl", "info"] not in host.commands


def test_after_an_upgrade_of_the_host_a_halted_guest_gets_it(host):
    built_with(host, OLD)
    task(host, STUBDOM)
    task(host, {"name": STUBDOM["name"]}, state="halted")
    built_with(host, NEW)
    task(host, STUBDOM)
    assert spec_of(host)["stubdom"]["cmdline"] == QUIET
    settle(host, STUBDOM)


def test_the_older_xen_that_has_no_such_option_gets_the_arguments_alone(host):
    host.machine.info = host.machine.info.replace("xen_minor              : 17", "xen_minor              : 15")
    for name in ("qemu-stubdom-linux-kernel", "qemu-stubdom-linux-rootfs"):
        host.files[f"/usr/lib/xen-4.15/boot/{name}"] = "there"
    host.files["/usr/lib/xen-4.15/boot/qemu-stubdom-linux.json"] = json.dumps({"versions": {"qemu": NEW}})
    task(host, STUBDOM)
    found = spec_of(host)
    assert "cmdline" not in found["stubdom"] and found["extra_config"] == {SERIAL: list(PORTS)}
