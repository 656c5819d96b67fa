# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stubdomains that do not come up. The image takes orders on its kernel's command line to fail in both ways there are."""

from __future__ import annotations

import pytest
from xenhost import Host

# Suites whose QEMU in dom0 (8.2 or newer) does not serve a stubdomain's first console: it has no log, only its words in xenstore.
UNSERVED = ("trixie",)


@pytest.fixture
def suite(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("--suite"))


@pytest.fixture
def empty(xen: Host) -> Host:
    assert xen.domains() == ["Domain-0"]
    return xen


def test_qemu_that_exits_is_told_at_once_with_its_reason(empty: Host, suite: str) -> None:
    """libxl alone would wait 30 s and say -9; the stubdomain's own words say why."""
    guest = {**empty.described("stubdom", "exits"), "stubdom": {"type": "linux", "cmdline": "quiet stubdom.fail=exit"}}
    failed = empty.refused(**guest, ready={"timeout": 600, "retries": 0})
    assert failed["code"] == "stubdom_failed"
    evidence = failed["evidence"]
    assert evidence["link"] == "device-model" and evidence["observed"] is None
    assert evidence["path"].startswith("/local/domain/") and "QEMU" in failed["msg"]
    assert "timed out" not in evidence.get("said", ""), "libxl had not given up yet"
    assert any("qemu-dm-exits.log" in log["path"] for log in evidence["logs"]) == (suite not in UNSERVED)
    assert empty.domains() == ["Domain-0"], "nothing is left behind"
    assert evidence["left"] == {"state": "halted", "leftovers": []}


@pytest.mark.no_guest_code
def test_qemu_that_never_answers_is_told_when_libxl_gives_up(empty: Host) -> None:
    guest = {**empty.described("stubdom", "silent"), "stubdom": {"type": "linux", "cmdline": "quiet stubdom.fail=silent"}}
    failed = empty.refused(**guest, ready={"timeout": 600, "retries": 0})
    assert failed["code"] == "readiness_timeout"
    assert "startup timed out" in failed["evidence"]["said"]
    held = {link["link"]: link["after_s"] is not None for link in failed["evidence"]["links"]}
    assert held["console-backend"] and not held["device-model"], "what held and what did not, as far as it came"
    assert empty.domains() == ["Domain-0"]


@pytest.mark.no_guest_code
def test_kept_for_somebody_to_look_at(empty: Host) -> None:
    guest = {**empty.described("stubdom", "kept"), "stubdom": {"type": "linux", "cmdline": "quiet stubdom.fail=exit"}}
    failed = empty.refused(**guest, ready={"timeout": 600, "retries": 0, "on_failure": "keep"})
    assert failed["code"] == "stubdom_failed"
    assert failed["evidence"]["left"]["state"] in ("half_made", "degraded")
    assert "kept" in empty.domains()

    cured = empty.guest(**{**guest, "stubdom": {"type": "linux", "cmdline": "quiet"}})
    assert cured["plan"][-4]["step"] == "clear" and cured["guest"]["state"] == "running"
    empty.guest(name="kept", state="absent", shutdown={"timeout": 5, "force": True})
