# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task waits for, in a small file while it runs: a module has no other way to speak before its end.

The action plugin on the controller asks for it by a token in the environment, and reads the file over a connection of its
own. The file is root's alone, in memory (/run), whole at any time, and gone with the task; one that a killed task leaves
is removed by the next task of any of the modules, as its name says which process it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import Optional

from ansible_collections.stubdom.xen.plugins.module_utils.progress import Progress, Told

DIRECTORY = "/run/stubdom.xen"
VARIABLE = "STUBDOM_XEN_PROGRESS"  # in the module's environment: the token
TOKEN = re.compile(r"[0-9a-f]{16}\Z")
NAME = re.compile(r"\.?progress\.[0-9a-f]{16}\.(\d+)\.(\d+)\Z")  # of which process, see _begun()
FIRST = 2.0  # seconds: nobody looks earlier, and a task with nothing to do is over by then
PAUSE = 1.0  # seconds between two writes at least


class ProgressFile:
    """The progress of this task, and its file if somebody asked for one."""

    def __init__(self, token: Optional[str] = None, directory: str = DIRECTORY) -> None:
        self.progress = Progress()
        self._directory = directory
        self._name = f"progress.{token}.{os.getpid()}.{_begun(os.getpid())}" if token and TOKEN.match(token) else None
        self._next = time.monotonic() + FIRST
        self._last: Optional[Told] = None
        self._began = False

    @classmethod
    def asked_for(cls) -> ProgressFile:
        """As the environment says; programs that the task runs are not told of it."""
        return cls(os.environ.pop(VARIABLE, None))

    def due(self) -> Optional[float]:
        """Called before the task waits: writes what is new. Returns until when that has to be put off (time.monotonic)."""
        if self._name is None:
            return None
        now = time.monotonic()
        if now < self._next:
            return self._next
        self._next = now + PAUSE
        try:
            self._write(now)
        except Exception:  # nobody is hindered because he cannot be told of
            self.close()
        return None

    def _write(self, now: float) -> None:
        told = self.progress.now()
        if told == self._last or self._name is None:
            return
        # The reader has /proc/uptime beside it, which is this clock: what has passed since needs no other in common.
        at, self._began = time.clock_gettime(time.CLOCK_BOOTTIME), True
        with own(self._directory, make=True) as directory:
            _replace(directory, self._name, json.dumps({**told.shown(now), "at": at}))
        self._last = told

    def close(self) -> None:
        """Nothing is told any more, and nothing is left."""
        name, self._name = self._name, None
        if name is not None and self._began:
            with contextlib.suppress(OSError), own(self._directory) as directory:
                for each in (name, f".{name}"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(each, dir_fd=directory)
                os.rmdir(self._directory)  # unless another task has its own in there


def sweep(directory: str = DIRECTORY) -> None:
    """Removes what killed tasks have left."""
    with contextlib.suppress(OSError), own(directory) as mine:
        for name in os.listdir(mine):
            of = NAME.match(name)
            if of and _begun(int(of[1])) != int(of[2]):
                os.unlink(name, dir_fd=mine)
        os.rmdir(directory)


@contextlib.contextmanager
def own(path: str, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory, if nobody else can put anything into it. Raises OSError."""
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        about = os.fstat(fd)
        if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path} is not this user's alone")
        yield fd
    finally:
        os.close(fd)


def _replace(directory: int, name: str, text: str) -> None:
    """A file that is there whole or as it was."""
    new = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    with os.fdopen(new, "w", encoding="ascii") as stream:
        stream.write(f"{text}\n")
    os.rename(f".{name}", name, src_dir_fd=directory, dst_dir_fd=directory)


def _begun(pid: int) -> int:
    """When a process began, in ticks since boot (proc(5), stat): a pid alone may be another's by now. -1: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return int(stream.read().rpartition(b") ")[2].split()[19])
    except OSError:
        return -1
