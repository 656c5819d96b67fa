# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the Xen host: how soon after its last node is written a guest is let run, beside what xenstore's own tools can do.

A paused guest, whose chain has one node: a device that a second, paused domain is said to serve. That node is written, and
one of three waits for it, in turn:

watch   xenstore-watch: until its line is there.
shell   what a person would write in its place: xenstore-watch, xenstore-read at each line, until xl is started.
ours    module guest_ready: until `xl unpause` is started.

Prints [{watch: s, shell: s, ours: s, heard: s}, ...]; heard is when the module had the event. Times are seconds of
CLOCK_MONOTONIC, which all processes of the host share.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import socket
import struct
import subprocess
import sys
import time

GUEST, HELPER = "bench-late", "bench-helper"
XS_WRITE = 11  # xs_wire.h
SHELL = """
xenstore-watch "$1" | while read -r event; do
    if [ "$(xenstore-read "$1")" = 2 ]; then echo started; exec xl list >/dev/null; fi
    echo waiting
done
"""


def xl(*words):
    return subprocess.run(["xl", *words], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def guests(kernel, ramdisk):
    """(domid of the guest, domid of the domain that is said to serve it); both gone in the end."""
    made = {}
    try:
        for name in (GUEST, HELPER):
            path = f"/root/{name}.cfg"
            with open(path, "w", encoding="utf-8") as file:
                file.write(f'name = "{name}"\ntype = "pvh"\nmemory = 160\nkernel = "{kernel}"\nramdisk = "{ramdisk}"\n')
            xl("create", "-q", "-p", path)
            made[name] = int(xl("domid", name))
        yield made[GUEST], made[HELPER]
    finally:
        if GUEST in made:
            subprocess.run(["xenstore-rm", f"/libxl/{made[GUEST]}/device/vif/7"], check=False)
        for name in made:
            subprocess.run(["xl", "destroy", name], check=False)


def written(path, value):
    """Writes the node. Returns the moment before."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/xenstored/socket")
        payload = path.encode() + b"\0" + value
        moment = time.monotonic()
        connection.sendall(struct.pack("=IIII", XS_WRITE, 1, 0, len(payload)) + payload)
        connection.recv(4096)
    return moment


def turn(argv, state, word):
    """Starts a program that waits for the node, and writes it. Returns the program, and what it told when: {word: s}."""
    written(state, b"1")
    program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    program.stdout.readline()  # it waits from now on
    moment = written(state, b"2")
    line = program.stdout.readline()
    came = time.monotonic()
    if not line.startswith(word):
        sys.exit(f"{argv[0]} said {line!r}")
    return program, moment, came, line


def watch(state):
    program, moment, came, _line = turn(["xenstore-watch", state], state, state)
    program.kill()
    program.wait()
    return came - moment


def shell(state):
    program, moment, came, _line = turn(["sh", "-c", SHELL, "sh", state], state, "started")
    subprocess.run(["pkill", "-P", str(program.pid)], check=False)
    program.wait()
    return came - moment


def ours(state, archive):
    program, moment, _came, line = turn([sys.executable, __file__, "wait", archive], state, "{")
    if program.wait():
        sys.exit("the module failed")
    xl("pause", GUEST)
    told = json.loads(line)
    return told["started"] - moment, told["heard"] - moment


def measure(archive, kernel, ramdisk, repeat):
    found = []
    with guests(kernel, ramdisk) as (guest, helper):
        back = f"/local/domain/{helper}/backend/vif/{guest}/7"
        state = f"{back}/state"
        for command in (
            ["write", state, "1"],
            ["chmod", state, f"n{helper}"],
            ["write", f"/libxl/{guest}/device/vif/7/backend", back],
        ):
            subprocess.run([f"xenstore-{command[0]}", *command[1:]], check=True)
        for _each in range(repeat):
            reaction, heard = ours(state, archive)
            found.append({"watch": watch(state), "shell": shell(state), "ours": reaction, "heard": heard})
    return found


def wait(archive):
    """Module guest_ready, which tells when it waits, when it heard, and when the program that it then runs had started."""
    sys.path.insert(0, archive)
    from ansible_collections.stubdom.xen.plugins.module_utils import host

    seen, out = {}, sys.stdout  # the module's own answer goes elsewhere
    start, next_event = subprocess.Popen.__init__, host.XenHost.next_event

    def started(self, argv, *rest, **named):
        if [str(word, "utf-8") if isinstance(word, bytes) else word for word in argv][:2] == ["xl", "unpause"]:
            seen["started"] = time.monotonic()
        start(self, argv, *rest, **named)

    async def awaited(self, deadline, pids=()):
        event = await next_event(self, time.monotonic())  # each watch speaks once at its beginning
        if event is not None or deadline < time.monotonic() + 1:
            return event
        if "heard" not in seen:
            print("waiting", file=out, flush=True)
        event = await next_event(self, deadline, pids)
        seen["heard"] = time.monotonic()
        return event

    subprocess.Popen.__init__, host.XenHost.next_event = started, awaited
    answer = run()
    if "started" not in seen:
        sys.exit(f"the guest was not let run: {answer[:2000]}")
    print(json.dumps(seen), file=out, flush=True)


def run():
    """The module, as Ansible runs it. Returns what it printed."""
    from ansible.module_utils import basic

    arguments = {"name": GUEST, "timeout": 600, "unpause": True}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer), contextlib.suppress(SystemExit):
        runpy.run_module("ansible_collections.stubdom.xen.plugins.modules.guest_ready", run_name="__main__", alter_sys=True)
    return answer.getvalue()


if __name__ == "__main__":
    if sys.argv[1] == "wait":
        wait(sys.argv[2])
    else:
        json.dump(measure(*sys.argv[2:5], int(sys.argv[5])), sys.stdout)
