# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A xenstore client in which no wait is without end: one connection, one thread, every wait has a deadline.

pyxs supplies packets and connections. Its client is not used: the threads in it wait for ever once xenstored stalls or
dies. Nor are its send() and recv(), which block until a packet is whole. Here bytes move through a descriptor that does
not block: requests go out together, replies are matched by request id, watch events met on the way are queued.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xswire import (
    PERMISSION,
    PYXS_IMPORT_ERROR,
    REPLY_MAX,
    Request,
    encoded,
    error_name,
    names,
    opcode,
    pack,
    payload_of,
    refused,
    request,
    take_packets,
    text,
    watch_request,
)

try:
    from pyxs._internal import Op, Packet
    from pyxs.connection import UnixSocketConnection, XenBusConnection
    from pyxs.exceptions import PyXSError
except ImportError:
    Op = Packet = UnixSocketConnection = XenBusConnection = PyXSError = None  # why: PYXS_IMPORT_ERROR

PIPELINED = 256  # requests under one deadline: bounds what is in flight, not what may be asked for
RETRY_PAUSE = 0.01  # seconds from an EAGAIN to the next attempt; xenstored tells no better moment
LONGEST_POLL = 86400  # seconds; poll(2) cannot take an infinite deadline

Event = tuple[str, str]  # path, token


class Node(NamedTuple):
    """What a node holds and whose it is."""

    value: str | None
    owner: int | None


