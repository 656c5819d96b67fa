# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a Xen host for the event source `xenstore`, which sends it there: tells of all guests whenever something changed.

A line of JSON on stdout is the whole of what there is, so that who reads them needs no line before it, and one that nobody
had time to read need not be kept: while the pipe is full nothing is looked at, and the next look sees everything. xenstore
tells when to look. What it does not tell, that a guest is let run, is seen by a look with each sign of life: by these the
other end knows that this one is there, and this one that nobody listens any more.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.leaning import DOMAINS, looked_at
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import parse_list
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Xenstore

XL_PATIENCE = 60  # seconds for `xl list`
QUIET = 0.2  # seconds in which one change follows another: a guest that is made writes hundreds of nodes


def main(alive: float, out: int = 1) -> int:
    """Watches until nobody listens (0) or something fails (1, told as a line {"failed": ...}). alive: seconds between signs."""
    try:
        with Xenstore() as xenstore:
            return Watch(xenstore, alive, out).run()
    except XenError as error:
        say(out, {"failed": f"{error.code}: {error.msg}"})
        return 1
    except BrokenPipeError:
        return 0


class Watch:
    def __init__(self, xenstore, alive, out):
        self.xenstore, self.alive, self.out = xenstore, alive, out
        self.watched, self.told = set(), None

    def run(self):
        self._watch(DOMAINS)
        while True:
            guests, paths = looked_at(self.xenstore, domains())
            if self._watch(paths):
                continue  # what changed before the watch was there is seen by another look
            if guests != self.told:
                say(self.out, {"guests": guests})
                self.told = guests
            if not self._wait():
                return 0

    def _watch(self, paths):
        """Watches these paths and no others. Returns whether there were new ones."""
        new, old = set(paths) - self.watched, self.watched - set(paths)
        for path in old:
            self.xenstore.unwatch(path, path)
        for path in new:
            self.xenstore.watch(path, path)
        self.watched = set(paths)
        return bool(new)

    def _wait(self):
        """Until something has changed and all is quiet again, or it is time for a sign of life. False: nobody listens."""
        while self.xenstore.next_event(time.monotonic()) is None:
            poll = select.poll()
            poll.register(self.xenstore.fileno(), select.POLLIN)
            poll.register(self.out, 0)  # tells of its other end only
            ready = poll.poll(1000 * self.alive)
            if any(fd == self.out for fd, _events in ready):
                return False
            if not ready:
                say(self.out, {"alive": True})
                return True
        end = time.monotonic() + QUIET
        while self.xenstore.next_event(end) is not None:
            pass
        return True


def domains():
    """The hypervisor's list. Raises XenError."""
    try:
        done = subprocess.run(["xl", "list", "-v"], capture_output=True, timeout=XL_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise XenError("xl_failed", f"`xl list` failed: {error}") from error
    if done.returncode:
        raise XenError("xl_failed", f"`xl list` failed: {done.stderr[-300:].decode('utf-8', 'backslashreplace').strip()}")
    return parse_list(done.stdout.decode("utf-8", "surrogateescape"))


def say(out, what):
    """Writes a line; waits while nobody reads."""
    line = (json.dumps(what) + "\n").encode()
    while line:
        line = line[os.write(out, line) :]


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
