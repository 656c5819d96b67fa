# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's monitor: one human monitor command over QMP (QEMU docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, BinaryIO, cast


class QmpError(Exception):
    """QEMU refused the command, or its monitor does not answer."""


def hmp(path: Path, command: str, seconds: float = 120) -> str:
    """Run one human monitor command and return its output.

    savevm and loadvm are taken from HMP because there they are synchronous; they print nothing when they worked.

    :param path: QEMU's QMP socket.
    :param seconds: how long the monitor may stay silent.
    :raises QmpError: refused, hung up or silent.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(seconds)
            sock.connect(str(path))
            stream = cast(BinaryIO, sock.makefile("rwb"))
            _read(stream)  # the greeting
            _call(stream, "qmp_capabilities", {})
            return str(_call(stream, "human-monitor-command", {"command-line": command}))
    except OSError as error:
        raise QmpError(f"QEMU's monitor at {path} does not answer to '{command}': {error}") from error


def _call(stream: BinaryIO, command: str, arguments: dict[str, str]) -> object:
    stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    stream.flush()
    while "return" not in (message := _read(stream)):  # events come in between
        if "error" in message:
            raise QmpError(f"QEMU refused {command} {arguments}: {message['error']['desc']}")
    return message["return"]


def _read(stream: BinaryIO) -> dict[str, Any]:
    line = stream.readline()
    if not line:
        raise QmpError("QEMU closed its monitor")
    return cast("dict[str, Any]", json.loads(line))
