# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's monitor in dom0, asked for one thing: its status. For a QEMU that has given up the right to write to xenstore.

The socket is libxl's, and QEMU serves one client at a time, so libxl's own lock is held meanwhile (libxl_qmp.c, 4.13 and
newer; older ones have none). Such a QEMU is not trusted: what it says is bounded, and anything odd is no answer.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import socket
from collections.abc import Container
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.paths import USERDATA_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Readable, flocked

SOCKET = re.compile(r"/qmp-libxl-(\d+)\Z")
LOCKS = USERDATA_DIR + "/userdata-l.{}.*.qmp-socket-lock"
MOST = 1 << 16  # bytes of one message


async def query_status(path: str, want: Container[str], deadline: float, wake: int) -> Optional[str]:
    """QEMU's run state (`prelaunch`, `running`, ...) once it is one of ``want``; at the deadline, what it is.

    None where nobody answers, or when the descriptor ``wake`` becomes readable first.
    """
    with contextlib.ExitStack() as stack:
        try:
            await _lock(stack, path, deadline)
            monitor = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            monitor.setblocking(False)
            monitor.connect(path)
            return await _Conversation(monitor, want).until(deadline, wake)
        except (OSError, ValueError):
            return None


async def _lock(stack: contextlib.ExitStack, path: str, deadline: float) -> None:
    """Raises TimeoutError where somebody else holds it until the deadline."""
    found = SOCKET.search(path)
    for name in glob.glob(LOCKS.format(found[1])) if found else ():
        fd = os.open(name, os.O_RDONLY)
        stack.callback(os.close, fd)
        if not await flocked(fd, deadline):
            raise TimeoutError(name)


class _Conversation:
    """QMP as far as it goes here: greeting, capabilities, query-status, and again after each event."""

    def __init__(self, monitor: socket.socket, want: Container[str]) -> None:
        self.monitor, self.want = monitor, want
        self.inbox = b""
        self.status: Optional[str] = None
        self.agreed = False

    async def until(self, deadline: float, wake: int) -> Optional[str]:
        while self.status is None or self.status not in self.want:
            ready = await Readable((self.monitor.fileno(), wake), deadline)
            if self.monitor.fileno() not in ready:
                return None if wake in ready else self.status
            self._hear()
        return self.status

    def _hear(self) -> None:
        """Raises OSError or ValueError where the other side is gone, or is no monitor."""
        data = os.read(self.monitor.fileno(), MOST)
        if not data or len(self.inbox) > MOST:
            raise ConnectionError("the monitor ended")
        *lines, self.inbox = (self.inbox + data).split(b"\n")
        for line in lines:
            self._answer(json.loads(line) if line.strip() else {})

    def _answer(self, message: Any) -> None:
        if not isinstance(message, dict) or "error" in message:
            raise ConnectionError("the monitor refuses")
        if "QMP" in message:
            self._say("qmp_capabilities")
        elif "return" in message:
            told = message["return"].get("status") if isinstance(message["return"], dict) else None
            self.status = str(told) if self.agreed and told is not None else self.status
            if not self.agreed:
                self.agreed = True
                self._say("query-status")
        elif "event" in message and self.agreed:
            self._say("query-status")

    def _say(self, command: str) -> None:
        self.monitor.send(json.dumps({"execute": command}).encode() + b"\n")
