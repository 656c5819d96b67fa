# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few TPM commands as bytes, each made of the fields that TCG's specifications name, and what answers say."""

from __future__ import annotations

import struct

RESULT = slice(6, 10)
SUCCESS = bytes(4)
# TPM_BADINDEX, TPM_BAD_PARAM_SIZE, TPM_BAD_LOCALITY, TPM_FAIL, TPM_NOSPACE (TPM Main 1.2, part 2, 16)
BAD_INDEX, BAD_SIZE, BAD_LOCALITY, FAIL = (struct.pack(">I", code) for code in (0x02, 0x19, 0x3D, 0x09))
NV_INDEX = 0x11101
PCR = 10
ZERO_PCR = bytes(20)


def command(ordinal: int, body: bytes = b"", tag: int = 0x00C1) -> bytes:
    return struct.pack(">HII", tag, 10 + len(body), ordinal) + body


def get_random(count: int) -> bytes:
    return command(0x46, struct.pack(">I", count))


def pcr_read() -> bytes:
    return command(0x15, struct.pack(">I", PCR))


def pcr_extend(digest: bytes) -> bytes:
    return command(0x14, struct.pack(">I", PCR) + digest)


def nv_define(size: int) -> bytes:
    """TPM_NV_DefineSpace; a TPM whose nvLocked is not set yet, as a new one's, asks for nobody's authorisation."""
    any_pcrs = struct.pack(">H3sB20s", 3, bytes(3), 0x1F, bytes(20))
    permission = struct.pack(">HI", 0x17, 1)  # TPM_NV_PER_PPWRITE
    public = struct.pack(">HI", 0x18, NV_INDEX) + any_pcrs * 2 + permission + struct.pack(">BBBI", 0, 0, 0, size)
    return command(0xCC, public + bytes(20))


def nv_write(data: bytes) -> bytes:
    return command(0xCD, struct.pack(">III", NV_INDEX, 0, len(data)) + data)


def nv_read(size: int) -> bytes:
    return command(0xCF, struct.pack(">III", NV_INDEX, 0, size))


def tpm2_get_random(count: int) -> bytes:
    return command(0x17B, struct.pack(">H", count), tag=0x8001)
