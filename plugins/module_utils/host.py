# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port to the real Xen host: programs, clock, locks, the way to xenstore, and what files.py and processes.py add.

All I/O but xenstore's is in these three and in what they import.

What can take long is a coroutine: many guests may be in flight, and waiting.py is the one place that waits for them.

The engine sees a host only through this class's public methods; tests give it a simulated host with the same ones.
Every wait in here has a deadline, because a xenstored that stalls makes every xl command wait for ever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import qmp, sockets, waiting
from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.files import Files, writing
from ansible_collections.stubdom.xen.plugins.module_utils.processes import Processes, ends
from ansible_collections.stubdom.xen.plugins.module_utils.programs import Program
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Source
from ansible_collections.stubdom.xen.plugins.module_utils.progress_file import ProgressFile, own, sweep
from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Outcome, Readable
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore

LOCK_DIR = "/run/lock/stubdom.xen"
ENDED = ("@process", "")  # the event that a process ended
# $0 is a log, the rest a program: run anew after each end that was no failure.
AGAIN = 'umask 077; cd /; exec </dev/null >>"$0" 2>&1; while "$@"; do :; done'
QMP_PATIENCE = 2.0  # seconds for a QEMU to answer where other news wait


class Done(NamedTuple):
    """A finished program. out and err are text with undecodable bytes escaped."""

    rc: int
    out: str
    err: str


