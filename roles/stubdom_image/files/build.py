# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the kernel and ramdisk of a Linux stubdomain out of what this Xen host has installed.

Run on the Xen host; needs Python >= 3.9 and its standard library, no network. Everything that goes in is found by
asking the host: libxl knows where it looks for QEMU and for the image, QEMU knows its data directories, ldd the
libraries, modules.dep the modules. What went in is written beside the image; while nothing of it changed and
the image is what was built, a run changes nothing. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import fcntl
import glob
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import time

KERNEL, RAMDISK, MANIFEST = "qemu-stubdom-linux-kernel", "qemu-stubdom-linux-rootfs", "qemu-stubdom-linux.json"
# Loaded by init, group by group. Swap is a comfort: a kernel without it makes an image all the same.
SWAP_MODULES = ["zram"]
BASE_MODULES = ["xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs", "xen-blkfront"]
NETWORK_MODULES = ["xen-netfront", "tun", "bridge"]
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
XENSTORE_TOOLS = ["xenstore-list", "xenstore-read", "xenstore-write"]
PART = 1 << 20
DIRECTORIES = ["dev", "proc", "proc/xen", "run", "sys", "tmp"]
# What an image is able to do beyond running a guest, for those who look at its manifest: save and restore the guest.
ABLE = ["save"]
# Of QEMU's data: option ROMs of the display adapters and NICs, and what -vnc needs. The BIOS comes from hvmloader.
QEMU_DATA = ["vgabios*.bin", "kvmvapic.bin", "efi-*.rom", "keymaps/*"]
# gzip, xz, zstd: what a bzImage's payload and a module's file are packed with on the distributions that ship Xen.
UNPACKERS = {
    b"\x1f\x8b": lambda data: gzip.zlib.decompressobj(31).decompress(data),
    b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x28\xb5\x2f\xfd": lambda data: run(["zstd", "-dcq"], input=data, text=False),
}


CACHE = "/var/cache/stubdom.xen/image.json"
LOOKED_AT = {}  # path: stamp, of all this run went by

Parts = collections.namedtuple("Parts", "directory kernel early late versions")


class Missing(Exception):
    """Something the image is made of is not on this host; the text says what and where it usually comes from."""


def run(argv, **options):
    """Standard output of a program; Missing when it cannot be run or fails."""
    try:
        return subprocess.run(argv, check=True, **{"capture_output": True, "text": True, **options}).stdout
    except FileNotFoundError as error:
        raise Missing(f"the program {argv[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise Missing(f"{' '.join(argv)} exited with code {error.returncode}: {error.stderr[-500:]}") from error


def stamp(status):
    """What tells that a file was touched: a change of content, owner or place changes ctime or inode."""
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def read(path):
    with open(path, "rb") as file:
        LOOKED_AT[path] = stamp(os.fstat(file.fileno()))
        return file.read()


def unpack(data):
    """The content of packed data, or the data itself when it is not packed."""
    for magic, unpacker in UNPACKERS.items():
        if data.startswith(magic):
            return unpacker(data)
    return data


def first(paths, wanted):
    """The first path that exists; Missing, saying what was wanted, when there is none."""
    for path in paths:
        if path and os.path.exists(path):
            return path
    raise Missing(f"{wanted}; looked at: {', '.join(filter(None, paths)) or 'nothing'}")


# --- what the host has ------------------------------------------------------------------------------------------


def xen_version():
    """major.minor of the running Xen, as the Debian packages put it into their paths."""
    try:
        return ".".join(read(f"/sys/hypervisor/version/{part}").decode().strip() for part in ("major", "minor"))
    except OSError as error:
        raise Missing("no Xen below this Linux (/sys/hypervisor/version): boot the Xen entry of GRUB") from error


def libraries(program):
    """Absolute paths of the shared libraries and the loader of a program; none for a static one."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if "not found" in done.stdout:
        raise Missing(f"a library of {program} is not installed: {done.stdout.strip()}")
    return sorted(set(re.findall(r"(/\S+) \(0x", done.stdout)))


def libxl_paths(version):
    """Every absolute path compiled into the libxenlight of this host's xl."""
    # On Debian the xl on PATH is a script that picks the one of the running Xen.
    xl = first([f"/usr/lib/xen-{version}/bin/xl", shutil.which("xl")], "xl (package xen-utils) is not installed")
    library = first([path for path in libraries(xl) if "libxenlight" in path], f"{xl} is not linked with libxenlight")
    return [path.decode() for path in re.findall(rb"(?<=\0)/[!-~]+(?=\0)", read(library))]


def under(paths, ending, holds, wanted):
    """The first of libxl's directories of this ending that holds a file."""
    candidates = [path for path in paths if path.endswith(ending)]
    return os.path.dirname(first([os.path.join(path, holds) for path in candidates], wanted))


def versions_newest_first(names):
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"[0-9]+", name)], reverse=True)


