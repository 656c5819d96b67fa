# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The direction of imports in plugins/module_utils, and who may touch the world: read off the sources, nothing is run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
HERE = "ansible_collections.stubdom.xen.plugins.module_utils"

# A file may import those in the rows above its own. A new file needs a place in here.
LAYERS = [
    ["errors", "masking", "paths", "saved", "tpmctl", "addresses"],
    ["spec", "causes", "progress"],
    ["fields", "vtpm"],
    ["swtpm"],
    ["emulator", "judges"],
    ["rules", "devices", "moves", "cfgtext"],
    ["disks"],
    ["xlcfg", "libxl", "xl"],
    ["xswire"],
    ["xsdial", "xsline"],
    ["xenstore"],
    ["chains", "order"],
    ["links"],
    ["readiness", "leaning"],
    ["placement"],
    ["state"],
    ["observe", "dryrun"],
    ["again", "explain", "unpause", "qemu", "manifest"],
    ["consoles", "ending"],
    ["compare", "policy", "purge"],
    ["intent", "admission"],
    ["steps"],
    ["live", "saving", "memory"],
    ["plan"],
    ["report", "tpm"],
    ["abilities", "ready", "survey", "change"],
    ["decide"],
    ["acts"],
    ["execute"],
    ["guestset", "transit"],
    ["leaving", "arriving"],
    ["moving"],
    ["waiting", "programs", "progress_file"],
    ["qmp", "sockets", "files", "processes"],
    ["host"],
    ["arguments", "entry"],
]

# What a file without the world may import: data, text and arithmetic.
PURE = {
    "__future__",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "errno",
    "functools",
    "graphlib",
    "hashlib",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "textwrap",
    "types",
    "typing",
    "unicodedata",
    "uuid",
}

# Only these files touch the world, and only through these modules. Never ansible itself, whose main() is the modules'.
WORLD = {
    "host": {"os", "time"},
    "files": {"glob", "os", "shutil", "stat"},  # host's: files
    "processes": {"os", "signal"},  # host's: processes
    "waiting": {"fcntl", "selectors", "time"},  # host's: where it waits
    "programs": {"os", "selectors", "threading"},  # host's: what it runs
    "qmp": {"glob", "os", "socket"},  # host's: QEMU's monitor
    "sockets": {"os", "socket"},  # host's: unix sockets
    "progress_file": {"os", "stat", "time"},  # host's: what it tells while a task runs
    "xenstore": {"time"},
    "xsdial": {"os", "pyxs", "socket", "stat"},  # xenstore's: the connection
    "xsline": {"os", "pyxs", "select", "stat"},  # xenstore's: what goes over it
    "xswire": {"pyxs"},  # the layout of packets, no connection
}

# Builtins that touch the world, or hide what is imported or run. print() would break the module's answer on stdout.
WORLDLY_CALLS = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}
FILES_OPENED_BY = ["files", "processes", "progress_file"]


def imports(source):
    """Every module that `source` imports, anywhere in it; names taken from module_utils itself count as modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = HERE if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module == HERE:
                yield from (f"{HERE}.{alias.name}" for alias in node.names)
            else:
                yield module


def calls(source):
    """Every plain name that is called."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def above(name):
    """The files that `name` may import."""
    for row, names in enumerate(LAYERS):
        if name in names:
            return {other for names in LAYERS[:row] for other in names}
    return set()


def offences(name, source):
    """What in the source of module_utils/<name>.py breaks the tables."""
    for module in imports(source):
        inside, _dot, other = module.rpartition(".")
        if inside == HERE:
            if other not in above(name):
                yield f"imports {other}, which is not above it"
        elif module.split(".")[0] not in PURE | WORLD.get(name, set()):
            yield f"imports {module}"
    for call in calls(source):
        if call in WORLDLY_CALLS and not (call == "open" and name in FILES_OPENED_BY):
            yield f"calls {call}()"


FILES = sorted((PLUGINS / "module_utils").glob("*.py"))
assert FILES, "no files: the test looks in the wrong place"


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_module_utils(path):
    if path.stem == "__init__":
        pytest.fail("collections have no __init__.py in module_utils")
    assert any(path.stem in names for names in LAYERS), f"give {path.name} a place in LAYERS"
    assert list(offences(path.stem, path.read_text(encoding="utf-8"))) == []


def test_all_python_of_module_utils_is_looked_at():
    assert sorted((PLUGINS / "module_utils").rglob("*.py")) == FILES


def test_only_modules_know_ansiblemodule():
    knowing = {
        path.relative_to(PLUGINS).parts[0]
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.alias) and node.name.endswith(("AnsibleModule", "module_utils.basic"))
    }
    assert knowing <= {"modules"}


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("plan", f"from {HERE}.spec import Guest\nimport json", []),
        ("plan", f"from {HERE} import spec, errors", []),
        ("spec", f"from {HERE}.plan import Plan", ["imports plan, which is not above it"]),
        ("spec", f"from {HERE} import errors, plan", ["imports plan, which is not above it"]),
        ("spec", f"import {HERE}.plan", ["imports plan, which is not above it"]),
        ("spec", "from .plan import Plan", ["imports plan, which is not above it"]),
        ("spec", "from . import plan", ["imports plan, which is not above it"]),
        ("spec", "def late():\n    from .plan import Plan", ["imports plan, which is not above it"]),
        ("xlcfg", "from .libxl import Domain", ["imports libxl, which is not above it"]),
        ("spec", "from .spec import Guest", ["imports spec, which is not above it"]),
        ("elsewhere", "from .errors import XenError", ["imports errors, which is not above it"]),
        ("plan", "import os.path", ["imports os.path"]),
        ("plan", "from time import sleep", ["imports time"]),
        ("plan", "import pyxs", ["imports pyxs"]),
        ("xswire", "from pyxs._internal import Op", []),
        ("xswire", "import socket", ["imports socket"]),
        ("xsdial", "import pyxs, socket, subprocess", ["imports subprocess"]),
        ("files", "import os, shutil\nopen('/x')", []),
        ("host", "from ansible.module_utils.basic import AnsibleModule", ["imports ansible.module_utils.basic"]),
        ("host", "import importlib", ["imports importlib"]),
        ("xenstore", "open('/x')", ["calls open()"]),
        ("plan", "with open('/x') as f: pass", ["calls open()"]),
        ("plan", "__import__('os')\nprint(1)", ["calls __import__()", "calls print()"]),
        ("plan", "re.compile('x')\nhost.open()", []),
    ],
)
def test_the_test_itself(name, source, expected):
    assert list(offences(name, source)) == expected