class XenHost(Files, Processes):
    """This machine, through an AnsibleModule's run_command."""

    def __init__(self, module: Any, beside: Optional[XenHost] = None) -> None:
        self._module = module
        self._xenstore: Optional[Xenstore] = None
        self._file: ProgressFile = beside._file if beside else ProgressFile.asked_for()
        self._is_first = beside is None
        if self._is_first:
            sweep()

    # --- programs

    async def run(
        self,
        argv: Sequence[str],
        timeout: float = 60.0,
        gate: Any = None,
        meanwhile: Optional[Callable[[], None]] = None,
        fds: Sequence[int] = (),
    ) -> Done:
        """Runs a program to its end, at most ``timeout`` seconds.

        ``gate``, when given, has a fileno() and is told through on_event() whenever that becomes readable while the
        program runs; what it raises ends the program. ``meanwhile`` is called once the program is started: for work that
        need not wait for it. ``fds``: descriptors that it inherits. Raises XenError(program_missing, program_timeout).
        """
        program = Program(self._module.run_command, argv, fds)
        try:
            if meanwhile is not None:
                meanwhile()
            await self._ended(program, time.monotonic() + timeout, gate)
        except BaseException as failure:
            program.stop()
            if isinstance(failure, XenError) and isinstance(failure.evidence, dict):
                failure.evidence["said"] = printable(program.err, SAID_MAX)
            raise
        program.close()
        _complain(program)
        return Done(int(program.rc or 0), program.out, program.err)

    @staticmethod
    async def _ended(program: Program, deadline: float, gate: Any) -> None:
        fds = [program.fileno()] + ([gate.fileno()] if gate is not None else [])
        while True:
            ready = await Readable(fds, deadline)
            if program.fileno() in ready:
                return
            if not ready:
                raise XenError(
                    "program_timeout",
                    f"`{' '.join(program.argv)}` did not end in time",
                    {},
                    "is xenstored answering? (`xenstore-read domid`)",
                )
            await gate.on_event()

    async def serve(self, path: str, argv: Sequence[str], log: str) -> None:
        """Has a program serve a socket from now on, and another of the same once it ended well: nobody waits in vain.

        ``{fd}`` in argv is the socket's descriptor. Like a QEMU of libxl's it is nobody's child. One that fails is the last,
        and then nobody listens. Raises XenError(file_not_written).
        """
        with writing(path):
            listener = sockets.listening(path)
        with listener:
            fd = listener.fileno()
            words = [word.format(fd=fd) for word in argv]
            await self.run(["setsid", "--fork", "sh", "-c", AGAIN, log, *words], fds=[fd])

    async def converse(self, path: str, requests: Sequence[tuple[bytes, int]], deadline: float) -> Optional[list[bytes]]:
        """Speaks to whoever serves a socket, see sockets.py."""
        return await sockets.converse(path, requests, deadline)

    def together(
        self, walks: Sequence[Coroutine[Any, Any, Any]], limit: int = 1, after: Sequence[Collection[int]] = ()
    ) -> list[Outcome]:
        """Runs coroutines of the engine to their ends, see waiting.together(). Each is to have a host of its own."""
        return waiting.together(walks, limit, after, self._file.due)

    def finish(self, walk: Coroutine[Any, Any, Any]) -> Any:
        """Runs one coroutine to its end and returns its value. Raises the XenError that stopped it."""
        return self.together([walk])[0].get()

    def sibling(self) -> XenHost:
        """The same host with another connection to xenstore, for a walk beside this one."""
        return XenHost(self._module, self)

    # --- what it is at, for whoever waits

    def tell(self, source: Source) -> None:
        """Has ``source`` asked what this walk waits for, whenever that is told, until the walk says otherwise."""
        self._file.progress.tell(self, source)

    def tell_set(self, done: int, of: int) -> None:
        """So many guests are to be done, and so many of them are already."""
        self._file.progress.begin(done, of)

    def tell_end(self) -> None:
        """This walk is over, one more guest done."""
        self._file.progress.end(self)

    # --- time, identity, xenstore

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def machine_id(self) -> str:
        """What tells this host from others (systemd's machine-id, else the host name)."""
        return (self.read_file("/etc/machine-id") or os.uname().nodename).strip()

    def xenstore(self) -> Xenstore:
        """The one connection to xenstore, opened when first asked for, and anew after one broke."""
        if self._xenstore is None or self._xenstore.ended:
            self._xenstore = Xenstore()
        return self._xenstore

    async def pause(self, seconds: float) -> None:
        """Lets time pass, for what has no event to wait on."""
        await Readable((), time.monotonic() + seconds)

    async def next_event(self, deadline: float, pids: Sequence[int] = ()) -> Optional[tuple[str, str]]:
        """The next (path, token) of the watches, or ENDED when one of these processes ends; None at the deadline."""
        xenstore = self.xenstore()
        event = xenstore.next_event(self.now())
        if event is not None or self.now() >= deadline:
            return event
        with ends(pids) as ended:
            while event is None:
                ready = await Readable([xenstore.fileno(), *ended], deadline)
                event = xenstore.next_event(self.now())
                if ready.intersection(ended) or not ready:
                    return event or (ENDED if ready else None)
        return event

    async def query_status(self, path: str, deadline: float, want: Sequence[str]) -> Optional[str]:
        """What QEMU says its status is, see qmp.py; None also when an event of xenstore comes first."""
        xenstore = self.xenstore()
        limit = min(deadline, self.now() + QMP_PATIENCE) if xenstore.has_events() else deadline
        return await qmp.query_status(path, want, limit, xenstore.fileno())

    def close(self) -> None:
        if self._xenstore is not None:
            self._xenstore.close()
        if self._is_first:
            self._file.close()

    # --- one at a time

    @contextlib.asynccontextmanager
    async def lock(self, name: str, purpose: str, timeout: float) -> AsyncIterator[None]:
        """Holds the guest's lock. The file says who holds it and why. Raises XenError(locked) after ``timeout`` seconds."""
        path = os.path.join(LOCK_DIR, name)
        with contextlib.ExitStack() as stack:
            with writing(path):
                stream = stack.enter_context(_lock_file(LOCK_DIR, name))
            if not await waiting.flocked(stream.fileno(), time.monotonic() + timeout):
                raise _locked(stream, path)
            with writing(path):
                stream.truncate(0)
                stream.write(f"pid {os.getpid()}: {purpose}\n".encode())
            try:
                yield
            finally:
                stream.truncate(0)


def _lock_file(directory: str, name: str) -> Any:
    """The file, in a directory of root's own: /run/lock is everybody's to write to, and who is root would follow links there.

    Without a buffer: what cannot be written is not tried again at its closing.
    """
    os.makedirs(directory, mode=0o755, exist_ok=True)
    with own(directory) as fd:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.fdopen(os.open(name, flags, 0o600, dir_fd=fd), "ab+", buffering=0)


def _locked(stream: Any, path: str) -> XenError:
    stream.seek(0)
    holder = printable(stream.read(200).strip(), 200)
    return XenError(
        "locked",
        f"another task is at work on this guest: {holder or 'it does not say which'}",
        {"lock": path, "holder": holder},
        "run again when it is done",
    )


def _complain(program: Program) -> None:
    """Raises what kept a program from being run."""
    error = program.error
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        raise XenError(
            "program_missing",
            f"{program.argv[0]}: no such program on this host",
            program.argv,
            "role stubdom.xen.host installs what the modules need",
        ) from error
    if isinstance(error, OSError):
        why = {"argv": list(program.argv), "errno": errno.errorcode.get(error.errno or 0, "?")}
        hint = "can root run it there by hand?"
        raise XenError("xl_failed", f"{program.argv[0]} could not be run: {error.strerror}", why, hint) from error
    if error is not None:
        raise error
