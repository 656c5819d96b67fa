# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source, loaded as ansible-rulebook loads it, on hosts that are commands of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.stubdom.xen.plugins.plugin_utils.carried import PACKAGE, program

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "extensions/eda/plugins/event_source/xenstore.py"
MINUTES = 60
# A host: it takes what is sent to it, prints the lines of its first argument, and ends as the second says.
HOST = """
import sys, time
sys.stdin.buffer.read()
print(open(sys.argv[1]).read(), end="", flush=True)
end = open(sys.argv[1] + ".end").read()
if end == "stay":
    time.sleep(1000)
sys.stdout.close()
time.sleep(0.3)  # a process ends a moment after its last word
sys.exit(end)
"""


def guest(**more):
    return {"name": "web", "uuid": "u", "domid": 7, "up": True, "paused": False, "lost": [], "links": [], **more}


@pytest.fixture
def host(tmp_path):
    """Makes a host that says these things, then stays or ends; its command."""

    def made(*things, end="stay"):
        (tmp_path / "host.py").write_text(HOST, encoding="utf-8")
        lines = [one if isinstance(one, str) else json.dumps(one) for one in things]
        (tmp_path / "says").write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
        (tmp_path / "says.end").write_text(end, encoding="utf-8")
        return [sys.executable, str(tmp_path / "host.py"), str(tmp_path / "says")]

    return made


async def next_of(queue, source):
    """The next event. Raises what ended the source."""
    came = asyncio.ensure_future(queue.get())
    done, _waiting = await asyncio.wait([came, source], timeout=5 * MINUTES, return_when=asyncio.FIRST_COMPLETED)
    return (came if came in done else source).result()


def happened(count, size=0, **arguments):
    """The first events, in order."""

    async def run():
        queue = asyncio.Queue(size)
        source = asyncio.create_task(runpy.run_path(str(SOURCE))["main"](queue, arguments))
        try:
            return [await next_of(queue, source) for _number in range(count)]
        finally:
            source.cancel()
            await asyncio.wait([source])

    return asyncio.run(run())


def test_what_a_host_says_becomes_events(host):
    came = happened(2, hosts={"x1": host({"guests": [guest(name="{{ 7 }}\x1b")]}, {"alive": True}, {"guests": []})})
    assert [(event["type"], event["host"]) for event in came] == [("appeared", "x1"), ("gone", "x1")]
    assert came[0]["guest"] == "\ufffd{ 7 }}\ufffd" and came[0]["initial"]


def test_time_alone_makes_a_guest_degraded(host):
    came = happened(2, hosts={"x1": host({"guests": [guest(lost=[8])]})}, settle=0.1)
    assert [event["type"] for event in came] == ["appeared", "degraded"]


LOSSES = {
    "its command ends": (["not there"], "its command ended with 1: not there"),
    "it says why": ([{"failed": "xenstore_unreachable: no"}], "xenstore_unreachable: no"),
    "it says something else": (["Password:"], "it says what the watcher does not say"),
}


@pytest.mark.parametrize("story", LOSSES)
def test_a_host_that_is_lost_and_comes_back(host, story):
    """And comes back, and is lost again, which is told each time."""
    said, reason = LOSSES[story]
    told = [one for one in said if one != "not there"]
    command = host({"guests": [guest()]}, *told, end="not there")
    came = happened(4, hosts={"x1": command})
    assert [event["type"] for event in came] == ["appeared", "host_lost", "host_back", "host_lost"]
    assert reason in came[1]["evidence"]["reason"]


def test_a_host_that_gives_no_sign_of_life(host):
    came = happened(2, hosts={"x1": host({"guests": [guest()]})}, alive=0.1)
    assert came[1]["type"] == "host_lost" and "no sign of life" in came[1]["evidence"]["reason"]


def test_one_host_that_is_lost_leaves_the_others_alone(host):
    came = happened(2, hosts={"x1": host({"guests": [guest()]}), "away": "/nowhere/at/all"})
    assert {(event["type"], event["host"]) for event in came} == {("appeared", "x1"), ("host_lost", "away")}


def test_who_has_no_time_keeps_the_host_waiting(tmp_path):
    """The host may say what it likes: it is read no further than a few lines while no event is taken."""
    flood = "import os, sys\nsys.stdin.read()\nn = 0\nwhile True:\n    n += 1\n    line = LINE % n\n"
    flood += "    print(line, flush=True)\n    open(COUNT, 'w').write(str(n))\n"
    line = json.dumps({"guests": [guest(domid=0, name="x" * 100000)]}).replace('"domid": 0', '"domid": %d')
    (tmp_path / "flood.py").write_text(f"LINE = {line!r}\nCOUNT = {str(tmp_path / 'count')!r}\n{flood}", encoding="utf-8")

    async def run():
        queue = asyncio.Queue(1)
        source = asyncio.create_task(
            runpy.run_path(str(SOURCE))["main"](queue, {"hosts": {"x1": [sys.executable, str(tmp_path / "flood.py")]}})
        )
        counted, before = None, -1
        while counted != before or counted is None:  # until it stands still
            await asyncio.sleep(1)
            before, counted = counted, (tmp_path / "count").read_text() if (tmp_path / "count").exists() else None
        source.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await source
        return int(counted)

    assert asyncio.run(run()) < 100, "of endlessly many lines of 100 kB"


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({}, "`hosts` is to be"),
        ({"hosts": []}, "`hosts` is to be"),
        ({"hosts": {"x1": 7}}, "command of host x1"),
        ({"hosts": {"x1": ""}, "alive": 0}, "alive"),
        ({"hosts": {"x1": ""}, "settel": 1}, "settel"),
    ],
)
def test_arguments_that_make_no_sense(arguments, wrong):
    with pytest.raises(ValueError, match=wrong):
        happened(1, **arguments)


def test_a_program_that_is_carried_runs_on_its_own(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/module_utils").symlink_to(ROOT / "plugins/module_utils")
    (tmp_path / "main.py").write_text(f"import sys\nfrom {PACKAGE}.libxl import parse_list\nprint(sys.argv, parse_list(''))\n")
    carried = program(tmp_path, "main.py", ["a b", "'"])
    done = subprocess.run([sys.executable, "-I", "-"], input=carried, capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout.decode() == "['main.py', 'a b', \"'\"] ()\n"
