# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a Xen host as a command, for who is not Ansible: what a user gives the event source."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from xenhost import BIN, ENV, Host


def way(xen: Host) -> list[str]:
    """The words that lead to the host as root."""
    argv = [str(BIN / "ansible-inventory"), "-i", str(xen.inventory), "--host", xen.name]
    known = json.loads(subprocess.run(argv, env=ENV, capture_output=True, text=True, check=True).stdout)
    if xen.kind == "simulated":
        pid = Path(known["ansible_simulated_pid_file"]).read_text(encoding="utf-8").strip()
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        return ["nsenter", "-t", pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", *clean]
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
    at = [f"root@{known['ansible_host']}", "-p", str(known["ansible_port"]), "-i", known["ansible_ssh_private_key_file"]]
    return ["ssh", *(word for option in options for word in ("-o", option)), *at]
