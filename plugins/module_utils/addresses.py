# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that a guest's agent reports in xenstore. The guest writes them: what is no address is left out.

Nor is one taken that cannot be a guest's on a network, such as 127.0.0.1: who connects to it would reach himself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any, Optional

# Below the guest's home; * is any name. xe-guest-utilities since 7 and the Windows agent (win-xenguestagent); older
# xe-guest-utilities; others.
PLACES = (
    ("attr", "vif", "*", "ipv4", "*"),
    ("attr", "vif", "*", "ipv6", "*"),
    ("attr", "*", "ip"),
    ("attr", "*", "ipv6", "*", "addr"),
    ("device", "vif", "*", "ip"),
)
MOST = 16  # names of one directory, and addresses of a guest: more are not looked at
NAME = re.compile(r"[A-Za-z0-9_@-]+\Z")


def reported(xenstore: Any, domids: Iterable[int]) -> dict[int, list[str]]:
    """domid -> the addresses that the domain reports, each once, as text in its shortest form. Raises XenError."""
    homes = {domid: f"/local/domain/{domid}" for domid in domids}
    paths: dict[int, list[str]] = {domid: [] for domid in homes}
    for place in PLACES:
        found = _expanded(xenstore, list(homes.values()), place)
        for domid, home in homes.items():
            paths[domid] += [path for path in found if path.startswith(f"{home}/")]
    values = xenstore.read_many([path for some in paths.values() for path in some])
    told = {domid: [address(values[path]) for path in some] for domid, some in paths.items()}
    return {domid: list(dict.fromkeys(one for one in some if one))[:MOST] for domid, some in told.items()}


def _expanded(xenstore: Any, bases: Sequence[str], place: Sequence[str]) -> list[str]:
    """The paths below ``bases`` that a place means; those without a * at the end may be absent."""
    paths = list(bases)
    for name in place:
        if name != "*":
            paths = [f"{path}/{name}" for path in paths]
            continue
        listed = xenstore.ls_many(paths)
        paths = [f"{path}/{child}" for path in paths for child in (listed[path] or ())[:MOST] if NAME.match(child)]
    return paths


def address(text: Optional[str]) -> Optional[str]:
    """An address that a guest may have on a network; None for any other text."""
    try:
        found = ipaddress.ip_address((text or "").strip())
    except ValueError:
        return None
    useless = found.is_unspecified or found.is_loopback or found.is_multicast or found.is_link_local
    return None if useless else str(found)
