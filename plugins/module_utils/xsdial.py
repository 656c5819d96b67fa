# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where xenstore is, and a connection to it that is made before a deadline, or not at all."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Mapping
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

try:
    from pyxs.connection import UnixSocketConnection, XenBusConnection
    from pyxs.exceptions import PyXSError
except ImportError:
    UnixSocketConnection = XenBusConnection = PyXSError = None  # why: PYXS_IMPORT_ERROR


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
