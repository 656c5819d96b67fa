# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains that write what they are not to be believed, and domains at their quota of xenstore."""

from __future__ import annotations

from typing import Any

import pytest
from faults import READY, behave, converges
from xenhost import Host

pytestmark = pytest.mark.only("simulated")

BRIEF = {"ready": {"timeout": 3, "retries": 0}}


# --- whom not to believe

UNTRUSTED = {
    "the guest writes the stubdomain's node": {"ready": "guest"},
    "dom0's QEMU writes where it was before Xen 4.6": {"ready": "dom0"},
}


@pytest.mark.parametrize("who", UNTRUSTED)
def test_a_readiness_that_is_not_the_stubdomains_own_is_not_believed(empty: Host, guest: dict[str, Any], who: str) -> None:
    behave(empty, stubdom=UNTRUSTED[who])
    failed = empty.refused(**guest, **BRIEF)
    assert failed["code"] == "readiness_timeout" and failed["evidence"]["link"] == "device-model"
    assert failed["evidence"]["left"] == {"state": "halted", "leftovers": []}
    assert empty.domains() == ["Domain-0"]


def test_nobody_writes_what_another_domain_has_to_report(empty: Host, guest: dict[str, Any]) -> None:
    empty.guest(**guest, **READY)
    empty.guest(**empty.described("pvh", "other"))
    web, stubdom, other = (empty.domid(name) for name in ("web", "web-dm", "other"))
    state = f"/local/domain/{stubdom}/device-model/{web}/state"
    proxy = f"/local/domain/0/device-model/{stubdom}/qmp-proxy-state"
    home = f"/local/domain/{other}/device-model"
    tries = [(web, state), (other, state), (stubdom, proxy), (stubdom, f"/local/domain/{other}/name"), (other, home)]
    for domid, path in tries:
        said = empty.sh(f"/usr/lib/xen-simulation/xenstore-as {domid} write {path} dead 2>&1 || true")
        assert "refuses WRITE" in said and "EACCES" in said, (domid, path, said)
    assert not empty.guest(**guest)["changed"]
    empty.sh("xl destroy other; rm /etc/xen/other.cfg")


# --- a guest or a stubdomain at its quota

FILL = """import sys
sys.path.insert(0, "/usr/lib/xen-simulation")
from stores import connect
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
domid = int(sys.argv[1])
with connect(domid, timeout=30) as store:
    try:
        for number in range(100000):
            store.write(f"/local/domain/{domid}/data/{number}", "x")
    except XenError as error:
        print(error.evidence["errno"])
"""


@pytest.mark.parametrize("whose", ["web", "web-dm"])
def test_a_domain_that_has_used_up_its_quota_of_xenstore_is_served_all_the_same(
    empty: Host, guest: dict[str, Any], whose: str
) -> None:
    empty.guest(**guest, **READY)
    empty.put("/root/fill.py", FILL)
    assert empty.sh(f"chmod +r /root/fill.py; python3 /root/fill.py $(xl domid {whose})") in ("EQUOTA", "ENOSPC")
    assert not empty.guest(**guest)["changed"]
    for state in ("paused", "running"):
        assert empty.guest(**guest, state=state, **READY)["guest"]["state"] == state
    converges(empty, {**guest, "memory": "256MiB", "disruption": "recreate"})
