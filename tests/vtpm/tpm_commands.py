# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few TPM commands as bytes, each made of the fields that TCG's specifications name, and what answers say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

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


# --- TPM 2.0 (Library, part 3), with an empty password where one is asked for

SHA256, OWNER, NV_INDEX_2 = 0x000B, 0x40000001, 0x01500001
NV_ATTRIBUTES = 0x02060006  # TPMA_NV: no dictionary attack protection; owner and index may read and write
EMPTY_PASSWORD = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)


def _authorised(ordinal: int, handles: bytes, parameters: bytes) -> bytes:
    return command(ordinal, handles + EMPTY_PASSWORD + parameters, tag=0x8002)


def tpm2_pcr_read() -> bytes:
    return command(0x17E, struct.pack(">IHB3s", 1, SHA256, 3, (1 << PCR).to_bytes(3, "little")), tag=0x8001)


def tpm2_pcr_extend(digest: bytes) -> bytes:
    return _authorised(0x182, struct.pack(">I", PCR), struct.pack(">IH", 1, SHA256) + digest)


def tpm2_nv_define(size: int) -> bytes:
    public = struct.pack(">IHIHH", NV_INDEX_2, SHA256, NV_ATTRIBUTES, 0, size)
    return _authorised(0x12A, struct.pack(">I", OWNER), struct.pack(">HH", 0, len(public)) + public)


def tpm2_nv_write(data: bytes) -> bytes:
    return _authorised(0x137, struct.pack(">II", OWNER, NV_INDEX_2), struct.pack(">H", len(data)) + data + bytes(2))


def tpm2_nv_read(size: int) -> bytes:
    return _authorised(0x14E, struct.pack(">II", OWNER, NV_INDEX_2), struct.pack(">HH", size, 0))


class Version(NamedTuple):
    """The commands that both versions have, by what they do. digest: bytes of what a PCR is extended with."""

    pcr_read: Callable[[], bytes]
    pcr_extend: Callable[[bytes], bytes]
    nv_define: Callable[[int], bytes]
    nv_write: Callable[[bytes], bytes]
    nv_read: Callable[[int], bytes]
    digest: int


VERSIONS = {
    "1.2": Version(pcr_read, pcr_extend, nv_define, nv_write, nv_read, 20),
    "2.0": Version(tpm2_pcr_read, tpm2_pcr_extend, tpm2_nv_define, tpm2_nv_write, tpm2_nv_read, 32),
}
