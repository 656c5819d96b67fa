# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before a host starts: memory and port, with errors that say what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

from emulated import EmulatedHost
from layout import LabError

SPACE = 2048  # MiB that an overlay takes: a booted host's memory twice, and what is written


def choose_port(host: EmulatedHost, others: list[EmulatedHost], first: int) -> int:
    """The host's port: the recorded one, else the first from `first` up that no other host of the lab has recorded."""
    recorded = host.record().get("port")
    taken = {other.record().get("port") for other in others if other != host}
    return recorded or next(port for port in range(first, 65536) if port not in taken)


def require_port(host: EmulatedHost, port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            raise LabError(
                f"Port {port} of 127.0.0.1 was wanted for ssh to {host.name}, but it is in use by {_listener(port)}"
                f" ({error.strerror}). End that program, or choose another first port:"
                f" make lab HOSTS={host.name} LAB_ARGS='-e lab_state=absent', then LAB_ARGS='-e lab_ssh_port=N'."
            ) from error


def require_memory(host: EmulatedHost, mebibytes: int) -> None:
    found = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    available = int(found.group(1)) // 1024 if found else mebibytes
    if available < mebibytes:
        raise LabError(
            f"{host.name} was to have {mebibytes} MiB of memory, but only {available} MiB are available."
            " Stop other hosts (make lab-stop) or programs, or give the hosts less:"
            " make lab LAB_ARGS='-e lab_memory=4096'."
        )


def require_space(host: EmulatedHost) -> None:
    """A disk that is full makes QEMU pause the machine in the midst of its boot, without a word."""
    free = shutil.disk_usage(host.directory).free >> 20
    if free < SPACE:
        raise LabError(
            f"{host.name} was to have {SPACE} MiB of disk in {host.directory} for its changes and snapshots, but only {free} MiB"
            " are free. Make room, or name another directory: make lab LAB_ARGS='-e lab_dir=DIRECTORY'."
        )


def _listener(port: int) -> str:
    """Who listens, for people: 'pid 12 (sshd)' if /proc tells."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].rsplit(":", 1)[1], 16) == port}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                return f"pid {link.parts[2]} ({(Path(*link.parts[:3]) / 'comm').read_text().strip()})"
        except OSError:  # it ended, or closed the file, while we looked
            continue
    return "another program"