def runs_as_pv(version):
    """Whether the kernel can be a Xen PV domain; yes when its configuration is not at hand."""
    try:
        return b"\nCONFIG_XEN_PV=y\n" in read(f"/boot/config-{version}")
    except OSError:
        return True


def kernel_version(wanted):
    """The kernel asked for, or the newest installed one that has its modules and runs as a PV domain."""
    found = [path[len("/boot/vmlinuz-") :] for path in glob.glob("/boot/vmlinuz-*")]
    usable = [v for v in found if os.path.exists(f"/lib/modules/{v}/modules.dep") and runs_as_pv(v)]
    if wanted and wanted not in usable:
        raise Missing(f"kernel {wanted}: wanted with modules and CONFIG_XEN_PV=y; usable here: {usable or 'none'}")
    if not usable:
        raise Missing(f"no kernel with modules and CONFIG_XEN_PV=y in /boot; there are: {found or 'none'}")
    return wanted or versions_newest_first(usable)[0]


def module_files(version, names, optional=False):
    """Paths of the modules and of what they depend on, in the order to load; built-in ones need no file."""
    top = f"/lib/modules/{version}"
    depends = {}
    for line in read(f"{top}/modules.dep").decode().splitlines():
        path, _colon, rest = line.partition(":")
        depends[os.path.basename(path).split(".ko")[0]] = [*reversed(rest.split()), path]
    builtin = {os.path.basename(line).split(".ko")[0] for line in read(f"{top}/modules.builtin").decode().split()}
    absent = [name for name in names if name not in depends and name not in builtin]
    if absent and not optional:
        raise Missing(f"kernel {version} has no module {', '.join(absent)}")
    ordered = dict.fromkeys(path for name in names for path in depends.get(name, []))
    return [os.path.join(top, path) for path in ordered]


def module_parameters(name, content):
    # Kernels with the fix of XSA-482 let privcmd in a domU reach its target only, which libxendevicemodel's probe
    # does not survive (seen: Xen 4.17, Linux 6.1.192); 'unrestricted' exists just in those.
    return " unrestricted=1" if name == "xen-privcmd" and b"parm=unrestricted:" in content else ""


# --- what goes into the ramdisk: {path in the image: (mode, content)} ---------------------------------------------


def modules(version):
    entries = {}
    for group, names in (("base", BASE_MODULES), ("network", NETWORK_MODULES), ("swap", SWAP_MODULES)):
        lines = []
        for path in module_files(version, names, optional=group == "swap"):
            name = os.path.basename(path).split(".ko")[0]
            content = unpack(read(path))
            entries[f"lib/modules/{name}.ko"] = (stat.S_IFREG | 0o644, content)
            lines.append(f"{name}.ko{module_parameters(name, content)}\n")
        entries[f"lib/modules/{group}.list"] = (stat.S_IFREG | 0o644, "".join(lines).encode())
    return entries


def inside(path):
    """Where a file of the host goes in the image: the same path."""
    return os.path.normpath(path).lstrip("/")


def programs(paths):
    """Each program and its libraries under their own paths (QEMU finds its data from there), linked to bin/<name>."""
    files = {*paths.values(), *(library for path in paths.values() for library in libraries(path))}
    links = {f"bin/{name}": (stat.S_IFLNK | 0o777, f"/{inside(path)}".encode()) for name, path in paths.items()}
    return {**links, **{inside(path): (stat.S_IFREG | 0o755, read(path)) for path in files}}


def applets(busybox):
    absent = set(APPLETS) - set(run([busybox, "--list"]).split())
    if absent:
        raise Missing(f"{busybox} has no {', '.join(sorted(absent))}: install busybox-static")
    return {f"bin/{name}": (stat.S_IFLNK | 0o777, b"busybox") for name in APPLETS}


def qemu_data(qemu):
    """QEMU's data files under the paths where that QEMU looks for them."""
    entries = {}
    for directory in filter(os.path.isdir, run([qemu, "-L", "help"]).split()):
        LOOKED_AT[directory] = stamp(os.stat(directory))
        for path in sorted(p for pattern in QEMU_DATA for p in glob.glob(os.path.join(directory, pattern))):
            if os.path.isfile(path):
                entries[inside(path)] = (stat.S_IFREG | 0o644, read(path))
    if not any("vgabios" in path for path in entries):
        raise Missing("no vgabios*.bin in QEMU's data directories: install seabios")
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


