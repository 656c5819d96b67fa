# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate for guests that others made, and what it does not believe: nodes that say `running` and are not true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from xenhost import FROM_DISK, KINDS, PULL_THE_PLUG, Host

SOON = 2  # seconds that a chain is waited for which will not come up
LONG = 600
VTPM = {"backend": "tpm", "uuid": "ac0a5b9e-cbe2-4c07-b43b-1d69e46fb839"}


@pytest.fixture(scope="module")
def filed(xen: Host) -> Host:
    """A host with a person's own file of a guest behind a Linux stubdomain: /root/held.cfg."""
    xen.guest(**xen.described("stubdom", "held"), state="halted")
    xen.sh("mv /etc/xen/held.cfg /root && echo moved")
    return xen


@pytest.fixture
def held(filed: Host) -> Iterator[Host]:
    """The guest made of it by plain `xl create -p`."""
    filed.sh("xl create -q -p /root/held.cfg && echo made")
    yield filed
    filed.sh("xl destroy held 2>/dev/null; xl destroy held-dm 2>/dev/null; xl list | grep -c held || true")
    assert filed.domains() == ["Domain-0"]


@pytest.fixture
def helper(xen: Host) -> Iterator[Host]:
    """A host with a domain that serves others: `tpm`."""
    xen.put("/root/tpm.cfg", 'name = "tpm"\ndriver_domain = 1\ntype = "pvh"\nmemory = 128\nkernel = "/var/lib/xen-lab/vmlinuz"\n')
    xen.sh("xl create -q /root/tpm.cfg && echo made")
    yield xen
    xen.sh("rm -f /etc/xen-simulation/behaviours.json; xl destroy leaning 2>/dev/null; xl destroy tpm 2>/dev/null; echo gone")
    xen.guest(name="leaning", state="absent")


def wait_for(host: Host, name: str, check: bool = False, timeout: int = LONG, **more: Any) -> dict[str, Any]:
    return host.module("guest_ready", check, name=name, timeout=timeout, **more)


@pytest.mark.no_guest_code
def test_a_guest_made_by_xl_is_let_run_when_it_may(held: Host) -> None:
    seen = wait_for(held, "held", check=True, unpause=True)
    assert held.sh("xl list held | awk 'NR > 1 { print $5 }'")[2] == "p"
    told = wait_for(held, "held", unpause=True)
    assert told["changed"] and (told["guest"]["state"], told["guest"]["domid"]) == ("running", held.domid("held"))
    assert [(link["link"], link["holds"]) for link in told["readiness"]] == [
        ("qmp-proxy", True), ("console-backend", True), ("device-model", True), ("qmp", True),
    ]  # fmt: skip
    assert {"ready", "changed"} <= set(seen), "check mode tells without waiting"
    again = wait_for(held, "held", unpause=True)
    assert (again["ready"], again["changed"]) == (True, False)


@pytest.mark.no_guest_code
def test_nobody_is_waited_for_who_is_not_there(xen: Host) -> None:
    told = wait_for(xen, "nobody")
    assert (told["failed"], told["code"]) == (True, "no_guest")
    assert not wait_for(xen, "nobody", check=True)["failed"]


# --- lies. They are told by hand, to the real xenstored.

LIES = {
    "a stubdomain that serves somebody else": "xenstore-write /local/domain/$S/target 99",
    "a guest that names a stubdomain of another": "xenstore-write /local/domain/$G/image/device-model-domid 0",
    "the guest's own node": "xenstore-chmod /local/domain/$S/device-model/$G/state n$G",
    "domain 0 in the stubdomain's name": "xenstore-chmod /local/domain/$S/device-model/$G/state n0 r$S",
    "a target that the stubdomain wrote": "xenstore-chmod /local/domain/$S/target n$S",
    "a stubdomain that the guest named": "xenstore-chmod /local/domain/$G/image/device-model-domid n$G",
    "another word": "xenstore-write /local/domain/$S/device-model/$G/state Running",
    "the path of before Xen 4.6": "xenstore-rm /local/domain/$S/device-model/$G/state;"
    " xenstore-write /local/domain/0/device-model/$G/state running",
}


@pytest.mark.no_guest_code
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_lets_no_guest_run(held: Host, lie: str) -> None:
    held.sh(f"G=$(xl domid held) S=$(xl domid held-dm); {lie}; echo told")
    told = wait_for(held, "held", timeout=SOON, unpause=True)
    assert (told["failed"], told["code"]) == (True, "readiness_timeout"), told
    assert held.sh("xl list held | awk 'NR > 1 { print $5 }'")[2] == "p"


