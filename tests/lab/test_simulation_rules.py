# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest side's rules without a host: XenbusState, behaviours, the hypervisor's lines, a kernel's command line."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import behaviours
import hypervisor
import pytest
import xenbus


def met(kind: str, own: int = xenbus.INITIALISING, other: int = xenbus.INITIALISING, **given: bool) -> tuple[int, int]:
    """Where back end and front end get to, stepping in turn until both stay."""
    given = {"online": True, "ready": True, **given}
    for _step in range(20):
        after = xenbus.backend_next(own, other, **given)
        beyond = xenbus.frontend_next(other, after, xenbus.kind(kind).starts)
        if (after, beyond) == (own, other):
            return own, other
        own, other = after, beyond
    raise AssertionError("they never come to rest")


@pytest.mark.parametrize("kind", behaviours.BACKEND_KINDS)
def test_both_ends_connect(kind: str) -> None:
    assert met(kind) == (xenbus.CONNECTED, xenbus.CONNECTED)


def test_a_back_end_whose_hotplug_script_has_not_run_waits() -> None:
    assert met("vbd", ready=False) == (xenbus.INIT_WAIT, xenbus.INITIALISED)


@pytest.mark.parametrize("other", [xenbus.CONNECTED, xenbus.INITIALISED])
def test_a_detached_device_is_closed_by_both(other: int) -> None:
    assert met("vbd", xenbus.CLOSING, other, online=False) == (xenbus.CLOSED, xenbus.CLOSED)


def test_without_a_front_end_a_back_end_closes_alone() -> None:
    assert xenbus.backend_next(xenbus.CLOSING, xenbus.ABSENT, online=False, ready=True) == xenbus.CLOSED


@pytest.mark.parametrize(("qemu", "after"), [(False, xenbus.CLOSING), (True, xenbus.CLOSED)])
def test_only_qemu_closes_on_a_front_end_that_never_began(qemu: bool, after: int) -> None:
    assert xenbus.backend_next(xenbus.CLOSING, xenbus.INITIALISING, online=False, ready=True, qemu=qemu) == after


def test_a_device_that_closed_can_come_back() -> None:
    assert met("vif", xenbus.CLOSED, xenbus.INITIALISING) == (xenbus.CONNECTED, xenbus.CONNECTED)
    assert xenbus.backend_next(xenbus.CLOSED, xenbus.INITIALISING, online=False, ready=True) == xenbus.CLOSED


# --- behaviours


def chosen(name: str, **given: object) -> dict[str, behaviours.Part]:
    return behaviours.choose(behaviours.parse(json.dumps(given)), name)


def test_without_a_word_all_is_well() -> None:
    plain = chosen("web")
    assert plain["stubdom"]["ready"] == "own" and plain["stubdom"]["dies_at"] is None
    assert plain["guest"]["boots"] is True and plain["qmp"]["answers"] is True


def test_later_patterns_win_key_by_key() -> None:
    given = {"*": {"stubdom": {"ready_after": 1, "dies_by": "crash"}}, "web[12]": {"stubdom": {"ready_after": 2}}}
    assert chosen("web1", **given)["stubdom"]["ready_after"] == 2
    assert chosen("web1", **given)["stubdom"]["dies_by"] == "crash"
    assert chosen("web3", **given)["stubdom"]["ready_after"] == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON"),
        ("[]", "wanted an object"),
        ('{"a": 1}', "wanted an object"),
        ('{"a": {"stubdm": {}}}', "no part 'stubdm'"),
        ('{"a": {"stubdom": {"redy": "own"}}}', "no stubdom.redy"),
        ('{"a": {"stubdom": {"ready": "maybe"}}}', "own | never | guest | dom0"),
        ('{"a": {"stubdom": {"ready_after": -1}}}', "wanted seconds"),
        ('{"a": {"stubdom": {"ready_after": true}}}', "wanted seconds"),
        ('{"a": {"backend.vbd": {"stuck_at": 9}}}', "XenbusState"),
        ('{"a": {"qemu": {"dies_after": "1"}}}', "seconds"),
    ],
)
def test_what_would_not_be_obeyed_is_refused(text: str, why: str) -> None:
    with pytest.raises(behaviours.BehaviourError, match=re.escape(why)):
        behaviours.parse(text)


def test_the_page_tells_every_key_and_its_default() -> None:
    page = (Path(behaviours.__file__).parent / "README.md").read_text()
    told, part = {}, ""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 5 and cells[1].startswith("`"):
            part = cells[0].strip("`") or part
            told[part, cells[1].strip("`")] = cells[3].strip("`")
    wanted = {
        (part if not part.startswith("backend.") else "backend.KIND", key): shown(row.default)
        for part, keys in behaviours.PARTS.items()
        for key, row in keys.items()
    }
    assert {key: value.replace("none", "null") for key, value in told.items()} == wanted


def shown(default: object) -> str:
    return ", ".join(default) if isinstance(default, tuple) else default if isinstance(default, str) else json.dumps(default)


# --- the hypervisor


def test_events_are_told_from_answers() -> None:
    assert hypervisor.parse(b"event shutdown 7 3") == ("shutdown", 7, "3")
    assert hypervisor.parse(b"event unpaused 7") == ("unpaused", 7, "")
    assert hypervisor.parse(b"ok") is None


def start_page(cmdline: bytes) -> bytes:
    page = hypervisor.START_MAGIC.ljust(hypervisor.CMDLINE_OFFSET, b"\1") + cmdline
    return page.ljust(hypervisor.PAGE, b"\0")


def test_the_command_line_is_read_where_a_kernel_would_read_it() -> None:
    decoy = b"elf" + hypervisor.START_MAGIC.ljust(300, b"x")
    memory = decoy.ljust(2 * hypervisor.PAGE, b"\0") + start_page(b"quiet stubdom.fail=exit")
    assert hypervisor.find_cmdline(memory) == "quiet stubdom.fail=exit"
    assert hypervisor.find_cmdline(decoy) == ""


def test_it_is_found_before_the_hole_at_whose_end_the_grant_tables_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor, "DIRECTORY", str(tmp_path))
    with open(tmp_path / "mem.3", "wb") as memory:
        memory.seek(64 << 20)
        memory.write(start_page(b"from memory"))
        memory.seek(1 << 36)
        memory.write(b"\0" * hypervisor.PAGE)
    assert os.stat(tmp_path / "mem.3").st_blocks < 1 << 12, "the file is sparse"
    assert hypervisor.cmdline(3) == "from memory"
    assert hypervisor.cmdline(4) == "", "no such domain"
