# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""dom0's end of the monitor of a stubdomain's QEMU: vchan-socket-proxy --state-path=NODE DOMID VCHAN SOCKET.

The real one copies between a vchan and a socket. Here both ends are sockets: the guest side serves the other. What
matters is kept: it listens and says so at once, and a client gets no answer before the stubdomain's end is there.
"""

from __future__ import annotations

import contextlib
import socket
import sys

sys.path.insert(0, "/usr/lib/xen-simulation")

from chardevs import listen
from loop import Loop
from stores import connect

CHUNK = 65536
FOREVER = float("inf")


def main() -> None:
    state, domid, vchan, path = sys.argv[1].partition("=")[2], *sys.argv[2:5]
    listener = listen(path)
    store = connect(0)
    store.write(state, "running")
    store.watch(vchan, "vchan")
    while True:
        client, _address = listener.accept()
        while store.read(f"{vchan}/event-channel") is None:
            store.next_event(FOREVER)
        copy(client, f"/run/xen-simulation/qmp.{domid}")


def copy(client: socket.socket, path: str) -> None:
    """Both ways until one end closes."""
    server = socket.socket(socket.AF_UNIX)
    loop = Loop()

    def move(source: socket.socket, drain: socket.socket) -> None:
        data = source.recv(CHUNK)
        if data:
            drain.sendall(data)
        else:
            loop.stop()

    with client, server, contextlib.suppress(OSError):
        server.connect(path)
        loop.readable(client, lambda: move(client, server))
        loop.readable(server, lambda: move(server, client))
        loop.run()


if __name__ == "__main__":
    main()
