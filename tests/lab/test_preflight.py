# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports and memory before a host starts."""

from __future__ import annotations

import os
import socket

import preflight
import pytest
from emulated import EmulatedHost
from layout import LabError


def test_a_port_in_use_is_refused_with_its_owner(host):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(LabError, match=rf"Port {port} .* in use by pid {os.getpid()} "):
            preflight.require_port(host, port)
    preflight.require_port(host, port)


def test_memory_that_is_not_there_is_refused(host):
    preflight.require_memory(host, 1)
    with pytest.raises(LabError, match="xen1 was to have 999999999 MiB"):
        preflight.require_memory(host, 999999999)


def test_disk_space_that_is_not_there_is_refused(host, monkeypatch):
    preflight.require_space(host)
    monkeypatch.setattr(preflight, "SPACE", 10**9)
    with pytest.raises(LabError, match="xen1 was to have 1000000000 MiB of disk"):
        preflight.require_space(host)


def test_a_host_keeps_its_port_and_new_ones_get_free_ones(host):
    second = EmulatedHost.of(host.directory.parent.parent, "xen2")
    second.directory.mkdir()
    second.write_record({"port": 2222})
    hosts = [second]
    assert preflight.choose_port(second, hosts, 4000) == 2222
    assert preflight.choose_port(host, hosts, 2222) == 2223
    assert preflight.choose_port(host, hosts, 3000) == 3000
