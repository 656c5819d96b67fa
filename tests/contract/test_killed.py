# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed in the middle of a creation, whoever it hits, and then the same task again."""

from __future__ import annotations

import subprocess

import pytest
from xenhost import ENV, LIMIT, PATIENT, PULL_THE_PLUG, Host, mostly_simulated

# What is killed once the stubdomain is there; the shell's own command line must not match the pattern.
VICTIMS = {
    "the play": None,
    "xl": "pkill -9 -f '[x]l create -p /etc/xen/'",
    "module and xl": "pkill -9 -f '[A]nsiballZ|[x]l create -p /etc/xen/'; pkill -9 -f '^/usr/bin/python3( -)?$'; echo killed",
}


@pytest.mark.parametrize("victim", mostly_simulated(VICTIMS, "module and xl"))
def test_killed_and_run_again(xen: Host, victim: str) -> None:
    name = "killed-" + victim.split()[-1]
    guest = {**xen.described("stubdom", name), **PATIENT}
    play = subprocess.Popen(xen.command("guest", guest), env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        xen.sh(appeared(f"{name}-dm"))
        if VICTIMS[victim] is None:
            play.kill()
        else:
            xen.sh(f"{VICTIMS[victim]} || true")
        play.wait(LIMIT)
    finally:
        play.kill()

    again = xen.guest(**guest)
    assert again["guest"]["state"] == "running" and again["leftovers"] == []
    assert xen.domains() == ["Domain-0", name, f"{name}-dm"], "no stray domain"
    assert not xen.guest(**guest)["changed"]
    xen.guest(name=name, state="absent", **PULL_THE_PLUG)
    assert xen.domains() == ["Domain-0"]


def appeared(domain: str) -> str:
    """A command that ends when the domain is there: it looks again at each domain that xenstore introduces."""
    look = f"xl list {domain} >/dev/null 2>&1"
    watch = f"exec 3< <(xenstore-watch @introduceDomain 2>/dev/null); while read -r event <&3; do {look} && break; done; kill $!"
    return f"timeout 600 bash -c '{watch}'; {look}"
