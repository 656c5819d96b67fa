# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images in LAB_DIR/images, which all hosts share: which of them are of no more use."""

from __future__ import annotations

import shutil
import time
from collections.abc import Container, Iterable
from pathlib import Path

# The file system that images of both kinds are made from. Each image has a link to its own.
ROOTFS = "rootfs"
# Seconds within which a build that has made a rootfs has begun with what it is for.
YOUNG = 3600


def prune(images: Path, patterns: Iterable[str], wanted: Container[str]) -> list[str]:
    """Remove the images of these patterns that are not wanted, then each rootfs that no image is made from."""
    unused = [path for pattern in patterns for path in images.glob(pattern) if path.name not in wanted]
    for path in unused:
        shutil.rmtree(path)
    used = {link.resolve().name for link in [*images.glob(f"*/{ROOTFS}"), *images.glob(f".build-*/{ROOTFS}")]}
    bare = [path for path in images.glob(f"{ROOTFS}-*") if path.name not in used and time.time() - path.stat().st_mtime > YOUNG]
    for path in bare:
        shutil.rmtree(path)
    return sorted(path.name for path in unused + bare)
