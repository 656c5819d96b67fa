# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that plays guests inside a simulated host, as a layer of its own, made once for all hosts.

Not part of the image, so that a change here costs no build. Compiled ahead, with the host's Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tools import run

FILES = Path(__file__).resolve().parents[1]
COLLECTION = FILES.parents[2]
PLACE = "usr/lib/xen-simulation"
# The collection's xenstore client, which the simulation speaks by, under its own name.
MODULES = "plugins/module_utils"
CLIENT = [f"{MODULES}/{name}.py" for name in ("errors", "xswire", "xsdial", "xsline", "xenstore")]
NAMESPACE = "ansible_collections/stubdom/xen"


def layer(images: Path, rootfs: Path) -> Path:
    """The layer for hosts on this rootfs; what it is made from is in its name."""
    sources = _sources()
    digest = hashlib.sha256(str(rootfs).encode())
    for inside, path in sorted(sources.items()):
        digest.update(f"\0{inside}\0".encode() + path.read_bytes())
    made = images / f"program-{digest.hexdigest()[:16]}"
    if not made.exists():
        _make(made, sources, rootfs)
    return made


def _sources() -> dict[str, Path]:
    """Path in the layer -> file."""
    simulation = FILES / "simulation"
    own = {
        f"{PLACE}/{path.relative_to(simulation)}": path
        for path in simulation.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {**own, **{f"{PLACE}/{NAMESPACE}/{name}": COLLECTION / name for name in CLIENT}}


def _make(made: Path, sources: dict[str, Path], rootfs: Path) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".program-", dir=made.parent))
    partial.chmod(0o755)
    for inside, path in sources.items():
        (partial / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, partial / inside)
    compile_ = 'mount --bind "$1" "$2/mnt" && chroot "$2" python3 -m compileall -q -s /mnt -p / "/mnt/$3"'
    run("unshare", "--mount", "sh", "-c", compile_, "sh", str(partial), str(rootfs), PLACE)
    try:
        os.rename(partial, made)
    except OSError:  # another run was faster
        shutil.rmtree(partial)
