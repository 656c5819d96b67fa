# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain that holds a guest's TPM, of the image of role vtpm: it says that it serves, or why it never will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hypervisor
from behaviours import Part
from guest import Guest

OWN_WORD = "vtpm.version="  # on its kernel's command line


class TpmDomain(Guest):
    """Its back ends serve when it has reported."""

    def __init__(self, world: Any, domid: int, name: str, behaves: Mapping[str, Part]) -> None:
        super().__init__(world, domid, name, behaves)
        self.plan = behaves["vtpm"]

    def start(self) -> None:
        plan = self.plan
        if plan["fails"] is not None:
            self.later(plan["ready_after"], lambda: self._fail(plan["fails"]))
        elif plan["ready"] == "own":
            self.later(plan["ready_after"], self._serve)

    def _serve(self) -> None:
        self._boot()
        self.world.stores.write(self.domid, f"{self.home}/data/vtpm-state", "running")

    def _fail(self, reason: str) -> None:
        self.world.stores.write(self.domid, f"{self.home}/data/stubdom-error", reason)
        self.say(f"vtpm: {reason}")
        self.world.hypervisor.shutdown(self.domid, hypervisor.POWEROFF)


def is_one(store: Any, domid: int) -> bool:
    """As libxl tells of a PV domain; to look for the command line in every domain's memory would take seconds."""
    vm = store.read(f"/local/domain/{domid}/vm")
    told = store.read(f"{vm}/image/cmdline") if vm else None
    return any(word.startswith(OWN_WORD) for word in (told or "").split())
