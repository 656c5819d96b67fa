# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QEMU process of a host: found by its pid file, believed only if its command line says it is ours."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layout import LabError, Layout


def pid_of(host: Layout) -> int | None:
    """The pid of the host's running QEMU.

    A pid file outlives a crash and the pid may be anybody's by now: the command line must be that of a QEMU which was
    given this very pid file.
    """
    try:
        pid = int(host.pidfile.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return None
    ours = os.path.basename(arguments[0]).startswith("qemu-system-") and str(host.pidfile) in arguments
    return pid if ours else None


@contextmanager
def running(host: Layout) -> Iterator[int | None]:
    """A pidfd of the host's QEMU, or None. It stays that process's even if the pid is given to another meanwhile."""
    pid = pid_of(host)
    try:
        handle = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        handle = None
    try:
        yield handle if handle is not None and pid_of(host) == pid else None
    finally:
        if handle is not None:
            os.close(handle)


def exited(pidfd: int, seconds: float) -> bool:
    return bool(select.select([pidfd], [], [], seconds)[0])


def stop(host: Layout, seconds: float = 30, gently: bool = True) -> bool:
    """End the host's QEMU, at once if not gently, which does its snapshots no harm; False when there was none."""
    with running(host) as pidfd:
        if pidfd is None:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL)[0 if gently else 1 :]:
            signal.pidfd_send_signal(pidfd, number)
            if exited(pidfd, seconds):
                return True
    raise LabError(f"QEMU of {host.name} ({host.pidfile}) was to end, but outlived SIGKILL by {seconds} s: see dmesg.")
