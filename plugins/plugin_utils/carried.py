# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Python program with plugins/module_utils as one text, for `python3 -` on another machine: nothing is installed there.

`python3 -` has no character that a shell would take for its own, whatever shells are on the way.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

PACKAGE = "ansible_collections.stubdom.xen.plugins.module_utils"
PROGRAM = """
import base64, importlib.abc, importlib.util, json, sys, zlib
SOURCES = json.loads(zlib.decompress(base64.b64decode("{sources}")))
class Carried(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        known = name in SOURCES
        return importlib.util.spec_from_loader(name, self, is_package=SOURCES[name] is None) if known else None
    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__] or "", module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Carried())
sys.argv = {argv!r}
exec(compile(SOURCES["__main__"], "{name}", "exec"), {{"__name__": "__main__"}})
"""


def program(root: Path, main: str, arguments: list[str]) -> bytes:
    """The program ``main``, a path below ``root``, which is the collection's. A module is compiled only where it is imported."""
    parts = PACKAGE.split(".")
    sources: dict[str, str | None] = {".".join(parts[:n]): None for n in range(1, len(parts) + 1)}
    for path in sorted((root / "plugins/module_utils").glob("*.py")):
        sources[f"{PACKAGE}.{path.stem}"] = path.read_text(encoding="utf-8")
    sources["__main__"] = (root / main).read_text(encoding="utf-8")
    packed = base64.b64encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
    return PROGRAM.format(sources=packed, argv=[main, *arguments], name=main).encode()
