# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of the port to the host (host.py): its processes, known by their command lines."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from typing import Optional

from ansible_collections.stubdom.xen.plugins.module_utils.paths import LOG_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.waiting import Readable

# xl's commands, by what they do to a domain that runs
SAVES = frozenset({b"save", b"migrate", b"remus"})
DEVICES = (b"block", b"network", b"channel", b"vtpm", b"pci", b"usbctrl", b"usbdev", b"9pfs")
CHANGES_DEVICES = frozenset({b"cd-insert", b"cd-eject", *(name + end for name in DEVICES for end in (b"-attach", b"-detach"))})


class Processes:
    """This machine's processes."""

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
        with ends(pids) as fds:
            if len(fds) == len(pids):
                await Readable(fds, deadline)

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


@contextlib.contextmanager
def ends(pids: Sequence[int]) -> Iterator[list[int]]:
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


def _group(pid: int) -> Optional[int]:
    """The process group that a process is in; None where it has gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _cmdline(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def _output(pid: int) -> str:
    """Where a process writes."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/1")
    return ""


def _is_create(cmdline: bytes, path: bytes) -> bool:
    words = cmdline.rstrip(b"\0").split(b"\0")
    return _is_xl(words) and bool({b"create", b"restore"}.intersection(words)) and path in words


def _is_about(cmdline: bytes, commands: frozenset[bytes], domain: set[bytes]) -> bool:
    words = cmdline.rstrip(b"\0").split(b"\0")
    return _is_xl(words) and bool(commands.intersection(words)) and bool(domain.intersection(words))


def _is_monitor(pid: int, log: str) -> bool:
    """A guest that migrated in was called NAME--incoming when its monitor began (xl_migrate.c)."""
    return _output(pid) in (log, f"{log[:-4]}--incoming.log") and _is_xl(_cmdline(pid).split(b"\0"))


def _receives(cmdline: bytes) -> bool:
    words = cmdline.rstrip(b"\0").split(b"\0")
    return _is_xl(words) and b"migrate-receive" in words


def _is_xl(words: Sequence[bytes]) -> bool:
    return bool(words) and os.path.basename(words[0]) == b"xl"
