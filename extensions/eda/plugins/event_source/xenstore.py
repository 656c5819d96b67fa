# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event source of ansible-rulebook: what happens to the guests of many Xen hosts.

For each host a command is kept running, to which a program is sent (extensions/eda/watcher.py); it watches xenstore there
and tells of all guests when something changed. Here that becomes events (plugins/plugin_utils/events.py). An event that the
rulebook has no time for is waited with; the host's program is then not read, waits in turn, and tells later of what is.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import random
import shlex
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
short_description: Guests of Xen hosts that appear, go, degrade and recover
description:
  - Watches many Xen hosts, and tells when a guest loses a domain that it leans on, such as its stubdomain or its TPM's domain.
  - Nothing is installed on a Xen host but what the modules need (Python 3.9 or newer and pyxs).
  - An event has C(type) (V(appeared), V(gone), V(degraded), V(recovered), V(host_lost) or V(host_back)), C(host), C(initial)
    (whether that was so when the host was first seen), C(evidence), and of a guest C(guest) (its name), C(uuid) and C(domid).
  - Texts in it that guests may have written have no control characters, and none is a template of Ansible.
options:
  hosts:
    description:
      - The Xen hosts by their names. Each has the command that leads to it as root, such as C(ssh root@xen1), to which
        C(python3 -) is appended; a list of words, or a text that is split as a shell does. An empty one is this machine.
    type: dict
    required: true
  settle:
    description: Seconds that a guest must lack something before it is told to be degraded. One that is destroyed lacks it too.
    type: float
    default: 5
  alive:
    description: Seconds between two signs of life of a host. One that gives none for three times as long is lost.
    type: float
    default: 10
  retry_max:
    description: The most seconds between two attempts to reach a host that is lost. The first is one second, and each the double.
    type: float
    default: 60
  python:
    description: The Python of the Xen hosts.
    type: str
    default: python3
"""

EXAMPLES = r"""
- name: Guests of two hosts
  hosts: all
  sources:
    - stubdom.xen.xenstore:
        hosts:
          xen1: ssh root@xen1.example.org
          xen2: ssh -p 2222 admin@xen2.example.org sudo -n
  rules:
    - name: A guest lost its stubdomain or its TPM's domain
      condition: event.type == "degraded"
      action:
        debug:
