# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose TPM QEMU in dom0 shows it, kept by the host's own swtpm; and what is said where QEMU cannot: Debian's cannot.

Only a simulated host can be made to have a QEMU with a TPM. What is on its other end is the real swtpm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from xenhost import PATIENT, PULL_THE_PLUG, Host, appeared, gone

HAS_TPM = "/etc/xen-simulation/qemu-has-tpm"
TPM = {"vtpm": [{"kind": "emulator", "version": "2.0"}]}
PLACE = "/var/lib/stubdom.xen/vtpm"
SOCKETS = "/run/stubdom.xen/vtpm"


@pytest.fixture
def host(xen: Host) -> Iterator[Host]:
    """The host with a QEMU that can emulate a TPM."""
    xen.sh(f"touch {HAS_TPM} && echo can")
    yield xen
    xen.sh(f"rm {HAS_TPM} && echo cannot")


def described(host: Host, name: str) -> dict[str, Any]:
    return {**host.described("hvm", name), **TPM, **PATIENT}


def serving(name: str) -> str:
    """A command that tells the pids of what serves a guest's TPM. The shell that runs it, and its forks, are not like that."""
    return f"pgrep -f -- '[d]ir={PLACE}/{name}.tpm,' | sort | tr '\\n' ' '"


@pytest.mark.no_guest_code
def test_a_host_whose_qemu_has_no_tpm_says_so_before_anything_is_touched(xen: Host) -> None:
    """On the embedded host as well: it has Debian's QEMU."""
    guest = described(xen, "without")
    before = xen.everything()
    failed = xen.refused(**guest)
    assert (failed["code"], failed["evidence"]["lacks"]) == ("no_tpm_emulator", ["tpm"])
    assert failed["evidence"]["qemu"] == "/usr/libexec/xen-qemu-system-i386"
    assert "--enable-tpm" in failed["hint"] and "kind: stubdom" in failed["hint"]
    assert xen.differs(before) == []
    assert not xen.module("host_info")["tpm"]["emulator"]


@pytest.mark.only("simulated")
def test_the_life_of_a_guest_with_an_emulated_tpm(host: Host) -> None:
    guest = described(host, "sealed")
    assert host.module("host_info")["tpm"] == {"emulator": True, "swtpm": True}
    shown = host.guest(check=True, **guest)
    made = host.guest(**guest)
    assert [step["step"] for step in made["plan"]] == ["store", "serve", "create", "await", "unpause"]
    assert made["plan_digest"] == shown["plan_digest"]
    link = made["readiness"][0]
    assert (link["link"], link["domain"], link["value"], link["holds"]) == ("vtpm-emulator", 0, "connected", True)
    assert not host.guest(**guest)["changed"]
    info = host.module("guest_info", names=["sealed"])["guests"][0]
    assert (info["state"], info["drift"], info["vtpm"][0]["ready"]) == ("running", [], True)
    assert not host.guest(**info["spec"])["changed"], "what guest_info says of it is valid input, and nothing to do"
    host.sh(f"test -s {PLACE}/sealed.tpm/tpm2-00.permall && test -s {PLACE}/sealed.made && echo kept")

    halted = host.guest(**guest, **PULL_THE_PLUG, state="halted")
    assert [step["step"] for step in halted["plan"]] == ["shutdown", "release"]
    assert host.sh(f"{serving('sealed')}; ls -A {SOCKETS}") == ""
    gone = host.guest(name="sealed", state="absent")
    assert [step["step"] for step in gone["plan"]] == ["forget"]
    host.sh(f"test -s {PLACE}/sealed.tpm/tpm2-00.permall && echo kept")
    purged = host.guest(name="sealed", state="absent", purge_state=True)
    assert [step["step"] for step in purged["plan"]] == ["purge"]
    assert host.sh(f"ls -A {PLACE}") == ""


@pytest.mark.only("simulated")
def test_the_guests_own_reboot_finds_its_tpm(host: Host) -> None:
    """Its QEMU tells swtpm to shut down when it ends, and xl's monitor starts the next one."""
    guest = described(host, "again")
    host.guest(**guest)
    before, pids = host.domid("again"), host.sh(serving("again")).split()
    host.sh(f"xl reboot again; {gone(before)}; {appeared('again')}")
    host.sh("xl domid again")
    result = host.module("guest_ready", name="again", timeout=600)
    assert [(link["link"], link["holds"]) for link in result["readiness"]] == [("vtpm-emulator", True), ("device-model", True)]
    assert host.domid("again") != before
    after = host.sh(serving("again")).split()
    assert len(after) == len(pids) == 2
    assert len(set(pids) & set(after)) == 1, "the same shell listens, and another swtpm has the TPM"
    assert not host.guest(**guest)["changed"]
    host.guest(name="again", state="absent", purge_state=True, **PULL_THE_PLUG)


@pytest.mark.only("simulated")
def test_an_emulator_that_died_is_told_and_repaired(host: Host) -> None:
    guest = described(host, "broken")
    host.guest(**guest)
    host.sh(f"kill -9 $(cat {SOCKETS}/.broken.pid) && echo killed")
    info = host.module("guest_info", names=["broken"])["guests"][0]
    assert (info["state"], info["vtpm"][0]["alive"], info["readiness"][0]["holds"]) == ("degraded", False, False)
    waits = host.guest(**guest)
    assert (waits["changed"], waits["pending"][0]["needs"]) == (False, "reboot")
    mended = host.guest(**guest, **PULL_THE_PLUG, disruption="reboot")
    assert [step["step"] for step in mended["plan"]] == ["shutdown", "serve", "create", "await", "unpause"]
    assert not host.guest(**guest)["changed"]
    host.guest(name="broken", state="absent", purge_state=True, **PULL_THE_PLUG)


@pytest.mark.only("simulated")
def test_a_state_that_vanished_is_missed(host: Host) -> None:
    guest = described(host, "bare")
    host.guest(**guest)
    host.guest(**guest, **PULL_THE_PLUG, state="halted")
    host.sh(f"mv {PLACE}/bare.tpm {PLACE}/elsewhere && echo gone")
    failed = host.refused(**guest)
    assert (failed["code"], host.domains()) == ("tpm_state_missing", ["Domain-0"])
    host.sh(f"mv {PLACE}/elsewhere {PLACE}/bare.tpm && echo back")
    assert host.guest(**guest)["guest"]["state"] == "running"
    host.guest(name="bare", state="absent", purge_state=True, **PULL_THE_PLUG)


@pytest.mark.only("simulated")
def test_a_state_that_swtpm_cannot_read_leaves_nothing_started(host: Host) -> None:
    guest = described(host, "spoilt")
    host.guest(**guest, state="halted")
    host.sh(f"mkdir -p -m 700 {PLACE}/spoilt.tpm && echo no TPM > {PLACE}/spoilt.tpm/tpm2-00.permall && echo spoilt")
    failed = host.refused(**guest)
    assert (failed["code"], failed["evidence"]["link"]) == ("tpm_emulator_failed", "vtpm-emulator")
    assert failed["evidence"]["logs"][0]["tail"]
    assert host.domains() == ["Domain-0"]
    assert host.sh(f"{serving('spoilt')}; cat {PLACE}/spoilt.tpm/tpm2-00.permall") == "no TPM"
    host.guest(name="spoilt", state="absent", purge_state=True)
