# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a Linux stubdomain has to be given so that it comes up where a newer QEMU serves its consoles from dom0.

Seen with QEMU 10.0 of Debian 13; QEMU's hw/char/xen_console.c became a device of a new kind in 8.2:
* Its first console is not connected, and a kernel that writes more than the 2 KiB of its ring stands still.
* Its third console is refused where there is no serial port of that number. The kernel waits 30 s for it, which is just
  how long libxl waits for the stubdomain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils import manifest
from ansible_collections.stubdom.xen.plugins.module_utils.fields import BY_OPTION
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info
from ansible_collections.stubdom.xen.plugins.module_utils.paths import FIRMWARE_DIRS, firmware_dirs
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest

SINCE = (8, 2)
QUIET = "quiet loglevel=0"
SERIAL = "device_model_args_pv"  # goes to the QEMU in dom0 that serves the stubdomain, which is a pv domain
PORTS = ("-serial", "null") * 3


async def fitted(host: Any, wanted: Guest) -> Guest:
    """The guest with what its stubdomain needs on this host, where the description leaves it open.

    Raises XenError(xl_failed) where there is no Xen.
    """
    if wanted.stubdom.type != "linux" or (wanted.stubdom.cmdline and SERIAL in wanted.extra_config):
        return wanted
    if not any(_new(manifest.read(host, [folder])) for folder in _everywhere(host)):
        return wanted  # without a process: a set of guests comes by here for each of them
    xen = (await info(host)).version
    if not _new(manifest.read(host, firmware_dirs(xen))):
        return wanted
    since = BY_OPTION["stubdom.cmdline"].since or xen
    cmdline = wanted.stubdom.cmdline or (QUIET if xen >= since else None)
    extra = {SERIAL: list(PORTS), **wanted.extra_config}
    return replace(wanted, stubdom=replace(wanted.stubdom, cmdline=cmdline), extra_config=extra)


def _everywhere(host: Any) -> list[str]:
    """The directories with a manifest, of whichever Xen: several can be installed beside each other."""
    found = [host.find(f"{folder.format('*', '*')}/{manifest.FILE}") for folder in FIRMWARE_DIRS]
    return [path.rpartition("/")[0] for paths in found for path in paths]


def _new(about: Mapping[str, Any]) -> bool:
    """Whether the host's QEMU was of such a version when the image was built from it. Of somebody's own image nobody knows."""
    versions = about.get("versions")
    said = str(versions.get("qemu")) if isinstance(versions, Mapping) else ""
    found = re.search(r"\bversion (\d+)\.(\d+)", said)
    return found is not None and tuple(int(number) for number in found.groups()) >= SINCE
