# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several Xen hosts for the story of a rollout, and who saw which of their guests run when."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from xenhost import BIN, ENV, KINDS, LIMIT, MINUTES, PATIENT, ROOT, Host

Looks = list[tuple[float, dict[str, str]]]  # when a host looked, and of each domain it saw its number and its flags: 3:-b----
SEEN = "/root/rollout-seen"
# One line each time: when, and each domain with its flags. xl's list comes after the time, so it is never older.
LOOK = f"""#!/bin/bash
echo "$(date +%s.%N) $(xl list | awk 'NR > 1 {{ printf "%s=%s:%s ", $1, $2, $5 }}')" >> {SEEN}
"""
# xenstored tells of every domain that comes, goes or shuts down.
WATCH = """#!/bin/bash
exec 3< <(exec xenstore-watch @introduceDomain @releaseDomain)
while read -r event <&3; do /root/rollout-look; done
"""
# The probe is the one of docs/rollout.md. Whoever asks looks at all guests as well, for the test.
PROBE = """
- name: Look at all guests
  ansible.builtin.command: /root/rollout-look
  changed_when: false
- name: What the user thinks of it
  ansible.builtin.assert:
    that: inventory_hostname not in disliked | default([])
    fail_msg: the user does not like it
"""


class Told(NamedTuple):
    """What a run of the playbook said."""

    ok: bool
    text: str

    @property
    def table(self) -> dict[str, tuple[str, str, str]]:
        """Host to wave, guests and state, from the last table; the first column may have two words."""
        last = self.text.rpartition("guests (v: goes down")[2].splitlines()[1:]
        rows = [re.split(r" {2,}", line.strip()) for line in last]
        return {row[1]: (row[0], row[2], row[3]) for row in rows if len(row) >= 4 and row[0][0].isdigit()}

    @property
    def changed(self) -> dict[str, int]:
        """Host to the tasks that changed something, from Ansible's recap."""
        return {host: int(n) for host, n in re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", self.text, re.M)}


class Fleet:
    """The hosts, the directory of the inventory that says what their guests are, and the playbook."""

    def __init__(self, hosts: Mapping[str, Host], inventory: Path, where: Path) -> None:
        self.hosts, self.inventory, self.where = hosts, inventory, where
        self.state = where / "rollout.state"
        page = (ROOT / "docs/rollout.md").read_text(encoding="utf-8")
        probe = next(block for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S) if "rollout_now" in block)
        (where / "probe.yml").write_text(probe + PROBE, encoding="utf-8")

    def describe(self, guests: Mapping[str, Iterable[Mapping[str, Any]]], **more: Any) -> None:
        """What the inventory says from now on."""
        hosts = {host: {"xen_guests": list(described)} for host, described in guests.items()}
        common = {"rollout_state_file": str(self.state), "rollout_probe": str(self.where / "probe.yml"), **more}
        (self.where / "hosts.yml").write_text(yaml.safe_dump({"xen": {"hosts": hosts, "vars": common}}), encoding="utf-8")

    def roll(self, *flags: str, **given: Any) -> Told:
        argv = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), "-i", str(self.where / "hosts.yml")]
        argv += ["stubdom.xen.rollout", "-e", json.dumps({"rollout_hosts": ",".join(self.hosts), **given}), *flags]
        done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=4 * LIMIT, check=False)
        return Told(done.returncode == 0, done.stdout + done.stderr)

    def begin(self) -> None:
        """Has each host write down when which of its guests run."""
        for host in self.hosts.values():
            for name, text in (("look", LOOK), ("watch", WATCH)):
                host.put(f"/root/rollout-{name}", text)
            host.sh("chmod 0755 /root/rollout-*; setsid nohup /root/rollout-watch </dev/null >/dev/null 2>&1 & echo watches")

    def forget(self) -> None:
        """What was seen up to now is of no interest."""
        for host in self.hosts.values():
            host.sh(f": > {SEEN}; /root/rollout-look")

    def seen(self) -> dict[str, Looks]:
        """Host to the times at which it looked, each with its domains."""
        return {name: [_looked(line) for line in host.sh(f"cat {SEEN}").splitlines()] for name, host in self.hosts.items()}


def direct(name: str, word: str, **more: Any) -> dict[str, Any]:
    """A guest that Xen starts directly; ``word`` is what changes of it, and takes a reboot to come."""
    return {
        "name": name,
        **KINDS["pv"],
        "cmdline": f"console=hvc0 quiet {word}",
        **PATIENT,
        "shutdown": {"timeout": 10 * MINUTES},
        **more,
    }


def _looked(line: str) -> tuple[float, dict[str, str]]:
    when, *domains = line.split()
    return float(when), dict(domain.split("=", 1) for domain in domains)


def went_down(looks: Looks, name: str) -> bool:
    """Whether the guest was seen to be down, or came back under another number between two looks of a slow host."""
    seen = [domains.get(name) for _when, domains in looks]
    return None in seen or len({one.partition(":")[0] for one in seen if one}) > 1


def down_together(
    seen: Mapping[str, list[tuple[float, dict[str, str]]]], service: Mapping[str, Iterable[str]]
) -> list[list[str]]:
    """The moments at which more than one guest of the service did not run. service: host to its guests of it."""
    down: dict[str, list[str]] = {}
    found = []
    for _when, host, domains in sorted((when, host, domains) for host, looks in seen.items() for when, domains in looks):
        down[host] = [f"{host}/{name}" for name in service.get(host, ()) if not _runs(domains.get(name))]
        together = sorted(name for names in down.values() for name in names)
        if len(together) > 1:
            found.append(together)
    return found


def _runs(domain: str | None) -> bool:
    """By its flags as xl lists them: running, blocked, paused, shut down, crashed, dying."""
    return domain is not None and not set(domain.partition(":")[2]) & set("pscd")
