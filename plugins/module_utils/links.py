# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of chains as they are at this moment, and whether they are true.

A node that says `running` is not enough. It must belong to the domain that is to write it, and whoever wrote it must
live: the node says that a device model started, not that it still runs, and in domain 0 it may be that of a dead guest
which had the same number. Which domain is whose is read only from nodes that are domain 0's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import emulator
from ansible_collections.stubdom.xen.plugins.module_utils.chains import HELD, Device, Link, Subject, chain, counts
from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable
from ansible_collections.stubdom.xen.plugins.module_utils.spec import vtpm_domain

VALUE_MAX = 1000  # of a node that a stubdomain wrote, in results
QMP_PATIENCE = 2.0  # seconds for a QEMU that is up to say so
BACK = re.compile(r"/local/domain/(\d{1,5})/backend/([a-z0-9_]+)/(\d{1,5})/\d+\Z")
PID_OF = re.compile(r"/local/domain/(\d+)/image/")


def target_node(stubdom: int) -> str:
    """Where libxl says which guest a stubdomain serves."""
    return f"/local/domain/{stubdom}/target"


def model_node(domid: int) -> str:
    """Where libxl says which stubdomain serves a guest."""
    return f"/local/domain/{domid}/image/device-model-domid"


def qemu_node(domid: int) -> str:
    """Where libxl keeps the process of the QEMU in dom0 that serves a guest."""
    return f"/local/domain/{domid}/image/device-model-pid"


class Seen(NamedTuple):
    """What there was of a link: the node's value and owner, and whether the reporter's process lives (None: unknown)."""

    value: Optional[str] = None
    owner: Optional[int] = None
    lives: Optional[bool] = None
    pid: Optional[int] = None


NOTHING = Seen()


def holds(link: Link, seen: Seen) -> bool:
    return link.met_by(seen.value, seen.owner) and seen.lives is not False


def paths_of(links: Iterable[Link]) -> list[str]:
    """The nodes that tell of these links."""
    return [path for link in links for path in ((link.path,) if link.is_node else ()) + (link.pid,) if path]


async def judged(host: Any, links: Sequence[Link], nodes: Mapping[str, Any], patience: Optional[float]) -> dict[Link, Seen]:
    """Every link as ``nodes`` tell. patience: seconds that a QEMU has to answer which has no node; None: it is not asked."""
    found: dict[Link, Seen] = {}
    for link in links:
        if link.socket:
            found[link] = _at_socket(host, link.path)
            continue
        pid = _pid(nodes.get(link.pid))
        lives = host.serves(pid, int(PID_OF.match(link.pid)[1])) if pid is not None else None  # type: ignore[index]
        value, owner = nodes.get(link.path, (None, None))
        if link.qmp and patience is not None:
            value = await host.query_status(link.path, host.now() + patience, link.want)
        found[link] = Seen(value, owner, lives, pid)
    return found


def _at_socket(host: Any, path: str) -> Seen:
    """Of a guest's TPM emulator: whether a QEMU holds its connection, and whether it lives."""
    name = path.rpartition("/")[2]
    seen, (pid, lives) = emulator.look(host, name), emulator.process(host, name)
    return Seen(HELD if seen.connected else ("listening" if seen.listens else None), 0, lives, pid)


def of_dom0(node: Any) -> Optional[str]:
    """The value of a node that is domain 0's own; another's is not believed. node: one of Xenstore.nodes(), or None."""
    return node.value if node and node.owner == 0 else None


def _pid(node: Any) -> Optional[int]:
    value = of_dom0(node) or ""
    return int(value) if re.fullmatch(r"[1-9]\d{0,9}", value) else None


def told(link: Link, seen: Seen) -> dict[str, Any]:
    """A link as it is, for a person. Its value is foreign text."""
    return {
        "link": link.name,
        "domain": link.reporter,
        "path": link.path,
        "want": link.wanted,
        "value": seen.value if seen.value is None else printable(seen.value, VALUE_MAX),
        "holds": holds(link, seen),
    }


def shown(link: Link, seen: Seen, after: Optional[float]) -> dict[str, Any]:
    """A link as results show it. after: seconds until it held; None where nobody watched it come up."""
    return {**told(link, seen), "after_s": None if after is None else round(after, 3)}


async def links_now(host: Any, subjects: Sequence[Subject]) -> list[tuple[dict[str, Any], ...]]:
    """The links of guests that are up, as they are at this moment, asked for at once."""
    chains = [chain(subject) for subject in subjects]
    everyone = [link for links in chains for link in links]
    seen = await judged(host, everyone, host.xenstore().nodes(paths_of(everyone)), QMP_PATIENCE)
    return [tuple(shown(link, seen[link], None) for link in links) for links in chains]


def with_devices(xenstore: Any, subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects with those of their devices that other domains serve, and these domains' own vTPM managers."""
    of = devices_of(xenstore, [subject.domid for subject in subjects])
    vtpms = {device.backend for devices in of.values() for device in devices if device.kind == "vtpm" and device.backend}
    managed = {domid: _managers(found) for domid, found in devices_of(xenstore, vtpms).items()}
    names = xenstore.read_many([f"/local/domain/{domid}/name" for domid in vtpms])
    called = {domid: names[f"/local/domain/{domid}/name"] for domid in vtpms}
    return [replace(s, devices=_in_order([_as_own(s, d, called) for d in of[s.domid]], managed)) for s in subjects]


def _as_own(subject: Subject, device: Device, names: Mapping[int, Optional[str]]) -> Device:
    """A TPM in the domain that this collection makes for the guest (vtpm.py). The name of a domain is domain 0's to say."""
    own = device.kind == "vtpm" and names.get(device.backend) == vtpm_domain(subject.name)
    return device._replace(kind="vtpm-stubdom") if own else device


def _in_order(devices: Sequence[Device], managed: Mapping[int, Sequence[Device]]) -> tuple[Device, ...]:
    """Who serves comes before whom it serves."""
    return tuple(d for device in devices for d in (*managed.get(device.backend, ()), device))


def _managers(devices: Iterable[Device]) -> tuple[Device, ...]:
    return tuple(device._replace(kind="vtpm-manager") for device in devices if device.kind == "vtpm")


def devices_of(xenstore: Any, domids: Iterable[int]) -> dict[int, tuple[Device, ...]]:
    """domid -> its devices that count, from libxl's own list, which no guest can write (4.7, and older with XSA-175)."""
    domids = list(domids)
    kinds = xenstore.ls_many([f"/libxl/{domid}/device" for domid in domids])
    places = xenstore.ls_many([f"{path}/{kind}" for path, found in kinds.items() for kind in found or ()])
    backs = xenstore.read_many([f"{path}/{devid}/backend" for path, found in places.items() for devid in found or ()])
    found: dict[int, list[Device]] = {domid: [] for domid in domids}
    for value in backs.values():
        back = BACK.match(value or "")
        if back and counts(back[2], int(back[1])) and int(back[3]) in found:
            found[int(back[3])].append(Device(back[2], int(back[1]), str(value)))
    return {domid: tuple(devices) for domid, devices in found.items()}
