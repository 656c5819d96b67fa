# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a QEMU in dom0 opens because its arguments say so: sockets, pseudo terminals, a VNC server's port."""

from __future__ import annotations

import contextlib
import os
import socket
import tty
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional


class Chardev(NamedTuple):
    """A character device. listener: of a socket. terminal: the name of a pty's outer end."""

    name: str
    listener: Optional[socket.socket] = None
    terminal: str = ""


def opened(argv: Sequence[str]) -> list[Chardev]:
    """All of a QEMU's character devices, opened; serial ports are called serial0, serial1 ... as in QEMU."""
    given = [_chardev(word) for word in words(argv, "-chardev")]
    serials = [Chardev(f"serial{n}", terminal=_pty() if word == "pty" else "") for n, word in enumerate(words(argv, "-serial"))]
    return [*given, *serials]


def monitors(argv: Sequence[str], chardevs: Sequence[Chardev]) -> list[socket.socket]:
    """The sockets on which QMP is to be spoken."""
    wanted = {keys(word).get("chardev") for word in words(argv, "-mon")}
    return [one.listener for one in chardevs if one.listener and one.name in wanted]


def vnc(argv: Sequence[str]) -> Optional[socket.socket]:
    """-vnc HOST:DISPLAY[,to=N]: a socket on the first free port of those; None without VNC."""
    place = next(iter(words(argv, "-vnc")), "none")
    host, colon, display = place.split(",")[0].rpartition(":")
    if not colon or not display.isdigit():
        return None
    for number in range(int(display), int(keys(place).get("to", display)) + 1):
        with contextlib.suppress(OSError):
            return socket.create_server((host, 5900 + number))
    raise OSError(f"-vnc {place}: Failed to find an available port: Address already in use")


def words(argv: Sequence[str], option: str) -> Iterator[str]:
    """What is given with each occurrence of an option."""
    return (word for name, word in zip(argv, argv[1:]) if name == option)


def keys(word: str) -> dict[str, str]:
    """first,key=value,key=value -> {key: value}"""
    return dict(part.split("=", 1) for part in word.split(",") if "=" in part)


def listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    return listener


def _chardev(word: str) -> Chardev:
    kind, given = word.split(",")[0], keys(word)
    if kind == "pty":
        return Chardev(given["id"], terminal=_pty())
    if kind != "socket":
        return Chardev(given["id"])
    if "server" not in given:  # QEMU connects to it itself: emulated_tpm.py does where it is a TPM's
        return Chardev(given["id"])
    if "fd" in given:  # libxl has opened it already: that is how it starts a QEMU that may not open anything
        return Chardev(given["id"], socket.socket(fileno=int(given["fd"])))
    return Chardev(given["id"], listen(given["path"]))


def _pty() -> str:
    """Both ends stay open, as long as this process lives."""
    _inner, outer = os.openpty()
    tty.setraw(outer)
    return os.ttyname(outer)
