# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest and a stubdomain may write, they may write lies into; and what would be worth a lie they may not write.

Each tries it with its own rights, as xenstored knows them: the permissions are the real ones. SECURITY.md has the table.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import READY, behave, cleared
from xenhost import BIN, ENV, LIMIT, PULL_THE_PLUG, Host

# Only there a test can speak as another domain.
pytestmark = pytest.mark.only("simulated")

TEMPLATE, WOULD_BE = "{{ 7 * 191 }}", "1337"
NASTY = f"{TEMPLATE}\x1b[2J\x1b]0;root\x07\u202e\n- hosts: all\n  x: !unsafe &a [*a]\n"
SHOWN = NASTY.replace("\x1b", "\ufffd").replace("\x07", "\ufffd").replace("\u202e", "\ufffd")
NODES = "xenstore-ls -f -p | grep -v -e /memory/ -e /meminfo"
AS_DOMAINS = """import json, sys
sys.path.insert(0, "/usr/lib/xen-simulation")
from stores import connect
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
told = []
for domid, verb, *given in json.load(sys.stdin):
    try:
        with connect(domid, timeout=60) as store:
            told.append(getattr(store, verb)(*given))
    except XenError as error:
        told.append(error.evidence.get("errno", error.code))
print(json.dumps(told))
"""


def as_domains(host: Host, tries: list[tuple[Any, ...]]) -> list[Any]:
    """What each gets for a request of its own: (domid, method of the client, its arguments); of a refusal the errno."""
    host.put("/root/tries.py", AS_DOMAINS)
    host.put("/root/tries.json", json.dumps(tries))
    told: list[Any] = json.loads(host.sh("python3 /root/tries.py </root/tries.json"))
    return told


@pytest.fixture(scope="module")
def crowd(xen: Host, guest: dict[str, Any]) -> Iterator[tuple[Host, dict[str, int]]]:
    """A guest with a stubdomain, and another guest; and the numbers of all three."""
    xen.guest(**guest, nics=[{"bridge": "xenbr0"}], **READY)
    xen.guest(**xen.described("pvh", "other"))
    xen.booted("web")
    yield xen, {name: xen.domid(name) for name in ("web", "web-dm", "other")}
    xen.guest(name="other", state="absent", **PULL_THE_PLUG)
    cleared(xen)


# --- what is shown of it


