# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemons of a simulated host: xenstored, and those that live by what lies in it.

Pid 1 starts them at boot, and whoever asks the service xen for it, those that have ended. Each has its pid in RUN/NAME.pid
until pid 1 has buried it, and the console log as its output.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = Path("/run/xen-simulation")
CONSOLE = "/proc/1/fd/1"
XEN_BIN = "/usr/lib/xen-4.17/bin"
SOCKET = "/run/xenstored/socket"
STORE_PID = "/run/xen/xenstored.pid"
STORES = {name: [f"{XEN_BIN}/{name}", "--no-fork", "--pid-file", STORE_PID] for name in ("xenstored", "oxenstored")}
KINDS = {"c": "xenstored", "ocaml": "oxenstored"}
DOM0_QEMU = [
    "/usr/libexec/xen-qemu-system-i386", "-xen-domid", "0", "-xen-attach", "-name", "dom0", "-nographic", "-M", "xenpv",
    "-monitor", "none", "-serial", "none", "-parallel", "none", "-pidfile", "/run/qemu-dom0.pid",
]  # fmt: skip
PATIENCE = 30.0  # seconds for each thing that must come up or end
PAUSE = 0.005
MOST_FILES = 65536


class BootError(Exception):
    """The host cannot be brought up; the text says why."""


def choose(kind: str) -> None:
    """Which xenstored the host has, c or ocaml, as long as it is up."""
    (RUN / "store").write_text(KINDS[kind])


def start() -> None:
    """Starts what does not run; all of it if that is xenstored: what the others knew of its tree is lost."""
    with _alone():
        if not runs("xenstored"):
            for name in BEGIN:
                end(name)
        for name, begin in BEGIN.items():
            if not runs(name):
                begin()


def runs(name: str) -> bool:
    pid = _pid(name)
    return pid is not None and not _ended(pid, 0)


def end(name: str) -> None:
    """Returns when it has ended, by SIGTERM or, if it does not heed that, by SIGKILL."""
    pid = _pid(name)
    for number in (signal.SIGTERM, signal.SIGKILL) if pid else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _ended(pid, PATIENCE):
            return


def buried(pid: int) -> str | None:
    """The name of the daemon that had this pid, which is anybody's now; None if it was none of them."""
    name = next((name for name in BEGIN if _pid(name) == pid), None)
    if name:
        (RUN / f"{name}.pid").unlink()
    return name


# --- each of them


def _begin_store() -> None:
    """xenstored, without systemd, tells nobody that it listens: the one place here that looks again and again."""
    for stale in (SOCKET, STORE_PID):
        Path(stale).unlink(missing_ok=True)
    store = _spawn("xenstored", STORES[(RUN / "store").read_text()])
    deadline = time.monotonic() + PATIENCE
    while not _listens():
        if store.poll() is not None:
            raise BootError("xenstored ended at once")
        if time.monotonic() > deadline:
            raise BootError(f"xenstored does not listen at {SOCKET} after {PATIENCE:g} s")
        time.sleep(PAUSE)
    run(f"{XEN_BIN}/xen-init-dom0")


def _listens() -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(SOCKET) == 0


def _begin_console() -> None:
    _spawn("xenconsoled", [f"{XEN_BIN}/xenconsoled", "-i", "--pid-file", "/run/xenconsoled.pid"])


def _begin_guests() -> None:
    says, told = os.pipe()
    _spawn("guests", ["/usr/bin/python3", f"{HERE}/world.py", str(told)], keep=told)
    os.close(told)
    with os.fdopen(says) as pipe:
        if pipe.readline() != "ready\n":
            raise BootError("the guest side did not start: the console log says why")


def _begin_qemu() -> None:
    _spawn("dom0-qemu", DOM0_QEMU)


# In the order of their start.
BEGIN: dict[str, Callable[[], None]] = {
    "xenstored": _begin_store,
    "xenconsoled": _begin_console,
    "guests": _begin_guests,
    "dom0-qemu": _begin_qemu,
}


# --- processes


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with open(RUN / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pid(name: str) -> int | None:
    try:
        return int((RUN / f"{name}.pid").read_text())
    except FileNotFoundError:
        return None


def _ended(pid: int, seconds: float) -> bool:
    """Whether it ends within that time; one that is not buried yet has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _spawn(name: str, argv: Sequence[str], keep: int = -1) -> subprocess.Popen[bytes]:
    """In a session of its own, with the console log as its output; `keep` is a descriptor that it inherits."""
    kept = (keep,) if keep >= 0 else ()
    console = os.open(CONSOLE, os.O_WRONLY | os.O_APPEND)
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            preexec_fn=_many_files, pass_fds=kept,
        )  # fmt: skip
    finally:
        os.close(console)
    new = RUN / f"{name}.pid.new"
    new.write_text(f"{process.pid}\n")
    new.rename(RUN / f"{name}.pid")
    return process


def _many_files() -> None:
    """Each of them has files open for every domain, so they may have as many as the machine lets them."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST_FILES, most) if most >= 0 else MOST_FILES, most))


def run(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise BootError(f"{' '.join(argv)} exited with {done.returncode}: {done.stdout}{done.stderr}")