def skeleton(init):
    entries = dict.fromkeys(DIRECTORIES, (stat.S_IFDIR | 0o755, b""))
    entries["dev/console"] = (stat.S_IFCHR | 0o600, b"")
    entries["init"] = (stat.S_IFREG | 0o755, init.encode())
    return entries


def with_parents(entries):
    """The same entries, every directory above them first."""
    parents = {"/".join(path.split("/")[:depth]) for path in entries for depth in range(1, path.count("/") + 1)}
    return dict(sorted({**dict.fromkeys(parents, (stat.S_IFDIR | 0o755, b"")), **entries}.items()))


def gather(options):
    """Everything the image is made of, as Parts."""
    xen = xen_version()
    paths = libxl_paths(xen)
    directory = options.directory or under(paths, "/boot", "hvmloader", "hvmloader in libxl's firmware directory")
    qemu = first(
        [options.qemu] if options.qemu else [path for path in paths if "qemu-system-" in path],
        "the QEMU that libxl runs (package qemu-system-xen)",
    )
    proxy = os.path.join(
        under(paths, "/bin", "vchan-socket-proxy", "vchan-socket-proxy (package xen-utils)"), "vchan-socket-proxy"
    )
    busybox = first([options.busybox], "busybox (package busybox-static)")
    tools = {name: first([shutil.which(name)], f"{name} (package xenstore-utils)") for name in XENSTORE_TOOLS}
    chrt = first([shutil.which("chrt")], "chrt (package util-linux)")
    kernel = kernel_version(options.kernel)
    # What init needs to unpack the rest, and to say so when that fails.
    early = {**skeleton(options.init), **programs({"busybox": busybox, **tools}), **applets(busybox)}
    late = {**programs({"qemu": qemu, "vchan-socket-proxy": proxy, "chrt": chrt}), **qemu_data(qemu), **modules(kernel)}
    late["lib/no-truncate.so"] = (stat.S_IFREG | 0o755, shared_object(NO_TRUNCATE, ["ftruncate", "ftruncate64"]))
    late = with_parents({path: entry for path, entry in late.items() if path not in early})
    versions = {"xen": xen, "qemu": run([qemu, "--version"]).splitlines()[0], "kernel": kernel}
    return Parts(directory, f"/boot/vmlinuz-{kernel}", early, late, versions)


# --- the two files ------------------------------------------------------------------------------------------------


def vmlinux(image):
    """The ELF kernel inside a bzImage (Linux x86 boot protocol >= 2.08), or the image itself when it has none.

    libxl unpacks a bzImage at every start of a stubdomain; unpacked once, here, each start is that much shorter.
    """
    if image[0x202:0x206] != b"HdrS":
        return image
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    kernel = unpack(image[start : start + length])
    return kernel if kernel.startswith(b"\x7fELF") else image


def cpio(entries):
    """The entries as a cpio archive of the 'newc' kind, the same bytes for the same entries."""
    parts = []
    for number, (path, (mode, content)) in enumerate([*entries.items(), ("TRAILER!!!", (0, b""))], start=1):
        device = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path) + 1, 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + path.encode() + b"\0"
        parts += [header, bytes(-len(header) % 4), content, bytes(-len(content) % 4)]
    return b"".join(parts)


def ramdisk(early, late):
    """The early entries as they are, the late ones gzipped in parts that init unpacks and removes one by one.

    Unpacked by the kernel, the content would need room twice, and may fill half of the memory at most (tmpfs); libxl's
    128 MiB do not hold that. A ramdisk that starts with gzip's magic is unpacked by libxl, which is no better.
    """
    packed = gzip.compress(cpio(late), compresslevel=1, mtime=0)
    parts = [packed[start : start + PART] for start in range(0, len(packed), PART)]
    staged = {f"late/{number:04}": (stat.S_IFREG | 0o600, part) for number, part in enumerate(parts)}
    return cpio(with_parents({**early, **staged}))


# --- a second run -----------------------------------------------------------------------------------------------


def question(options):
    """What the answer depends on, beside files that were read: options, the running Xen, the kernels there are."""
    asked = {name: value for name, value in vars(options).items() if name != "check"}
    kernels = sorted(glob.glob("/boot/vmlinuz-*") + glob.glob("/lib/modules/*/modules.dep"))
    return sha256(json.dumps([asked, xen_version(), kernels], sort_keys=True).encode())


