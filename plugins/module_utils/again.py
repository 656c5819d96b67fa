# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking again at a guest whose domains are known: they alone are asked for, so that it costs as much on a full host.

`xl list` of everything reads a dozen nodes of every domain. Done after every step of every guest, that would grow with
the square of the number of guests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain, parse_list
from ansible_collections.stubdom.xen.plugins.module_utils.observe import look, read_stored, saved_files
from ansible_collections.stubdom.xen.plugins.module_utils.paths import auto_path
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.state import State, with_saved
from ansible_collections.stubdom.xen.plugins.module_utils.xl import failed

NOT_THERE = "does not exist"  # xl_list.c, main_list


async def these(host: Any, domids: Iterable[int]) -> tuple[Domain, ...]:
    """Of these domains those that exist, in any condition. Raises XenError(xl_failed)."""
    found: list[Domain] = []
    for domid in sorted(domids):
        words = ("list", "-v", str(domid))
        done = await host.run(["xl", *words])
        if done.rc == 0:
            found += parse_list(done.out)
        elif NOT_THERE not in done.err:
            raise failed(words, done)
    return tuple(found)


def own_domids(state: State) -> set[int]:
    """The numbers of a guest's own domains, as they were seen."""
    own = [d.domid for d in (state.domain, state.stubdom, *state.leftovers) if d is not None]
    return {*own, *([state.stubdom_domid] if state.stubdom_domid is not None else [])}


async def look_again(host: Any, state: State, domids: set[int]) -> State:
    """The guest once more, whose domains are these. Of the other domains ``state`` keeps what it knew."""
    others = tuple(d for d in state.domains if d.domid not in domids)
    return await look(host, state.name, others + await these(host, domids))


def reread(host: Any, state: State) -> State:
    """The guest after only its files have changed."""
    stored = read_stored(host, state.name)
    word = state.word if state.domain is not None else ("halted" if stored else "absent")
    bare = replace(
        state, stored=stored, autostart=bool(host.linked(auto_path(state.name))), word=word, saved=None, spent=(), foreign=None
    )
    if state.domain is None:  # what was told of it was in its saved file
        bare = replace(bare, config=None, live=None)
    return with_saved(bare, saved_files(host, state.name, host.find(f"{SAVE_DIR}/*")))


async def look_since(host: Any, name: str, domains: tuple[Domain, ...]) -> State:
    """The guest now, from a list that was taken a while ago: complete, unless a domain came that could be the guest's."""
    known = {str(d.domid) for d in domains}
    come = [d for d in host.xenstore().ls("/local/domain") or [] if d not in known]
    names = host.xenstore().read_many([f"/local/domain/{d}/name" for d in come])
    if {None, name, f"{name}-dm"} & set(names.values()):
        return await look(host, name)
    own = {d.domid for d in domains if d.domid and d.name in (name, f"{name}-dm")}
    others = tuple(d for d in domains if d.domid not in own)
    return await look(host, name, others + await these(host, own))
