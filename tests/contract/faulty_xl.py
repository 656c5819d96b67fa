# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands before the host's own xl in PATH and kills, once, at the moment that /run/fault names; else it is that xl.

/run/fault is JSON: `call`, a pattern for xl's words, and which call of that pattern it is (`nth`); `at`: "begins", "ends",
or a pattern for the node of xenstore whose change is the moment; `whom`: names of what is killed, "module" and "xl".
/run/fault.hit is there when it has happened. Module guests calls xl several times at once.
"""

from __future__ import annotations

import fcntl
import fnmatch
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

REAL = "/usr/sbin/xl"
FAULT, HIT, TURN = Path("/run/fault"), Path("/run/fault.hit"), Path("/run/fault.lock")


def main() -> int:
    words = sys.argv[1:]
    with TURN.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        fault = due(" ".join(words))
    if fault is None:
        os.execv(REAL, ["xl", *words])
    return strike(fault, words)


def due(call: str) -> dict[str, Any] | None:
    """The fault if this is its call; then it is no other's any more."""
    fault = json.loads(FAULT.read_text()) if FAULT.exists() else None
    if fault is None or not fnmatch.fnmatch(call, fault["call"]):
        return None
    if fault["nth"] > 1:
        FAULT.write_text(json.dumps({**fault, "nth": fault["nth"] - 1}))
        return None
    FAULT.unlink()
    return fault


def strike(fault: dict[str, Any], words: list[str]) -> int:
    module = os.getppid()
    if fault["at"] == "begins":
        return kill(fault["whom"], module, None)
    watch = watched() if fault["at"] != "ends" else None
    xl = subprocess.Popen(["xl", *words], executable=REAL)
    if watch is not None and not changes(watch, fault["at"], os.pidfd_open(xl.pid)):
        return xl.wait()
    if watch is None:
        xl.wait()
    return kill(fault["whom"], module, xl)


def kill(whom: str, module: int, xl: subprocess.Popen[bytes] | None) -> int:
    """The module goes first: it is not to see its xl die."""
    HIT.touch()
    if "module" in whom:
        os.kill(module, signal.SIGKILL)
    if "xl" in whom and xl is not None:
        xl.kill()
        xl.wait()
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def watched() -> subprocess.Popen[str]:
    """xenstore-watch, once it watches: it says so by a first line."""
    watch = subprocess.Popen(["xenstore-watch", "/local/domain"], stdout=subprocess.PIPE, text=True, bufsize=1)
    assert watch.stdout is not None
    watch.stdout.readline()
    return watch


def changes(watch: subprocess.Popen[str], pattern: str, ended: int) -> bool:
    """Whether a node of the pattern changed before the process of the descriptor ended."""
    assert watch.stdout is not None
    rest, pipe = b"", watch.stdout.fileno()
    while True:
        ready = select.select([pipe, ended], [], [])[0]
        rest += os.read(pipe, 65536) if pipe in ready else b""
        *lines, rest = rest.split(b"\n")
        hit = any(fnmatch.fnmatch(line.decode(), pattern) for line in lines)
        if hit or pipe not in ready:
            watch.kill()
            return hit


if __name__ == "__main__":
    sys.exit(main())
