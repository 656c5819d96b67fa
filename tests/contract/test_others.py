# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that somebody made with xl: untouched unless named, adopted as they run when named."""

from __future__ import annotations

import pytest
from xenhost import PULL_THE_PLUG, Host

BY_HAND = """# by hand
name = "byhand"
type = "pvh"
memory = 160
vcpus = 1
kernel = "/var/lib/xen-lab/vmlinuz"
ramdisk = "/var/lib/xen-lab/tiny.cpio.gz"
extra = "quiet"
vif = [ 'bridge=xenbr0' ]
on_crash = "preserve"
"""


@pytest.fixture(scope="module")
def shared(xen: Host) -> Host:
    """A host with a guest made by hand, from a file outside /etc/xen, and a hand-written file that nobody started."""
    written = BY_HAND.replace("byhand", "written")
    xen.sh(f"cat > /root/byhand.cfg <<'END'\n{BY_HAND}END")
    xen.sh(f"cat > /etc/xen/written.cfg <<'END'\n{written}END")
    xen.sh("xl create -q /root/byhand.cfg")
    return xen


def test_a_guest_that_is_not_named_is_not_touched(shared: Host) -> None:
    domid = shared.domid("byhand")
    shared.guest(**shared.described("pvh", "mine"))
    shared.guest(name="mine", state="absent", **PULL_THE_PLUG)
    assert shared.domid("byhand") == domid
    assert shared.sh("ls /etc/xen/byhand.cfg 2>/dev/null || echo no") == "no"
    assert shared.sh("head -n1 /etc/xen/written.cfg") == "# by hand"


def test_what_guest_info_says_of_it_is_valid_input(shared: Host) -> None:
    found = {g["name"]: g for g in shared.module("guest_info")["guests"]}
    assert (found["byhand"]["state"], found["byhand"]["managed"]) == ("running", False)
    assert (found["written"]["state"], found["written"]["spec"]["on_crash"]) == ("halted", "preserve")
    said = shared.guest(check=True, **found["byhand"]["spec"])
    assert [step["step"] for step in said["plan"]] == ["store"], "but for its file, nothing is to do"


def test_adopted_as_it_runs(shared: Host) -> None:
    domid = shared.domid("byhand")
    adopted = shared.guest(name="byhand")
    assert [step["step"] for step in adopted["plan"]] == ["store"]
    assert adopted["guest"]["domid"] == domid == shared.domid("byhand")
    assert adopted["guest"]["spec"]["nics"][0]["mac"] in shared.sh("xl network-list byhand")
    assert not shared.guest(name="byhand")["changed"]
    assert "stubdom.xen" in shared.sh("head -n1 /etc/xen/byhand.cfg")


@pytest.mark.no_guest_code
def test_a_hand_written_file_is_kept_beside_ours(shared: Host) -> None:
    started = shared.guest(name="written")
    assert started["guest"]["state"] == "running"
    assert shared.sh("head -n1 /etc/xen/written.cfg.before-stubdom.xen") == "# by hand"
    assert 'extra = "quiet"' in shared.sh("cat /etc/xen/written.cfg"), "a key without an option of its own is kept"
    shared.guest(name="written", state="absent", **PULL_THE_PLUG)
