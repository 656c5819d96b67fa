# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a vTPM domain: swtpm, the back end, and what makes a file system for the TPM's state.

Comes after image.py (role stubdom_image) on the standard input of a Python on the Xen host.
"""

import json
import os
import shutil
import stat
import tempfile

import image

NAME = "vtpm-stubdom-linux"
# checksum: what ext4 asks the kernel for by name, which modules.dep does not tell; newer kernels have it built in.
MODULES = {
    "base": ["xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs", "xen-blkfront"],
    "checksum": ["crc32c_generic"],
    "state": ["ext4"],
}
APPLETS = [
    "blockdev",
    "cat",
    "dd",
    "head",
    "insmod",
    "kill",
    "mount",
    "pidof",
    "poweroff",
    "printf",
    "rm",
    "sh",
    "tail",
    "timeout",
    "tr",
    "truncate",
    "wc",
]
COMPILER = ["gcc", "-O2", "-s", "-std=gnu11", "-Wall", "-D_FORTIFY_SOURCE=2", "-fstack-protector-strong", "-fPIE", "-pie"]
LIBRARIES = ["-lxenstore", "-lxengnttab", "-lxenevtchn"]


def compiled(sources, directory):
    """The path of the back end, compiled in a directory; sources: {name: text} of C files and headers."""
    for name, text in sources.items():
        image.write(os.path.join(directory, name), text.encode())
    compiler = image.first([shutil.which(COMPILER[0])], "a C compiler (package gcc)")
    image.LOOKED_AT[compiler] = image.stamp(os.stat(compiler))
    units = sorted(name for name in sources if name.endswith(".c"))
    # of the same sources the same bytes: the directory's name must not get in
    image.run([*COMPILER, "-o", "tpmback", *units, *LIBRARIES], cwd=directory)
    return os.path.join(directory, "tpmback")


def backend(options):
    """The back end's entries in the image: the one that was given, or one compiled here."""
    with tempfile.TemporaryDirectory() as directory:
        path = options.backend or compiled(json.loads(options.sources), directory)
        libraries = {library: image.read(library) for library in image.libraries(path)}
        content = image.read(path)
        if not options.backend:
            del image.LOOKED_AT[path]
    entries = {image.inside(library): (stat.S_IFREG | 0o755, data) for library, data in libraries.items()}
    return {**entries, "bin/tpmback": (stat.S_IFREG | 0o755, content)}


def gather(options):
    """Everything the image is made of, as Parts."""
    xen = image.xen_version()
    swtpm = image.first([options.swtpm, shutil.which("swtpm")], "swtpm (package swtpm)")
    mke2fs = image.first([shutil.which("mke2fs"), "/usr/sbin/mke2fs", "/sbin/mke2fs"], "mke2fs (package e2fsprogs)")
    kernel = image.kernel_version(options.kernel)
    entries = {
        **image.base(options, APPLETS),
        "state": (stat.S_IFDIR | 0o700, b""),
        **image.programs({"swtpm": swtpm, "mkfs.ext4": mke2fs}),
        **backend(options),
        **image.modules(kernel, MODULES, optional=["checksum"]),
    }
    versions = {"xen": xen, "swtpm": image.run([swtpm, "--version"]).split(",")[0], "kernel": kernel}
    directory = image.where(options, image.libxl_paths(xen))
    return image.Parts(NAME, directory, f"/boot/vmlinuz-{kernel}", image.with_parents(entries), {}, versions)


def arguments():
    asked = image.parser("Builds the kernel and ramdisk of a vTPM domain.")
    asked.add_argument("--sources", default="{}", help="the back end's C sources: a JSON object, text by name")
    asked.add_argument("--backend", help="a back end that is compiled already")
    asked.add_argument("--swtpm", help="the swtpm to put in (default: the one on PATH)")
    return asked


if __name__ == "__main__":
    image.main(NAME, "The vTPM domain's image", arguments(), gather)
