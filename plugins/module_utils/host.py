# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port to the real Xen host: programs, files, clock, locks, and the way to xenstore. All I/O but xenstore's is here.

What can take long is a coroutine: many guests may be in flight, and waiting.py is the one place that waits for them.

The engine sees a host only through this class's public methods; tests give it a simulated host with the same ones.
Every wait in here has a deadline, because a xenstored that stalls makes every xl command wait for ever.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import qmp, sockets, waiting
from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.paths import LOG_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.programs import Program
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Source
from ansible_collections.stubdom.xen.plugins.module_utils.progress_file import ProgressFile, own, sweep
from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Outcome, Readable
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore

LOCK_DIR = "/run/lock/stubdom.xen"
# xl's commands, by what they do to a domain that runs
SAVES = frozenset({b"save", b"migrate", b"remus"})
DEVICES = (b"block", b"network", b"channel", b"vtpm", b"pci", b"usbctrl", b"usbdev", b"9pfs")
CHANGES_DEVICES = frozenset({b"cd-insert", b"cd-eject", *(name + end for name in DEVICES for end in (b"-attach", b"-detach"))})
ENDED = ("@process", "")  # the event that a process ended
# $0 is a log, the rest a program: run anew after each end that was no failure.
AGAIN = 'umask 077; cd /; exec </dev/null >>"$0" 2>&1; while "$@"; do :; done'
QMP_PATIENCE = 2.0  # seconds for a QEMU to answer where other news wait


class Done(NamedTuple):
    """A finished program. out and err are text with undecodable bytes escaped."""

    rc: int
    out: str
    err: str


