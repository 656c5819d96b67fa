# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said on swtpm's control channel: numbers of the commands, and how long the answers are. Pure.

All are big endian; a command is its number and what it takes, an answer begins with the TPM's result where it has one
(include/swtpm/tpm_ioctl.h, 0.7). QEMU's own side is backends/tpm/tpm_emulator.c.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple, Optional

# CMD_SHUTDOWN is what QEMU says last, when it ends in good order: swtpm ends with it.
GET_CAPABILITY, INIT, SHUTDOWN, STOP = 1, 2, 3, 14


class Request(NamedTuple):
    """A command as it is sent, and the bytes of its answer."""

    sent: bytes
    answer: int


CAPABILITIES = Request(struct.pack(">I", GET_CAPABILITY), 8)
TAKE_UP = Request(struct.pack(">II", INIT, 0), 4)  # reads the state, or makes a new TPM's
PUT_DOWN = Request(struct.pack(">I", STOP), 4)
# Whether it answers, and whether it can take up the TPM: as a power cycle that its guest does not see.
PROOF = (CAPABILITIES, TAKE_UP, PUT_DOWN)


def refused(answers: Sequence[bytes]) -> Optional[int]:
    """The TPM's result with which one of PROOF's commands failed; None where none did."""
    results = [struct.unpack(">I", answer)[0] for answer in answers[1:]]
    return next((result for result in results if result), None)
