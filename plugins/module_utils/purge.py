# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests of a host may be taken away because nobody describes them any more: ours alone, and not many at once. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import guest_served, is_one


def purgeable(states: Mapping[str, State], described: Collection[str]) -> list[str]:
    """Of these guests those that are ours and that nobody describes.

    A domain that holds the TPM of one of them goes with that guest, and is none by itself.
    """
    return [name for name, state in states.items() if name not in described and _is_ours(state) and not _serves(state, states)]


def _is_ours(state: State) -> bool:
    """Whether its file bears our mark, and its domain, if it has one, is the one of that file."""
    if state.stored is None or not state.stored.managed or state.stored.guest is None:
        return False
    return state.domain is None or state.domain.uuid == state.stored.guest.uuid


def _serves(state: State, states: Mapping[str, State]) -> bool:
    guest = state.stored.guest if state.stored else None
    return is_one(guest) and guest_served(state.name) in states


def refuse_many(names: Sequence[str], limit: int) -> None:
    """Raises XenError(purge_limit) where more guests would go than the task allows."""
    if len(names) > limit:
        raise XenError(
            "purge_limit",
            f"purge: {len(names)} guests are described no more, purge_limit allows {limit}: {', '.join(names)}",
            {"guests": list(names), "limit": limit},
            "are they really to go? then raise purge_limit; if not, is the description of this host whole?",
        )