def test_what_a_stubdomain_writes_is_shown_and_is_nothing_else(empty: Host, guest: dict[str, Any], tmp_path: Path) -> None:
    """On the operator's terminal, and in a playbook that does something with it. (First of all: `crowd` has a guest `web`.)"""
    behave(empty, stubdom={"value": NASTY})
    task = {"stubdom.xen.guest": {**guest, "ready": {"timeout": 3, "retries": 0}}, "register": "web", "ignore_errors": True}
    show = {"ansible.builtin.debug": {"msg": "{{ web.msg }} {{ web.evidence.observed }} {{ web.evidence.links }}"}}
    book = tmp_path / "play.yml"
    book.write_text(json.dumps([{"hosts": empty.name, "gather_facts": False, "tasks": [task, show]}]), encoding="utf-8")
    for more in ({}, {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}):
        argv = [str(BIN / "ansible-playbook"), "-vvv", "-i", str(empty.inventory), str(book)]
        done = subprocess.run(argv, env={**ENV, **more}, capture_output=True, text=True, timeout=LIMIT, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0 and "readiness_timeout" in said, said
        assert TEMPLATE in said and WOULD_BE not in said
        assert [character for character in "\x1b\x07\u202e" if character in said] == []
    assert empty.domains() == ["Domain-0"]


# --- what is worth a lie, nobody may write


def test_nobody_writes_where_others_believe_him(crowd: tuple[Host, dict[str, int]], guest: dict[str, Any]) -> None:
    xen, numbers = crowd
    web, stubdom, other = numbers.values()
    home, model, others = f"/local/domain/{web}", f"/local/domain/{stubdom}", f"/local/domain/{other}"
    uuid = xen.sh(f"xenstore-read {home}/vm")
    its_own = (
        f"{home}/name", f"{home}/vm", f"{home}/domid", f"{home}/image/device-model-domid", f"{home}/image/device-model-pid",
        f"{home}/target", f"{home}/platform/tpm_version", f"{home}/new", f"{uuid}/name", f"{uuid}/uuid",
    )  # fmt: skip
    of_its_model = (
        f"{model}/device-model/{web}/state", f"{model}/device-model/{web}/qmp-vchan/event-channel", f"{model}/data/stubdom-error",
        f"{model}/target", f"/local/domain/0/device-model/{web}/state", f"/local/domain/0/device-model/{stubdom}/state",
        f"/local/domain/0/device-model/{stubdom}/qmp-proxy-state",
    )  # fmt: skip
    of_the_tools = (
        f"/libxl/{web}/type", f"/libxl/{web}/device/vbd/51712/backend", f"/libxl/{web}/device/vtpm/0/backend", "/tool/x", "/vm/x",
        f"/local/domain/0/backend/vtpm/{web}/0/state", "/local/domain/0/name", "/local/domain/9999/name",
    )  # fmt: skip
    of_the_other = (f"{others}/data/x", f"{others}/control/shutdown", f"{others}/device-model/{web}/state", f"{others}/name")
    for_the_other = (f"{model}/device-model/{other}/state", f"{model}/name", f"{model}/image/device-model-domid")
    tries = [
        *((web, path) for path in (*its_own, *of_its_model, *of_the_tools, *of_the_other)),
        *((other, path) for path in (*its_own, *of_its_model, *of_the_tools, f"{home}/data/x", f"{home}/control/shutdown")),
        *((stubdom, path) for path in (*its_own, f"{model}/target", *of_its_model[4:], *of_the_tools, *of_the_other)),
        *((stubdom, path) for path in for_the_other),
    ]
    before = (xen.module("guest_info")["guests"], xen.sh(NODES))
    told = as_domains(xen, [(who, "write", path, "running") for who, path in tries])
    told += as_domains(xen, [(who, "rm", path) for who, path in tries])
    told += as_domains(xen, [(who, "chmod", path, [("b", who)]) for who, path in tries])
    assert {what for what in zip(tries * 3, told) if what[1] not in ("EACCES", "EPERM", "ENOENT", None)} == set()
    assert told[: len(tries)] == ["EACCES"] * len(tries)
    assert (xen.module("guest_info")["guests"], xen.sh(NODES)) == before


# --- what a domain may write, and nobody believes


def test_what_a_guest_may_write_nobody_believes(crowd: tuple[Host, dict[str, int]], guest: dict[str, Any]) -> None:
    """Its front ends, what it says of itself, and rubbish wherever it has a place."""
    xen, numbers = crowd
    web, stubdom, other = numbers.values()
    home = f"/local/domain/{web}"
    front, vif = f"{home}/device/vbd/51712", f"{home}/device/vif/0"
    before, asked = xen.module("guest_info", names=["web", "other"]), {**guest, "nics": [{"bridge": "xenbr0"}]}
    lies = [
        (f"{front}/backend", f"/local/domain/{other}/backend/vbd/{web}/51712"), (f"{front}/backend-id", str(other)),
        (f"{front}/virtual-device", NASTY), (f"{vif}/mac", NASTY), (f"{vif}/handle", NASTY), (f"{vif}/ip", NASTY),
        (f"{home}/data/stubdom-error", NASTY), (f"{home}/data/vtpm-state", "running"), (f"{home}/data/stubdom-save", "1"),
        (f"{home}/attr/vif/0/ipv4/0", NASTY), (f"{home}/attr/eth0/ip", "$(reboot)"), (f"{home}/attr/vif/0/ipv6/0", "::1"),
        (f"{home}/drivers/0", NASTY), (f"{home}/error/device/vbd/51712/error", NASTY),
        (f"{home}/control/feature-poweroff", NASTY), (f"{home}/data/{'x' * 200}", "x" * 1900),
    ]  # fmt: skip
    told = as_domains(xen, [(web, "write", path, value) for path, value in lies])
    assert told == [None] * len(lies), "a lie that cannot be told is no test"
    seen = xen.module("guest_info", names=["web", "other"])
    assert seen["guests"] == before["guests"]
    assert not xen.guest(**asked)["changed"]
    assert xen.module("guest_ready", name="web")["ready"]
    told = as_domains(xen, [(web, "rm", f"{home}/device/vif/0"), (web, "rm", front)])
    assert told == [None, None]
    assert xen.module("guest_info", names=["web", "other"])["guests"] == before["guests"]
    assert not xen.guest(**asked)["changed"]
    # and a stubdomain's of itself, once its guest runs
    model = f"/local/domain/{stubdom}"
    lies = [(f"{model}/data/stubdom-error", NASTY), (f"{model}/device-model/{web}/state", NASTY)]
    assert as_domains(xen, [(stubdom, "write", *lie) for lie in lies]) == [None, None]
    lame = xen.module("guest_info", names=["web"])
    assert "\x1b" not in json.dumps(lame, ensure_ascii=False) and "\u202e" not in json.dumps(lame, ensure_ascii=False)
    [link] = [link for link in lame["guests"][0]["readiness"] if link["link"] == "device-model"]
    assert (link["value"], link["holds"]) == (SHOWN, False)
    assert as_domains(xen, [(stubdom, "write", f"{model}/device-model/{web}/state", "running")]) == [None]
