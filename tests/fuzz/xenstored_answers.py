# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A xenstored that answers anything: the packets of a conversation as it should be, changed. Its client must end it well.

What a domain writes is in these packets too, but only as a value; the rest is what a xenstored that is broken, or not what
it was, could send. The packets are made here, so that a misreading of the client's does not cancel out.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Node, Xenstore

HEADER = struct.Struct("=IIII")  # type, request id, transaction id, length of the payload (xs_wire.h)
DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, WRITE, MKDIR, RM = 1, 2, 3, 4, 5, 11, 12, 13
WATCH_EVENT, ERROR, DIRECTORY_PART = 15, 16, 22
OK = b"OK\0"
TEXTS = (b"", b"running", b"4", b"nul\0inside", b"\xff\xfe", b"\x1b[2J", "Grüße".encode(), b"v" * 4096)
LISTS = ((), (b"a",), (b"state", b"qmp-vchan"), tuple(b"%d" % n for n in range(900)))
PERMS = ([("n", 0)], [("n", 7), ("r", 6)], [("b", 65535), ("w", 1), ("r", 0)])
ERRORS = (
    b"ENOENT", b"EACCES", b"EAGAIN", b"E2BIG", b"EINVAL", b"EQUOTA", b"", b"\x1b[2J", b"E" * 5000, b"\xff", b"ENOENT\0ENOENT",
)  # fmt: skip
GARBAGE = (
    b"", b"\0", b"\0\0", b"n", b"nx", b"n-1\0", b"n1", b"\xd9\xa4\0", b"n\xd9\xa4\0", b"r7\0\0r8\0", b"OK", b"\xff" * 40,
    b"a/b\0" * 9,
)  # fmt: skip
NUMBERS = (0, 1, 2, 7, 15, 16, 22, 99, 4096, 4097, 1 << 24, (1 << 24) + 1, 0x7FFFFFFF, 0xFFFFFFFF)
PATHS = ("/local/domain/7/state", "/a", "/local/domain", "/vm/x")
OUTCOMES = ("answered", "xenstore_refused", "xenstore_lost")
CODES = ("xenstore_refused", "xenstore_lost", "xenstore_timeout")
READ_AT_ONCE = 65536  # bytes; of a packet that is longer the client would not read the rest, and the kernel takes none of 200 KiB
PATIENCE = {False: 60.0, True: 0.003}  # seconds; a connection that is left open is waited for in vain


def drawn(chance):
    """(calls, what xenstored says bit by bit, whether it leaves the connection open, what is returned or None if that is open)

    The client takes in one bit at a time, and no more of them than it has to: it asks before it is answered.
    """
    calls, packets, expected = [], [], []
    for _each in range(chance.choice((1, 1, 2, 3))):
        call, answers, value = chance.choice(CALLS)(chance)
        calls.append(call)
        packets += [[op, len(packets) + 1 + n, 0, None, payload] for n, (op, payload) in enumerate(answers)]
        expected.append(value)
    changes = chance.choice((0, 0, 1, 1, 2, 4))
    for _each in range(changes):
        chance.choice(CHANGES)(packets, chance.randrange(len(packets) or 1), chance)
    bits = [HEADER.pack(*packet[:3], _size(packet)) + packet[4] for packet in packets]
    if changes and chance.random() < 0.3:
        chance.choice((_other_bytes, _cut, _joined))(bits, chance.randrange(len(bits) or 1), chance)
    return calls, bits, chance.random() < 0.02, None if changes else expected


def _size(packet):
    return len(packet[4]) if packet[3] is None else packet[3]


# --- calls: (method and its arguments, the answers to its requests, what it returns)


def _texts(chance):
    paths = chance.sample(PATHS, chance.randint(1, len(PATHS)))
    return paths, [chance.choice(TEXTS) for _path in paths]


def _shown(data):
    return data.decode("utf-8", "backslashreplace")


def _read(chance):
    paths, texts = _texts(chance)
    return ("read_many", paths), [(READ, text) for text in texts], dict(zip(paths, map(_shown, texts)))


def _nodes(chance):
    paths, texts = _texts(chance)
    perms = [chance.choice(PERMS) for _path in paths]
    answers = [answer for text, perm in zip(texts, perms) for answer in ((READ, text), (GET_PERMS, _said(perm)))]
    return ("nodes", paths), answers, {p: Node(_shown(t), perm[0][1]) for p, t, perm in zip(paths, texts, perms)}


def _said(perms):
    return b"".join(f"{letter}{domid}\0".encode() for letter, domid in perms)


def _perms(chance):
    perms = chance.choice(PERMS)
    return ("perms", PATHS[0]), [(GET_PERMS, _said(perms))], perms


def _list(chance):
    names = chance.choice(LISTS)
    listing = b"".join(name + b"\0" for name in names)
    told = [name.decode() for name in names]
    if chance.random() < 0.5:
        return ("ls", PATHS[2]), [(DIRECTORY, listing)], told
    cut = chance.randint(0, listing.count(b"\0")) if listing else 0
    first = b"".join(name + b"\0" for name in names[:cut])
    parts = [(DIRECTORY_PART, b"7\0" + first)] if first else []
    return ("ls", PATHS[2]), [(ERROR, b"E2BIG\0"), *parts, (DIRECTORY_PART, b"7\0" + listing[len(first) :] + b"\0")], told


