# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Xen's toolstack has its files in dom0: xl(1), and the paths that Xen 4.4 to 4.22 is built with (config/Paths.mk.in).

What is this collection's own is where it is used: saved.py, moves.py, swtpm.py, vtpm.py.
"""

from __future__ import annotations

CONFIG_DIR, AUTO_DIR, USERDATA_DIR, LOG_DIR = "/etc/xen", "/etc/xen/auto", "/var/lib/xen", "/var/log/xen"
FIRMWARE_DIRS = ("/usr/lib/xen-{0}.{1}/boot", "/usr/libexec/xen/boot", "/usr/lib/xen/boot", "/usr/local/lib/xen/boot")