def remembered(options):
    """The last run's result if the question is the same and nothing it went by was touched since, else None.

    Told by stat alone: reading and hashing 140 MB takes seconds, this does not. Only ever a shortcut to 'unchanged'.
    """
    try:
        with open(CACHE, "rb") as file:
            last = json.load(file)
        if last["question"] != question(options):
            return None
        touched = any(stamp(os.stat(path)) != seen for path, seen in last["looked_at"].items())
        return None if touched else last["result"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def remember(options, result):
    os.makedirs(os.path.dirname(CACHE), exist_ok=True)
    record = {"question": question(options), "looked_at": LOOKED_AT, "result": result}
    write(CACHE + ".new", json.dumps(record).encode())
    os.rename(CACHE + ".new", CACHE)


# --- installing -----------------------------------------------------------------------------------------------------


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def digest_of(recipe, parts):
    """One digest over everything that goes in, and over the recipe: how it is put together."""
    entries = {**parts.early, **parts.late}
    lines = [f"{path} {mode:o} {sha256(content)}" for path, (mode, content) in sorted(entries.items())]
    return sha256("\n".join([*lines, sha256(read(parts.kernel)), recipe]).encode())


def stale(directory, digest):
    """Why the installed image has to be built, or None when it is what would be built."""
    try:
        manifest = json.loads(read(os.path.join(directory, MANIFEST)))
        sums = manifest["sha256"].items()
        changed = [name for name, wanted in sums if sha256(read(os.path.join(directory, name))) != wanted]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # absent, or not what this writes
        return "no whole image is installed"
    if changed:
        return f"{', '.join(changed)} is not what was built"
    return None if manifest["digest"] == digest else "what the image is made of changed"


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def install(directory, files):
    """All files written beside their places first, then renamed: an interrupted build leaves the old image.

    A crash between two renames leaves a manifest that does not fit, so the next run builds again.
    """
    for leftover in glob.glob(os.path.join(directory, ".qemu-stubdom-*")):
        shutil.rmtree(leftover)
    workplace = tempfile.mkdtemp(prefix=".qemu-stubdom-", dir=directory)
    try:
        for name, data in files.items():
            write(os.path.join(workplace, name), data)
        for name in files:
            os.rename(os.path.join(workplace, name), os.path.join(directory, name))
    finally:
        shutil.rmtree(workplace)


def build(parts, digest):
    """The files to install by name; the manifest last, so that it never stands beside files older than itself."""
    files = {KERNEL: vmlinux(read(parts.kernel)), RAMDISK: ramdisk(parts.early, parts.late)}
    sums = {name: sha256(data) for name, data in files.items()}
    manifest = {"digest": digest, "versions": parts.versions, "able": ABLE, "sha256": sums}
    return {**files, MANIFEST: json.dumps(manifest, indent=1).encode() + b"\n"}


def report(parts, reason):
    files = {name: os.path.join(parts.directory, name) for name in (KERNEL, RAMDISK)}
    sizes = {name: os.path.getsize(path) for name, path in files.items() if os.path.exists(path)}
    return {
        "changed": bool(reason),
        "reason": reason or "nothing changed",
        "directory": parts.directory,
        "bytes": sizes,
        "versions": parts.versions,
    }


def converge(options):
    """Builds and installs if need be; the result as the role shows it."""
    parts = gather(options)
    lock = os.open(parts.directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # held until the process ends
    digest = digest_of(options.recipe, parts)
    reason = stale(parts.directory, digest)
    if options.check:
        return report(parts, reason)
    if reason:
        install(parts.directory, build(parts, digest))
        for path in (os.path.join(parts.directory, name) for name in (KERNEL, RAMDISK, MANIFEST)):
            LOOKED_AT[path] = stamp(os.stat(path))
    remember(options, report(parts, None))
    return report(parts, reason)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--init", required=True, help="text of the stubdomain's init")
    parser.add_argument("--recipe", default="", help="stands for this program's version: another one, another image")
    parser.add_argument("--directory", help="where to install (default: where libxl looks)")
    parser.add_argument("--kernel", help="version of the kernel (default: the newest that runs as a PV domain)")
    parser.add_argument("--qemu", help="the QEMU to put in (default: the one libxl runs)")
    parser.add_argument("--busybox", default="/bin/busybox")
    parser.add_argument("--check", action="store_true", help="say what would be done, change nothing")
    return parser.parse_args()


def main():
    options, started = arguments(), time.monotonic()
    try:
        result = remembered(options) or converge(options)
    except (Missing, OSError) as error:
        if not options.check:
            sys.exit(f"The stubdomain's image cannot be built: {error}.")
        result = {"changed": True, "reason": f"cannot be built before something is there: {error}"}
    print(json.dumps({**result, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