class XenHost:
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
        with _writing(path):
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

    # --- files

    def read_file(self, path: str, limit: int = 1 << 20) -> Optional[str]:
        """The text of a file, None where there is none. Raises XenError(file_unreadable)."""
        try:
            with open(path, "rb") as stream:
                return stream.read(limit).decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            why = error.strerror or str(error)
            hint = "what stands there is to be a plain file that root can read"
            raise XenError("file_unreadable", f"{path} could not be read: {why}", {"path": path}, hint) from error

    def tail(self, path: str, limit: int = 4096) -> Optional[str]:
        """The end of a log as printable text, None where there is none. Guests write into logs: they are not trusted."""
        try:
            with open(path, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
                return printable(stream.read(limit), limit)
        except OSError:
            return None

    def write_file(self, path: str, text: str, mode: int = 0o600) -> None:
        """Replaces a file whole or not at all, and durably. Raises XenError(file_not_written), as all that writes here."""
        with _writing(path):
            # Always the same name, so that what a killed task left half-written is replaced by the next one.
            temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
            try:
                _fill(temporary, text, mode)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise

    def peek(self, path: str, offset: int, length: int) -> bytes:
        """What a file has at that place; less at its end, nothing where it cannot be read."""
        try:
            with open(path, "rb") as stream:
                stream.seek(offset)
                return stream.read(length)
        except OSError:
            return b""

    def digest(self, path: str) -> str:
        """SHA-256 of a file, in hex. Raises XenError(file_unreadable)."""
        found = hashlib.sha256()
        try:
            with open(path, "rb") as stream:
                while chunk := stream.read(1 << 20):
                    found.update(chunk)
        except OSError as error:
            why, hint = error.strerror or str(error), "is it there, and may root read it?"
            raise XenError("file_unreadable", f"{path} could not be read: {why}", {"path": path}, hint) from error
        return found.hexdigest()

    def rename(self, path: str, to: str) -> None:
        """Gives a file another name in the same directory, once what is in it is on the disk."""
        with _writing(to):
            _settle(path)
            os.replace(path, to)
            _settle(os.path.dirname(to))

    def free_space(self, path: str) -> int:
        """Bytes that files in a directory may still take, whether or not it is there yet."""
        while not os.path.exists(path):
            path = os.path.dirname(path)
        about = os.statvfs(path)
        return about.f_bavail * about.f_frsize

    def make_directory(self, path: str, mode: int = 0o700) -> None:
        """A directory for files of this collection's own; one that is there stays as it is."""
        with _writing(path):
            os.makedirs(path, mode, exist_ok=True)

    def make_sparse(self, path: str, size: int) -> None:
        """A file of zeros that takes no room, in a directory of its own, both for root alone; one that is there stays."""
        with _writing(path):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                try:
                    os.ftruncate(fd, size)
                finally:
                    os.close(fd)

    def stamp(self, program: str) -> str:
        """What changes when a program in PATH is replaced: its path, size and time of modification."""
        path = shutil.which(program)
        if path is None:
            return ""
        about = os.stat(path)
        return f"{path} {about.st_size} {about.st_mtime_ns}"

    def keep_copy(self, path: str, copy: str) -> None:
        """A second name for what a file holds now; an older copy is never overwritten."""
        with _writing(copy), contextlib.suppress(FileExistsError):
            os.link(path, copy)

    def remove(self, path: str) -> None:
        with _writing(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """With all that is in it."""
        with _writing(path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def link(self, path: str, target: str) -> None:
        with _writing(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.remove(path)
            os.symlink(target, path)

    def linked(self, path: str) -> Optional[str]:
        """Where a symlink points, None where there is none."""
        try:
            return os.readlink(path)
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def file_kind(self, path: str) -> str:
        """'missing', 'unreadable', 'file', 'block' or 'other'."""
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "unreadable"
        if not os.access(path, os.R_OK):
            return "unreadable"
        return "block" if stat.S_ISBLK(mode) else ("file" if stat.S_ISREG(mode) else "other")

    def find(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    @contextlib.contextmanager
    def scratch(self, text: str) -> Iterator[str]:
        """The path of a private file with this text. It is in memory only and gone with this process, however that ends."""
        with os.fdopen(os.memfd_create("stubdom.xen"), "wb") as stream:
            with _writing("a temporary file"):
                stream.write(text.encode("utf-8", "surrogateescape"))
                stream.flush()
            yield f"/proc/{os.getpid()}/fd/{stream.fileno()}"

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
        with _ends(pids) as ends:
            while event is None:
                ready = await Readable([xenstore.fileno(), *ends], deadline)
                event = xenstore.next_event(self.now())
                if ready.intersection(ends) or not ready:
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

    def makers(self, path: str, log: str) -> list[int]:
        """The pids of the xl processes that make a guest, or may make it anew.

        Those are `xl create` of its file ``path`` (or `xl restore` of its saved one), and the monitor that each of these
        becomes: it writes ``log``, also where the guest came from another file, a restore or a migration (xl_utils.c:
        do_daemonize; 4.4 to 4.22).
        """
        wanted = path.encode()
        return [pid for pid in self._pids() if _is_create(_cmdline(pid), wanted) or _is_monitor(pid, log)]

    def savers(self, domid: int, name: str) -> list[int]:
        """The pids of the xl processes that save or migrate a domain: it is suspended for them."""
        return self._at_work(SAVES, domid, name)

    def changers(self, domid: int, name: str) -> list[int]:
        """The pids of the xl processes that change the devices of a running domain."""
        return self._at_work(CHANGES_DEVICES, domid, name)

    def _at_work(self, commands: frozenset[bytes], domid: int, name: str) -> list[int]:
        domain = {str(domid).encode(), name.encode()}
        return [pid for pid in self._pids() if _is_about(_cmdline(pid), commands, domain)]

    def receivers(self) -> list[int]:
        """The pids of the xl processes that take in a guest; whose it is they do not tell.

        The monitor that such a one leaves behind is called alike, and writes a log (xl_utils.c: do_daemonize, 4.17).
        """
        return [pid for pid in self._pids() if _receives(_cmdline(pid)) and not _output(pid).startswith(LOG_DIR)]

    def having(self, word: str, groups: Collection[int] = ()) -> list[int]:
        """The pids of the processes in whose command lines there is that word, and of those in one of the process groups.

        Between a fork's exec and the program's first instruction Linux tells of no command line: what such a process will
        be is known by its group alone.
        """
        return sorted(pid for pid in self._pids() if self.runs(pid, word) or _group(pid) in groups)

    def runs(self, pid: int, word: str) -> bool:
        """Whether a process lives, with that word in its command line."""
        return word.encode() in _cmdline(pid).split(b"\0")

    @staticmethod
    def _pids() -> list[int]:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]

    def end(self, pids: Sequence[int]) -> None:
        """Ends processes that makers() or having() found."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    async def await_exit(self, pids: Sequence[int], deadline: float) -> None:
        """Returns when one of the processes has ended, or at the deadline."""
        with _ends(pids) as ends:
            if len(ends) == len(pids):
                await Readable(ends, deadline)

    def serves(self, pid: int, domid: int) -> Optional[bool]:
        """Whether a process lives that was started for that domain; None where it lives for something else.

        libxl names the domain in the command line of each that it starts (libxl_dm.c). For a moment the process of a
        guest's QEMU is another one, which only tells libxl what QEMU can do (Xen 4.20 and newer).
        """
        words = _cmdline(pid).rstrip(b"\0").split(b"\0")
        if words == [b""]:
            return False
        named = [word for flag, word in zip(words, words[1:]) if flag == b"-xen-domid"] or words
        return True if str(domid).encode() in named else None

    # --- one at a time

    @contextlib.asynccontextmanager
    async def lock(self, name: str, purpose: str, timeout: float) -> AsyncIterator[None]:
        """Holds the guest's lock. The file says who holds it and why. Raises XenError(locked) after ``timeout`` seconds."""
        path = os.path.join(LOCK_DIR, name)
        with contextlib.ExitStack() as stack:
            with _writing(path):
                stream = stack.enter_context(_lock_file(LOCK_DIR, name))
            if not await waiting.flocked(stream.fileno(), time.monotonic() + timeout):
                raise _locked(stream, path)
            with _writing(path):
                stream.truncate(0)
                stream.write(f"pid {os.getpid()}: {purpose}\n".encode())
            try:
                yield
            finally:
                stream.truncate(0)


def _group(pid: int) -> Optional[int]:
    """The process group that a process is in; None where it has gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@contextlib.contextmanager
def _ends(pids: Sequence[int]) -> Iterator[list[int]]:
    """A descriptor for each process that lives, readable when it ends."""
    with contextlib.ExitStack() as stack:
        fds = []
        for pid in pids:
            with _gone_meanwhile():
                fds.append(os.pidfd_open(pid))
                stack.callback(os.close, fds[-1])
        yield fds


@contextlib.contextmanager
def _gone_meanwhile() -> Iterator[None]:
    """Passes over a process that is no more. Of one that is just being reaped pidfd_open says EINVAL, on newer Linux ENOENT."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            raise


def _settle(path: str) -> None:
    """What was written to a file or a directory is on the disk when this returns."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fill(path: str, text: str, mode: int) -> None:
    """Makes a file with this text, or makes it anew, durably."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text.encode("utf-8", "surrogateescape"))
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """What the system refuses in here is told as a XenError: a full disk is no mistake of the module's."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise XenError(
            "file_not_written",
            f"{path} could not be written: {why}",
            {"path": path, "errno": errno.errorcode.get(error.errno or 0, "?")},
            "see `df` and `mount` on the host; what was there before is as it was",
        ) from error


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


def _cmdline(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def _is_create(cmdline: bytes, path: bytes) -> bool:
    words = cmdline.rstrip(b"\0").split(b"\0")
    return _is_xl(words) and bool({b"create", b"restore"}.intersection(words)) and path in words


def _is_about(cmdline: bytes, commands: frozenset[bytes], domain: set[bytes]) -> bool:
    words = cmdline.rstrip(b"\0").split(b"\0")
    return _is_xl(words) and bool(commands.intersection(words)) and bool(domain.intersection(words))


def _is_monitor(pid: int, log: str) -> bool:
    """A guest that migrated in was called NAME--incoming when its monitor began (xl_migrate.c)."""
    return _output(pid) in (log, f"{log[:-4]}--incoming.log") and _is_xl(_cmdline(pid).split(b"\0"))


def _output(pid: int) -> str:
    """Where a process writes."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/1")
    return ""


def _receives(cmdline: bytes) -> bool:
    words = cmdline.rstrip(b"\0").split(b"\0")
    return _is_xl(words) and b"migrate-receive" in words


def _is_xl(words: Sequence[bytes]) -> bool:
    return bool(words) and os.path.basename(words[0]) == b"xl"