"""

ROOT = Path(__file__).resolve().parents[4]  # of the collection
COLLECTION = "ansible_collections.stubdom.xen"


def _reachable() -> None:
    """Makes the collection importable where ansible-rulebook, which is not Ansible, has loaded this file by its path."""
    with contextlib.suppress(ImportError):
        if importlib.util.find_spec(COLLECTION):
            return
    parts = COLLECTION.split(".")
    for name in (".".join(parts[:n]) for n in range(1, len(parts) + 1)):
        package = sys.modules.setdefault(name, types.ModuleType(name))
        package.__path__ = [str(ROOT)] if name == COLLECTION else list(getattr(package, "__path__", []))


_reachable()

from ansible_collections.stubdom.xen.plugins.plugin_utils import events  # noqa: E402
from ansible_collections.stubdom.xen.plugins.plugin_utils.carried import program  # noqa: E402

log = logging.getLogger(__name__)

DEFAULTS = {"settle": 5.0, "alive": 10.0, "retry_max": 60.0, "python": "python3"}
LINE_MAX = 1 << 21  # bytes of one line: a thousand guests are half a megabyte. Twice as many are read without need.
SAID = 500  # characters of what a command said when it ended
ENDING = 5.0  # seconds for a command to end when it is told to


async def main(queue: Any, args: Mapping[str, Any]) -> None:
    """Watches until it is cancelled. Raises ValueError for arguments that make no sense."""
    hosts, given = checked(args)
    watcher = program(ROOT, "extensions/eda/watcher.py", [str(given["alive"])])
    watches = [asyncio.create_task(Watch(name, command, watcher, given, queue).run()) for name, command in hosts.items()]
    try:
        await asyncio.gather(*watches)
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


def checked(args: Mapping[str, Any]) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """(name -> command of each host, the other arguments). Raises ValueError."""
    hosts = args.get("hosts")
    unknown = sorted(set(args) - {"hosts", "eda_feedback_queue"} - set(DEFAULTS))
    if unknown:
        raise ValueError(f"xenstore: unknown arguments {unknown}; there are hosts, {', '.join(DEFAULTS)}")
    if not isinstance(hosts, Mapping) or not hosts:
        raise ValueError("xenstore: `hosts` is to be a dict with each Xen host's name and the command that leads to it")
    given = {name: type(default)(args.get(name, default)) for name, default in DEFAULTS.items()}
    wrong = [name for name in ("alive", "retry_max") if given[name] <= 0] + ["settle"] * (given["settle"] < 0)
    if wrong:
        raise ValueError(f"xenstore: {wrong[0]} is to be a number of seconds above 0")
    return {str(name): _words(name, command) for name, command in hosts.items()}, given


def _words(name: Any, command: Any) -> list[str]:
    if command is None or isinstance(command, str):
        return shlex.split(command or "")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        return command
    raise ValueError(f"xenstore: the command of host {name} is to be a text or a list of words")


class Lost(Exception):
    """The host does not answer any more; the text says how that was seen."""


class Watch:
    """One host."""

    def __init__(self, name: str, command: list[str], watcher: bytes, given: Mapping[str, Any], queue: Any) -> None:
        self.command, self.watcher, self.given, self.queue = [*command, given["python"], "-"], watcher, given, queue
        self.memory = events.Memory(name)
        self.now = asyncio.get_running_loop().time
        self.pause = 1.0

    async def run(self) -> None:
        """Comes back to the host again and again; less and less often while it does not answer."""
        while True:
            try:
                await self._listen()
            except (Lost, OSError) as why:
                log.warning("Xen host %s: %s", self.memory.host, events.text(why))
                await self._tell(events.lost(self.memory, str(why)))
            # many hosts that were lost together do not come back together
            await asyncio.sleep(self.pause * random.uniform(0.5, 1.0))
            self.pause = min(2 * self.pause, self.given["retry_max"])

    async def _listen(self) -> None:
        """One connection, from its start to its end. Raises Lost, OSError."""
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(*self.command, **pipes, limit=LINE_MAX)
        said = asyncio.create_task(_last(process.stderr))
        try:
            await self._send(process)
            while line := await self._line(process.stdout):
                await self._take(line)
            # a signal to one that is ending by itself would take its exit code away (Popen.send_signal reaps)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), ENDING)
        except ValueError as error:  # a line that is no JSON, or longer than any answer
            raise Lost(f"it says what the watcher does not say: {error}") from error
        finally:
            await _ended(process)
            await asyncio.wait([said], timeout=ENDING)  # somebody may have kept its end of the pipe
            said.cancel()
        raise Lost(f"its command ended with {process.returncode}: {said.result() if said.done() else ''}")

    async def _send(self, process: Any) -> None:
        with contextlib.suppress(ConnectionError):  # the command has ended: what it said tells more
            process.stdin.write(self.watcher)
            await process.stdin.drain()
            process.stdin.close()

    async def _line(self, stdout: Any) -> bytes:
        """The next line; meanwhile what time alone brings is told. Raises Lost where there is none in time."""
        silent = self.now() + 3 * self.given["alive"]
        reading = asyncio.ensure_future(stdout.readline())
        try:
            while self.now() < silent:
                soon = events.deadline(self.memory, self.given["settle"])
                until = silent if soon is None else min(silent, soon)
                done, _left = await asyncio.wait([reading], timeout=max(0.0, until - self.now()))
                if done:
                    return bytes(reading.result())
                await self._tell(events.judged(self.memory, self.now(), self.given["settle"]))
        finally:
            reading.cancel()
        raise Lost(f"no sign of life for {3 * self.given['alive']:g} s")

    async def _take(self, line: bytes) -> None:
        told = json.loads(line)
        if "failed" in told:
            raise Lost(str(told["failed"]))
        if "guests" in told:
            self.pause = 1.0
            await self._tell(events.seen(self.memory, told["guests"], self.now(), self.given["settle"]))

    async def _tell(self, happened: list[dict[str, Any]]) -> None:
        for event in happened:
            await self.queue.put(event)


async def _last(stream: Any) -> str:
    """The end of all that comes."""
    kept = b""
    while data := await stream.read(4096):
        kept = (kept + data)[-SAID:]
    return kept.decode("utf-8", "backslashreplace").strip()


async def _ended(process: Any) -> None:
    """Ends the command; the program at its other end finds that nobody listens, and ends as well."""
    for end in (process.terminate, process.kill) if process.returncode is None else ():
        with contextlib.suppress(ProcessLookupError):
            end()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), ENDING)
            break
    process._transport.close()  # asyncio has no other way to close the pipe of one who had more to say
