# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a test speaks to a Xen host: a module run by Ansible as a user would, and a shell beside it to see what is true."""

from __future__ import annotations

import base64
import difflib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from zygote import Zygote

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    **os.environ,
    "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache/collections"),
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback_plugins"),
}
WHOLE = {**ENV, "ANSIBLE_STDOUT_CALLBACK": "whole_result", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1"}
BIN = Path(sys.executable).parent
MINUTES = 60
LIMIT = 15 * MINUTES  # of one Ansible run: a limit against hanging, not a judgement of speed

# What every guest of a kind is made of here; a test gives it a name and, where it boots from one, a disk.
DIRECT = {
    "memory": "160MiB",
    "vcpus": 1,
    "kernel": "/var/lib/xen-lab/vmlinuz",
    "ramdisk": "/var/lib/xen-lab/tiny.cpio.gz",
    "cmdline": "console=hvc0 quiet",
}
# SeaBIOS reads an IDE disk sector by sector, which keeps an emulated host busy for minutes; an AHCI one in runs.
FROM_DISK = {
    "type": "hvm",
    "memory": "192MiB",
    "vcpus": 1,
    "serial": "pty",
    "vnc": {"enabled": False},
    "extra_config": {"hdtype": "ahci"},
}
KINDS: dict[str, dict[str, Any]] = {
    "pv": {"type": "pv", **DIRECT},
    "pvh": {"type": "pvh", **DIRECT},
    "hvm": FROM_DISK,
    "stubdom": {**FROM_DISK, "stubdom": {"type": "linux"}},
}
# A shared machine can be many times slower than an idle one, and libxl's 30 s for a stubdomain are fixed.
PATIENT = {"ready": {"timeout": 600, "retries": 4}}
XVDB, CLOSING = 51728, 5  # xvdb's number in xenstore; the XenbusState from which on a back end is being let go
PULL_THE_PLUG = {"shutdown": {"timeout": 1, "force": True}}


def mostly_simulated(cases: Iterable[str], *everywhere: str) -> list[Any]:
    """The cases of a table as parameters; on the embedded host only those named are run, as the others need no guest's code."""
    return [case if case in everywhere else pytest.param(case, marks=pytest.mark.no_guest_code) for case in cases]


def appeared(domain: str) -> str:
    """A command that ends when the domain is there: it looks again at each domain that xenstore introduces."""
    look = f"xl list {domain} >/dev/null 2>&1"
    watch = f"exec 3< <(xenstore-watch @introduceDomain 2>/dev/null); while read -r event <&3; do {look} && break; done; kill $!"
    return f"timeout 600 bash -c '{watch}'; {look}"


def gone(domid: int) -> str:
    """A command that ends when the domain's nodes are gone: it looks again whenever one of them changes."""
    home = f"/local/domain/{domid}"
    look = f"! xenstore-exists {home}/name"
    watch = f"exec 3< <(xenstore-watch {home} 2>/dev/null); while read -r event <&3; do {look} && break; done; kill $!"
    return f"timeout 600 bash -c '{watch}'; {look} && echo gone"


def playbook(name: str, inventory: Path | None = None, **variables: Any) -> str:
    """Runs one of the collection's playbooks; its output where it succeeds, the test's failure where it does not."""
    where = ["-i", str(inventory)] if inventory else ["-i", "localhost,"]
    argv = [str(BIN / "ansible-playbook"), *where, f"stubdom.xen.{name}", "-e", json.dumps(variables)]
    done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Host:
    """One Xen host of an inventory."""

    def __init__(self, name: str, inventory: Path, kind: str) -> None:
        self.name, self.inventory, self.kind = name, inventory, kind
        self.ansible = Zygote(WHOLE)

    # --- what a user does

    def module(self, module: str, check: bool = False, **options: Any) -> dict[str, Any]:
        """The result of a module, failed or not."""
        result = self._ansible(*self.arguments(f"stubdom.xen.{module}", json.dumps(options) if options else "", check))
        assert result["outcome"] == "ok" or "code" in result, result
        result["failed"] = result["outcome"] == "failed"
        return result

    def interrupted(self, module: str, **options: Any) -> None:
        """Runs a module that is killed on its way: what Ansible makes of that is of no interest."""
        self.ansible.run(self.arguments(f"stubdom.xen.{module}", json.dumps(options)), LIMIT)

    def command(self, module: str, options: dict[str, Any]) -> list[str]:
        """The same as a command line, for tests that want a process of their own to kill."""
        return [str(BIN / "ansible"), *self.arguments(f"stubdom.xen.{module}", json.dumps(options))]

    def arguments(self, module: str, given: str, check: bool = False) -> list[str]:
        flags = ["--check"] if check else []
        return ["-i", str(self.inventory), self.name, "-m", module, "-a", given, "--diff", *flags]

    def _ansible(self, *arguments: str) -> dict[str, Any]:
        done = self.ansible.run(list(arguments), LIMIT)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(lines[-1])
        return result

    def guest(self, check: bool = False, **options: Any) -> dict[str, Any]:
        """The result of module guest, which must succeed."""
        result = self.module("guest", check, **{**PATIENT, **options})
        assert not result["failed"], json.dumps(result, indent=1)
        return result

    def refused(self, **options: Any) -> dict[str, Any]:
        """The result of module guest, which must fail."""
        result = self.module("guest", **options)
        assert result["failed"], json.dumps(result, indent=1)
        return result

    # --- what is true

    def sh(self, command: str) -> str:
        """The output of a shell command on the host, which must succeed."""
        done = self.ansible.shell(str(self.inventory), self.name, command, LIMIT)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return str(done.stdout).strip()

    def variables(self) -> dict[str, Any]:
        """The host's variables in the inventory."""
        argv = [str(BIN / "ansible-inventory"), "-i", str(self.inventory), "--host", self.name]
        found: dict[str, Any] = json.loads(subprocess.run(argv, env=ENV, capture_output=True, check=True).stdout)
        return found

    def put(self, path: str, text: str) -> None:
        """Writes a file on the host; one that is there keeps its mode."""
        self.sh(f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {path}")

    def domains(self) -> list[str]:
        """The names of all domains, stubdomains included, zombies as (null)."""
        return [line.split()[0] for line in self.sh("xl list").splitlines()[1:]]

    def domid(self, name: str) -> int:
        return int(self.sh(f"xl domid {name}"))

    def everything(self) -> str:
        """All that a task might change: domains, xenstore, files.

        What moves by itself is left out: CPU times, whether a running domain has work (r) or waits for some (b), and the
        memory of dom0.
        """
        domains = "xl list -v | sed -E -e 's/ +[0-9]+\\.[0-9] / /' -e 's/ [r-][b-]([p-][s-][c-][d-] )/ --\\1/'"
        nodes = "xenstore-ls -f -p | grep -v -e /memory/ -e /meminfo"
        files = "find /etc/xen /var/lib/xen /tmp -type f | sort | xargs -r md5sum"
        return self.sh("; ".join((domains, nodes, files)))

    def remains(self) -> str:
        """All that a dead guest or an ended task might leave: nodes, files but logs and disks, processes."""
        gone = "timeout 60 pidwait -x xl"  # xl's monitor ends a moment after its guest
        nodes = "xenstore-ls -f | sed 's/ = .*//' | grep -v -e /meminfo"
        files = "find /etc/xen /var/lib/xen /tmp -not -name '*ansible_*' | sort"
        programs = "ps -eo comm | grep -v -x -e ps -e sh -e grep -e sort | sort"
        return self.sh("; ".join((gone, "xl list | cut -c1-12", nodes, files, programs)))

    def settle(self, name: str) -> str:
        """everything(), once the guest ``name`` has booted and has stopped writing: the same three times in a row."""
        self.booted(name)
        seen: list[str] = []
        while len(seen) < 3 or len(set(seen[-3:])) > 1:
            seen.append(self.everything())
        return seen[-1]

    def booted(self, name: str) -> None:
        """Waits until the guest's kernel has told xenstore what it can do, which Linux does when its drivers are up.

        The node is there from the start, empty: libxl makes it.
        """
        control = f"/local/domain/{self.domid(name)}/control"
        watch = f"exec 3< <(xenstore-watch {control} 2>/dev/null); while read -r event <&3; do {{look}} && break; done; kill $!"
        look = f'[ "$(xenstore-read {control}/feature-poweroff 2>/dev/null)" = 1 ]'
        self.sh(f"timeout 600 bash -c '{watch.format(look=look)}'; {look} && echo up")

    def role(self, name: str) -> dict[str, Any]:
        """What a role of this collection says last, of what it did."""
        result = self._ansible(*self.arguments("ansible.builtin.include_role", f"name=stubdom.xen.{name}"))
        assert result["outcome"] == "ok", result
        return dict(result["msg"])

    def role_of(self, name: str) -> None:
        """Runs a role that has nothing to tell."""
        where = ["-i", str(self.inventory), self.name]
        argv = [str(BIN / "ansible"), *where, "-m", "ansible.builtin.include_role", "-a", f"name=stubdom.xen.{name}"]
        done = subprocess.run(argv, env=ENV, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def have_tpm_image(self) -> None:
        """The image of the domain that holds a TPM; on a simulated host a kernel that is never run."""
        if self.kind == "embedded":
            self.role("vtpm")
            return
        self.sh(
            "cd /usr/lib/xen-4.17/boot && "
            "for what in kernel rootfs; do cp /usr/lib/xenfake/kernel vtpm-stubdom-linux-$what; done && echo there"
        )

    def script(self, name: str, lines: str) -> list[dict[str, Any]]:
        """A second disk for a tiny guest, with a script that it runs when it boots (roles/lab: tiny/etc/rc)."""
        path = f"/var/lib/xen-lab/{name}-script.img"
        self.put(path, f"#!/bin/sh\n{lines}\n")
        self.sh(f"truncate -s 64K {path} && echo made")
        return [{"vdev": "xvdb", "target": path, "format": "raw", "access": "rw"}]

    def ran(self, name: str) -> str:
        """What the guest's script said, once the guest has let its disk go."""
        nodes = [f"/local/domain/0/backend/{kind}/{self.domid(name)}/{XVDB}/state" for kind in ("vbd", "qdisk")]
        look = " || ".join(f'[ "$(xenstore-read {node} 2>/dev/null)" -ge {CLOSING} ] 2>/dev/null' for node in nodes)
        watch = f"exec 3< <(xenstore-watch {' '.join(nodes)} 2>/dev/null); "
        watch += f"while read -r event <&3; do {{ {look}; }} && break; done; kill $!"
        told = f"dd if=/var/lib/xen-lab/{name}-script.img bs=4096 skip=1 status=none | tr -d '\\0'"
        return self.sh(f"timeout 600 bash -c '{watch}'; {{ {look}; }} && {told}")

    def differs(self, before: str) -> list[str]:
        """The lines in which everything() is another than it was."""
        lines = difflib.unified_diff(before.splitlines(), self.everything().splitlines(), "before", "now", n=0, lineterm="")
        return list(lines)

    def disk(self, name: str) -> list[dict[str, Any]]:
        """A disk of its own for a guest, with a system that boots."""
        target = f"/var/lib/xen-lab/{name}.img"
        self.sh(f"cp -n /var/lib/xen-lab/guest.img {target} && echo made")
        return [{"vdev": "xvda", "target": target, "format": "raw", "access": "rw"}]

    def described(self, kind: str, name: str) -> dict[str, Any]:
        """The options of a guest of one of KINDS."""
        return {"name": name, **KINDS[kind], **({} if "kernel" in KINDS[kind] else {"disks": self.disk(name)})}
