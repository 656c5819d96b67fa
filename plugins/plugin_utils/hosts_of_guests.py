# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What Xen hosts told of their guests, as hosts of an inventory: their names and variables. Pure.

A guest may have written any of it, and so may a Xen host that is not what it was: all text is without control characters,
no address is taken that is none, and no name takes the place of a host that is another machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.addresses import address
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.spec import parse_size

LONGEST = 65536  # characters of one text
LOCAL = ("localhost", "127.0.0.1", "::1")  # to Ansible, the controller
ANY = ("all", "ungrouped")  # groups of every inventory
# A name that is neither a pattern, an option of ssh, nor a template. A guest that is called otherwise goes by its UUID here.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\Z")
# ssh would take web@xen1 for user web of xen1, which is the Xen host. This name is nobody's (RFC 2606).
NOWHERE = "no-address-known.invalid"
# Variable without its prefix -> where guest_info tells it, from the guest on; a missing one is None.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "state": ("state",),
    "domid": ("domid",),
    "uuid": ("uuid",),
    "type": ("spec", "type"),
    "vcpus": ("spec", "vcpus"),
    "stubdom": ("stubdom",),
    "vtpm": ("vtpm",),
    "serves": ("serves",),
    "managed": ("managed",),
    "drift": ("drift",),
    "readiness": ("readiness",),
    "spec": ("spec",),
}
# What a guest may be called by, from its variables.
NAMES = {"name": "{xen_name}", "name@host": "{xen_name}@{xen_host}", "uuid": "{xen_uuid}"}
LAST_RESORT = ("name@host", "uuid")


class Named(NamedTuple):
    """hosts: name in the inventory -> variables. remarks: what a person should know, for a warning each."""

    hosts: dict[str, dict[str, Any]]
    remarks: list[str]


def guests_in(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The guests in a result of guest_info, as far as it is one."""
    guests = result.get("guests")
    return [clean(guest) for guest in guests if isinstance(guest, Mapping)] if isinstance(guests, list) else []


def clean(foreign: Any) -> Any:
    """Data of JSON with no control character in any text, be it a key."""
    if isinstance(foreign, str):
        return printable(foreign, LONGEST)
    if isinstance(foreign, Mapping):
        return {line(key): clean(value) for key, value in foreign.items()}
    if isinstance(foreign, (list, tuple)):
        return [clean(value) for value in foreign]
    return foreign


def line(foreign: Any) -> str:
    """Foreign text on one line."""
    return " ".join(printable(str(foreign), LONGEST).split())


def variables(xen_host: str, guest: Mapping[str, Any], prefer: Sequence[str] = ()) -> dict[str, Any]:
    """The variables of a guest, as guests_in() gives it. prefer: whose word on its address is taken, in this order."""
    found = {f"xen_{name}": _at(guest, path) for name, path in FIELDS.items()}
    found["xen_host"] = xen_host
    found["xen_name"] = line(found["xen_name"] or "")
    found["xen_memory"] = _bytes(_at(guest, ("spec", "memory")))
    found["xen_degraded"] = guest.get("state") == "degraded"
    found["xen_addresses"] = {"described": _described(guest), "reported": _reported(guest)}
    first = next((one for who in prefer for one in found["xen_addresses"][who]), None)
    return {**found, "ansible_host": first} if first else found


def named(guests: Iterable[Mapping[str, Any]], prefer: Sequence[str], taken: Collection[str], others: Collection[str]) -> Named:
    """Each guest's variables by a name that no other one has.

    prefer: keys of NAMES. taken: names of hosts and groups that are no guests. others: hosts that may be guests, which somebody
    described beside this; a guest is never one of them unless the caller leaves them out.
    """
    guests = list(guests)
    used = {*taken, *others, *LOCAL, *ANY}
    hosts: dict[str, dict[str, Any]] = {}
    remarks: list[str] = []
    ways = [*prefer, *(way for way in LAST_RESORT if way not in prefer)]
    free = {way: Counter(_called(guest, way) for guest in guests) for way in ways}
    for guest in guests:
        name = next(
            (n for way in ways if (n := _called(guest, way)) and free[way][n] == 1 and n not in used and n not in hosts), None
        )
        if name is None:
            remarks.append(f"guest {guest['xen_name']!r} of {guest['xen_host']} is left out: it has no name of its own")
            continue
        wished = _called(guest, ways[0])
        if wished in used:
            remarks.append(f"guest {guest['xen_name']!r} of {guest['xen_host']} is called {name!r}: {wished!r} is something else")
        hosts[name] = {"ansible_host": NOWHERE, **guest} if name != guest["xen_name"] else dict(guest)
    return Named(hosts, remarks)


def _called(guest: Mapping[str, Any], way: str) -> Optional[str]:
    """None where what makes up the name is missing, or is no plain name."""
    part = str(guest["xen_uuid" if way == "uuid" else "xen_name"] or "")
    return NAMES[way].format(**guest) if PLAIN.match(part) else None


def _bytes(size: Any) -> Optional[int]:
    try:
        return parse_size(size, "memory")
    except XenError:
        return None


def _at(guest: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = guest
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _described(guest: Mapping[str, Any]) -> list[str]:
    """The addresses in the guest's description; `ip` of a nic is a list with spaces between, with or without a length."""
    nics = _at(guest, ("spec", "nics"))
    texts = [nic.get("ip") for nic in nics if isinstance(nic, Mapping)] if isinstance(nics, list) else []
    words = [word for text in texts if isinstance(text, str) for word in text.replace(",", " ").split()]
    return list(dict.fromkeys(one for word in words if (one := address(_without_length(word)))))


def _without_length(word: str) -> Optional[str]:
    try:
        return str(ipaddress.ip_interface(word).ip)
    except ValueError:
        return None


def _reported(guest: Mapping[str, Any]) -> list[str]:
    """The addresses that the guest itself told: of its host's word too nothing is taken that is no address."""
    told = guest.get("addresses")
    found = [address(one) for one in told if isinstance(one, str)] if isinstance(told, list) else []
    return list(dict.fromkeys(one for one in found if one))
