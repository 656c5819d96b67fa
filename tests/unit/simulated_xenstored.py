# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A xenstored in a thread: a real tree behind the real protocol, and the ways in which a daemon can misbehave.

It shares no code with the client, so that a misreading of the protocol does not cancel out. A fault replaces the
sending of a reply: a function of (daemon, client, reply), put into `faults` under an operation's name.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import struct
import threading
from pathlib import Path

HEADER = struct.Struct("=IIII")  # type, request id, transaction id, length of the payload
OPS = {
    1: "DIRECTORY",
    2: "READ",
    3: "GET_PERMS",
    4: "WATCH",
    5: "UNWATCH",
    11: "WRITE",
    12: "MKDIR",
    13: "RM",
    22: "DIRECTORY_PART",
}
WATCH_EVENT, ERROR = 15, 16
PAYLOAD_MAX = 4096


class Refusal(Exception):
    """An error reply; args[0] is the errno's name."""


class Node:
    def __init__(self, value=b""):
        self.value = value
        self.perms = [b"n0"]
        self.generation = 1


class SimulatedXenstored:
    """Serves `nodes` (path -> Node) on a unix socket at `path`, or on an already open descriptor (see `adopt`)."""

    def __init__(self, path):
        self.path = Path(path)
        self.nodes = {"/": Node()}
        self.faults = {}
        self.refusals = {}  # operation -> iterator of errnos' names, to answer with till it ends
        self.listing_limit = PAYLOAD_MAX  # None: one packet of any length, as oxenstored 4.17 does
        self.backwards = False  # answer what arrived together last one first
        self.chatter = 0  # watch events of no concern sent before each reply
        self.seen = []  # names of the operations that arrived
        self.stalled = False
        self.dying = False
        self._clients = {}  # fd -> bytes that are no whole request yet
        self._watches = []  # (fd, path, token)
        self._lock = threading.RLock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="xenstored", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self.die()
        self._woken.close()

    # --- what a test does to the host

    def put(self, path, value=b"", perms=None):
        """Writes a node as another domain would: ancestors are made, watches fire."""
        with self._lock:
            self._write(path, value)
            if perms:
                self.nodes[path].perms = perms

    def remove(self, path):
        with self._lock:
            self._remove(path)

    def adopt(self, fd):
        """Serves a client on `fd`, which the daemon owns from now on."""
        with self._lock:
            self._clients[fd] = b""
        self._wake.send(b"!")

    def die(self):
        """As when the process is killed: clients are cut off, the socket stays in the file system and refuses."""
        self.dying = True
        if threading.current_thread() is not self._thread:  # only the daemon closes what the daemon may be reading
            self._wake.close()
            self._thread.join()

    # --- the daemon's loop

    def _serve(self):
        while not self.dying:
            fds = [] if self.stalled else [self._listener.fileno(), *self._clients]
            ready, _writable, _broken = select.select([self._woken, *fds], [], [])
            for one in ready:
                if one is self._woken:
                    self._woken.recv(1)
                elif one == self._listener.fileno():
                    self._clients[self._listener.accept()[0].detach()] = b""
                else:
                    self._read(one)
        self._listener.close()
        for fd in list(self._clients):
            self._drop(fd)

    def _drop(self, fd):
        with self._lock:
            self._watches = [watch for watch in self._watches if watch[0] != fd]
            del self._clients[fd]
            os.close(fd)

    def _read(self, fd):
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if not data:
            self._drop(fd)
            return
        requests, self._clients[fd] = split(self._clients[fd] + data)
        for request in reversed(requests) if self.backwards else requests:
            with self._lock:
                if not self.stalled and not self.dying:
                    self._answer(fd, *request)

    def _answer(self, fd, op, rq_id, payload):
        name = OPS[op]
        self.seen.append(name)
        path, _nul, rest = payload.partition(b"\0")
        later = []
        try:
            for error in itertools.islice(self.refusals.get(name, ()), 1):
                raise Refusal(error)
            reply = packet(op, rq_id, getattr(self, "_do_" + name.lower())(fd, path.decode(), rest, later))
        except Refusal as refusal:
            reply = packet(ERROR, rq_id, refusal.args[0].encode() + b"\0")
        for _each in range(self.chatter):
            self.send(fd, packet(WATCH_EVENT, 0, b"/chatter\0nobody\0"))
        self.faults.get(name, SimulatedXenstored.send_reply)(self, fd, reply)
        for event in later:
            self.send(fd, event)

    def send_reply(self, fd, reply):
        self.send(fd, reply)

    def send(self, fd, data):
        with contextlib.suppress(OSError):
            while data and fd in self._clients:
                data = data[os.write(fd, data) :]

    # --- operations: (client, path, what follows the path, packets to send after the reply) -> payload

    def _node(self, path):
        if path not in self.nodes:
            raise Refusal("ENOENT")
        return self.nodes[path]

    def _children(self, path):
        self._node(path)
        below = path.rstrip("/") + "/"
        names = [other[len(below) :] for other in self.nodes if other.startswith(below) and other != below]
        return b"".join(name.encode() + b"\0" for name in sorted(names) if "/" not in name)

    def _do_directory(self, _fd, path, _rest, _later):
        listing = self._children(path)
        if self.listing_limit is not None and len(listing) > self.listing_limit:
            raise Refusal("E2BIG")
        return listing

    def _do_directory_part(self, _fd, path, rest, _later):
        if self.listing_limit is None:
            raise Refusal("ENOSYS")
        listing = self._children(path)
        generation = b"%d\0" % self._node(path).generation
        offset = int(rest.rstrip(b"\0"))
        part = listing[offset : offset + self.listing_limit - len(generation) - 1]
        part = part[: part.rfind(b"\0") + 1]  # whole names only
        return generation + part + (b"\0" if offset + len(part) >= len(listing) else b"")

    def _do_read(self, _fd, path, _rest, _later):
        return self._node(path).value

    def _do_get_perms(self, _fd, path, _rest, _later):
        return b"".join(perm + b"\0" for perm in self._node(path).perms)

    def _do_write(self, _fd, path, rest, _later):
        self._write(path, rest)
        return b"OK\0"

    def _do_mkdir(self, _fd, path, _rest, _later):
        if path not in self.nodes:
            self._write(path, b"")
        return b"OK\0"

    def _do_rm(self, _fd, path, _rest, _later):
        self._node(path)
        self._remove(path)
        return b"OK\0"

    def _do_watch(self, fd, path, rest, later):
        watch = (fd, path, rest.rstrip(b"\0"))
        if watch in self._watches:
            raise Refusal("EEXIST")
        self._watches.append(watch)
        later.append(event(path, watch[2]))
        return b"OK\0"

    def _do_unwatch(self, fd, path, rest, _later):
        watch = (fd, path, rest.rstrip(b"\0"))
        if watch not in self._watches:
            raise Refusal("ENOENT")
        self._watches.remove(watch)
        return b"OK\0"

    # --- the tree

    def _write(self, path, value):
        for ancestor in [*ancestors(path), path]:
            if ancestor not in self.nodes:
                self.nodes[ancestor] = Node()
                self.nodes[ancestors(ancestor)[-1]].generation += 1
        self.nodes[path].value = value
        self._fire(path)

    def _remove(self, path):
        for other in [other for other in self.nodes if other == path or other.startswith(path + "/")]:
            del self.nodes[other]
        self.nodes[ancestors(path)[-1]].generation += 1
        self._fire(path, removed=True)

    def _fire(self, path, removed=False):
        for fd, watched, token in list(self._watches):
            if path == watched or path.startswith(watched.rstrip("/") + "/"):
                self.send(fd, event(path, token))
            elif removed and watched.startswith(path + "/"):
                self.send(fd, event(watched, token))


