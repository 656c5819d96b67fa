# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""xl asked for what it only shows. There its exit code counts: what changes a guest is judged by the guest (execute.py)."""

from __future__ import annotations

from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable

NO_DOM0 = "role stubdom.xen.host says what is missing on this machine; run that command by hand: it only looks"


async def said(host: Any, *words: str) -> str:
    """What `xl WORDS` prints. Raises XenError(xl_failed)."""
    done = await host.run(["xl", *words])
    if done.rc != 0:
        raise failed(words, done)
    return str(done.out)


def failed(words: tuple[str, ...], done: Any) -> XenError:
    """The error for a command that ended with another exit code than 0."""
    msg = f"`xl {' '.join(words)}` failed: is this a dom0, and does xenstored run?"
    return XenError("xl_failed", msg, printable(done.err, 1000), NO_DOM0)
