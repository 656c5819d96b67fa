# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a Linux stubdomain: the QEMU that this host's libxl runs, and what its init works with.

Comes after image.py on the standard input of a Python on the Xen host.
"""

import glob
import os
import shutil
import stat
import struct

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
    "stty",
    "swapon",
    "tail",
    "timeout",
    "tr",
    "tunctl",
    "wc",
]
# What an image is able to do beyond running a guest, for those who look at its manifest: save and restore the guest.
ABLE = ["save"]
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


# int ftruncate(int fd, off_t length): the system call, but success for what cannot be truncated, such as a terminal. A host
# has no compiler, and this is all that one would be needed for.
NO_TRUNCATE = bytes.fromhex(
    "b84d000000"  # mov  $SYS_ftruncate, %eax
    "0f05"  # syscall
    "83f8ea"  # cmp  $-EINVAL, %eax
    "7406"  # je   done
    "4899"  # cqto
    "4889d0"  # mov  %rdx, %rax: 0, or -1 for any other error
    "c3"  # ret
    "31c0"  # done: xor %eax, %eax
    "c3"  # ret
)


PAGE = 0x1000


def shared_object(code, names):
    """An ELF shared object for x86-64 that has one function under some names, for LD_PRELOAD (System V ABI, gABI 4.1).

    All of it is one segment to read and execute. The dynamic section is once more in one of its own, a page further on: the
    loader of a glibc before 2.35 writes into it.
    """
    text = 64 + 56 * 4
    symbols = aligned(text + len(code))
    hashes = symbols + 24 * (len(names) + 1)
    strings = hashes + 4 * (len(names) + 4)
    place = aligned(strings + sum(len(name) + 1 for name in names) + 1)
    tags = {4: hashes, 5: strings, 6: symbols, 10: place - strings, 11: 24, 0: 0}  # DT_HASH, STRTAB, SYMTAB, STRSZ, SYMENT
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags.items())
    segments = [  # PT_LOAD twice, PT_DYNAMIC, PT_GNU_STACK: type, flags, offset, address, length, alignment
        (1, 5, 0, 0, place, PAGE),
        (1, 6, place, place + PAGE, len(dynamic), PAGE),
        (2, 6, place, place + PAGE, len(dynamic), 8),
        (0x6474E551, 6, 0, 0, 0, 16),
    ]
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 64, 0, 0)
    table = b"".join(struct.pack("<IIQQQQQQ", k, flags, at, to, to, size, size, fit) for k, flags, at, to, size, fit in segments)
    made = (header + table + code).ljust(symbols, b"\0") + symbol_tables(names, text, len(code))
    return made.ljust(place, b"\0") + dynamic


def aligned(offset, to=8):
    return -(-offset // to) * to


def symbol_tables(names, address, size):
    """The symbols, global functions all of one address; their hash table with a single bucket; and their names."""
    symbols, strings = bytes(24), b"\0"
    for name in names:
        symbols += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, address, size)
        strings += name.encode() + b"\0"
    count = len(names) + 1
    return symbols + struct.pack(f"<{count + 3}I", 1, count, 1, 0, *range(2, count), 0) + strings


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
    chrt = image.first([shutil.which("chrt")], "chrt (package util-linux)")
    kernel = image.kernel_version(options.kernel)
    # What init needs to unpack the rest, and to say so when that fails.
    early = image.base(options, APPLETS)
    late = {
        **image.programs({"qemu": qemu, "vchan-socket-proxy": proxy, "chrt": chrt}),
        **qemu_data(qemu),
        # Swap is a comfort: a kernel without it makes an image all the same.
        **image.modules(kernel, MODULES, optional=["swap"]),
        "lib/no-truncate.so": (stat.S_IFREG | 0o755, shared_object(NO_TRUNCATE, ["ftruncate", "ftruncate64"])),
    }
    late = image.with_parents({path: entry for path, entry in late.items() if path not in early})
    versions = {"xen": xen, "qemu": image.run([qemu, "--version"]).splitlines()[0], "kernel": kernel}
    return image.Parts(NAME, image.where(options, paths), f"/boot/vmlinuz-{kernel}", early, late, versions, ABLE)


def arguments():
    asked = image.parser("Builds the kernel and ramdisk of a Linux stubdomain.")
    asked.add_argument("--qemu", help="the QEMU to put in (default: the one libxl runs)")
    return asked


if __name__ == "__main__":
    image.main(NAME, "The stubdomain's image", arguments(), gather)
