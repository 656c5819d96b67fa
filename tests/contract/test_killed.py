# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed in the middle of a creation, whoever it hits, and then the same task again."""

from __future__ import annotations

import json
import subprocess

import pytest
from xenhost import ENV, LIMIT, PATIENT, PULL_THE_PLUG, Host, appeared, mostly_simulated

# What is killed once the stubdomain is there, and each pattern has to match; the shell's own command line must not.
XL, MODULE = "pkill -9 -f '[x]l create -p /etc/xen/'", "pkill -9 -f '[A]nsiballZ|^/usr/bin/python3( -)?$'"
VICTIMS = {"the play": None, "xl": XL, "module and xl": f"{MODULE} && {XL}"}
BEHAVIOURS = "/etc/xen-simulation/behaviours.json"


@pytest.mark.parametrize("victim", mostly_simulated(VICTIMS))
def test_killed_and_run_again(xen: Host, victim: str) -> None:
    name = "killed-" + victim.split()[-1]
    guest = {**xen.described("stubdom", name), **PATIENT}
    takes_its_time(xen, name)
    play = subprocess.Popen(xen.command("guest", guest), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        xen.sh(appeared(f"{name}-dm"))
        assert play.poll() is None, "it had ended before anything was killed"
        if VICTIMS[victim] is None:
            play.kill()
        else:
            xen.sh(f"{VICTIMS[victim]} && echo killed")
        assert play.wait(LIMIT) != 0
    finally:
        play.kill()
    xen.sh(f"rm -f {BEHAVIOURS}")

    again = xen.guest(**guest)
    assert again["guest"]["state"] == "running" and again["leftovers"] == []
    assert xen.domains() == ["Domain-0", name, f"{name}-dm"], "no stray domain"
    assert not xen.guest(**guest)["changed"]
    xen.guest(name=name, state="absent", **PULL_THE_PLUG)
    assert xen.domains() == ["Domain-0"]


def takes_its_time(host: Host, name: str) -> None:
    """A real stubdomain takes some seconds to come up; a simulated one has to be told to, to be there when the kill comes."""
    if host.kind == "simulated":
        host.put(BEHAVIOURS, json.dumps({name: {"stubdom": {"ready_after": 10}}}))
