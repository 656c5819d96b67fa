# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every guest of a host as it is: its description as valid input, where it drifted, its chain, what remains of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import compare
from ansible_collections.stubdom.xen.plugins.module_utils.addresses import reported
from ansible_collections.stubdom.xen.plugins.module_utils.dryrun import parsed
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.links import target_node
from ansible_collections.stubdom.xen.plugins.module_utils.masking import hidden
from ansible_collections.stubdom.xen.plugins.module_utils.observe import links_of, listed, look_all
from ansible_collections.stubdom.xen.plugins.module_utils.paths import config_name, config_path
from ansible_collections.stubdom.xen.plugins.module_utils.report import guest_of, leftover, masked
from ansible_collections.stubdom.xen.plugins.module_utils.rules import check_name
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR, names_of
from ansible_collections.stubdom.xen.plugins.module_utils.spec import to_options
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import guest_served, is_one


async def survey(host: Any, names: Optional[Sequence[str]]) -> dict[str, Any]:
    """The guests called ``names`` (None: all there are), and the domains that serve nothing. Raises XenError."""
    for name in names or ():
        check_name(name)
    domains = await listed(host)
    stubdoms = _stubdoms(host, domains)
    wanted = sorted(set(names)) if names else sorted(_all_names(host, domains, set(stubdoms)))
    states = await look_all(host, wanted, domains)
    known = [(state, state.live or (state.stored.guest if state.stored else None)) for state in states.values()]
    links = await links_of(host, known)
    told = reported(host.xenstore(), [state.domain.domid for state in states.values() if state.domain and state.domain.alive])
    guests = [await _about(host, states[name], links.get(name, ()), told) for name in wanted]
    lost = [d for d in domains if stubdoms.get(d.domid) is not None and not _lives(stubdoms[d.domid], domains)]
    return {"guests": guests, "leftovers": [leftover(d) for d in lost]}


def _stubdoms(host: Any, domains: Sequence[Domain]) -> dict[int, int]:
    """domid of each stubdomain -> domid of its guest, from its `target` node (libxl_is_stubdom, 4.17)."""
    paths = {d.domid: target_node(d.domid) for d in domains if d.domid}
    found = host.xenstore().read_many(list(paths.values()))
    targets = {domid: found[path] for domid, path in paths.items()}
    return {domid: int(target) for domid, target in targets.items() if target is not None and target.isdigit()}


def _all_names(host: Any, domains: Sequence[Domain], stubdoms: set[int]) -> set[str]:
    """Guests that have a domain, and guests that have a file, or are in one."""
    running = {d.name for d in domains if d.domid != 0 and not d.dying and d.domid not in stubdoms}
    filed = {config_name(path) for path in host.find(config_path("*"))}
    return running | filed | names_of(host.find(f"{SAVE_DIR}/*"))


def _lives(domid: int, domains: Sequence[Domain]) -> bool:
    return any(d.domid == domid and not d.dying for d in domains)


async def _about(
    host: Any, state: State, links: Sequence[Mapping[str, Any]], told: Mapping[int, Sequence[str]]
) -> dict[str, Any]:
    about = guest_of(state, None)
    about.update(
        name=state.name,
        managed=bool(state.stored and state.stored.managed),
        stored=masked(to_options(state.stored.guest)) if state.stored and state.stored.guest else None,
        live=masked(to_options(state.live)) if state.live else None,
        drift=await _drift(host, state),
        queued=state.queued is not None,
        serves=guest_served(state.name) if state.stored and is_one(state.stored.guest) else None,
        addresses=list(told.get(state.domain.domid, ())) if state.domain else [],
        readiness=list(links),
        leftovers=[leftover(domain) for domain in state.leftovers],
    )
    return about


async def _drift(host: Any, state: State) -> list[dict[str, Any]]:
    """Where the running domain is otherwise than the guest's file says. A file that xl refuses is itself the drift."""
    if state.stored is None or state.stored.guest is None or state.config is None:
        return []
    try:
        config = (await parsed(host, state.name, state.stored.text, state.stored.path)).config
    except XenError as error:
        return [{"field": "file", "from": None, "to": None, "reason": error.msg}]
    changes = compare.live_changes(state.stored.guest, config, state.config, live=state.live)
    return [{"field": c.field, "live": hidden(c.field, c.before), "stored": hidden(c.field, c.after)} for c in changes]
