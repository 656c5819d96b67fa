# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's own parser makes of a configuration: `xl create -n`, and its answers kept for the same question.

The answer follows from the text, xl and xl.conf alone, so it can be kept beside a digest of the three: asking anew for
each of hundreds of guests would cost more than everything else that a task with nothing to do does. Nothing about a
guest is remembered here, and the directory may be emptied at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import parse_json, unclear

CACHE_DIR = "/var/cache/stubdom.xen"
CACHE_MAX = 1 << 20  # bytes read of a kept answer


class Parsed(NamedTuple):
    """libxl's JSON of a configuration. question: the digest to keep it under; None if it was kept already."""

    config: dict[str, Any]
    question: Optional[str]


async def parsed(host: Any, name: str, text: str, path: Optional[str] = None) -> Parsed:
    """What the host's own parser makes of a guest's configuration. Raises XenError(cfg_refused) where it refuses it.

    ``path``: a file that holds just this text, to spare writing one.
    """
    question = _question(host, text)
    kept = _kept(host, name, question)
    if kept is not None:
        return Parsed(kept, None)
    if path is not None:
        return Parsed(await _dry_run(host, path), question)
    with host.scratch(text) as scratch:
        return Parsed(await _dry_run(host, scratch), question)


def keep(host: Any, name: str, answer: Parsed) -> None:
    """Keeps an answer for the next task. It may hold secrets, as the guest's file does.

    Where it cannot be kept, as on a full disk, xl is asked again next time: that is no reason for a task to fail.
    """
    if answer.question is None:
        return
    with contextlib.suppress(XenError):
        host.make_directory(CACHE_DIR)
        host.write_file(_place(name), json.dumps({"question": answer.question, "config": answer.config}))


def drop(host: Any, name: str) -> None:
    host.remove(_place(name))


def _place(name: str) -> str:
    return f"{CACHE_DIR}/{name}.json"


def _question(host: Any, text: str) -> str:
    parts = (text, host.stamp("xl"), host.read_file("/etc/xen/xl.conf") or "")
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _kept(host: Any, name: str, question: str) -> Optional[dict[str, Any]]:
    try:
        found = json.loads(host.read_file(_place(name), CACHE_MAX) or "{}")
    except ValueError:
        return None
    config = found.get("config") if isinstance(found, dict) and found.get("question") == question else None
    return config if isinstance(config, dict) else None


async def _dry_run(host: Any, path: str) -> dict[str, Any]:
    done = await host.run(["xl", "create", "-n", path])
    if done.rc != 0:
        raise XenError(
            "cfg_refused",
            "this host's xl refuses the guest's configuration",
            printable(done.err, 2000),
            "the last line of the evidence names what xl did not take",
        )
    found = parse_json(done.out)
    if not isinstance(found, dict):
        raise unclear("`xl create -n` printed no configuration", printable(done.out, 500))
    return found
