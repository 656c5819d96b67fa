# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A xenstore client in which no wait is without end: one connection, one thread, every wait has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xsdial import connect
from ansible_collections.stubdom.xen.plugins.module_utils.xsline import Event, Line
from ansible_collections.stubdom.xen.plugins.module_utils.xswire import (
    PERMISSION,
    PYXS_IMPORT_ERROR,
    REPLY_MAX,
    Request,
    encoded,
    error_name,
    names,
    payload_of,
    refused,
    request,
    text,
    watch_request,
)


class Node(NamedTuple):
    """What a node holds and whose it is."""

    value: str | None
    owner: int | None


class Xenstore:
    """A connection to xenstore.

    connection: a pyxs connection; None takes the first place that exists (see xsdial.places). clock: seconds, monotonic.
    timeout: seconds that connecting, a request, or a batch of xsline.PIPELINED requests may take; may be changed at any time.
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
        self._line = Line(connect(connection, timeout), clock, timeout)
        self._watches: set[Event] = set()

    @property
    def timeout(self) -> float:
        """Seconds that a request may take."""
        return self._line.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._line.timeout = seconds

    @property
    def clock(self) -> Callable[[], float]:
        """What tells the seconds."""
        return self._line.clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._line.clock = clock

    def __enter__(self) -> Xenstore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it its watches. May be called again."""
        self._line.end("it was closed")

    @property
    def ended(self) -> bool:
        """Whether the connection is closed, by whomever."""
        return bool(self._line.ended)

    def has_events(self) -> bool:
        """Whether events wait in the queue."""
        return bool(self._line.events)

    def fileno(self) -> int:
        """The descriptor, for a caller's poll loop. Call next_event until None first: its queue does not show here."""
        return self._line.fileno()

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
        replies = self._line.ask([request(op, path) for path in paths for op in ("READ", "GET_PERMS")])
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
            self._line.forget(token)

    def next_event(self, deadline: float) -> Event | None:
        """The next (path, token), or None once clock() reaches `deadline`; a deadline in the past only looks.

        An event says that something at or below path may have changed: read again. It may be spurious.
        """
        return self._line.next_event(deadline)

    def _ask(self, op: str, paths: Iterable[str]) -> dict[str, Any]:
        """path -> reply."""
        paths = list(dict.fromkeys(paths))
        return dict(zip(paths, self._line.ask([request(op, path) for path in paths])))

    def _change(self, wanted: Request, allow: Sequence[str] = ()) -> None:
        error = error_name(self._line.ask([wanted])[0])
        if error and error not in allow:
            raise refused(wanted.op, wanted.path, error)

    def _listing(self, path: str, reply: Any) -> list[str] | None:
        if error_name(reply) == "E2BIG":
            return self._listing_in_parts(path)
        payload = payload_of("DIRECTORY", path, reply)
        return None if payload is None else names(payload)

    def _listing_in_parts(self, path: str) -> list[str] | None:
        """A listing longer than a packet; started anew when the directory's generation changes between two parts."""
        deadline = self._line.clock() + self.timeout
        listing = generation = b""
        while self._line.clock() < deadline:
            reply = self._line.ask([request("DIRECTORY_PART", path, b"%d\0" % len(listing))])[0]
            payload = payload_of("DIRECTORY_PART", path, reply)
            if payload is None:
                return None
            seen, _nul, part = payload.partition(b"\0")
            if generation not in (b"", seen):
                listing = generation = b""
                continue
            listing, generation = listing + part, seen
            if len(listing) > REPLY_MAX:
                raise self._line.lost(f"a listing of more than {REPLY_MAX} bytes came")
            if listing == b"\0" or listing.endswith(b"\0\0"):  # an empty name ends the last part
                return names(listing)
        raise refused("DIRECTORY_PART", path, "EAGAIN", "the directory kept changing while it was listed")


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
