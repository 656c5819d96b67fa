# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which QEMU of dom0 serves a guest, and whether it can emulate a TPM: asked of the binary itself, once for each."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.dryrun import CACHE_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

# Where libxl may have it; which of them it is was fixed when Xen was built.
QEMUS = (
    "/usr/libexec/xen-qemu-system-i386", "/usr/lib/xen-{0}.{1}/bin/qemu-system-i386", "/usr/lib/xen/bin/qemu-system-i386",
    "/usr/local/lib/xen/bin/qemu-system-i386", "/usr/libexec/xen/bin/qemu-system-i386", "/usr/bin/qemu-system-i386",
)  # fmt: skip
# What is asked of a QEMU, and the word in its answer. One without TPM does not know the option.
QUESTIONS = {"xen": (("-accel", "help"), "xen"), "tpm": (("-tpmdev", "help"), "emulator")}
WHAT = {"xen": "is built without Xen", "tpm": "has no emulated TPM"}
KEPT = f"{CACHE_DIR}/.qemu.json"  # no guest's name begins with a dot


def path_of(host: Any, version: tuple[int, int], told: Optional[str] = None) -> Optional[str]:
    """The QEMU that libxl starts. told: the guest's device_model.path. None: there is none where it is looked for."""
    return told or next((path for path in (found.format(*version) for found in QEMUS) if host.exists(path)), None)


async def check(host: Any, path: Optional[str]) -> None:
    """Raises XenError(no_tpm_emulator) for a QEMU that cannot serve a Xen guest and show it a TPM."""
    if path is not None and _kept(host).get(path) == (host.stamp(path) or None):
        return
    lack = await lacks(host, path)
    if lack:
        what = WHAT[lack[0]] if path and host.exists(path) else "is not there"
        raise XenError(
            "no_tpm_emulator",
            f"vtpm: the QEMU that would serve the guest ({path or 'where libxl looks'}) {what}",
            {"qemu": path, "lacks": lack},
            "name a QEMU that has both (--enable-xen, --enable-tpm) in device_model.path: of Debian 12 and 13 none does, as"
            " qemu-system-xen has no TPM and qemu-system-x86 no Xen; or have the TPM in a domain of its own: kind: stubdom",
        )


async def lacks(host: Any, path: Optional[str]) -> list[str]:
    """Of QUESTIONS' keys those that this QEMU has not."""
    if path is None or not host.exists(path):
        return list(QUESTIONS)
    return [key for key, (words, answer) in QUESTIONS.items() if not await _answers(host, [path, *words], answer)]


def keep(host: Any, path: Optional[str]) -> None:
    """Remembers of that very binary that check() had nothing against it. Where that fails QEMU is asked again next time."""
    kept, stamp = _kept(host), host.stamp(path) if path else ""
    if path and stamp and kept.get(path) != stamp:
        with contextlib.suppress(XenError):
            host.make_directory(CACHE_DIR)
            host.write_file(KEPT, json.dumps({**kept, path: stamp}))


def _kept(host: Any) -> dict[str, Any]:
    try:
        found = json.loads(host.read_file(KEPT) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _answers(host: Any, argv: list[str], word: str) -> bool:
    """A QEMU that is linked against what is not there has nothing."""
    done = await host.run(argv)
    return done.rc == 0 and word in (done.out + done.err).split()
