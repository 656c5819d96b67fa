# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that jumps while a guest comes up: libxl counts its patience by it, the module does not."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import behave, converges
from xenhost import LIMIT, WHOLE, Host, appeared

pytestmark = pytest.mark.only("simulated")

CLOCK = Path(__file__).with_name("jumping_clock.c")


JUMPS = {"forward": 3600, "backward": -3600}


@pytest.fixture
def jumping(empty: Host, tmp_path: Path) -> Iterator[Host]:
    """A host whose programs see the clock jump: xl with libxl's timers, and Python. Those that ran before, xenstored, do not."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT CHECKED: no C compiler (cc) to make a clock that jumps with")
    flags = ("-shared", "-fPIC", "-nostdlib", "-fno-stack-protector", "-O1", "-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, "-o", str(tmp_path / "clock.so"), *flags, str(CLOCK)], check=True)
    library = base64.b64encode((tmp_path / "clock.so").read_bytes()).decode()
    empty.sh(
        f"cp /etc/ld.so.preload /root/; echo {library} | base64 -d >/root/clock.so && echo /root/clock.so >>/etc/ld.so.preload"
    )
    yield empty
    empty.sh("cp /root/ld.so.preload /etc/; rm -f /run/clock")


def across(host: Host, seconds: int, **guest: Any) -> dict[str, Any]:
    """The result of module guest, in whose middle, with the stubdomain just made, the clock jumps; and how long it took."""
    begin = time.monotonic()
    task = subprocess.Popen(host.command("guest", guest), env=WHOLE, stdout=subprocess.PIPE, text=True)
    now = host.sh(f"{appeared('web-dm')}; echo {seconds} >/run/clock; date +%s")
    assert abs(int(now) - time.time() - seconds) < 1800 and task.poll() is None
    told: dict[str, Any] = json.loads(task.communicate(timeout=LIMIT)[0].splitlines()[-1])
    return {**told, "took": time.monotonic() - begin}


@pytest.mark.parametrize("way", JUMPS)
def test_a_clock_that_jumps_while_a_guest_comes_up(jumping: Host, guest: dict[str, Any], way: str) -> None:
    """libxl counts its own patience by that clock, and may lose it when it jumps forward; then the guest is made once more."""
    behave(jumping, stubdom={"ready_after": 3})
    told = across(jumping, JUMPS[way], **guest, ready={"timeout": 60, "retries": 1})
    assert told["outcome"] == "ok" and told["guest"]["state"] == "running", told
    after = {link["link"]: link["after_s"] for link in told["readiness"]}
    assert 3 <= after["device-model"] <= told["took"], told
    converges(jumping, guest)


@pytest.mark.parametrize("way", JUMPS)
def test_a_clock_that_jumps_changes_no_limit(jumping: Host, guest: dict[str, Any], way: str) -> None:
    """The module's own; libxl's patience may end at the jump, and is then what the evidence tells of."""
    behave(jumping, stubdom={"ready": "never"})
    failed = across(jumping, JUMPS[way], **guest, ready={"timeout": 10, "retries": 0})
    evidence = failed["evidence"]
    assert failed["code"] == "readiness_timeout" and evidence["waited_s"] <= failed["took"], json.dumps(failed)
    assert evidence["waited_s"] >= 10 or "timed out" in evidence["said"], json.dumps(failed)
    assert failed["evidence"]["left"] == {"state": "halted", "leftovers": []}
