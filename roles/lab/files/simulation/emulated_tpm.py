# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TPM that a QEMU in dom0 shows its guest, as far as swtpm sees it: QEMU's side of the control channel.

Which commands, and when, is QEMU's backends/tpm/tpm_emulator.c (7.2). No guest's code is run, so that nobody uses the TPM.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence

from chardevs import keys, words

HAS_TPM = "/etc/xen-simulation/qemu-has-tpm"  # where this file is, dom0's QEMU is one that is built with TPM
HELP = "Supported TPM types (choose only one):\n    emulator   TPM emulator backend driver\n"
INIT, SHUTDOWN, GET_CAPABILITY, STOP, SET_DATAFD = 2, 3, 1, 14, 16


class QemuError(OSError):
    """Why QEMU does not start, in its own words."""


class EmulatedTpm:
    """One TPM, connected as long as QEMU lives."""

    def __init__(self, path: str, chardev: str) -> None:
        self._control, self._data = socket.socket(socket.AF_UNIX), socket.socketpair()
        try:
            self._control.connect(path)
        except OSError as error:
            raise QemuError(f"-chardev {chardev}: Failed to connect to '{path}': {error.strerror}") from error
        self._say(GET_CAPABILITY, 8)
        fds = array.array("i", [self._data[1].fileno()])
        self._control.sendmsg([struct.pack(">I", SET_DATAFD)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        self._heard(4)
        self._say(STOP, 4)
        if any(self._say(INIT, 4, bytes(4))):
            raise QemuError("tpm-emulator: TPM result for CMD_INIT")

    def end(self) -> None:
        """QEMU ends in good order, as at libxl's SIGHUP: swtpm is told to do the same."""
        self._say(SHUTDOWN, 4)

    def _say(self, command: int, answer: int, body: bytes = b"") -> bytes:
        self._control.sendall(struct.pack(">I", command) + body)
        return self._heard(answer)

    def _heard(self, length: int) -> bytes:
        heard = self._control.recv(length, socket.MSG_WAITALL)
        if len(heard) < length:
            raise QemuError("tpm-emulator: probing failed")
        return heard


def connected(argv: Sequence[str]) -> list[EmulatedTpm]:
    """The TPMs that a QEMU is told of. Raises QemuError."""
    wanted = [keys(word).get("chardev", "") for word in words(argv, "-tpmdev")]
    if wanted and not os.path.exists(HAS_TPM):
        raise QemuError("-tpmdev: invalid option")
    chardevs = {keys(word)["id"]: word for word in words(argv, "-chardev")}
    missing = [name for name in wanted if name not in chardevs]
    if missing:
        raise QemuError(f"-tpmdev emulator: tpm-emulator: tpm chardev '{missing[0]}' not found")
    return [EmulatedTpm(keys(chardevs[name])["path"], chardevs[name]) for name in wanted]
