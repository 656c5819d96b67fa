# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of two hosts, the one where a guest is."""

from __future__ import annotations

from xenhost import Host


def runs(host: Host, name: str) -> bool:
    """Whether the guest has a domain there that has been let run."""
    lines = [line.split() for line in host.sh("xl list").splitlines()]
    return any(words[0] == name and words[4][2:4] == "--" for words in lines[1:])


def assert_only_on(host: Host, other: Host, name: str) -> None:
    assert (runs(host, name), runs(other, name)) == (True, False)
    assert name not in other.domains()
    assert host.sh(f"ls /etc/xen/{name}*.cfg") != "" and other.sh(f"ls /etc/xen/{name}*.cfg 2>/dev/null; true") == ""
    for one in (host, other):
        assert one.sh("ls -A /var/lib/stubdom.xen/saved 2>/dev/null; true") == ""
    notes = host.module("guest_handover", step="list")["told"]["notes"]
    assert [note for note in notes if note["name"] == name] == []
