# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes over xenstore's wire: requests, checked before they leave, and replies, as packets of pyxs. No I/O.

Protocol: xen/include/public/io/xs_wire.h, docs/misc/xenstore.txt (Xen 4.17). The packets are those of pyxs (0.4.1, and
the 0.4.2-dev of Debian). Its checks are not used: they refuse DIRECTORY_PART, which came later, and all values beyond
ASCII, and take an error name that they do not know for success.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable

PYXS_IMPORT_ERROR: ImportError | None = None
try:
    from pyxs._internal import Op, Packet
except ImportError as error:
    PYXS_IMPORT_ERROR = error
    Op = Packet = None

PAYLOAD_MAX = 4096  # XENSTORE_PAYLOAD_MAX, of a request: xenstored drops a client that sends more
PATH_MAX = 3072  # XENSTORE_ABS_PATH_MAX
# No limit of the protocol: oxenstored 4.17 answers a socket client with listings of any length, where C xenstored says
# E2BIG. (libxenstore 4.17 closes the connection on such a reply.) A length beyond this is taken for garbage.
REPLY_MAX = 1 << 24
LATER_OPS = {"DIRECTORY_PART": 22}  # Xen 4.9

# Absolute only: to a socket client a relative path means domain 0's home, the wrong domain for most questions.
PATH = re.compile(r"/|(?:@[A-Za-z]+|/[A-Za-z0-9_@-]+)(?:/[A-Za-z0-9_@-]+)*")

PERMISSION = re.compile(r"[nrwb][0-9]{1,9}")

_QUOTA = "a xenstore quota is used up: look for a domain with very many nodes or watches"
_RIGHTS = "run this in the control domain (dom0) as root"
HINTS = {"EACCES": _RIGHTS, "EPERM": _RIGHTS, "ENOSPC": _QUOTA, "EQUOTA": _QUOTA}  # EQUOTA: oxenstored's ENOSPC


class Request(NamedTuple):
    """op: its name in xs_wire.h without the XS_. payload: what follows the header, the path included."""

    op: str
    path: str
    payload: bytes


def request(op: str, path: str, data: bytes = b"") -> Request:
    """`op` on `path`, with `data` after the path. Raises XenError (xenstore_refused) if the protocol forbids it."""
    if not PATH.fullmatch(path):
        raise refused(op, path, "EINVAL", "a path starts with a slash, its names are of A-Z a-z 0-9 - _ @")
    if len(path) > PATH_MAX:
        raise refused(op, path, "EINVAL", f"a path has at most {PATH_MAX} characters, this one {len(path)}")
    payload = path.encode("ascii") + b"\0" + data
    if len(payload) > PAYLOAD_MAX:
        raise refused(op, path, "E2BIG", f"path and value have at most {PAYLOAD_MAX} bytes, these {len(payload)}")
    return Request(op, path, payload)


def watch_request(op: str, path: str, token: str) -> Request:
    """WATCH or UNWATCH."""
    if not token or "\0" in token:
        raise refused(op, path, "EINVAL", "a token is not empty and holds no NUL")
    return request(op, path, encoded(op, path, token) + b"\0")


def encoded(op: str, path: str, value: str | bytes) -> bytes:
    """The bytes of a value; str becomes UTF-8."""
    try:
        return value if isinstance(value, bytes) else value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise refused(op, path, "EINVAL", f"the value is no text that UTF-8 can hold: {error.reason}") from error


def opcode(op: str) -> int:
    """The number of an operation."""
    number: int = LATER_OPS.get(op) or getattr(Op, op)
    return number


def error_name(reply: Any) -> str | None:
    """The errno's name in an error reply, such as "ENOENT"; None for any other reply (a Packet)."""
    return printable(reply.payload.rstrip(b"\0"), 40) if reply.op == Op.ERROR else None


def payload_of(op: str, path: str, reply: Any) -> bytes | None:
    """A reply's payload; None if there is no such node. Raises XenError (xenstore_refused) for every other error."""
    error = error_name(reply)
    if error and error != "ENOENT":
        raise refused(op, path, error)
    return None if error else bytes(reply.payload)


def refused(op: str, path: str, error: str, why: str = "") -> XenError:
    """The XenError for a request that xenstored or its protocol does not allow. error: the errno's name, any name."""
    path = printable(path, 200)
    return XenError(
        "xenstore_refused",
        f"xenstore refuses {op} of {path}: {why or error}",
        evidence={"op": op, "path": path, "errno": error},
        hint=HINTS.get(error),
    )


def text(data: bytes) -> str:
    """Bytes as str; what is no UTF-8 becomes backslash escapes: guests may write anything."""
    return data.decode("utf-8", errors="backslashreplace")


def names(payload: bytes) -> list[str]:
    """The NUL-terminated strings of a payload."""
    return [text(name) for name in payload.split(b"\0") if name]


def pack(op: int, payload: bytes, rq_id: int) -> bytes:
    """The bytes of a request outside transactions. Packet._make since Packet() refuses operations unknown to pyxs."""
    packet = Packet._make((op, rq_id, 0, len(payload), payload))
    return bytes(Packet._struct.pack(*packet[:4]) + packet.payload)


def take_packets(inbox: bytearray) -> list[Any]:
    """Cuts the whole packets off the front of `inbox`. Raises ValueError on a length that no reply can have."""
    packets, start, header = [], 0, Packet._struct
    while len(inbox) - start >= header.size:
        op, rq_id, tx_id, size = header.unpack_from(inbox, start)
        if size > REPLY_MAX:
            raise ValueError(f"a packet of {size} bytes was announced")
        end = start + header.size + size
        if len(inbox) < end:
            break
        packets.append(Packet._make((op, rq_id, tx_id, size, bytes(inbox[start + header.size : end]))))
        start = end
    del inbox[:start]
    return packets
