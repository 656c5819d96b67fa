# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""swtpm on the simulated host: a shell that has one swtpm after the other serve a socket, as host.AGAIN says, and their files.

What swtpm and QEMU do to each other was seen with swtpm 0.7.1 and QEMU 7.2 (tests/vtpm/test_emulator.py has the real ones).
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field

UNIX = "Num       RefCount Protocol Flags    Type St Inode Path\n"
LINE = "0000000000000000: 00000002 00000000 {flags} 0001 {state} {inode} {path}\n"
BAD_STATE = 0x9  # TPM_FAIL
GET_CAPABILITY, INIT, STOP = 1, 2, 14


@dataclass
class Emulator:
    argv: list
    shell: int
    pid: int
    connected: bool = False

    @property
    def version(self):
        return "2.0" if "--tpm2" in self.argv else "1.2"

    @property
    def state(self):
        word = next(word for word in self.argv if word.startswith("dir="))
        return word[len("dir=") :].split(",")[0] + {"1.2": "/tpm-00.permall", "2.0": "/tpm2-00.permall"}[self.version]


@dataclass
class Emulators:
    """By the path of their sockets. files: the host's. ended: the pids of processes that are gone."""

    files: dict
    ended: set
    serving: dict = field(default_factory=dict)
    silent: bool = False  # they take connections and say nothing
    pids: object = field(default_factory=lambda: itertools.count(20000))

    def serve(self, path, argv, log):
        argv = [word.format(fd=7) for word in argv]
        self.serving[path] = Emulator(argv, next(self.pids), next(self.pids))
        self.files[path] = ""
        self._write_pid(path)

    def _write_pid(self, path):
        folder, _slash, name = path.rpartition("/")
        self.files[f"{folder}/.{name}.pid"] = f"{self.serving[path].pid}\n"

    def answers(self, path, requests):
        """None where nobody does."""
        one = self.serving.get(path)
        if one is None or one.connected or self.silent:
            return None
        return [self._answer(one, *struct.unpack(">I", sent[:4])) for sent, _length in requests]

    def _answer(self, one, command):
        if command == GET_CAPABILITY:
            return bytes(6) + b"\xff\xff"
        result = BAD_STATE if command == INIT and self.files.setdefault(one.state, "a TPM") == "spoilt" else 0
        return struct.pack(">I", result)

    def connect(self, path):
        """A QEMU. False: there is nobody."""
        if path in self.serving:
            self.serving[path].connected = True
        return path in self.serving

    def disconnect(self, path):
        """It ends: swtpm does as well, as it is told to, and the shell has another one follow."""
        one = self.serving.get(path)
        if one is not None and one.connected:
            one.connected = False
            self.ended.add(one.pid)
            one.pid = next(self.pids)
            self._write_pid(path)

    def having(self, word):
        return [pid for one in self.serving.values() if word in one.argv for pid in (one.shell, one.pid)]

    def end(self, pids):
        """Of one that fails, or loses its shell, nothing is left that serves."""
        for path, one in list(self.serving.items()):
            if {one.shell, one.pid} & set(pids):
                self.ended.update((one.shell, one.pid))
                del self.serving[path]

    def table(self):
        """/proc/net/unix"""
        lines = []
        for path, one in self.serving.items():
            lines.append(LINE.format(flags="00010000", state="01", inode=1, path=path))
            lines += [LINE.format(flags="00000000", state="03", inode=2, path=path)] * one.connected
        return UNIX + "".join(lines)
