# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place of this collection that lets a guest run: past its chain, or not at all.

On Xen 4.5.0 nobody else waits: not libxl, and not the hypervisor, which holds such guests in 4.5.1 to 4.5.5.
"""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.readiness import Proof

PATIENCE = 80.0  # seconds: libxl itself waits 60 for a device model's monitor


async def unpause(host: Any, name: str, domain: Domain, proof: Optional[Proof]) -> None:
    """`xl unpause`, with the proof that the chain held for this very domain. Raises XenError(not_ready) without one.

    Whether the guest runs then is for the caller to see: xl exits with 0 also where it failed.
    """
    if proof is None or (proof.domid, proof.uuid) != (domain.domid, domain.uuid):
        raise XenError(
            "not_ready",
            f"guest {name}: not unpaused, its readiness chain was not seen to hold for this domain",
            {"proof_of": proof.domid if proof else None, "domid": domain.domid},
            "somebody made the guest anew meanwhile: run again",
        )
    await host.run(["xl", "unpause", str(domain.domid)], PATIENCE)
