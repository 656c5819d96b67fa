# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin, as a user runs it: Xen hosts that answer, one that is away, one that hangs, and guests that lie.

The one host of this suite stands in its inventory twice: two Xen hosts whose guests have the same names.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xenhost import BIN, ENV, LIMIT, PULL_THE_PLUG, Host

pytestmark = pytest.mark.no_guest_code

TEMPLATE = "{{ 7 * 191 }}"
WOULD_BE = "1337"
SLY = f"""name = "{TEMPLATE}"
type = "pvh"
memory = 128
kernel = "/var/lib/xen-lab/vmlinuz"
ramdisk = "/var/lib/xen-lab/tiny.cpio.gz"
extra = "quiet {TEMPLATE} \x1b[2J"
"""
SHOW = """---
- name: What is said of guests
  hosts: xen_guests
  gather_facts: false
  tasks:
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ inventory_hostname }} {{ xen_name }} {{ xen_spec }} {{ hostvars[inventory_hostname].composed }}"
"""
HANG_S = 20


class Inventory:
    """A directory with hosts.yml and a source of the plugin."""

    def __init__(self, where: Path, xen: Host) -> None:
        self.where = where / "inventory"
        self.where.mkdir()
        known = json.loads(self._run("ansible-inventory", "-i", str(xen.inventory), "--host", xen.name).stdout)
        (where / "ssh").write_text("#!/bin/sh\nexec sleep 86423\n", encoding="utf-8")
        (where / "ssh").chmod(0o755)
        hangs = {"ansible_connection": "ssh", "ansible_ssh_executable": str(where / "ssh")}
        away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        hosts = {"one": known, "two": known, "away": away, "hangs": hangs}
        groups = {"answering": {"hosts": {"one": {}, "two": {}}}}
        self.write("hosts.yml", json.dumps({"all": {"hosts": hosts, "children": groups}}))

    def write(self, name: str, text: str) -> str:
        (self.where / name).write_text(text, encoding="utf-8")
        return str(self.where / name)

    def source(self, **options: Any) -> str:
        given = {"plugin": "stubdom.xen.guests", "inventory": ["hosts.yml"], "timeout": 600, "strict": True, **options}
        return self.write("xen.guests.yml", json.dumps(given))

    def listed(self, *more: str, **options: Any) -> tuple[dict[str, Any], str]:
        """What ansible-inventory makes of a source with these options, and its warnings."""
        done = self._run("ansible-inventory", "-i", self.source(**options), "--list", "--export", *more)
        assert '"xen_name": { "__ansible_unsafe": ' in " ".join(done.stdout.split()), "what guests say is marked as no template"
        told = json.loads(done.stdout, object_hook=_unmarked)
        return {**told, "hosts": told["_meta"]["hostvars"]}, " ".join(done.stderr.split())

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([str(BIN / program), *words], env=ENV, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def play(self, text: str) -> str:
        return self._run("ansible-playbook", "-i", str(self.where / "xen.guests.yml"), self.write("play.yml", text)).stdout


def _unmarked(found: dict[str, Any]) -> Any:
    return found.get("__ansible_unsafe", found)


@pytest.fixture(scope="module")
def crowd(xen: Host) -> Iterator[Host]:
    """A host with a guest of ours, one that somebody named after a template, and a file that nobody started."""
    xen.guest(**{**xen.described("pvh", "web"), "nics": [{"bridge": "xenbr0", "ip": "10.0.0.7"}]})
    xen.put("/root/sly.cfg", SLY)
    xen.sh("xl create -q /root/sly.cfg && echo made")
    xen.put("/etc/xen/halted.cfg", SLY.replace(TEMPLATE, "halted"))
    home = f"/local/domain/{xen.domid('web')}"
    xen.sh(f"xenstore-write {home}/attr/vif/0/ipv4/0 10.9.9.9 {home}/attr/eth1/ip '{TEMPLATE}' && echo written")
    yield xen
    xen.guest(name="web", state="absent", **PULL_THE_PLUG)


@pytest.fixture
def inventory(tmp_path: Path, crowd: Host) -> Inventory:
    return Inventory(tmp_path, crowd)


def test_guests_are_hosts_with_variables_and_groups(inventory: Inventory, crowd: Host) -> None:
    told, _warnings = inventory.listed(
        hosts="one",
        keyed_groups=[{"key": "xen_type", "prefix": "type"}],
        groups={"waiting": "xen_state == 'halted'"},
        compose={"composed": "xen_memory // 1048576"},
    )
    web = told["hosts"]["web"]
    assert (web["xen_host"], web["xen_state"], web["xen_domid"]) == ("one", "running", crowd.domid("web"))
    assert (web["ansible_host"], web["composed"]) == ("10.0.0.7", 160)
    assert web["xen_addresses"] == {"described": ["10.0.0.7"], "reported": ["10.9.9.9"]}
    assert not crowd.guest(check=True, **web["xen_spec"])["changed"], "the description is the module's own input"
    assert set(told["type_pvh"]["hosts"]) == set(told["xen_host_one"]["hosts"]) == set(told["hosts"])
    assert told["waiting"]["hosts"] == told["xen_state_halted"]["hosts"] == ["halted"]


def test_a_host_that_is_away_or_hangs_costs_a_warning_and_its_own_time(inventory: Inventory) -> None:
    began = time.monotonic()
    told, warnings = inventory.listed(timeout=HANG_S, hostnames=["name@host"])
    assert time.monotonic() - began > HANG_S
    assert {host["xen_host"] for host in told["hosts"].values()} <= {"one", "two"}
    assert "Xen host away cannot be reached" in warnings and "Xen host hangs failed" in warnings
    assert subprocess.run(["pgrep", "-f", "sleep 86423"], capture_output=True, check=False).stdout == b""


def test_guests_of_one_name_are_two(inventory: Inventory) -> None:
    told, _warnings = inventory.listed(hosts="answering")
    assert {"web@one", "web@two", "halted@one", "halted@two"} <= set(told["hosts"])
    assert "web" not in told["hosts"]


def test_what_guests_write_is_no_template(inventory: Inventory, crowd: Host) -> None:
    told, _warnings = inventory.listed(hosts="one", compose={"composed": "xen_name ~ '!'"}, groups={"sly": "'191' in xen_name"})
    [name] = told["sly"]["hosts"]
    assert name == told["hosts"][name]["xen_uuid"]
    assert told["hosts"][name]["composed"] == f"{TEMPLATE}!"
    assert told["hosts"][name]["xen_spec"]["cmdline"] == f"quiet {TEMPLATE} \N{REPLACEMENT CHARACTER}[2J"
    shown = inventory.play(SHOW)
    assert f"{name} {TEMPLATE}" in shown and f"{TEMPLATE}!" in shown
    assert WOULD_BE not in shown and "\x1b" not in shown


def test_filters_decide_who_is_there(inventory: Inventory) -> None:
    told, _warnings = inventory.listed(
        hosts="one", filters=[{"exclude": "xen_state == 'halted'"}, {"exclude": "not xen_managed"}]
    )
    assert set(told["hosts"]) == {"web"}
    told, _warnings = inventory.listed(hosts="one", filters=[{"include": "xen_state == 'halted'"}, {"exclude": "true"}])
    assert set(told["hosts"]) == {"halted"}


def test_a_cache_spares_the_hosts_and_keeps_no_silence(inventory: Inventory, crowd: Host) -> None:
    kept = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(inventory.where / "cache")}
    first, _warnings = inventory.listed(hosts="one", **kept)
    crowd.guest(**crowd.described("pvh", "later"))
    try:
        assert inventory.listed(hosts="one", **kept)[0] == first
        told, _warnings = inventory.listed(hosts="answering", **kept)
        assert {"later", "web@one", "web@two"} <= set(told["hosts"]), "who was not asked before is asked"
        told, _warnings = inventory.listed("--flush-cache", hosts="one", **kept)
        assert "later" in told["hosts"]
    finally:
        crowd.guest(name="later", state="absent", **PULL_THE_PLUG)


def test_a_source_beside_the_hosts_is_passed_over_when_they_are_read(inventory: Inventory) -> None:
    told, _warnings = inventory.listed(inventory=["."], hosts="one")
    assert "web" in told["hosts"]
