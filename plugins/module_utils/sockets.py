# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unix sockets of dom0: one to be handed to a program that serves it, and a talk with whoever serves one."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from typing import Optional

from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Readable

BACKLOG = 8  # who connects while nobody takes connections waits


def listening(path: str) -> socket.socket:
    """A new socket at that place, for root alone. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            found.bind(path)
        finally:
            os.umask(before)
        found.listen(BACKLOG)
    except OSError:
        found.close()
        raise
    return found


async def converse(path: str, requests: Iterable[tuple[bytes, int]], deadline: float) -> Optional[list[bytes]]:
    """The answer to each of (what is sent, bytes of its answer). None where nobody is there, or answers until the deadline."""
    answers = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.setblocking(False)
        try:
            talk.connect(path)
            for sent, length in requests:
                talk.send(sent)
                answers.append(await _heard(talk, length, deadline))
        except OSError:
            return None
    return answers


async def _heard(talk: socket.socket, length: int, deadline: float) -> bytes:
    """Raises OSError where the other side has gone, or is silent."""
    heard = b""
    while len(heard) < length:
        if not await Readable([talk.fileno()], deadline):
            raise TimeoutError("no answer")
        data = talk.recv(length - len(heard))
        if not data:
            raise ConnectionError("the other side has gone")
        heard += data
    return heard
