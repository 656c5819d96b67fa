# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated hypervisor as its guests use it: its control socket, and a domain's memory."""

from __future__ import annotations

import mmap
import os
import socket
from typing import NamedTuple

DIRECTORY = "/run/xenfake"
POWEROFF, REBOOT, SUSPEND, CRASH = 0, 1, 2, 3  # SHUTDOWN_* (xen/include/public/sched.h)
REASONS = {"poweroff": POWEROFF, "reboot": REBOOT, "suspend": SUSPEND, "crash": CRASH}
CALLBACK_IRQ = 0  # HVM_PARAM_CALLBACK_IRQ (xen/include/public/hvm/params.h)

# struct start_info (xen/include/public/xen.h, x86-64): the page that a PV kernel is started with
START_MAGIC = b"xen-3.0-x86_64\0"
CMDLINE_OFFSET, CMDLINE_SIZE, PAGE = 128, 1024, 4096


class HypervisorLost(Exception):
    """The control socket is gone, and with it all domains; the text says why."""


class Happened(NamedTuple):
    """An event of a domain. what: created, paused, unpaused, shutdown, destroyed, trigger."""

    what: str
    domid: int
    detail: str


class Hypervisor:
    """Two connections to the control socket: one for events, one for commands."""

    def __init__(self) -> None:
        self._inbox = b""
        self._commands = _dial()
        self._subscription = _dial()
        self._subscription.sendall(b"subscribe\n")

    def fileno(self) -> int:
        return self._subscription.fileno()

    def events(self) -> list[Happened]:
        """What has happened; call it when fileno() can be read."""
        data = self._subscription.recv(65536)
        if not data:
            raise HypervisorLost("the hypervisor is gone: xenstored, which holds its control socket, has ended")
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        if b"event lost" in lines:
            raise HypervisorLost("the guest side fell behind the hypervisor's events")
        return [event for event in map(parse, lines) if event]

    def shutdown(self, domid: int, reason: int) -> None:
        self._command(f"shutdown {domid} {reason}")

    def populate(self, domid: int, kib: int) -> None:
        """The domain's balloon driver now has that much memory."""
        self._command(f"populate {domid} {kib}")

    def vcpus(self, domid: int, count: int) -> None:
        """The domain's kernel has that many vcpus online."""
        self._command(f"vcpus {domid} {count}")

    def drivers_up(self, domid: int) -> None:
        """An HVM guest has told where its PV drivers want their interrupts: for libxl the sign that it has any."""
        self._command(f"hvmparam {domid} {CALLBACK_IRQ} 1")

    def say(self, domid: int, text: str) -> None:
        """A line on the domain's PV console."""
        self._command(f"console {domid} {text}")

    def _command(self, line: str) -> None:
        """A domain may be gone before its kernel acts: refusals are told, and no reason to stop."""
        _ask(self._commands, line)


def command(line: str) -> None:
    """One command, for a program that has one to give now and then."""
    with _dial() as client:
        _ask(client, line)


def parse(line: bytes) -> Happened | None:
    """`event WHAT DOMID [DETAIL]`; anything else is the answer to the subscription."""
    words = line.decode().split()
    if len(words) < 3 or words[0] != "event":
        return None
    return Happened(words[1], int(words[2]), words[3] if len(words) > 3 else "")


def cmdline(domid: int) -> str:
    """The kernel's command line of a PV domain, from where its kernel would read it; "" if there is no such page."""
    try:
        with open(f"{DIRECTORY}/mem.{domid}", "rb") as memory, _mapped(memory.fileno()) as pages:
            return find_cmdline(pages)
    except (OSError, ValueError):
        return ""


def find_cmdline(pages: mmap.mmap | bytes) -> str:
    at = pages.find(START_MAGIC)
    while at >= 0 and at % PAGE:
        at = pages.find(START_MAGIC, at + 1)
    if at < 0:
        return ""
    return pages[at + CMDLINE_OFFSET : at + CMDLINE_OFFSET + CMDLINE_SIZE].split(b"\0")[0].decode("utf-8", "replace")


def _mapped(descriptor: int) -> mmap.mmap:
    """The file without the huge hole behind guest memory: grant tables lie there, and they are not wanted."""
    hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
    end = hole
    while True:
        try:
            data = os.lseek(descriptor, hole, os.SEEK_DATA)
        except OSError:
            break
        if data - hole > 1 << 32:
            break
        end = hole = os.lseek(descriptor, data, os.SEEK_HOLE)
    return mmap.mmap(descriptor, end, access=mmap.ACCESS_READ)


def _ask(client: socket.socket, line: str) -> None:
    try:
        client.sendall(f"{line}\n".encode())
        answer = client.recv(1024).decode().strip()
    except ConnectionError as error:
        raise HypervisorLost(f"the hypervisor did not take {line!r}: {error}") from error
    if not answer.startswith("ok"):
        print(f"hypervisor: {line}: {answer}", flush=True)


def _dial() -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"{DIRECTORY}/ctl")
    return client
