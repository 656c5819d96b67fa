# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Xen's toolstack has its files in dom0: a name for each directory, and for each file that several of ours speak of.

A distribution chooses where the images of domains are (XENFIRMWAREDIR in Xen's config/Paths.mk.in): the list has Debian's own
place first, then those of other distributions and of a Xen from source. What is this collection's own is with what uses it.
"""

from __future__ import annotations

CONFIG_DIR, AUTO_DIR, USERDATA_DIR, LOG_DIR = "/etc/xen", "/etc/xen/auto", "/var/lib/xen", "/var/log/xen"
FIRMWARE_DIRS = ("/usr/lib/xen-{0}.{1}/boot", "/usr/libexec/xen/boot", "/usr/lib/xen/boot", "/usr/local/lib/xen/boot")


def firmware_dirs(version: tuple[int, int]) -> list[str]:
    """Where libxl of that Xen may have the images of its domains."""
    return [folder.format(*version) for folder in FIRMWARE_DIRS]


def config_path(name: str) -> str:
    return f"{CONFIG_DIR}/{name}.cfg"


def config_name(path: str) -> str:
    """The guest whose file that is: ``config_name(config_path(name)) == name``."""
    return path.rsplit("/", 1)[1][: -len(".cfg")]


def auto_path(name: str) -> str:
    """What has the guest started with the host, if it is there (xendomains)."""
    return f"{AUTO_DIR}/{name}.cfg"


def xl_log_path(name: str) -> str:
    """What xl's monitor of the guest writes down (xl: create_domain names it)."""
    return f"{LOG_DIR}/xl-{name}.log"