class Xenstore:
    """A connection to xenstore.

    connection: a pyxs connection; None takes the first place that exists (see `places`). clock: seconds, monotonic.
    timeout: seconds that connecting, a request, or a batch of PIPELINED requests may take; may be changed at any time.
    Raises XenError: pyxs_missing and xenstore_unreachable here; later xenstore_refused (evidence: op, path, errno), and
    xenstore_timeout or xenstore_lost, after which the connection is closed and every further call is xenstore_lost.
    """

    def __init__(self, connection: Any = None, clock: Callable[[], float] = time.monotonic, timeout: float = 10.0) -> None:
        if PYXS_IMPORT_ERROR:
            raise XenError(
                "pyxs_missing",
                f"the Python library pyxs is missing: {PYXS_IMPORT_ERROR}",
                evidence={"import": str(PYXS_IMPORT_ERROR)},
                hint="apt install python3-pyxs, or pip install pyxs; the role stubdom.xen.host does it",
            )
        self.clock = clock
        self.timeout = timeout
        self._connection = connect(connection, timeout)
        self._is_device = stat.S_ISCHR(os.fstat(self._connection.fileno()).st_mode)
        os.set_blocking(self._connection.fileno(), False)
        self._poll = select.poll()
        self._ended = ""  # why the connection is closed
        self._last_id = 0
        self._inbox = bytearray()  # the start of a packet that is not whole yet
        self._pending: dict[int, int] = {}  # request id -> opcode, of each request without a reply
        self._replies: dict[int, Any] = {}  # request id -> its reply
        self._events: deque[Event] = deque()
        self._watches: set[Event] = set()

    def __enter__(self) -> Xenstore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it its watches. May be called again."""
        self._end("it was closed")

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, by whomever."""
        return bool(self._ended)

    def has_events(self) -> bool:
        """Whether events wait in the queue."""
        return bool(self._events)

    def fileno(self) -> int:
        """The descriptor, for a caller's poll loop. Call next_event until None first: its queue does not show here."""
        self._check_open()
        return int(self._connection.fileno())

    def read(self, path: str) -> str | None:
        """The value of a node as str, bytes that are no UTF-8 as backslash escapes; None if there is no such node."""
        return self.read_many([path])[path]

    def read_many(self, paths: Iterable[str]) -> dict[str, str | None]:
        """path -> value, for many nodes at once."""
        values = {path: payload_of("READ", path, reply) for path, reply in self._ask("READ", paths).items()}
        return {path: None if value is None else text(value) for path, value in values.items()}

    def nodes(self, paths: Iterable[str]) -> dict[str, Node]:
        """path -> value and owner (a domid) of its node, for many at once; both are None if there is no such node."""
        paths = list(dict.fromkeys(paths))
        replies = self._exchange([request(op, path) for path in paths for op in ("READ", "GET_PERMS")])
        return {path: _node(path, *replies[2 * n : 2 * n + 2]) for n, path in enumerate(paths)}

    def ls(self, path: str) -> list[str] | None:
        """The names of a node's children; None if there is no such node."""
        return self.ls_many([path])[path]

    def ls_many(self, paths: Iterable[str]) -> dict[str, list[str] | None]:
        """path -> names of its children, for many nodes at once."""
        return {path: self._listing(path, reply) for path, reply in self._ask("DIRECTORY", paths).items()}

    def owner(self, path: str) -> int | None:
        """The domid that owns a node; None if there is no such node."""
        perms = self.perms(path)
        return perms[0][1] if perms else None

    def perms(self, path: str) -> list[tuple[str, int]] | None:
        """[(one of n r w b, domid)]: the owner with what everybody may do, then the exceptions; None if absent."""
        return _perms(path, self._ask("GET_PERMS", [path])[path])

    def write(self, path: str, value: str | bytes) -> None:
        """Sets a node's value; makes the node and those above it if need be."""
        self._change(request("WRITE", path, encoded("WRITE", path, value)))

    def rm(self, path: str) -> None:
        """Removes a node and all below it; an absent one is fine."""
        self._change(request("RM", path), allow=("ENOENT",))

    def mkdir(self, path: str) -> None:
        """Makes an empty node; one that exists stays as it is."""
        self._change(request("MKDIR", path))

    def watch(self, path: str, token: str) -> None:
        """Asks for an event now and after each change at or below path, which may be @releaseDomain too."""
        if (path, token) in self._watches:  # checked here too because the Linux device lets a duplicate pass
            raise refused("WATCH", path, "EEXIST")
        self._change(watch_request("WATCH", path, token))
        self._watches.add((path, token))

    def unwatch(self, path: str, token: str) -> None:
        """Ends a watch. Its token's events are not returned any more, unless another watch has the same token."""
        if (path, token) not in self._watches:
            raise refused("UNWATCH", path, "ENOENT")
        self._change(watch_request("UNWATCH", path, token))
        self._watches.remove((path, token))
        if token not in [other for _path, other in self._watches]:
            self._events = deque(event for event in self._events if event[1] != token)

    def next_event(self, deadline: float) -> Event | None:
        """The next (path, token), or None once clock() reaches `deadline`; a deadline in the past only looks.

        An event says that something at or below path may have changed: read again. It may be spurious.
        """
        self._check_open()
        while not self._events:
            if not self._receive(deadline):
                return None
        return self._events.popleft()

    def _ask(self, op: str, paths: Iterable[str]) -> dict[str, Any]:
        """path -> reply."""
        paths = list(dict.fromkeys(paths))
        return dict(zip(paths, self._exchange([request(op, path) for path in paths])))

    def _change(self, wanted: Request, allow: Sequence[str] = ()) -> None:
        error = error_name(self._exchange([wanted])[0])
        if error and error not in allow:
            raise refused(wanted.op, wanted.path, error)

    def _listing(self, path: str, reply: Any) -> list[str] | None:
        if error_name(reply) == "E2BIG":
            return self._listing_in_parts(path)
        payload = payload_of("DIRECTORY", path, reply)
        return None if payload is None else names(payload)

    def _listing_in_parts(self, path: str) -> list[str] | None:
        """A listing longer than a packet; started anew when the directory's generation changes between two parts."""
        deadline = self.clock() + self.timeout
        listing = generation = b""
        while self.clock() < deadline:
            reply = self._exchange([request("DIRECTORY_PART", path, b"%d\0" % len(listing))])[0]
            payload = payload_of("DIRECTORY_PART", path, reply)
            if payload is None:
                return None
            seen, _nul, part = payload.partition(b"\0")
            if generation not in (b"", seen):
                listing = generation = b""
                continue
            listing, generation = listing + part, seen
            if len(listing) > REPLY_MAX:
                raise self._lost(f"a listing of more than {REPLY_MAX} bytes came")
            if listing == b"\0" or listing.endswith(b"\0\0"):  # an empty name ends the last part
                return names(listing)
        raise refused("DIRECTORY_PART", path, "EAGAIN", "the directory kept changing while it was listed")

    def _exchange(self, requests: Sequence[Request]) -> list[Any]:
        """The replies (Packets) to all requests, in their order."""
        replies: list[Any] = []
        for start in range(0, len(requests), PIPELINED):
            replies += self._batch(requests[start : start + PIPELINED])
        return replies

    def _batch(self, requests: Sequence[Request]) -> list[Any]:
        """The replies to one batch; what is answered EAGAIN is asked again till half of the time is over."""
        deadline = self.clock() + self.timeout
        give_up = deadline - self.timeout / 2  # the rest is for the last answers
        replies = self._attempt(requests, deadline)
        while self.clock() < give_up:
            again = [n for n, reply in enumerate(replies) if error_name(reply) == "EAGAIN"]
            if not again:
                break
            pause = self.clock() + RETRY_PAUSE
            while self.clock() < pause and self._receive(pause):
                pass
            for n, reply in zip(again, self._attempt([requests[n] for n in again], deadline)):
                replies[n] = reply
        return replies

    def _attempt(self, requests: Sequence[Request], deadline: float) -> list[Any]:
        """Sends and receives at the same time: xenstored stops reading from a client that does not take its replies."""
        self._check_open()
        asked = {self._new_id(): one for one in requests}
        outgoing = deque((rq_id, pack(opcode(one.op), one.payload, rq_id)) for rq_id, one in asked.items())
        self._pending = {rq_id: opcode(one.op) for rq_id, one in asked.items()}
        self._replies = {}
        try:
            self._send(outgoing)
            while self._pending:
                alive = self._receive(deadline, select.POLLIN | (select.POLLOUT if outgoing else 0))
                if self._pending and (not alive or self.clock() >= deadline):
                    raise self._timed_out([asked[rq_id] for rq_id in self._pending], len(asked))
                self._send(outgoing)
        except BaseException:  # an interrupt too: a packet may be half sent, so nothing more can be said here
            self._end("a request was broken off")
            raise
        return [self._replies[rq_id] for rq_id in asked]

    def _new_id(self) -> int:
        self._last_id = self._last_id % 0xFFFFFFFF + 1  # never 0: see _accept
        return self._last_id

    def _send(self, outgoing: deque[tuple[int, bytes]]) -> None:
        """Writes what is taken without waiting. One packet a write: the Linux device drops what follows the first."""
        while outgoing:
            rq_id, data = outgoing.popleft()
            try:
                written = os.write(self._connection.fileno(), data)
            except BlockingIOError:
                written = 0
            except OSError as error:
                if not self._is_device:
                    raise self._lost(f"{error.strerror} while sending") from error
                # The Linux device refuses a bad request by write()'s errno in place of a reply.
                name = errno.errorcode.get(error.errno or errno.EIO, "EIO").encode()
                self._accept(Packet._make((Op.ERROR, rq_id, 0, len(name), name)))
                continue
            if written < len(data):
                outgoing.appendleft((rq_id, data[written:]))
                return

    def _receive(self, deadline: float, interest: int = select.POLLIN) -> bool:
        """Waits until `deadline` for the descriptor and takes in what is there; False if nothing happened till then."""
        self._poll.register(self._connection.fileno(), interest)
        seconds = min(max(deadline - self.clock(), 0), LONGEST_POLL)
        if not self._poll.poll(-(-seconds * 1000 // 1)):  # rounded up: down would spin through the last millisecond
            return False
        try:
            data = os.read(self._connection.fileno(), 65536)
            self._inbox += data
            packets = take_packets(self._inbox)
        except BlockingIOError:
            return True
        except (OSError, ValueError) as error:
            raise self._lost(str(error)) from error
        if not data:
            raise self._lost("xenstored closed it")
        for packet in packets:
            self._accept(packet)
        return True

    def _accept(self, packet: Any) -> None:
        """Puts an event into the queue, a reply to its request."""
        if packet.op == Op.WATCH_EVENT:
            path, token = [*packet.payload.split(b"\0"), b""][:2]
            self._events.append((text(path), text(token)))
            return
        rq_id = packet.rq_id
        if rq_id == 0 and packet.op in (Op.WATCH, Op.UNWATCH):
            # Linux answers these itself for its device, on many kernels without the id (xenbus_dev_frontend.c).
            rq_id = next(iter(self._pending), 0)
        expected = self._pending.pop(rq_id, None)
        if expected is None or packet.op not in (expected, Op.ERROR):
            raise self._lost(f"a reply (type {packet.op}, id {rq_id}) came to no request")
        self._replies[rq_id] = packet

    def _check_open(self) -> None:
        if self._ended:
            raise XenError(
                "xenstore_lost",
                f"the connection to xenstore is closed: {self._ended}",
                {"path": self._connection.path},
                "does xenstored answer? Try xenstore-ls there, then run again",
            )

    def _end(self, why: str) -> None:
        if not self._ended:
            self._ended = why
            self._connection.close()

    def _lost(self, why: str) -> XenError:
        self._end(why)
        return XenError(
            "xenstore_lost",
            f"the connection to xenstore at {self._connection.path} broke: {why}",
            evidence={"path": self._connection.path},
            hint="is xenstored running? It keeps its tree in memory: if it died, the host needs a reboot",
        )

    def _timed_out(self, unanswered: Sequence[Request], asked: int) -> XenError:
        op, path = unanswered[0][:2]
        self._end(f"xenstored did not answer {op} of {path}")
        return XenError(
            "xenstore_timeout",
            f"{self._ended} within {self.timeout:g} s",
            evidence={"op": op, "path": path, "unanswered": len(unanswered), "asked": asked},
            hint="is xenstored stopped, or the host overloaded? Try xenstore-ls there",
        )


def _node(path: str, read: Any, perms: Any) -> Node:
    """A node that comes or goes between the two answers is one that was not there."""
    value, entries = payload_of("READ", path, read), _perms(path, perms)
    return Node(text(value), entries[0][1]) if value is not None and entries else Node(None, None)


def _perms(path: str, reply: Any) -> list[tuple[str, int]] | None:
    payload = payload_of("GET_PERMS", path, reply)
    entries = [] if payload is None else names(payload)
    if not all(map(PERMISSION.fullmatch, entries)):
        raise refused("GET_PERMS", path, "EIO", "its answer is no list of permissions")
    return None if payload is None else [(entry[0], int(entry[1:])) for entry in entries]


def places(environ: Mapping[str, str]) -> list[str]:
    """Where xenstore may be, best first: what libxenstore's xs_open() tries (tools/libs/store/xs.c)."""
    if environ.get("XENSTORED_PATH"):
        return [environ["XENSTORED_PATH"]]
    rundir = environ.get("XENSTORED_RUNDIR")
    rundirs = [rundir] if rundir else ["/run/xenstored", "/var/run/xenstored"]
    return [place + "/socket" for place in rundirs] + ["/dev/xen/xenbus", "/proc/xen/xenbus"]


def connect(connection: Any, timeout: float) -> Any:
    """`connection`, connected. None: to the first place that exists; a socket that then refuses is a dead xenstored."""
    tried = [connection.path] if connection else places(os.environ)
    try:
        if connection is None:
            place = next((place for place in tried if os.path.exists(place)), tried[0])
            is_socket = stat.S_ISSOCK(os.stat(place).st_mode)
            connection = UnixSocketConnection(place) if is_socket else XenBusConnection(place)
        if isinstance(connection, UnixSocketConnection) and not connection.is_connected:
            connection.transport = dial(connection.path, timeout)
        connection.connect()
    except (OSError, PyXSError) as error:
        raise XenError(
            "xenstore_unreachable",
            f"no connection to xenstore: {error}",
            evidence={"tried": tried},
            hint="is this a Xen control domain (dom0), are you root, is xenstored running?",
        ) from error
    return connection


def dial(path: str, timeout: float) -> socket.socket:
    """A connected socket. pyxs's own connect has no limit, and hangs on the full backlog of a stalled xenstored."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A unix socket's connect is never "in progress", so poll cannot wait for it; the send timeout limits it.
        microseconds = max(1, int(timeout * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(microseconds, 1000000)))
        sock.connect(path)
    except BlockingIOError as error:
        sock.close()
        raise TimeoutError(f"{path} took no connection within {timeout:g} s") from error
    except BaseException:
        sock.close()
        raise
    return sock
