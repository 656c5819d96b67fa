# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook stubdom.xen.audit from end to end: it tells what is not as described, and leaves every host as it was."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from xenhost import BIN, ENV, LIMIT, Host

pytestmark = pytest.mark.no_guest_code

SECRET = "gehei-m1"
NASTY = "console=hvc0 quiet </script><script>alert(1)</script>"
KEPT = "ls -lR --time-style=full-iso /var/cache/stubdom.xen 2>&1"
VERDICTS = {
    "fine": "as_described",
    "fat": "drifted",
    "lame": "degraded",
    "gone": "missing",
    "wrong": "refused",
    "unknown": "not_described",
}


class Audited(NamedTuple):
    rc: int
    said: str
    report: dict[str, Any]
    page: str

    def guests(self, host: str) -> dict[str, dict[str, Any]]:
        return {g["name"]: g for h in self.report["hosts"] if h["name"] == host for g in h["guests"]}


def audit(xen: Host, directory: Path, described: list[dict[str, Any]], *flags: str, **variables: Any) -> Audited:
    """Runs the playbook on this host, with guests described by its inventory, and on one that is not there."""
    mine = {"xen_guests": described, "audit_results": variables.pop("results", [])}
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "xen_guests": described[:1]}
    inventory = directory / "more.yml"
    inventory.write_text(yaml.safe_dump({"xen": {"hosts": {xen.name: mine, "away": away}}}), encoding="utf-8")
    given = json.dumps({"audit_directory": str(directory / "audit"), **variables})
    hosts = ["-i", str(xen.inventory), "-i", str(inventory), "--limit", f"{xen.name},away"]
    argv = [str(BIN / "ansible-playbook"), *hosts, "stubdom.xen.audit", "-e", given, *flags]
    done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=LIMIT, check=False)
    said, written = done.stdout + done.stderr, directory / "audit"
    assert (written / "audit.json").exists(), said
    report = json.loads((written / "audit.json").read_text(encoding="utf-8"))
    return Audited(done.returncode, said, report, (written / "audit.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fleet(xen: Host) -> tuple[Host, list[dict[str, Any]], dict[str, Any], str]:
    """The host with guests that drifted since, what is described of them, how they came up, and all that there is."""
    made = [xen.described("pvh", name) for name in ("fine", "fat", "unknown")] + [xen.described("stubdom", "lame")]
    made[3]["extra_config"] = {**made[3]["extra_config"], "spicepasswd": SECRET}
    rolled = xen.module("guests", guests=made)
    assert not rolled["failed"], rolled
    xen.sh("xl destroy lame-dm && echo dead")
    wrong = {**xen.described("pvh", "wrong"), "kernel": "/nowhere"}
    described = [made[0], {**made[1], "cmdline": NASTY, "vcpus": 2}, made[3], xen.described("pvh", "gone"), wrong]
    before = xen.settle("fine")
    return xen, described, rolled, before


def test_it_tells_what_is_not_as_described_and_changes_nothing(fleet: Any, tmp_path: Path) -> None:
    xen, described, rolled, before = fleet
    domains, kept = xen.domains(), xen.sh(KEPT)
    seen = audit(xen, tmp_path, described, results=rolled, audit_fail_on_drift=True)

    assert xen.differs(before) == []
    assert (xen.domains(), xen.sh(KEPT)) == (domains, kept)

    guests = seen.guests(xen.name)
    assert {name: guest["verdict"] for name, guest in guests.items()} == VERDICTS
    assert {row["field"] for row in guests["fat"]["differs"]} == {"cmdline", "vcpus"}
    assert "lame-dm" in guests["lame"]["evidence"][-1]
    assert guests["lame"]["rollout"]["took_s"] > 0, "it came up once"
    assert {name: guest["verdict"] for name, guest in seen.guests("away").items()} == {"fine": "unreachable"}

    assert seen.rc != 0, "somebody should look"
    assert re.search(rf"{xen.name} fat: drifted: cmdline, vcpus \(needs reboot\)", seen.said), seen.said
    assert re.findall(r"changed=(\d+)", seen.said) == ["0", "0"]
    assert SECRET not in seen.page + seen.said + json.dumps(seen.report)
    assert NASTY not in seen.page and NASTY.replace("<", "\\u003c").replace(">", "\\u003e") in seen.page


def test_with_check_it_says_the_same(fleet: Any, tmp_path: Path) -> None:
    xen, described, _rolled, before = fleet
    seen = audit(xen, tmp_path, described, "--check")
    assert (seen.rc, xen.differs(before)) == (0, [])
    assert {name: guest["verdict"] for name, guest in seen.guests(xen.name).items()} == VERDICTS


def test_one_description_that_makes_no_sense_does_not_hide_the_others(fleet: Any, tmp_path: Path) -> None:
    """The module refuses such a set as a whole."""
    xen, described, _rolled, before = fleet
    typo = {"name": "typo", "type": "pvh", "memory": "a lot"}
    accepted = [*VERDICTS.values(), "unreachable"]
    seen = audit(xen, tmp_path, [*described, typo], audit_fail_on_drift=True, audit_accepts=[*accepted, "errors"])
    assert (seen.rc, xen.differs(before)) == (0, []), seen.said
    assert {name: guest["verdict"] for name, guest in seen.guests(xen.name).items()} == {**VERDICTS, "typo": "refused"}
    assert "memory" in seen.guests(xen.name)["typo"]["error"]["msg"]