# --- faults


def stall(daemon, _fd, _reply):
    """Neither answers nor reads from now on."""
    daemon.stalled = True


def stall_after(count):
    """Sends the first `count` bytes of the reply, then stalls."""

    def fault(daemon, fd, reply):
        daemon.send(fd, reply[:count])
        daemon.stalled = True

    return fault


def die_after(count):
    """Sends the first `count` bytes of the reply, then dies."""

    def fault(daemon, fd, reply):
        daemon.send(fd, reply[:count])
        daemon.die()

    return fault


def dribble(daemon, fd, reply):
    """Sends byte by byte."""
    for n in range(len(reply)):
        daemon.send(fd, reply[n : n + 1])


def hold(count):
    """Keeps replies back until there are `count` of them."""
    held = []

    def fault(daemon, fd, reply):
        held.append(reply)
        if len(held) == count:
            daemon.send(fd, b"".join(held))

    return fault


def forge(**fields):
    """Replaces fields of the reply's header: op, rq_id, size."""

    def fault(daemon, fd, reply):
        header = dict(zip(("op", "rq_id", "tx_id", "size"), HEADER.unpack_from(reply)))
        daemon.send(fd, HEADER.pack(*{**header, **fields}.values()) + reply[HEADER.size :])

    return fault


# --- packets


def packet(op, rq_id, payload):
    return HEADER.pack(op, rq_id, 0, len(payload)) + payload


def event(path, token):
    return packet(WATCH_EVENT, 0, path.encode() + b"\0" + token + b"\0")


def split(data):
    """([(op, request id, payload)], the rest)"""
    requests = []
    while len(data) >= HEADER.size:
        op, rq_id, _tx_id, size = HEADER.unpack_from(data)
        assert size <= PAYLOAD_MAX, "the client broke the protocol's limit"
        if len(data) < HEADER.size + size:
            break
        requests.append((op, rq_id, data[HEADER.size : HEADER.size + size]))
        data = data[HEADER.size + size :]
    return requests, data


def ancestors(path):
    """/a/b/c -> [/, /a, /a/b]"""
    parts = path.strip("/").split("/")
    return ["/", *["/" + "/".join(parts[:n]) for n in range(1, len(parts))]]
