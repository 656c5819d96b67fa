# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module guest, run as Ansible would have it run on the host: a process for each task, its options in, its answer out.

Python and the imports are the greater part of a task with little to do, so this process has them done and forks.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

from ansible.module_utils import basic

MODULE = "ansible_collections.stubdom.xen.plugins.modules.guest"
LIMIT = (
    1500.0  # seconds against hanging: on a busy emulated host libxl gives a stubdomain up after 30 s, and the task begins anew
)

basic._ANSIBLE_PROFILE = "legacy"


def warm() -> None:
    """Imports what the module imports."""
    runpy.run_module(MODULE, run_name="imported")


def task(options: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """The module's answer, None where it was killed. What is neither comes as a failure without a code."""
    answer, said = os.memfd_create("answer"), os.memfd_create("said")
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_the_module(options, answer, said)
    status = _ended(pid)
    text, complaint = (_text(fd) for fd in (answer, said))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    with contextlib.suppress(ValueError):
        return {key: value for key, value in json.loads(text).items() if key != "invocation"}
    return {"failed": True, "msg": f"no answer, status {status}: {text[-500:]} {complaint[-1500:]}"}


def _be_the_module(options: Mapping[str, Any], answer: int, said: int) -> None:
    for fd, place in ((os.open(os.devnull, os.O_RDONLY), 0), (answer, 1), (said, 2)):
        os.dup2(fd, place)
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode()
    try:
        with contextlib.suppress(SystemExit):
            runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        os._exit(0)


def _ended(pid: int) -> int:
    end = os.pidfd_open(pid)
    try:
        if not select.select([end], [], [], LIMIT)[0]:
            os.kill(pid, signal.SIGABRT)
        return os.waitpid(pid, 0)[1]
    finally:
        os.close(end)


def _text(fd: int) -> str:
    with os.fdopen(fd, "rb") as stream:
        stream.seek(0)
        return stream.read().decode("utf-8", "backslashreplace")


def sh(*argv: str) -> str:
    """The output of a program, of whose exit code nothing is said."""
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def await_xl(is_awaited: Callable[[int], bool] = lambda pid: True) -> None:
    """Waits for the processes of xl that are at work now, those with that pid."""
    for pid in filter(is_awaited, list(_xl())):
        with contextlib.suppress(ProcessLookupError):
            end = os.pidfd_open(pid)
            select.select([end], [], [], LIMIT)
            os.close(end)


def is_command(pid: int) -> bool:
    """Whether it is an xl that somebody ran; `xl create` stays, to do what is to be done when its guest ends."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as words:
        return b"create" not in words.read().split(b"\0")
    return False


def _xl() -> Iterator[int]:
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
            if stat.read().split(None, 3)[1:3] in (["(xl)", state] for state in "RSD"):
                yield pid
