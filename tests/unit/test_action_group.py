# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module is in the action group, so that module_defaults for group/stubdom.xen.xen reach all of them."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py") if path.stem != "__init__")
FRAGMENT = "stubdom.xen.attributes.actiongroup_xen"


def test_the_group_is_the_modules():
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]["xen"]
    assert group == MODULES, "meta/runtime.yml, action group xen, against plugins/modules, in alphabetical order"


def test_the_documentation_says_so():
    sources = {name: (ROOT / "plugins" / "modules" / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    silent = [name for name, source in sources.items() if f"- {FRAGMENT}\n" not in source]
    assert not silent, f"add {FRAGMENT} to extends_documentation_fragment of these modules"
