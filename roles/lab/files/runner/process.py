# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of a host: found by its pid file, believed only if it is seen to be that host's."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from layout import LabError, Layout


def pid_of(host: Layout) -> int | None:
    """The pid of the host's process. A pid file outlives a crash, and the pid may be anybody's by now."""
    try:
        pid = int(host.pidfile.read_text())
        return pid if host.owns(pid) else None
    except (OSError, ValueError):
        return None


@contextmanager
def running(host: Layout) -> Iterator[int | None]:
    """A pidfd of the host's process, or None. It stays that process's even if the pid is given to another meanwhile."""
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
    """End the host's process, at once if not gently, which does its snapshots no harm; False when there was none."""
    with running(host) as pidfd:
        if pidfd is None:
            return False
        for number in (signal.SIGTERM, signal.SIGKILL)[0 if gently else 1 :]:
            signal.pidfd_send_signal(pidfd, number)
            if exited(pidfd, seconds):
                return True
    raise LabError(f"The process of {host.name} ({host.pidfile}) was to end, but outlived SIGKILL by {seconds} s: see dmesg.")


def require_running(host: Layout) -> None:
    if not pid_of(host):
        raise LabError(f"{host.name} was to be running, but no process of {host.directory} is there. Start it: {host.make}")
