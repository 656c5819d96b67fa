# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A QEMU's monitor as libxl uses it: QMP on a Unix socket, one client at a time (qemu: docs/interop/qmp-spec.txt)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Optional

from loop import Loop

Command = Callable[[dict[str, Any]], Any]
Later = Callable[[float, Callable[[], None]], None]
VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian 1:7.2+dfsg-7+deb12u18"}


class QmpError(Exception):
    """What a command answers when it fails."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Monitor:
    """Serves `commands` on a listening socket. silent: clients are taken, and told nothing. after: seconds before each answer.

    later: what does a step after some seconds, if it is not the loop but a domain, which may be paused then.
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        commands: Mapping[str, Command],
        silent: bool = False,
        after: float = 0,
        later: Optional[Later] = None,
    ) -> None:
        self.loop, self.commands, self.silent, self.after = loop, commands, silent, after
        self._later = later or loop.later
        self._client: Optional[socket.socket] = None
        self._inbox = b""
        self._listener = listener
        loop.readable(self._listener, self._accept)

    def close(self) -> None:
        if self._client:
            self._drop()
        self.loop.forget(self._listener)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._listener.getsockname())
        self._listener.close()

    def _accept(self) -> None:
        self._client, _address = self._listener.accept()
        self._client.setblocking(False)
        self._inbox = b""
        self.loop.forget(self._listener)  # the next client waits until this one has gone
        self.loop.readable(self._client, self._read)
        self._later(0, partial(self._greet, self._client))

    def _drop(self) -> None:
        assert self._client
        self.loop.forget(self._client)
        self._client.close()
        self._client = None
        self.loop.readable(self._listener, self._accept)

    def _read(self) -> None:
        assert self._client
        try:
            data = self._client.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop()
            return
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        for line in filter(bytes.strip, lines):
            self._later(self.after, partial(self._obey, self._client, line))

    def _greet(self, client: socket.socket) -> None:
        if client is self._client:
            self._say({"QMP": {"version": VERSION, "capabilities": ["oob"]}})

    def _obey(self, client: socket.socket, line: bytes) -> None:
        if client is self._client:
            self._say(answer(self.commands, line))

    def _say(self, message: Mapping[str, Any]) -> None:
        if self._client and not self.silent:
            with contextlib.suppress(OSError):  # a client that has gone is noticed when it is read from
                self._client.send(json.dumps(message).encode() + b"\r\n")


def answer(commands: Mapping[str, Command], line: bytes) -> dict[str, Any]:
    """The reply to one request."""
    try:
        asked = json.loads(line)
        name = asked["execute"]
    except (ValueError, KeyError, TypeError):
        return {"error": {"class": "GenericError", "desc": "Invalid JSON syntax"}}
    reply: dict[str, Any] = {"id": asked["id"]} if "id" in asked else {}
    try:
        if name not in commands:
            raise QmpError("CommandNotFound", f"The command {name} has not been found")
        return {"return": commands[name](asked.get("arguments", {})), **reply}
    except QmpError as error:
        return {"error": {"class": error.kind, "desc": str(error)}, **reply}
