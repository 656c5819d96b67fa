# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU in dom0, as libxl and xenstore see it: monitors, readiness, PV back ends, serial ports. It emulates nothing.

Lies over the real one, which still answers all questions that need no Xen, such as --version and -tpmdev help. As qemu-dm it is
qemu-traditional, which no Debian has: a host gets it by a link in /usr/lib/xen-4.17/bin.
"""

from __future__ import annotations

import os
import signal
import sys

HERE = "/usr/lib/xen-simulation"
sys.path.insert(0, HERE)
REAL = "/run/xen-simulation/real/xen-qemu-system-i386"

if not {"-xen-domid", "-d"} & set(sys.argv):
    os.execv(REAL, sys.argv)

import behaviours  # noqa: E402
from dom0_qemu import Dom0Qemu  # noqa: E402
from hypervisor import HypervisorLost  # noqa: E402

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError  # noqa: E402

os.umask(0o022)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
signal.signal(signal.SIGHUP, lambda *_: os._exit(0))
try:
    sys.exit(Dom0Qemu(sys.argv[1:]).run())
except (XenError, HypervisorLost, behaviours.BehaviourError, OSError) as error:
    sys.exit(f"qemu-system-i386: {error}")
