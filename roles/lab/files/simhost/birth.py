# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a call of the runner to a host that is ready: two forks, namespaces, init, one line on a pipe.

The first child leaves the caller's session and makes the namespaces; the second is the first process in them. With an
owner the first child stays, and the host ends with whichever of the two ends first.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import filesystem
import kernel
from layout import LabError
from simulated import MARK, SimulatedHost

INIT = "/usr/lib/xen-simulation/init"
READY = 3  # the descriptor on which init tells
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
NAMESPACES = kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID
NOT_PERMITTED = (
    "A simulated host needs namespaces and overlay mounts, which root may not make here. In a container they are"
    " permitted by: docker run --privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined."
)


@dataclass(frozen=True)
class Plan:
    """What a host is started from. xenstored: c or ocaml. owner: the pid whose end is the host's end."""

    host: SimulatedHost
    lower: list[Path]
    snapshot: Path | None
    memory: int
    cpus: int
    xenstored: str
    owner: int | None


def begin(plan: Plan) -> int:
    """Start it, and return the descriptor from which "ready" or "failed: REASON" can be read."""
    plan.host.mountpoint.mkdir(exist_ok=True)
    plan.host.pidfile.unlink(missing_ok=True)
    plan.host.new_console()
    owner = _pidfd(plan) if plan.owner else None
    says, told = os.pipe()
    if os.fork() == 0:
        _leave(plan, told, owner)
    os.close(told)
    if owner is not None:
        os.close(owner)
    return says


def await_ready(host: SimulatedHost, says: int, deadline: float) -> str | None:
    """Why it is not ready, or None; deadline is on time.monotonic's scale."""
    heard = b""
    with os.fdopen(says, "rb", buffering=0) as pipe:
        while not heard.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return "it did not say so in time"
            more = pipe.read(4096)
            if not more:
                return "its init ended"
            heard += more
    line = heard.decode(errors="replace").strip()
    return None if line == "ready" else line.removeprefix("failed: ")


def _pidfd(plan: Plan) -> int:
    try:
        return os.pidfd_open(plan.owner or 0)
    except OSError as error:
        raise LabError(
            f"{plan.host.name} was to live as long as process {plan.owner}, but there is none ({error.strerror})."
        ) from error


def _leave(plan: Plan, told: int, owner: int | None) -> NoReturn:
    """The first child: away from the caller, into namespaces, and the father of init."""
    try:
        os.setsid()
        _descriptors(plan.host, told, owner)
        kernel.unshare(NAMESPACES)
        owner = 4 if owner is not None else None
        pid = os.fork()
        if pid == 0:
            _become_init(plan, owner)
        new = plan.host.pidfile.with_suffix(".new")
        new.write_text(f"{pid}\n")
        new.rename(plan.host.pidfile)
        os.close(READY)
        if owner is not None:
            _outlive_neither(pid, owner)
    except BaseException as error:
        _fail(error)
    os._exit(0)


def _descriptors(host: SimulatedHost, told: int, owner: int | None) -> None:
    """Nothing of the caller's stays open, who may be waiting for our end of a pipe."""
    log = os.open(host.console_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    wanted = [null, log, log, told, *([owner] if owner is not None else [])]
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, len(wanted)) for descriptor in wanted]
    for index, descriptor in enumerate(high):
        os.dup2(descriptor, index)
    os.closerange(len(high), 1 << 16)


def _outlive_neither(pid: int, owner: int) -> None:
    init = os.pidfd_open(pid)
    os.chdir("/")
    select.select([init, owner], [], [])
    signal.pidfd_send_signal(init, signal.SIGKILL)
    os.waitpid(pid, 0)


def _become_init(plan: Plan, owner: int | None) -> NoReturn:
    try:
        if owner is not None:
            os.close(owner)
            kernel.die_with_parent(signal.SIGKILL)
        # Not before: to change the root of a mount namespace is to change it for all that are in it.
        kernel.unshare(kernel.CLONE_NEWNS)
        filesystem.enter(plan.host, plan.lower, plan.snapshot)
        socket.sethostname(plan.host.name)
        os.execve("/usr/bin/python3", ["python3", INIT, *_arguments(plan)], {**ENVIRONMENT, MARK: str(plan.host.directory)})
    except BaseException as error:
        _fail(error)


def _arguments(plan: Plan) -> list[str]:
    """What init is told."""
    said = {"name": plan.host.name, "memory-mib": plan.memory, "cpus": plan.cpus, "xenstored": plan.xenstored}
    return [word for name, value in said.items() for word in (f"--{name}", str(value))]


def _fail(error: BaseException) -> NoReturn:
    advice = f" {NOT_PERMITTED}" if isinstance(error, PermissionError) else ""
    line = f"{' '.join(str(error).split())}.{advice}"
    try:
        os.write(READY, f"failed: {line}\n".encode())
        print(f"simhost: {line}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)
