# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest with a TPM in a domain of its own: the second link of the chain, how it breaks, and how it is mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import tpm_commands as tpm
from tpm_story import SECRET, answers_in, asked, script, worked
from xenhost import PATIENT, PULL_THE_PLUG, Host, mostly_simulated

BEHAVIOURS = "/etc/xen-simulation/behaviours.json"
TPM = {"vtpm": [{"kind": "stubdom"}]}
LINKS = ["vtpm-domain", "vtpm", "vtpm-protocol"]
STATE = "/var/lib/stubdom.xen/vtpm"


@pytest.fixture(scope="module")
def tpms(xen: Host) -> Host:
    """The host with the image of the TPM's domain; on a simulated one a kernel that is never run."""
    xen.have_tpm_image()
    return xen


@pytest.fixture
def host(tpms: Host) -> Iterator[Host]:
    yield tpms
    if tpms.kind == "simulated":
        tpms.sh(f"rm -f {BEHAVIOURS}; echo well")


def described(host: Host, kind: str, name: str) -> dict[str, Any]:
    return {**host.described(kind, name), **TPM, **PATIENT}


def asking(host: Host, name: str, version: str) -> list[dict[str, Any]]:
    """The disk with the guest's script."""
    return host.script(name, script({**asked(version), "extended": tpm.VERSIONS[version].pcr_read()}))


@pytest.mark.only("embedded")
@pytest.mark.parametrize(("kind", "version"), [("pvh", "1.2"), ("stubdom", "2.0")])
def test_what_the_guest_itself_has_of_its_tpm(host: Host, kind: str, version: str) -> None:
    """It extends a PCR and writes to NV; after guest and domain were made anew NV is kept, and the PCR is that of a start."""
    name = f"inside-{kind}"
    guest = {**described(host, kind, name), "vtpm": [{"kind": "stubdom", "version": version}]}
    guest["disks"] = [*guest.get("disks", []), *asking(host, name, version)]
    host.guest(**guest)
    first = answers_in(host.ran(name).splitlines())
    assert worked(first) == {"pcr", "define", "write", "extend", "extended"}
    assert first["pcr"] != first["extended"]

    host.sh(f"xl destroy {name}-vtpm && echo gone")
    assert host.module("guest_info", names=[name])["guests"][0]["state"] == "degraded"
    mended = host.guest(**guest, **PULL_THE_PLUG, disruption="reboot")
    assert (mended["guest"]["state"], mended["guest"]["vtpm"][0]["ready"]) == ("running", True)
    second = answers_in(host.ran(name).splitlines())
    assert SECRET in second["kept"]
    assert second["pcr"] == first["pcr"]
    assert not host.guest(**guest)["changed"]
    host.guest(name=name, state="absent", purge_state=True, **PULL_THE_PLUG)
    assert host.domains() == ["Domain-0"]


@pytest.mark.parametrize("kind", mostly_simulated(["pvh", "stubdom"]))
def test_the_life_of_a_guest_with_a_tpm(host: Host, kind: str) -> None:
    name = f"sealed-{kind}"
    guest, own = described(host, kind, name), f"{name}-vtpm"
    shown = host.guest(check=True, **guest)
    made = host.guest(**guest)
    assert [step["step"] for step in made["plan"]] == ["store", "serve", "create", "await", "unpause"]
    assert made["plan_digest"] == shown["plan_digest"]
    others = [f"{name}-dm"] * (kind == "stubdom")
    assert sorted(host.domains()) == sorted(["Domain-0", name, own, *others])
    links = [link for link in made["readiness"] if link["link"] in LINKS]
    assert [(link["link"], link["domain"], link["holds"]) for link in links] == [(n, host.domid(own), True) for n in LINKS]
    assert not host.guest(**guest)["changed"]

    info = host.module("guest_info", names=[name])["guests"][0]
    assert (info["state"], info["drift"], info["vtpm"][0]["ready"]) == ("running", [], True)
    assert not host.guest(**info["spec"])["changed"], "what guest_info says of it is valid input, and nothing to do"

    host.sh(f"xl destroy {own} && echo gone")
    info = host.module("guest_info", names=[name])["guests"][0]
    assert (info["state"], info["vtpm"][0]["alive"]) == ("degraded", False)
    waits = host.guest(**guest)
    assert (waits["changed"], waits["pending"][0]["needs"]) == (False, "reboot")
    mended = host.guest(**guest, **PULL_THE_PLUG, disruption="reboot")
    assert [step["step"] for step in mended["plan"]] == ["shutdown", "serve", "create", "await", "unpause"]
    assert not host.guest(**guest)["changed"]

    gone = host.guest(name=name, state="absent", **PULL_THE_PLUG)
    assert [step["step"] for step in gone["plan"]] == ["shutdown", "release", "forget"]
    assert host.domains() == ["Domain-0"]
    host.sh(f"test -s {STATE}/{name}.img && echo kept")
    purged = host.guest(name=name, state="absent", purge_state=True)
    assert [step["step"] for step in purged["plan"]] == ["purge"]
    assert not host.guest(name=name, state="absent", purge_state=True)["changed"]


@pytest.mark.only("simulated")
def test_a_tpm_domain_that_never_gets_ready_leaves_nothing_started(host: Host) -> None:
    host.put(BEHAVIOURS, json.dumps({"late-vtpm": {"vtpm": {"ready": "never"}}}))
    failed = host.refused(**{**described(host, "stubdom", "late"), "ready": {"timeout": 5, "retries": 0}})
    assert (failed["code"], failed["evidence"]["link"]) == ("readiness_timeout", "vtpm-domain")
    assert host.domains() == ["Domain-0"]
    host.sh("xl create -n /etc/xen/late.cfg >/dev/null && echo its file stays")


@pytest.mark.only("simulated")
def test_a_tpm_domain_that_gives_up_is_told_at_once_with_its_reason(host: Host) -> None:
    host.put(BEHAVIOURS, json.dumps({"sick-vtpm": {"vtpm": {"fails": "its disk holds something else than the state of a TPM"}}}))
    failed = host.refused(**{**described(host, "pvh", "sick"), "ready": {"timeout": 60, "retries": 1}})
    assert (failed["code"], failed["evidence"]["link"]) == ("stubdom_failed", "vtpm-domain")
    assert "something else than the state of a TPM" in failed["msg"]
    assert failed["evidence"]["waited_s"] < 30
    assert host.domains() == ["Domain-0"]


@pytest.mark.only("simulated")
def test_a_guest_that_fails_takes_its_tpm_down_again(host: Host) -> None:
    host.put(BEHAVIOURS, json.dumps({"broken": {"stubdom": {"dies_at": "qemu"}}}))
    failed = host.refused(**{**described(host, "stubdom", "broken"), "ready": {"timeout": 60, "retries": 0}})
    assert failed["code"] == "stubdom_failed"
    assert host.domains() == ["Domain-0"]
