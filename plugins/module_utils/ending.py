# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains that are to go: waiting for their end, on xenstore's word and, where nobody says it, by looking."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.again import these
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Waits

PATIENCE = 60.0  # seconds until a domain that is being destroyed has to be dying
PAGES_PATIENCE = 20.0  # seconds until a dying domain has to be out of the list: it is once nobody maps its pages
PAGES_PAUSE, PAGES_PAUSE_MAX = 0.05, 1.0  # seconds between two looks at it, growing


def is_over(domain: Optional[Domain]) -> bool:
    return domain is None or domain.dying


async def until_gone(host: Any, name: str, domids: set[int]) -> None:
    """Waits until the domains of a guest are gone, or for PATIENCE: what is left then is for the next look to see."""
    limit = host.now() + PATIENCE
    host.tell(partial(Waits, name, "end", host.now(), PATIENCE, "its domains are to go"))
    for domid in domids:
        await until(host, is_over, domid, limit)
    await _until_unmapped(host, domids)


async def _until_unmapped(host: Any, domids: set[int]) -> None:
    """A dying domain is there while anybody maps its pages, and no event tells its end: this looks, ever less often."""
    limit, pause = host.now() + PAGES_PATIENCE, PAGES_PAUSE
    while await these(host, domids) and host.now() < limit:
        await host.pause(pause)
        pause = min(2 * pause, PAGES_PAUSE_MAX)


async def until(host: Any, settled: Callable[[Optional[Domain]], bool], domid: int, limit: float) -> bool:
    """Looks at a domain whenever xenstore says that some domain went. Whether it was ``settled`` before the limit."""
    xenstore, token = host.xenstore(), f"gone-{domid}"
    xenstore.watch("@releaseDomain", token)
    try:
        while not settled(next(iter(await these(host, [domid])), None)):
            if await host.next_event(limit) is None:
                return False
        return True
    finally:
        xenstore.unwatch("@releaseDomain", token)
