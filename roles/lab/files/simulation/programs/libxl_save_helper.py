# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that moves a guest's memory between its domain and a file for libxl (tools/libs/light/libxl_save_helper.c, 4.17).

The real one reads and writes the memory by hypercalls. Here no guest's code runs, so there is nothing in memory to keep: the
file has the real form (docs/specs/libxc-migration-stream.pandoc), with the amount of memory and some empty pages in it, and a
restored domain has that much again. What matters is kept: the guest is suspended through libxl while the file is
written, a file that cannot be written fails it, and a stream that is cut off is refused.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from typing import Optional

CONTROL = "/run/xenfake/ctl"
# Numbers of the messages to libxl (libxl_save_msgs_gen.pl): 16 bits of length and of number before each, native order.
LOG, SUSPEND, RESTORE_RESULTS, COMPLETE = 1, 3, 9, 10
ERROR = 6  # XTL_ERROR
IMAGE = struct.pack(">QIIHHI", (1 << 64) - 1, 0x58454E46, 3, 0, 0, 0)
DOMAIN = struct.pack("<IHHII", 2, 12, 0, 4, 17)
RECORD = struct.Struct("<II")
END, PAGE_DATA, MEMORY = 0, 1, 0x80000000 | 0x53  # the last one is no real record's: optional, and this program's own
PART, PARTS, PAUSE = 64 << 10, 40, 0.02  # bytes of a record, how many, and seconds for each: a disk takes its time
STORE_GFN, CONSOLE_GFN = 1, 2  # where the simulated hypervisor has a new domain's two pages


def main() -> int:
    mode, stream, _other, domid = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    failed: Optional[OSError] = None
    try:
        {"--save-domain": save, "--restore-domain": restore}[mode](stream, domid)
    except OSError as error:
        failed = error
        log(f"{error}")
    if mode == "--restore-domain":
        tell(RESTORE_RESULTS, struct.pack("<QQ", STORE_GFN, CONSOLE_GFN))
    tell(COMPLETE, struct.pack("<ii", -1 if failed else 0, (failed.errno or 0) if failed else 0))
    sys.stdin.buffer.read(4)
    return 0


def save(stream: int, domid: int) -> None:
    memory = int(asked(f"info {domid}")["memory"])
    write(stream, IMAGE + DOMAIN)
    tell(SUSPEND)
    answer = sys.stdin.buffer.read(4)
    if len(answer) < 4 or not struct.unpack("<i", answer)[0]:
        raise OSError(0, "domain did not respond to suspend request")
    record(stream, MEMORY, struct.pack("<Q", memory))
    for _part in range(PARTS):
        record(stream, PAGE_DATA, bytes(PART))
        time.sleep(PAUSE)
    record(stream, END, b"")


def restore(stream: int, domid: int) -> None:
    if read(stream, len(IMAGE)) != IMAGE or len(read(stream, len(DOMAIN))) != len(DOMAIN):
        raise OSError(0, "Invalid stream")
    while True:
        kind, length = RECORD.unpack(read(stream, RECORD.size))
        body = read(stream, -(-length // 8) * 8)
        if kind == MEMORY:
            asked(f"populate {domid} {struct.unpack_from('<Q', body)[0]}")
        if kind == END:
            return


def record(stream: int, kind: int, body: bytes) -> None:
    write(stream, RECORD.pack(kind, len(body)) + body)


def write(stream: int, data: bytes) -> None:
    while data:
        data = data[os.write(stream, data) :]


def read(stream: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = os.read(stream, length - len(found))
        if not part:
            raise OSError(0, "Unexpected end of stream")
        found += part
    return found


def tell(number: int, body: bytes = b"") -> None:
    message = struct.pack("<H", number) + body
    sys.stdout.buffer.write(struct.pack("<H", len(message)) + message)
    sys.stdout.buffer.flush()


def log(text: str) -> None:
    words = b"".join(struct.pack("<I", len(word) + 1) + word + b"\0" for word in (b"xc", text.encode()))
    tell(LOG, struct.pack("<Ii", ERROR, -1) + words)


def asked(line: str) -> dict[str, str]:
    """The answer of the simulated hypervisor, as a table."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(CONTROL)
        control.sendall(f"{line}\n".encode())
        told = control.recv(1024).decode().split()
    if told[:1] != ["ok"]:
        raise OSError(0, f"the hypervisor: {line}: {' '.join(told)}")
    return dict(word.split("=", 1) for word in told[1:] if "=" in word)


if __name__ == "__main__":
    sys.exit(main())
