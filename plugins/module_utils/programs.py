# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that runs while the engine does other things: AnsibleModule.run_command in a thread of its own.

run_command returns only when the program has ended, and a module with many guests in flight cannot stand still that
long. The thread touches nothing of the engine's; it closes a pipe when it is done, which is what the engine waits for.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections.abc import Sequence
from typing import Any, Optional

KILL_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


class Program:
    """A program, started. ``fileno()`` becomes readable when it has ended; then rc, out and err are there."""

    def __init__(self, run_command: Any, argv: Sequence[str], fds: Sequence[int] = ()) -> None:
        self.argv, self._fds = list(argv), list(fds)  # fds: what it inherits
        self.rc: Optional[int] = None
        self.error: Optional[BaseException] = None
        self._output: list[bytearray] = [bytearray(), bytearray()]
        self._run_command = run_command
        self._ended, self._ends = os.pipe()
        self._told_to_stop, self._stops = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._ended

    @property
    def out(self) -> str:
        return self._text(0)

    @property
    def err(self) -> str:
        return self._text(1)

    def stop(self) -> None:
        """Ends the program: SIGTERM, after a grace SIGKILL. It is gone when this returns."""
        os.write(self._stops, b"!")
        self.close()

    def close(self) -> None:
        """To be called once it has ended."""
        self._thread.join()
        for fd in (self._ended, self._told_to_stop, self._stops):
            os.close(fd)

    def _text(self, which: int) -> str:
        return bytes(self._output[which]).decode("utf-8", "backslashreplace")

    # --- in the thread

    def _run(self) -> None:
        try:
            self.rc = self._run_command(
                self.argv,
                handle_exceptions=False,
                expand_user_and_vars=False,
                encoding=None,
                pass_fds=self._fds,
                environ_update={"LC_ALL": "C"},
                before_communicate_callback=self._attend,
            )[0]
        except Exception as error:  # the engine's thread raises it
            self.error = error
        finally:
            os.close(self._ends)

    def _attend(self, process: Any) -> None:
        """Takes the output until the program has ended or is to stop. run_command itself would wait without an end."""
        streams = {process.stdout.fileno(): 0, process.stderr.fileno(): 1}
        end = os.pidfd_open(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                for fd in (*streams, end, self._told_to_stop):
                    selector.register(fd, selectors.EVENT_READ)
                self._until(end, selector, streams)
            if process.poll() is None:
                _end(process)
            self._rest(streams)
        finally:
            os.close(end)

    def _until(self, end: int, selector: selectors.BaseSelector, streams: dict[int, int]) -> None:
        ready: set[int] = set()
        while not ready & {end, self._told_to_stop}:
            ready = {key.fd for key, _events in selector.select()}
            for fd in ready & set(streams):
                if not self._take(fd, streams[fd]):
                    selector.unregister(fd)

    def _rest(self, streams: dict[int, int]) -> None:
        """What an ended program had written last; a child of its own may still hold the pipe, so nothing is waited for."""
        for fd, which in streams.items():
            os.set_blocking(fd, False)
            with contextlib.suppress(BlockingIOError):
                while self._take(fd, which):
                    pass

    def _take(self, fd: int, which: int) -> bool:
        chunk = os.read(fd, 65536)
        self._output[which] += chunk
        return bool(chunk)


def _end(process: Any) -> None:
    """xl tidies nothing up on either signal, but its hotplug scripts get their chance."""
    process.terminate()
    try:
        process.wait(KILL_GRACE)
    except Exception:  # subprocess.TimeoutExpired, which may not be imported here
        process.kill()
        process.wait()
