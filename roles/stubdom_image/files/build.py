# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a Linux stubdomain: the QEMU that this host's libxl runs, and what its init works with.

Comes after image.py on the standard input of a Python on the Xen host.
"""

import glob
import os
import stat

import image

NAME = "qemu-stubdom-linux"  # as libxl (Xen >= 4.14) looks for its files
MODULES = {
    "base": ["xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs", "xen-blkfront"],
    "network": ["xen-netfront", "tun", "bridge"],
    "swap": ["zram"],
}
APPLETS = [
    "brctl",
    "cat",
    "cpio",
    "dmesg",
    "grep",
    "gunzip",
    "head",
    "insmod",
    "ip",
    "ls",
    "mkswap",
    "mount",
    "poweroff",
    "printf",
    "rm",
    "sed",
    "sh",
    "sleep",
    "sort",
    "swapon",
    "tail",
    "timeout",
    "tr",
    "tunctl",
    "wc",
]
# Of QEMU's data: option ROMs of the display adapters and NICs, and what -vnc needs. The BIOS comes from hvmloader.
QEMU_DATA = ["vgabios*.bin", "kvmvapic.bin", "efi-*.rom", "keymaps/*"]


def qemu_data(qemu):
    """QEMU's data files under the paths where that QEMU looks for them."""
    entries = {}
    for directory in filter(os.path.isdir, image.run([qemu, "-L", "help"]).split()):
        image.LOOKED_AT[directory] = image.stamp(os.stat(directory))
        for path in sorted(p for pattern in QEMU_DATA for p in glob.glob(os.path.join(directory, pattern))):
            if os.path.isfile(path):
                entries[image.inside(path)] = (stat.S_IFREG | 0o644, image.read(path))
    if not any("vgabios" in path for path in entries):
        raise image.Missing("no vgabios*.bin in QEMU's data directories: install seabios")
    return entries


def gather(options):
    """Everything the image is made of, as Parts."""
    xen = image.xen_version()
    paths = image.libxl_paths(xen)
    qemu = image.first(
        [options.qemu] if options.qemu else [path for path in paths if "qemu-system-" in path],
        "the QEMU that libxl runs (package qemu-system-xen)",
    )
    proxy = image.under(paths, "/bin", "vchan-socket-proxy", "vchan-socket-proxy (package xen-utils)")
    proxy = os.path.join(proxy, "vchan-socket-proxy")
    kernel = image.kernel_version(options.kernel)
    # What init needs to unpack the rest, and to say so when that fails.
    early = image.base(options, APPLETS)
    late = {
        **image.programs({"qemu": qemu, "vchan-socket-proxy": proxy}),
        **qemu_data(qemu),
        # Swap is a comfort: a kernel without it makes an image all the same.
        **image.modules(kernel, MODULES, optional=["swap"]),
    }
    late = image.with_parents({path: entry for path, entry in late.items() if path not in early})
    versions = {"xen": xen, "qemu": image.run([qemu, "--version"]).splitlines()[0], "kernel": kernel}
    return image.Parts(NAME, image.where(options, paths), f"/boot/vmlinuz-{kernel}", early, late, versions)


def arguments():
    asked = image.parser("Builds the kernel and ramdisk of a Linux stubdomain.")
    asked.add_argument("--qemu", help="the QEMU to put in (default: the one libxl runs)")
    return asked


if __name__ == "__main__":
    image.main(NAME, "The stubdomain's image", arguments(), gather)
