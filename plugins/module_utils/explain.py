# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failure told in full: the end of the right logs beside what was observed."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.observe import LOG_DIR

LOG_PATIENCE, LOG_PAUSE = 1.0, 0.05  # seconds: how long, and how often, an empty log is looked at


async def explained(host: Any, name: str, error: XenError) -> XenError:
    """The error with the ends of the logs that may hold the reason: the silent reporter's, and the device model's own."""
    evidence = dict(error.evidence) if isinstance(error.evidence, dict) else {"observed": error.evidence}
    reporters, own = evidence.pop("log", None), f"{LOG_DIR}/qemu-dm-{name}.log"
    tails = {f"{LOG_DIR}/{reporters}": await _tail_soon(host, f"{LOG_DIR}/{reporters}")} if reporters else {}
    tails.setdefault(own, host.tail(own))
    evidence["logs"] = [{"path": path, "tail": tail} for path, tail in tails.items() if tail]
    return XenError(error.code, error.msg, evidence, error.hint)


async def _tail_soon(host: Any, path: str) -> Optional[str]:
    """The end of a log, whose writer is another process and may be a moment behind the news of the failure."""
    deadline = host.now() + LOG_PATIENCE
    while not (tail := host.tail(path)) and host.now() < deadline:
        await host.pause(LOG_PAUSE)
    return str(tail) if tail else None
