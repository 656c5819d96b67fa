# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's files are."""

from __future__ import annotations

import pytest
from emulated import EmulatedHost
from layout import LabError
from simulated import SimulatedHost


def test_sockets_have_short_paths_in_a_deep_clone():
    deep = EmulatedHost.of("/" + "/".join(["a-deep-directory"] * 20), "x" * 32)
    # ssh makes its socket under another name first: a dot and 16 characters more (OpenSSH mux.c)
    assert len(str(deep.control)) + 17 < 108
    assert len({deep.qmp, deep.console, deep.control}) == 3


def test_hosts_of_different_labs_do_not_share_sockets():
    assert EmulatedHost.of("/a", "xen1").run != EmulatedHost.of("/b", "xen1").run != EmulatedHost.of("/b", "xen2").run


def test_a_lab_reached_through_a_symlink_is_the_same(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "lab")
    assert EmulatedHost.of(tmp_path / "link", "xen1") == EmulatedHost.of(tmp_path / "lab", "xen1")


def test_a_half_written_record_is_none(host):
    (host.directory / "host.json").write_text('{"port": 22')
    assert host.record() == {}
    host.write_record({"port": 2222})
    assert host.record() == {"port": 2222}
    assert EmulatedHost.all(host.directory.parent.parent) == [host]


def test_the_consoles_end_is_plain_text(host):
    host.console_log.write_bytes(b"first\r\n" * 50 + b"\x1b[0m  OK  \xff\r\nlast\r\n")
    end = host.console_end(2)
    assert end.splitlines()[-1] == "last"
    assert "\x1b" not in end and "\r" not in end
    assert len(end.splitlines()) == 2


def test_hosts_of_both_kinds_may_have_one_name(tmp_path):
    assert EmulatedHost.of(tmp_path, "a").directory != SimulatedHost.of(tmp_path, "a").directory
    assert EmulatedHost.of(tmp_path, "a").images == SimulatedHost.of(tmp_path, "a").images


def test_the_snapshots_of_a_simulated_host(simulated):
    assert simulated.snapshots() == ["fresh"]
    simulated.saved.mkdir()
    (simulated.saved / "prepared.tar").touch()
    (simulated.saved / "half.new").touch()
    assert simulated.snapshots() == ["fresh", "prepared"]
    with pytest.raises(LabError, match="snapshot half, but it has fresh, prepared"):
        simulated.require_snapshot("half")
