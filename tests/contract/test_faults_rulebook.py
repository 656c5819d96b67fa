# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebook as a user runs it: a guest's stubdomain or its TPM's domain is destroyed, and nobody but the rulebook mends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from event_story import way
from xenhost import ENV, PATIENT, PULL_THE_PLUG, ROOT, Host, gone

pytestmark = pytest.mark.no_guest_code

EVENTS = ROOT / ".cache" / "events"


@pytest.fixture(scope="module")
def guests(xen: Host) -> dict[str, dict[str, Any]]:
    """What the user describes."""
    xen.have_tpm_image()
    described = [xen.described("stubdom", "vault"), {**xen.described("pvh", "sealed"), "vtpm": [{"kind": "stubdom"}]}]
    return {guest["name"]: {**guest, **PATIENT} for guest in described}


@pytest.fixture(scope="module")
def rulebook(xen: Host, guests: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """It runs, and watches the host with these guests. Its output is in the file."""
    subprocess.run([str(ROOT / "requirements/events.sh")], check=True)
    where = tmp_path_factory.mktemp("rulebook")
    # the inventory of the user: the lab's, with what is to be on the host. ansible-rulebook takes one path.
    known = {"all": {"vars": {"xen_guests": list(guests.values())}}}
    (where / "inventory").mkdir()
    (where / "inventory/hosts.yml").write_text(xen.inventory.read_text(encoding="utf-8"), encoding="utf-8")
    (where / "inventory/guests.json").write_text(json.dumps(known), encoding="utf-8")
    (where / "vars.yml").write_text(json.dumps({"xen_event_hosts": {xen.name: way(xen)}}), encoding="utf-8")
    for guest in guests.values():
        xen.guest(**guest)
    given = ["-i", str(where / "inventory"), "--vars", str(where / "vars.yml")]
    command = [str(EVENTS / "bin/ansible-rulebook"), "-r", "stubdom.xen.repair", *given]
    env = {**ENV, "PATH": f"{EVENTS / 'bin'}{os.pathsep}{ENV['PATH']}"}
    with (where / "output").open("w") as output:
        running = subprocess.Popen([*command, "-v"], env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    yield where / "output"
    os.killpg(running.pid, signal.SIGTERM)
    running.wait()
    for name in guests:
        xen.guest(name=name, state="absent", **PULL_THE_PLUG)


@pytest.mark.parametrize(("name", "helper"), [("vault", "vault-dm"), ("sealed", "sealed-vtpm")])
def test_a_guest_is_whole_again(xen: Host, guests: dict[str, Any], rulebook: Path, name: str, helper: str) -> None:
    before = xen.domid(name)
    xen.sh(f"xl destroy $(xl domid {helper}) ; echo destroyed")
    assert xen.sh(gone(before)) == "gone", rulebook.read_text()
    # the repair holds the guest's lock: this task waits for it, and finds nothing to do
    after = xen.guest(**guests[name])
    assert not after["changed"], after["plan"]
    found = xen.module("guest_info", names=[name])["guests"][0]
    assert (found["state"], found["drift"]) == ("running", [])
    assert all(link["holds"] for link in found["readiness"]) and found["domid"] != before
