# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this Xen host can really run: asked of its hypervisor, its files and its QEMU, not guessed from versions alone."""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.admission import (
    FIRST_LINUX,
    LAST_TRADITIONAL,
    STUBDOM_FILES,
    stubdom_files,
)
from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import HostInfo
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info, listed
from ansible_collections.stubdom.xen.plugins.module_utils.paths import firmware_dirs
from ansible_collections.stubdom.xen.plugins.module_utils.qemu import lacks, path_of
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import PROGRAM

TRADITIONAL = "qemu-dm"


async def abilities(host: Any) -> dict[str, Any]:
    """The result of module host_info. Raises XenError(xl_failed) where there is no Xen."""
    about = await info(host)
    qemu = path_of(host, about.version)
    return {
        "xen": {"version": about.raw.get("xen_version", ""), "major": about.version[0], "minor": about.version[1],
                "commandline": about.commandline, "scheduler": about.raw.get("xen_scheduler", "")},
        "toolstack": "xl",
        "memory": {"total": about.total_memory, "free": about.free_memory},
        "cpus": about.cpus,
        "domains": len(await listed(host)),
        "guest_types": _guest_types(about),
        "device_models": await _device_models(host, about, qemu),
        "stubdoms": _stubdoms(host, about),
        "tpm": {"emulator": "tpm" not in await lacks(host, qemu), "swtpm": bool(host.stamp(PROGRAM))},
    }  # fmt: skip


def _first(host: Any, paths: list[str]) -> Optional[str]:
    return next((path for path in paths if host.exists(path)), None)


def _guest_types(about: HostInfo) -> list[str]:
    """pv and hvm as the hypervisor says; pvh wants what hvm wants (Xen 4.10 and newer)."""
    types = [kind for kind in ("pv", "hvm") if kind in about.capabilities]
    return types + (["pvh"] if "hvm" in types and about.version >= (4, 10) else [])


async def _device_models(host: Any, about: HostInfo, qemu: Optional[str]) -> dict[str, Any]:
    old = _first(host, [f"{folder.rsplit('/', 1)[0]}/bin/{TRADITIONAL}" for folder in firmware_dirs(about.version)])
    found: dict[str, Any] = {}
    if qemu:
        done = await host.run([qemu, "--version"])
        found["qemu_xen"] = {"path": qemu, "version": printable(done.out.split("\n", 1)[0], 200)}
    if old and about.version <= LAST_TRADITIONAL:
        found["qemu_xen_traditional"] = {"path": old, "version": ""}
    return found


def _stubdoms(host: Any, about: HostInfo) -> dict[str, Any]:
    """Each kind: whether this host can run it, and what it lacks."""
    known = {"linux": about.version >= FIRST_LINUX, "minios": about.version <= LAST_TRADITIONAL}
    found: dict[str, Any] = {}
    for kind, names in STUBDOM_FILES.items():
        missing = [name for name in names if name not in stubdom_files(host, kind, about)]
        lacks = missing if known[kind] else [f"Xen {about.version[0]}.{about.version[1]} has no {kind} stubdomains"]
        found[kind] = {"usable": not lacks and "hvm" in about.capabilities, "missing": lacks}
    return found
