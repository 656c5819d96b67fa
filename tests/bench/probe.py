# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the Xen host: a module from its payload, observed from inside, without Ansible's transport.

once    one run in this process. Says when each program that the engine runs began and ended, and when links held.
many    runs `once` and a bare `xl list -l` alternately, each in a process of its own, and says how long each took.
crowd   the same for module guests over more and more guests, which it makes first.

Times are seconds of CLOCK_MONOTONIC, which all processes of the host share. The probe's own part is a clock read before and
after every program.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import runpy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

STARTERS = 8  # guests that are started at once
MODULES = "ansible_collections.stubdom.xen.plugins.modules"


def observe(seen):
    """Put clocks around the engine's way to programs and around its readiness gate."""
    from ansible_collections.stubdom.xen.plugins.module_utils import acts, host

    run, gate = host.XenHost.run, acts.Gate

    async def timed(self, argv, *rest, **named):
        began = time.monotonic()
        try:
            return await run(self, argv, *rest, **named)
        finally:
            seen["programs"].append({"argv": list(argv), "began": began, "ended": time.monotonic()})

    class Watched(gate):
        def proof(self):
            proof = super().proof()
            seen["held"] = [self.started + after for after in self.first_held.values()]
            return proof

    host.XenHost.run, acts.Gate = timed, Watched


def once(module, archive, arguments):
    """One run of the module. Prints what was seen as JSON."""
    began = time.monotonic()
    sys.path.insert(0, archive)
    from ansible.module_utils import basic

    seen = {"programs": [], "held": [], "python": began - process_start(), "ansible": time.monotonic() - began}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    imported = time.monotonic()
    observe(seen)
    seen["imports"] = time.monotonic() - imported
    answer = io.StringIO()
    with contextlib.redirect_stdout(answer), contextlib.suppress(SystemExit):
        runpy.run_module(f"{MODULES}.{module}", run_name="__main__", alter_sys=True)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seen.update(result=json.loads(answer.getvalue()), cpu=usage.ru_utime + usage.ru_stime, ended=time.monotonic())
    seen["memory"] = usage.ru_maxrss * 1024
    json.dump(seen, sys.stdout)


def process_start():
    """When this process began, as CLOCK_MONOTONIC, to a hundredth (proc(5), field 22 counts from boot)."""
    with open("/proc/self/stat", encoding="utf-8") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - since_boot


def many(module, archive, arguments, repeat):
    """{"engine": [...], "xl": [...]}, `repeat` of each, taken alternately."""
    found = {"engine": [], "xl": []}
    for _turn in range(repeat):
        began = time.monotonic()
        seen = apart(module, archive, arguments)
        found["engine"].append({"wall": time.monotonic() - began, **seen})
        began = time.monotonic()
        subprocess.run(["xl", "list", "-l"], stdout=subprocess.DEVNULL, check=True)
        found["xl"].append(time.monotonic() - began)
    return found


def apart(module, archive, arguments):
    """`once` in a process of its own. The arguments go through its standard input: those of 1000 guests are long."""
    argv = [sys.executable, __file__, "once", module, archive]
    done = subprocess.run(argv, input=json.dumps(arguments), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def crowd(archive, guest, sizes, repeat):
    """For each size: guests are made until there are so many, then a task with nothing to do is measured."""
    found, there = {}, 0
    for size in sizes:
        guests = [{**guest, "name": f"{guest['name']}{number}"} for number in range(size)]
        settled(apart("guests", archive, {"guests": [{**new, "state": "halted"} for new in guests[there:]]})["result"])
        start(guests[there:])
        there = size
        found[size] = many("guests", archive, {"guests": guests}, repeat)
        for run in found[size]["engine"]:
            settled(run.pop("result"), changed=False)
    return found


def start(guests):
    """By plain xl, and without its monitors: their connections make xenstored so slow that a thousand would take an hour."""
    with ThreadPoolExecutor(STARTERS) as starters:
        started = [
            starters.submit(subprocess.run, ["xl", "create", "-q", "-e", f"/etc/xen/{g['name']}.cfg"], check=True) for g in guests
        ]
        for one in started:
            one.result()


def settled(result, changed=None):
    """SystemExit unless a run did what it should."""
    if result.get("failed") or changed not in (None, result["changed"]):
        sys.exit(f"not as it should be: {json.dumps(result)[:2000]}")


def main(how, *rest):
    if how == "once":
        once(*rest, json.load(sys.stdin))
    elif how == "many":
        module, archive, arguments, repeat = rest
        json.dump(many(module, archive, json.loads(arguments), int(repeat)), sys.stdout)
    else:
        archive, guest, sizes, repeat = rest
        json.dump(crowd(archive, json.loads(guest), json.loads(sizes), int(repeat)), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