def _absent(chance):
    return (chance.choice(("read", "ls", "owner")), PATHS[0]), [(ERROR, b"ENOENT\0")], None


def _changed(chance):
    op, call = chance.choice(((WRITE, ("write", PATHS[0], "x")), (MKDIR, ("mkdir", PATHS[0])), (RM, ("rm", PATHS[0]))))
    return call, [(op, OK)], None


def _watched(chance):
    return ("watch", chance.choice(PATHS), f"token{chance.random()}"), [(WATCH, OK)], None


CALLS = (_read, _nodes, _perms, _list, _list, _absent, _changed, _watched)


# --- changes: packets are [type, request id, transaction id, size or None for the real one, payload], at is one of them if any


def _forged(packets, at, chance):
    for packet in packets[at : at + 1]:
        packet[chance.choice((0, 0, 1, 1, 2, 3))] = chance.choice((*NUMBERS, chance.getrandbits(32)))


def _garbled(packets, at, chance):
    for packet in packets[at : at + 1]:
        packet[4] = chance.choice((*GARBAGE, packet[4][:-1], packet[4] * 2, chance.randbytes(9)))


def _failed(packets, at, chance):
    for packet in packets[at : at + 1]:
        packet[0], packet[4] = ERROR, chance.choice(ERRORS) + chance.choice((b"", b"\0"))


def _left_out(packets, at, chance):
    del packets[at : at + 1]


def _said_twice(packets, at, chance):
    packets[at:at] = [list(packet) for packet in packets[at : at + 1] * chance.choice((1, 1, 30))]


def _moved(packets, at, chance):
    packets.insert(chance.randrange(len(packets) + 1), packets.pop(at)) if packets else None


def _an_event(packets, at, chance):
    payload = chance.choice((b"/a\0token\0", b"", b"\0", b"/a", b"\x1b[2J\0\xff\0", b"\0" * 50, *GARBAGE))
    packets[at:at] = [[WATCH_EVENT, chance.choice((0, 0, 1)), 0, None, payload] for _each in range(chance.choice((1, 1, 200)))]


CHANGES = (_forged, _forged, _garbled, _garbled, _failed, _left_out, _said_twice, _moved, _an_event)


def _other_bytes(bits, at, chance):
    for data in bits[at : at + 1]:
        place = chance.randrange(len(data) + 1)
        rest = chance.choice((b"", chance.randbytes(1) + data[place + 1 :], chance.randbytes(20) + data[place:]))
        bits[at] = data[:place] + rest


def _cut(bits, at, chance):
    for data in bits[at : at + 1]:
        place = chance.randrange(len(data) + 1)
        bits[at : at + 1] = [data[:place], data[place:]]


def _joined(bits, at, chance):
    bits[at:] = [b"".join(bits[at:])]


# --- the client before it


class Connection:
    """As much of a pyxs connection as the client uses, on a socket that xenstored has answered in advance."""

    path = "/run/xenstored/socket"

    def __init__(self, sock):
        self.sock = sock

    def connect(self):
        pass

    def close(self):
        self.sock.close()

    def fileno(self):
        return self.sock.fileno()


def tried(conversation):
    """What the conversation came to. Raises AssertionError, and whatever comes out that should not."""
    calls, bits, is_open, expected = conversation
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs, ours:
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for data in bits:
                for start in range(0, len(data), READ_AT_ONCE):
                    theirs.send(data[start : start + READ_AT_ONCE])
        if not is_open:
            theirs.shutdown(socket.SHUT_WR)
        client = Xenstore(Connection(ours), timeout=PATIENCE[is_open])
        outcome, told = _spoken(client, calls)
        if expected is not None and not is_open:
            assert (outcome, told) == ("answered", expected), told
        _taken_up(client)
        client.close()
        assert ours.fileno() == -1
    return outcome


def _spoken(client, calls):
    outcome, told = "answered", []
    for name, *given in calls:
        try:
            told.append(_plain(getattr(client, name)(*given)))
        except XenError as error:
            outcome = error.code
            assert outcome in CODES and isinstance(error.evidence, dict), error.as_result()
            assert printable(error.msg, 9999) == error.msg, error.msg
            assert client.ended == (outcome != "xenstore_refused")
    return outcome, told


def _plain(value):
    """A value that a caller can go by: of the types that are documented, and nothing else."""
    texts = list(value) if isinstance(value, (list, dict)) else [value]
    texts += list(value.values()) if isinstance(value, dict) else []
    for one in texts:
        assert one is None or isinstance(one, (str, int, Node)) or (isinstance(one[0], str) and one[1] >= 0), value
        assert not isinstance(one, Node) or (one.owner is None) == (one.value is None), value
    return value


def _taken_up(client):
    """The events that have come, with the rest of what xenstored has said."""
    while not client.ended:
        try:
            event = client.next_event(time.monotonic() - 1)
        except XenError as error:
            assert error.code == "xenstore_lost"
            return
        if event is None:
            return
        assert [type(part) for part in event] == [str, str]
