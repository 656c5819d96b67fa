# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How libxl speaks with qemu-traditional: it writes the node `command`, and reads the answer in `state`.

docs/misc/stubdom.txt of Xen 4.14 to 4.20; libxl itself puts `running` back once it has read an answer.
"""

from __future__ import annotations

ANSWERS = {"save": "paused", "continue": "running", "pci-ins": "pci-inserted", "pci-rem": "pci-removed"}
