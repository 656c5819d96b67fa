# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the back end meets, played with files (world_files.c): the toolstack, and guests with their front ends."""

from __future__ import annotations

import mmap
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

IDLE, SUBMIT, FINISH, CANCEL = range(4)
LIMIT_S = 120  # against hanging, no judgement of speed
INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED = "2", "3", "4", "5", "6"


class Fifo:
    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def wake(self) -> None:
        os.write(self.fd, b"x")

    def wait(self, deadline: float, *others: int) -> None:
        """Until somebody has written, which is taken, or another descriptor is ready; AssertionError after the deadline."""
        ready = select.select([self.fd, *others], [], [], max(0, deadline - time.monotonic()))[0]
        assert ready, "nothing happened for too long"
        if self.fd in ready:
            os.read(self.fd, 4096)


class Back:
    """The vTPM domain: swtpm and the back end; its directory is the world."""

    def __init__(self, program: Path, world: Path, version: str) -> None:
        self.program, self.world, self.version = program, world, version
        (world / "state").mkdir()
        (world / "store" / "home" / "data").mkdir(parents=True)
        self.store_changed, self.back_changed, self.to_back = (
            Fifo(world / name) for name in ("store-changed", "back-changed", "to-back")
        )

    def start(self, state: str = "state") -> None:
        for socket in ("tpm", "control"):
            (self.world / socket).unlink(missing_ok=True)
        flags = ["--tpm2"] if self.version == "2.0" else []
        files = ["--tpmstate", f"dir={state}", "--server", "type=unixio,path=tpm", "--ctrl", "type=unixio,path=control"]
        self.swtpm = subprocess.Popen(
            ["swtpm", "socket", *flags, *files], cwd=self.world, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with (self.world / "log").open("a") as log, (self.world / "why").open("w") as why:
            command = [str(self.program), self.version, "tpm", "control"]
            self.process = subprocess.Popen(command, cwd=self.world, stdout=log, stderr=why)
        self.until(lambda: self.node("home/data/vtpm-state") == "running" or self.process.poll() is not None)

    def stop(self) -> None:
        """As a domain is destroyed: nobody is asked. What the sanitizers said is on standard error."""
        assert self.process.poll() in (None, 1), self.why()
        for process in (self.process, self.swtpm):
            process.kill()
            process.wait()
        (self.world / "store/home/data/vtpm-state").unlink(missing_ok=True)
        assert "Sanitizer" not in self.why() and "runtime error" not in self.why(), self.why()

    def ended(self) -> str:
        """The reason, once the back end has given up."""
        self.process.wait(LIMIT_S)
        return self.why()

    def why(self) -> str:
        return (self.world / "why").read_text()

    def log(self) -> str:
        return (self.world / "log").read_text()

    def node(self, path: str) -> str | None:
        try:
            return (self.world / "store" / path).read_text()
        except FileNotFoundError:
            return None

    def put(self, path: str, text: str) -> None:
        file = self.world / "store" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = self.world / "put"
        new.write_text(text)
        new.rename(file)
        self.store_changed.wake()

    def until(self, holds: Callable[[], bool]) -> None:
        """Looks again whenever the back end has changed a node, and when it has ended."""
        end = os.pidfd_open(self.process.pid)
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            self.back_changed.wait(deadline, end)
        os.close(end)


class Guest:
    """A domain with a vTPM device, as libxl lays it out, and its front end."""

    def __init__(self, back: Back, domid: int) -> None:
        self.back, self.domid = back, domid
        self.behind, self.front = f"home/backend/vtpm/{domid}/0", f"local/domain/{domid}/device/vtpm/0"
        back.put(f"{self.front}/state", "1")
        back.put(f"{self.behind}/online", "1")
        back.put(f"{self.behind}/state", "1")

    def back_is(self, state: str | None) -> None:
        self.back.until(lambda: self.back.node(f"{self.behind}/state") == state)

    def share(self, ring: int = 8, port: int = 9) -> None:
        """A page and an event channel, and the state that says so."""
        page = self.back.world / f"page-{self.domid}-{ring}"
        page.write_bytes(bytes(4096))
        with page.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)
        self.channel = Fifo(self.back.world / f"channel-{self.domid}-{port}")
        self.tell(**{"ring-ref": ring, "event-channel": port, "feature-protocol-v2": 1})
        self.tell(state=INITIALISED)

    def tell(self, **nodes: object) -> None:
        for node, value in nodes.items():
            self.back.put(f"{self.front}/{node}", str(value))

    def connect(self, ring: int = 8, port: int = 9) -> None:
        self.back_is(INIT_WAIT)
        self.share(ring, port)
        self.back_is(CONNECTED)

    def submit(self, command: bytes, length: int | None = None, locality: int = 0, extra: int = 0) -> None:
        at = 8 + 4 * extra
        self.page[at : at + len(command)] = command
        self.page[0:4] = (len(command) if length is None else length).to_bytes(4, "little")
        self.page[5:8] = bytes([locality, 0, extra])
        self.page[4] = SUBMIT
        self.back.to_back.wake()

    def answer(self, extra: int = 0) -> bytes:
        """What the page has once the back end has finished."""
        self.settled(FINISH)
        at = 8 + 4 * extra
        return self.page[at : at + int.from_bytes(self.page[0:4], "little")]

    def settled(self, state: int) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.page[4] != state:
            self.channel.wait(deadline)

    def ask(self, command: bytes, **odd: int) -> bytes:
        self.submit(command, **odd)
        return self.answer(odd.get("extra", 0))

    def closes(self) -> None:
        self.tell(state=CLOSING)
        self.back_is(CLOSED)

    def destroyed_with_the_back_end(self) -> None:
        for path in ("home/backend", "local"):
            shutil.rmtree(self.back.world / "store" / path)

    def destroyed(self) -> None:
        """As libxl does it: the back end closes, and then removes the directory; the guest's own nodes go last."""
        self.back.put(f"{self.behind}/online", "0")
        self.back.put(f"{self.behind}/state", CLOSING)
        self.back_is(None)
        shutil.rmtree(self.back.world / "store" / "local" / "domain" / str(self.domid))
        self.back.store_changed.wake()
