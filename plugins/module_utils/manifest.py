# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What role stubdom_image wrote beside the stubdomain's image: what it is made of, and what it is able to do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

FILE = "qemu-stubdom-linux.json"


def read(host: Any, folders: Iterable[str]) -> dict[str, Any]:
    """The manifest in the first of these directories that has one. Empty for an image of somebody's own, or a broken one."""
    found = next((text for folder in folders if (text := host.read_file(f"{folder}/{FILE}")) is not None), "{}")
    try:
        manifest = json.loads(found)
    except ValueError:
        return {}
    return manifest if isinstance(manifest, dict) else {}
