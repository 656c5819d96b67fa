# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands before the host's own xl in PATH and kills, once, at the moment that /run/fault names; else it is that xl.

/run/fault is JSON: `call`, a pattern for xl's words, and which call of that pattern it is (`nth`); `at`: "begins", "ends",
a pattern for the node of xenstore whose change is the moment, or a number, of the changes of any node; `whom`: names of
what is killed, "module" and "xl". /run/fault.hit is there when it has happened, and says in which call; /run/fault.missed
when xl ended before, and says after how many changes. Module guests calls xl several times at once.
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
from typing import Any

REAL = "/usr/sbin/xl"
FAULT, HIT, MISSED, TURN = "/run/fault", "/run/fault.hit", "/run/fault.missed", "/run/fault.lock"
NODES = ("/local/domain", "/libxl", "/vm")


def main() -> int:
    words = sys.argv[1:]
    with open(TURN, "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        fault = due(" ".join(words))
    if fault is None:
        os.execv(REAL, ["xl", *words])
    return strike(fault, words)


def due(call: str) -> dict[str, Any] | None:
    """The fault if this is its call; then it is no other's any more."""
    fault = json.loads(read(FAULT)) if os.path.exists(FAULT) else None
    if fault is None or not fnmatch.fnmatch(call, fault["call"]):
        return None
    if fault["nth"] > 1:
        write(FAULT, json.dumps({**fault, "nth": fault["nth"] - 1}))
        return None
    os.unlink(FAULT)
    return fault


def strike(fault: dict[str, Any], words: list[str]) -> int:
    module, at = os.getppid(), fault["at"]
    if at == "begins":
        return kill(fault["whom"], module, None, words)
    watch = watched() if at != "ends" else None
    xl = subprocess.Popen(["xl", *words], executable=REAL)
    if watch is not None:
        left = changes(watch, "*" if isinstance(at, int) else at, at if isinstance(at, int) else 1, os.pidfd_open(xl.pid))
        if left:
            write(MISSED, f"xl {' '.join(words)}: {left} more to come")
            return xl.wait()
    else:
        xl.wait()
    return kill(fault["whom"], module, xl, words)


def kill(whom: str, module: int, xl: subprocess.Popen[bytes] | None, words: list[str]) -> int:
    """The module goes first: it is not to see its xl die."""
    write(HIT, f"xl {' '.join(words)}")
    if "module" in whom:
        os.kill(module, signal.SIGKILL)
    if "xl" in whom and xl is not None:
        xl.kill()
        xl.wait()
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


def watched() -> subprocess.Popen[bytes]:
    """xenstore-watch, once it watches: it says so by a first line for each node."""
    watch = subprocess.Popen(["xenstore-watch", *NODES], stdout=subprocess.PIPE, bufsize=0)
    assert watch.stdout is not None
    for _node in NODES:
        watch.stdout.readline()
    return watch


def changes(watch: subprocess.Popen[bytes], pattern: str, wanted: int, ended: int) -> int:
    """Waits for so many changes of nodes of the pattern, or for the process of the descriptor to end. Those that lack."""
    assert watch.stdout is not None
    rest, pipe = b"", watch.stdout.fileno()
    while True:
        ready = select.select([pipe, ended], [], [])[0]
        rest += os.read(pipe, 65536) if pipe in ready else b""
        *lines, rest = rest.split(b"\n")
        wanted -= sum(fnmatch.fnmatch(line.decode(), pattern) for line in lines)
        if wanted <= 0 or pipe not in ready:
            watch.kill()
            return max(0, wanted)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
