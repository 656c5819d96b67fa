# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""xenstore as any domain: domain 0 by xenstored's socket, domain N by the ring that the simulated hypervisor gives it."""

from __future__ import annotations

from collections.abc import Iterator

from hypervisor import DIRECTORY
from pyxs.connection import UnixSocketConnection

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore
from ansible_collections.stubdom.xen.plugins.module_utils.xswire import request

FOREVER = 1e6  # seconds; a kernel waits for a stalled xenstored as long as it takes
PATIENCE = 60.0  # ... but the kernels here share a thread, and one domain may have been made not to take its replies
Perms = list[tuple[str, int]]  # as Xenstore.perms gives them


class Store(Xenstore):
    """The collection's client, and the two requests that only guests and tests make."""

    def come(self) -> Iterator[str]:
        """The paths of the events that have come, those included that come while the caller deals with one."""
        while (event := self.next_event(0)) is not None:
            yield event[0]

    def chmod(self, path: str, perms: Perms) -> None:
        """Sets who owns a node and who may use it."""
        entries = b"".join(f"{letter}{domid}".encode() + b"\0" for letter, domid in perms)
        self._change(request("SET_PERMS", path, entries))

    def number(self, path: str) -> int:
        """The number in a node; 0 where there is none."""
        value = self.read(path) or ""
        return int(value) if value.isdigit() else 0

    def memory(self, domid: int) -> int:
        """KiB that the tool stack lets a domain have now, its video memory included."""
        home = f"/local/domain/{domid}/memory"
        return self.number(f"{home}/target") + self.number(f"{home}/videoram")

    def under(self, path: str) -> list[str]:
        """The paths of a node's children."""
        return [f"{path}/{name}" for name in self.ls(path) or []]


class Stores:
    """The connections as each domain, opened when first used."""

    def __init__(self) -> None:
        self._open: dict[int, Store] = {}

    def of(self, domid: int) -> Store:
        """Raises XenError if the domain is not, or no longer, there."""
        if domid not in self._open:
            self._open[domid] = connect(domid, PATIENCE if domid else FOREVER)
        return self._open[domid]

    def close(self, domid: int) -> None:
        store = self._open.pop(domid, None)
        if store:
            store.close()

    def write(self, domid: int, path: str, value: str, perms: Perms | None = None) -> bool:
        """Writes as that domain; False where xenstored does not let it or the domain has just gone."""
        try:
            store = self.of(domid)
            store.write(path, value)
            if perms:
                store.chmod(path, perms)
        except XenError as error:
            if error.code != "xenstore_refused":
                self.close(domid)
            return False
        return True


def connect(domid: int, timeout: float = FOREVER) -> Store:
    connection = UnixSocketConnection(f"{DIRECTORY}/dom{domid}.sock") if domid else None
    return Store(connection, timeout=timeout)
