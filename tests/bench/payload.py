# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends to a host for one task: the module with all that it imports, wrapped up."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar


def wrapped(module: str, arguments: dict[str, Any]) -> bytes:
    """The very bytes that go through ssh, made by Ansible itself with its default compression."""
    init_plugin_loader()
    found = module_loader.find_plugin_with_context(module)
    built = modify_module(
        module_name=found.resolved_fqcn,
        module_path=found.plugin_resolved_path,
        module_args=arguments,
        templar=Templar(DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
        module_compression="ZIP_DEFLATED",
    )
    return bytes(built.b_module_data)


def unwrapped(payload: bytes, path: Path) -> None:
    """Write the zip archive in a payload to a file: what Python imports from on the host."""
    found = re.search(rb"zip_data='([A-Za-z0-9+/=]+)'", payload)
    if found is None:
        raise SystemExit("Ansible's wrapper has no zip_data where this looks for it: another version than the pinned one?")
    path.write_bytes(base64.b64decode(found.group(1)))
