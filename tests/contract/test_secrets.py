# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's passwords: in no result, in no output however verbose, and in no file, process or node that another may read."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from faults import behave, cleared
from test_lies import as_domains
from xenhost import BIN, ENV, LIMIT, PULL_THE_PLUG, Host

# Other guests' rights are asked for.
pytestmark = pytest.mark.only("simulated")

VNC, SPICE = "gehei-m1", "gehei-m2"
NEWER = "gehei-m3"
WHAT = "-f /dev/shm/secrets"  # no program that looks for them has them in its own words
# A disk without a line end in it is one line to grep, and more than there is memory.
FILES = f"find /etc /var /run /tmp /root -type f -size -2M -exec grep -lsF {WHAT} {{}} + 2>/dev/null | sort"
PROCESSES = (
    f"for pid in /proc/[0-9]*; do grep -qsaF {WHAT} $pid/cmdline $pid/environ && "
    f"tr '\\0' '\\n' <$pid/cmdline | grep -oF -e -xen-domid {WHAT}; done; true"
)
SAVED = "/var/lib/stubdom.xen/saved"
XENSTOREDS = "/var/log/xen/xenstored-access.log"  # oxenstored's, of all that is written; root's alone
NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"


def secrets_in(text: str) -> list[str]:
    return [secret for secret in (VNC, SPICE, NEWER) if secret in text]


def read_by_nobody(host: Host) -> str:
    """The files with a secret in them that a user without any right may read."""
    return host.sh(f"{NOBODY} sh -c '{FILES}' || true")


@pytest.fixture(scope="module")
def guest(xen: Host) -> dict[str, Any]:
    spice = {"spice": 1, "spicehost": "127.0.0.1", "spiceport": 6123, "spicedisable_ticketing": 0, "spicepasswd": SPICE}
    described = xen.described("hvm", "web")
    screen = {"enabled": True, "listen": "127.0.0.1", "password": VNC}
    return {**described, "vnc": screen, "extra_config": {**described["extra_config"], **spice}}


def test_nothing_tells_a_password(empty: Host, guest: dict[str, Any]) -> None:
    xen = empty
    xen.put("/dev/shm/secrets", f"{VNC}\n{SPICE}\n{NEWER}\n")
    newer = {**guest, "vnc": {**guest["vnc"], "password": NEWER}}
    behave(xen, qemu={"start": "exits"})
    told = [xen.refused(**guest, ready={"timeout": 30, "retries": 0})]
    xen.sh("rm /etc/xen-simulation/behaviours.json && echo well-behaved")
    told += [xen.guest(check=True, **guest), xen.guest(**guest), xen.guest(check=True, **newer)]
    told += [xen.guest(**newer), xen.module("guest_info"), xen.guest(**newer, disruption="recreate")]
    told += [xen.module("guests", guests=[newer])]
    masked = told[-1]["guests"][0]["guest"]["spec"]
    told.append(xen.refused(**masked))
    assert [secrets_in(json.dumps(result)) for result in told] == [[]] * len(told)
    assert (told[-1]["code"], told[-1]["evidence"]["option"]) == ("invalid_input", "vnc.password"), "a mask is no password"

    argv = [str(BIN / "ansible"), *xen.arguments("stubdom.xen.guests", json.dumps({"guests": [guest]}), check=True)]
    done = subprocess.run([*argv, "-vvv"], env=ENV, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert "plan_digest" in done.stdout and "spicepasswd" in done.stdout, done.stdout + done.stderr
    assert secrets_in(done.stdout + done.stderr) == []

    # on the host: root's files have them, and nobody else reads any
    assert {"/etc/xen/web.cfg"} <= set(xen.sh(FILES).split())
    assert read_by_nobody(xen) == ""
    # libxl gives QEMU the SPICE password as a word of its command line, and there is no other way (libxl_dm.c, 4.17)
    assert sorted(xen.sh(PROCESSES).split()) == ["-xen-domid", SPICE]

    # another guest reads none of the nodes that have it
    xen.guest(**xen.described("pvh", "other"))
    nodes = xen.sh(f"xenstore-ls -f | grep -F {WHAT} | sed 's/ = .*//' || true").split()
    other = xen.domid("other")
    assert as_domains(xen, [(other, "read", node) for node in nodes]) == ["EACCES"] * len(nodes)
    xen.guest(name="other", state="absent", **PULL_THE_PLUG)

    # nor is it to be had from the guest's saved memory
    told = [xen.guest(**newer, state="saved")]
    told_of = xen.sh(f"cd {SAVED} && stat -c '%a %u' . * && head -c 64K *.save | grep -qaF {WHAT} && echo held")
    assert told_of.split() == ["700", "0", "600", "0", "held"]
    assert (secrets_in(json.dumps(told)), read_by_nobody(xen)) == ([], "")
    xen.guest(**newer)
    cleared(xen)
    assert xen.sh(FILES) in ("", XENSTOREDS), "what is gone leaves no password behind"
