# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh to a host, and the console's word that it has booted."""

from __future__ import annotations

import select
import socket
import subprocess
import time

from emulated import EmulatedHost
from layout import LabError
from process import running

# said by lab-ready.service of the image
READY = b"xen-lab: ready"
FAILED = b"xen-lab: failed"
OPTIONS = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ControlPath=none"]
# The time is sent when the login is done, which on a busy machine takes seconds.
CLOCK = "echo in; read now; off=$((${{now%.*}} - $(date +%s))); [ ${{off#-}} -le {tolerance} ] || date -s @$now"


def send_time(host: EmulatedHost, tolerance: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """Log in and set the host's clock if it is off by more than `tolerance` seconds; two lines of output if it was.

    :raises subprocess.TimeoutExpired: no end within `seconds`.
    """
    key, port = host.image() / "id_ed25519", host.record()["port"]
    options = [*OPTIONS, f"ConnectTimeout={int(seconds) or 1}", f"IdentityFile={key}", f"Port={port}"]
    command = ["ssh", "-F", "/dev/null", *[word for option in options for word in ("-o", option)], "root@127.0.0.1"]
    pipe = subprocess.PIPE
    begin = time.monotonic()
    command.append(CLOCK.format(tolerance=tolerance))
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as child:
        try:
            select.select([child.stdout], [], [], seconds)
            left = max(0.0, seconds - (time.monotonic() - begin))
            out, err = child.communicate(f"{time.time():.2f}\n", timeout=left)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def await_boot(host: EmulatedHost, deadline: float) -> None:
    """Return when the console has said that booting is over.

    :param deadline: on time.monotonic's scale.
    :raises LabError: QEMU ended or the deadline passed; the end of the console log is in the message.
    """
    with running(host) as pidfd, socket.socket(socket.AF_UNIX) as console:
        if pidfd is None:
            raise _not_booted(host, "its QEMU ended")
        console.connect(str(host.console))
        while READY not in (log := host.console_log.read_bytes()):
            if FAILED in log:
                raise _not_booted(host, "Xen's tool stack does not work there")
            left = deadline - time.monotonic()
            if left <= 0:
                raise _not_booted(host, "its console did not say so in time")
            # What comes in only wakes us. The log is looked at every 5 s too, as QEMU serves one client at a time, and
            # that may be a person.
            woken = select.select([console, pidfd], [], [], min(left, 5))[0]
            if pidfd in woken or (console in woken and not console.recv(65536)):
                raise _not_booted(host, "its QEMU ended")


def set_clock(host: EmulatedHost, deadline: float, tolerance: int = 2) -> bool:
    """Reach the host over ssh and put its clock right: a loaded snapshot goes on at the time it was taken.

    :param tolerance: seconds that the clock may be off.
    :returns: whether the clock was set.
    :raises LabError: not reached before the deadline.
    """
    reason = ""
    while (left := deadline - time.monotonic()) > 0:
        try:
            done = send_time(host, tolerance, left)
        except subprocess.TimeoutExpired:
            break
        if done.returncode == 0:
            return len(done.stdout.splitlines()) > 1
        reason = done.stderr.strip()
        time.sleep(min(1, left))  # sshd refused: nothing tells when it no longer will
    raise _not_booted(host, f"ssh to port {host.record()['port']} did not succeed in time ({reason or 'no answer'})")


def disconnect(host: EmulatedHost) -> None:
    """End the connections that Ansible keeps for its next task: the host is about to forget them, they would hang."""
    for path in host.run.glob("ssh*"):
        subprocess.run(
            ["ssh", "-F", "/dev/null", "-o", f"ControlPath={path}", "-O", "exit", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
        path.unlink(missing_ok=True)


def _not_booted(host: EmulatedHost, why: str) -> LabError:
    return LabError(
        f"{host.name} was to boot until root can log in by ssh, but {why}. Look at {host.console_log}, whose end is:\n"
        f"{host.console_end()}\n"
        "Then try again: make lab. If this machine is just slow: make lab LAB_ARGS='-e lab_boot_timeout=SECONDS'."
    )
