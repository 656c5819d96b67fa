# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failure told in full: the end of the right logs beside what was observed, and its cause where that is a known one."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.causes import recognise
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.paths import LOG_DIR

LOG_PATIENCE, LOG_PAUSE = 1.0, 0.05  # seconds: how long, and how often, an empty log is looked at


async def explained(host: Any, name: str, error: XenError) -> XenError:
    """The error with the ends of the logs that may hold the reason: the silent reporter's, the device model's, its helper's."""
    evidence = dict(error.evidence) if isinstance(error.evidence, dict) else {"observed": error.evidence}
    reporters, own, helper = evidence.pop("log", None), *(f"{LOG_DIR}/qemu-dm-{name}{dm}.log" for dm in ("", "-dm"))
    tails = {f"{LOG_DIR}/{reporters}": await _tail_soon(host, f"{LOG_DIR}/{reporters}")} if reporters else {}
    for path in (own, helper):
        tails.setdefault(path, host.tail(path))
    evidence["logs"] = [{"path": path, "tail": tail} for path, tail in tails.items() if tail]
    return named(XenError(error.code, error.msg, evidence, error.hint))


def named(error: XenError) -> XenError:
    """The error with its cause first, where it or its evidence tells of a known one: what was seen is what follows from that."""
    evidence = dict(error.evidence)
    texts = [error.msg, str(evidence.get("said", "")), *(log["tail"] for log in evidence.get("logs", ()))]
    waited = error.code == "readiness_timeout"  # else the first link that did not hold is often just what had not come yet
    cause = recognise(texts, evidence.get("link") if waited else None)
    if cause is None:
        return XenError(error.code, error.msg, evidence, error.hint)
    evidence["cause"] = cause.name
    return XenError(error.code, f"{cause.what} {error.msg}", evidence, "; ".join(filter(None, (cause.hint, error.hint))))


async def _tail_soon(host: Any, path: str) -> Optional[str]:
    """The end of a log, whose writer is another process and may be a moment behind the news of the failure."""
    deadline = host.now() + LOG_PATIENCE
    while not (tail := host.tail(path)) and host.now() < deadline:
        await host.pause(LOG_PAUSE)
    return str(tail) if tail else None
