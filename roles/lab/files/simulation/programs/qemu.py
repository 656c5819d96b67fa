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

import emulated_tpm  # noqa: E402

if not {"-xen-domid", "-d"} & set(sys.argv):
    if sys.argv[1:] == ["-tpmdev", "help"] and os.path.exists(emulated_tpm.HAS_TPM):
        sys.exit(print(emulated_tpm.HELP))
    os.execv(REAL, sys.argv)

import behaviours  # noqa: E402
from dom0_qemu import Dom0Qemu  # noqa: E402
from hypervisor import HypervisorLost  # noqa: E402

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError  # noqa: E402

os.umask(0o022)
try:
    qemu = Dom0Qemu(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: qemu.end())
    signal.signal(signal.SIGHUP, lambda *_: qemu.end())
    sys.exit(qemu.run())
except (XenError, HypervisorLost, behaviours.BehaviourError, OSError) as error:
    sys.exit(f"qemu-system-i386: {error}")
