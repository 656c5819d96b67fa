# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads in the output of ansible-playbook while a task waits, and that nothing of it stays on the host."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from xenhost import BIN, ENV, LIMIT, PULL_THE_PLUG, WHOLE, Host, appeared

# How long a stubdomain takes has to be in a test's hand.
pytestmark = pytest.mark.only("simulated")

FOREVER = {"stubdom": {"ready_after": 3600}}
WAITING = ("one", "two", "hidden", "off", "read", "killed")
FILES = "ls -A /run/stubdom.xen 2>/dev/null || true; echo ."
MODULE = "pkill -9 -f '[A]nsiballZ|^/usr/bin/python3( -)?$'"
GUEST = {"type": "hvm", "memory": "128MiB", "vcpus": 1, "vnc": {"enabled": False}, "stubdom": {"type": "linux"}}


def described(name: str) -> dict[str, Any]:
    return {"name": name, **GUEST, "ready": {"timeout": 600, "retries": 100}}


class Play:
    """ansible-playbook with one task, on its way."""

    def __init__(self, host: Host, where: Path, module: str, options: dict[str, Any], **how: Any) -> None:
        env, name = how.pop("env", ENV), "-".join([module, *how, str(len(list(where.iterdir())))])
        book, self.out = where / f"{name}.yml", (where / f"{name}.out").open("w+")
        task = {"name": "The task", f"stubdom.xen.{module}": options, "register": "told", **how}
        book.write_text(yaml.safe_dump([{"hosts": host.name, "gather_facts": False, "tasks": [task]}]))
        argv = [str(BIN / "ansible-playbook"), "-i", str(host.inventory), str(book)]
        self.process = subprocess.Popen(argv, env=env, stdout=self.out, stderr=subprocess.PIPE, text=True)

    def told(self) -> Iterator[str]:
        """What is told, line by line as it comes."""
        assert self.process.stderr is not None
        yield from (line for line in self.process.stderr if ": waiting for " in line)

    def output(self) -> str:
        """All of its standard output, at its end."""
        self.process.wait(LIMIT)
        self.out.seek(0)
        return self.out.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.out.close()


@pytest.fixture
def slow(xen: Host) -> Iterator[Host]:
    """Guests whose stubdomains never come up, all but those with other names."""
    xen.sh("mkdir -p /etc/xen-simulation")
    xen.put("/etc/xen-simulation/behaviours.json", json.dumps(dict.fromkeys(WAITING, FOREVER)))
    yield xen
    xen.module("guests", guests=[{"name": name, "state": "absent", **PULL_THE_PLUG} for name in (*WAITING, "soon")])
    assert xen.domains() == ["Domain-0"]


@pytest.fixture
def plays() -> Iterator[list[Play]]:
    begun: list[Play] = []
    yield begun
    for play in begun:
        play.close()


def test_what_a_task_waits_for_is_read_while_it_waits_and_only_where_it_may_be(
    slow: Host, tmp_path: Path, plays: list[Play]
) -> None:
    guests = [described("one"), described("two"), described("soon")]
    plays += [
        Play(slow, tmp_path, "guest", described("hidden"), no_log=True),
        Play(slow, tmp_path, "guest", described("off"), vars={"stubdom_xen_progress": False}),
        Play(slow, tmp_path, "guest", described("read"), env=WHOLE),
        Play(slow, tmp_path, "guests", {"guests": guests, "continue_on_error": True}),
    ]
    hidden, off, read, told = plays
    line = next(line for line in told.told() if "; 1 of 3 guests done" in line)
    stubdom = (
        r"device-model \(stubdomain (?P<domid>\d+), /local/domain/(?P=domid)/device-model/\d+/state is absent\) \d+ s of 600"
    )
    assert re.fullmatch(rf"{slow.name}: waiting for (one|two): {stubdom}; also (one|two); 1 of 3 guests done\n", line)
    assert "waiting for read: " in next(read.told())
    assert [play.process.poll() for play in plays] == [None] * 4, "all of them are at work still"
    assert slow.sh(FILES).count("progress.") == 2, "of those that are asked"

    for name in ("one", "two", "hidden", "off", "read"):  # libxl gives up by itself, and it is tried again
        slow.sh(f"until xl destroy {name} 2>/dev/null; do {appeared(name)}; done; echo destroyed")
    outputs = [play.output() for play in plays]
    assert not [text for text in outputs if "waiting for" in text]
    assert [list(play.told()) for play in (hidden, off)] == [[], []]
    assert json.loads(outputs[2])["outcome"] == "failed", "a program that reads the output reads what it always did"
    assert "FAILED!" in outputs[3] and "guest two" in outputs[3]
    assert slow.sh(FILES) == "."


def test_what_a_killed_task_leaves_is_swept_by_the_next(slow: Host, tmp_path: Path, plays: list[Play]) -> None:
    play = Play(slow, tmp_path, "guest", described("killed"))
    plays.append(play)
    assert "waiting for killed: " in next(play.told())
    slow.sh(f"{MODULE} && echo killed")
    assert "FAILED!" in play.output()
    assert slow.sh(FILES).count("progress.") == 1
    assert slow.module("guest_info", names=["killed"])["guests"]
    assert slow.sh(FILES) == "."


def test_the_gate_alone_tells_as_well_and_ends_when_its_link_holds(slow: Host, tmp_path: Path, plays: list[Play]) -> None:
    slow.guest(**described("soon"), state="paused")
    domid, stubdom = slow.domid("soon"), slow.domid("soon-dm")
    state = f"/local/domain/{stubdom}/device-model/{domid}/state"
    slow.sh(f"xenstore-write {state} \"$(printf 'half\\033[2Jway')\" && echo written")
    play = Play(slow, tmp_path, "guest_ready", {"name": "soon", "timeout": 600})
    plays.append(play)
    line = next(play.told(), "")
    there = rf"stubdomain {stubdom}, {state} is 'half\ufffd\[2Jway', not 'running'"
    assert re.fullmatch(rf"{slow.name}: waiting for soon: device-model \({there}\) \d+ s of 600\n", line), line + play.output()
    slow.sh(f"xenstore-write {state} running && echo written")
    assert "ok=1 " in play.output()
    assert slow.sh(FILES) == "."