@pytest.mark.no_guest_code
def test_a_crashed_stubdomain_is_told_at_once_whatever_its_node_says(held: Host) -> None:
    held.sh("xl destroy held-dm && echo gone")
    told = wait_for(held, "held", unpause=True)
    assert (told["failed"], told["code"]) == (True, "reporter_died")
    assert told["evidence"]["waited_s"] < 10


@pytest.mark.no_guest_code
def test_the_helper_in_domain_0_is_a_process_and_has_to_live(held: Host) -> None:
    pid = "xenstore-read /local/domain/$(xl domid held-dm)/image/device-model-pid"
    held.sh(f"kill -9 $({pid}) && echo killed")
    told = wait_for(held, "held", unpause=True)
    assert (told["code"], told["evidence"]["link"]) == ("reporter_died", "console-backend")


@pytest.mark.no_guest_code
@pytest.mark.parametrize("retries", [0, 1])
def test_what_a_dead_guest_left_in_domain_0_does_not_count(helper: Host, retries: int) -> None:
    """libxl itself believes it, asks QEMU before it is there, gives up, and takes the node away: the next attempt succeeds."""
    stale = f"/local/domain/0/device-model/{helper.domid('tpm') + 1}/state"
    helper.sh(f"xenstore-write {stale} running && echo told")
    described = {**helper.described("hvm", "leaning"), "ready": {"timeout": 60, "retries": retries}}
    told = helper.module("guest", **described)
    if retries:
        assert told["guest"]["state"] == "running", told
        helper.guest(name="leaning", state="absent", **PULL_THE_PLUG)
    else:
        assert (told["code"], told["evidence"]["left_by_a_dead_guest"]) == ("readiness_timeout", stale), told
        assert "leaning" not in helper.domains()


# --- other domains that a guest leans on


LEANING = {
    "a vTPM": ({"vtpm": [VTPM]}, "vtpm", ["vtpm", "vtpm-protocol"]),
    "a driver domain": ({"nics": [{"bridge": "xenbr0", "backend": "tpm"}]}, "vif", ["backend"]),
}


@pytest.mark.only("simulated")
@pytest.mark.parametrize(("more", "kind", "links"), LEANING.values(), ids=LEANING)
def test_a_domain_that_a_guest_leans_on_is_a_link(helper: Host, more: dict[str, Any], kind: str, links: list[str]) -> None:
    made = helper.guest(**{**KINDS["pvh"], "name": "leaning", **more})
    home = helper.domid("tpm")
    assert [(link["link"], link["domain"]) for link in made["readiness"]] == [(link, home) for link in links]
    assert made["readiness"][0]["path"] == f"/local/domain/{home}/backend/{kind}/{made['guest']['domid']}/0/state"
    (found,) = [g for g in helper.module("guest_info")["guests"] if g["name"] == "leaning"]
    assert [link["holds"] for link in found["readiness"]] == [True] * len(links)
    helper.guest(name="leaning", state="absent", **PULL_THE_PLUG)


@pytest.mark.only("simulated")
@pytest.mark.parametrize("kind", ["vtpm", "vif"])
def test_a_helper_that_never_comes_up_lets_no_guest_run(helper: Host, kind: str) -> None:
    more = next(more for more, of, _links in LEANING.values() if of == kind)
    helper.put("/etc/xen-simulation/behaviours.json", json.dumps({"leaning": {f"backend.{kind}": {"stuck_at": 1}}}))
    failed = helper.refused(**{**KINDS["pvh"], "name": "leaning", **more}, ready={"timeout": 60, "retries": 0})
    assert failed["code"] in ("readiness_timeout", "create_failed"), failed
    assert failed["evidence"]["link"] == {"vtpm": "vtpm", "vif": "backend"}[kind]
    assert "leaning" not in helper.domains()


@pytest.mark.only("simulated")
def test_a_helper_that_dies_is_told_at_once(helper: Host) -> None:
    helper.guest(**{**KINDS["pvh"], "name": "leaning", **LEANING["a vTPM"][0]}, state="paused")
    helper.sh("xl destroy tpm && echo gone")
    told = wait_for(helper, "leaning", unpause=True)
    assert (told["code"], told["evidence"]["link"]) == ("reporter_died", "vtpm")


@pytest.mark.no_guest_code
def test_a_restricted_qemu_is_asked_over_its_monitor(xen: Host) -> None:
    """Its node stays empty: it may not write."""
    restricted = {**FROM_DISK, "disks": xen.disk("locked"), "device_model": {"restrict": True, "user": "nobody"}}
    made = xen.guest(**restricted, name="locked")
    (link,) = made["readiness"]
    assert (link["path"], link["holds"]) == (f"/run/xen/qmp-libxl-{made['guest']['domid']}", True)
    assert link["value"] in ("prelaunch", "paused", "running")
    xen.guest(name="locked", state="absent", **PULL_THE_PLUG)
