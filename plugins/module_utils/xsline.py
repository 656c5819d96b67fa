# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The line to xenstored: requests go out together, replies are matched by request id, watch events met on the way are queued.

pyxs supplies packets and connections. Its client is not used: the threads in it wait for ever once xenstored stalls or
dies. Nor are its send() and recv(), which block until a packet is whole. Here bytes move through a descriptor that does
not block, and every wait has a deadline.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xswire import Request, error_name, opcode, pack, take_packets, text

try:
    from pyxs._internal import Op, Packet
except ImportError:
    Op = Packet = None  # why: PYXS_IMPORT_ERROR

PIPELINED = 256  # requests under one deadline: bounds what is in flight, not what may be asked for
RETRY_PAUSE = 0.01  # seconds from an EAGAIN to the next attempt; xenstored tells no better moment
LONGEST_POLL = 86400  # seconds; poll(2) cannot take an infinite deadline

Event = tuple[str, str]  # path, token


class Line:
    """A pyxs connection that is connected, and what is under way on it. clock, timeout: as Xenstore has them.

    Raises XenError: xenstore_timeout or xenstore_lost, after which it is closed and every further call is xenstore_lost.
    """

    def __init__(self, connection: Any, clock: Callable[[], float], timeout: float) -> None:
        self.clock = clock
        self.timeout = timeout
        self.events: deque[Event] = deque()
        self.ended = ""  # why the connection is closed
        self._connection = connection
        self._is_device = stat.S_ISCHR(os.fstat(connection.fileno()).st_mode)
        os.set_blocking(connection.fileno(), False)
        self._poll = select.poll()
        self._last_id = 0
        self._inbox = bytearray()  # the start of a packet that is not whole yet
        self._pending: dict[int, int] = {}  # request id -> opcode, of each request without a reply
        self._replies: dict[int, Any] = {}  # request id -> its reply

    def fileno(self) -> int:
        """The descriptor, of a line that is open."""
        self._check_open()
        return int(self._connection.fileno())

    def next_event(self, deadline: float) -> Event | None:
        """The next (path, token), or None once clock() reaches `deadline`."""
        self._check_open()
        while not self.events:
            if not self._receive(deadline):
                return None
        return self.events.popleft()

    def forget(self, token: str) -> None:
        """Drops the events of a token from the queue."""
        self.events = deque(event for event in self.events if event[1] != token)

    def ask(self, requests: Sequence[Request]) -> list[Any]:
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
            self.end("a request was broken off")
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
                    raise self.lost(f"{error.strerror} while sending") from error
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
            raise self.lost(str(error)) from error
        if not data:
            raise self.lost("xenstored closed it")
        for packet in packets:
            self._accept(packet)
        return True

    def _accept(self, packet: Any) -> None:
        """Puts an event into the queue, a reply to its request."""
        if packet.op == Op.WATCH_EVENT:
            path, token = [*packet.payload.split(b"\0"), b""][:2]
            self.events.append((text(path), text(token)))
            return
        rq_id = packet.rq_id
        if rq_id == 0 and packet.op in (Op.WATCH, Op.UNWATCH):
            # Linux answers these itself for its device, on many kernels without the id (xenbus_dev_frontend.c).
            rq_id = next(iter(self._pending), 0)
        expected = self._pending.pop(rq_id, None)
        if expected is None or packet.op not in (expected, Op.ERROR):
            raise self.lost(f"a reply (type {packet.op}, id {rq_id}) came to no request")
        self._replies[rq_id] = packet

    def _check_open(self) -> None:
        if self.ended:
            raise XenError(
                "xenstore_lost",
                f"the connection to xenstore is closed: {self.ended}",
                {"path": self._connection.path},
                "does xenstored answer? Try xenstore-ls there, then run again",
            )

    def end(self, why: str) -> None:
        """Closes the line. why: what later calls are told."""
        if not self.ended:
            self.ended = why
            self._connection.close()

    def lost(self, why: str) -> XenError:
        """The error for a line on which nothing more can be said, which is closed with it."""
        self.end(why)
        return XenError(
            "xenstore_lost",
            f"the connection to xenstore at {self._connection.path} broke: {why}",
            evidence={"path": self._connection.path},
            hint="is xenstored running? It keeps its tree in memory: if it died, the host needs a reboot",
        )

    def _timed_out(self, unanswered: Sequence[Request], asked: int) -> XenError:
        op, path = unanswered[0][:2]
        self.end(f"xenstored did not answer {op} of {path}")
        return XenError(
            "xenstore_timeout",
            f"{self.ended} within {self.timeout:g} s",
            evidence={"op": op, "path": path, "unanswered": len(unanswered), "asked": asked},
            hint="is xenstored stopped, or the host overloaded? Try xenstore-ls there",
        )
