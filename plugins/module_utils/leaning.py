# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests run, on which other domains each leans, and whether these still serve it: for who watches a host.

Known from the hypervisor's list and xenstore alone: no file is read, and no device model is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.chains import Link, Subject, chain
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.links import Seen, model_node, of_dom0, target_node, told, with_devices

DOMAINS = ("@introduceDomain", "@releaseDomain")
# A stubdomain of MiniOS has none, and none is needed once the guest runs.
ONLY_TO_START = ("qmp",)


def looked_at(xenstore: Any, domains: Sequence[Domain]) -> tuple[list[dict[str, Any]], set[str]]:
    """The guests of a host, and the paths whose change is news. domains: the hypervisor's list, just taken.

    A guest: {name, uuid, domid, up, paused, lost, links}. up: it has neither shut down nor crashed. lost: the numbers of the
    domains that it leans on and that do not live. links: {link, domain, path, want, value, holds} of those that other domains
    report. Raises XenError.
    """
    others = [d for d in domains if d.domid != 0 and not d.dying]
    nodes = xenstore.nodes([path for d in others for path in (target_node(d.domid), model_node(d.domid))])
    names = {d.name for d in others}
    guests = [d for d in others if of_dom0(nodes[target_node(d.domid)]) is None and not _to_be_a_stubdom(d, names)]
    subjects = with_devices(xenstore, [_subject(d, of_dom0(nodes[model_node(d.domid)])) for d in guests])
    links = {subject.domid: _links(subject) for subject in subjects}
    seen = xenstore.nodes([link.path for some in links.values() for link in some])
    alive = {d.domid for d in domains if d.alive}
    found = [_guest(d, links[d.domid], _leans_on(subject), seen, alive) for d, subject in zip(guests, subjects)]
    return found, {*DOMAINS, *seen, *(path for d in guests for path in (model_node(d.domid), f"/libxl/{d.domid}/device"))}


def _to_be_a_stubdom(domain: Domain, names: set[str]) -> bool:
    """libxl makes a stubdomain, which is called after its guest (libxl__stub_dm_name), before it says whom it serves."""
    return domain.name[-3:] == "-dm" and domain.name[:-3] in names and domain.paused and domain.never_ran


def _subject(domain: Domain, stubdom: Optional[str]) -> Subject:
    """Of which kind a stubdomain is does not matter here: each reports on the same path (Xen 4.6 and newer)."""
    served = int(stubdom) if stubdom and stubdom.isdigit() and int(stubdom) else None
    return Subject(domain.name, domain.uuid, domain.domid, "linux" if served else "none", served)


def _links(subject: Subject) -> list[Link]:
    return [link for link in chain(subject) if link.reporter != 0 and link.name not in ONLY_TO_START]


def _leans_on(subject: Subject) -> list[int]:
    stubdom = [subject.stubdom] if subject.stubdom is not None else []
    return [*stubdom, *(device.backend for device in subject.devices if device.backend)]


def _guest(
    domain: Domain, links: Iterable[Link], leans_on: Iterable[int], seen: Mapping[str, Any], alive: set[int]
) -> dict[str, Any]:
    return {
        "name": domain.name,
        "uuid": domain.uuid,
        "domid": domain.domid,
        "up": domain.alive,
        "paused": domain.paused,
        "lost": sorted(set(leans_on) - alive),
        "links": [told(link, Seen(seen[link.path].value, seen[link.path].owner)) for link in links],
    }
