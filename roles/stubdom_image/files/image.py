# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds kernel and ramdisk of a small Linux domain out of what this Xen host has installed: what all of them share.

Run on the Xen host; needs Python >= 3.9 and its standard library, no network. A recipe, which follows this file on
standard input and imports it as `image`, says what goes in; everything is found by asking the host: libxl knows where it
looks for QEMU and for images, ldd the libraries, modules.dep the modules. What went in is written beside the image;
while nothing of it changed and the image is what was built, a run changes nothing. Prints one JSON object.
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

PART = 1 << 20
DIRECTORIES = ["dev", "proc", "proc/xen", "run", "sys", "tmp"]
XENSTORE_TOOLS = ["xenstore-list", "xenstore-read", "xenstore-write"]
GZIP = b"\x1f\x8b"
# gzip, xz, zstd: what a bzImage's payload and a module's file are packed with on the distributions that ship Xen.
UNPACKERS = {
    GZIP: lambda data: gzip.zlib.decompressobj(31).decompress(data),
    b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x28\xb5\x2f\xfd": lambda data: run(["zstd", "-dcq"], input=data, text=False),
}


CACHES = "/var/cache/stubdom.xen"
LOOKED_AT = {}  # path: stamp, of all this run went by

# name: of the image, as its files' names begin. early, late: what is in the ramdisk, unpacked and packed.
Parts = collections.namedtuple("Parts", "name directory kernel early late versions able", defaults=[()])


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


def inside(path):
    """Where a file of the host goes in the image: the same path."""
    return os.path.normpath(path).lstrip("/")


def modules(version, groups, optional=()):
    """Modules and a list of them for each group; {group: names of modules}. Init loads them group by group."""
    entries = {}
    for group, names in groups.items():
        lines = []
        for path in module_files(version, names, optional=group in optional):
            name = os.path.basename(path).split(".ko")[0]
            content = unpack(read(path))
            entries[f"lib/modules/{name}.ko"] = (stat.S_IFREG | 0o644, content)
            lines.append(f"{name}.ko{module_parameters(name, content)}\n")
        entries[f"lib/modules/{group}.list"] = (stat.S_IFREG | 0o644, "".join(lines).encode())
    return entries


def programs(paths):
    """Each program and its libraries under their own paths (QEMU finds its data from there), linked to bin/<name>."""
    files = {*paths.values(), *(library for path in paths.values() for library in libraries(path))}
    links = {f"bin/{name}": (stat.S_IFLNK | 0o777, f"/{inside(path)}".encode()) for name, path in paths.items()}
    return {**links, **{inside(path): (stat.S_IFREG | 0o755, read(path)) for path in files}}


def applets(busybox, names):
    absent = set(names) - set(run([busybox, "--list"]).split())
    if absent:
        raise Missing(f"{busybox} has no {', '.join(sorted(absent))}: install busybox-static")
    return {f"bin/{name}": (stat.S_IFLNK | 0o777, b"busybox") for name in names}


def skeleton(init):
    entries = dict.fromkeys(DIRECTORIES, (stat.S_IFDIR | 0o755, b""))
    entries["dev/console"] = (stat.S_IFCHR | 0o600, b"")
    entries["init"] = (stat.S_IFREG | 0o755, init.encode())
    return entries


def base(options, names):
    """What every init works with: busybox with the applets of these names, and xenstore's tools."""
    busybox = first([options.busybox], "busybox (package busybox-static)")
    tools = {name: first([shutil.which(name)], f"{name} (package xenstore-utils)") for name in XENSTORE_TOOLS}
    return {**skeleton(options.init), **programs({"busybox": busybox, **tools}), **applets(busybox, names)}


def where(options, paths):
    """The directory to install in: the one asked for, or where libxl looks."""
    return options.directory or under(paths, "/boot", "hvmloader", "hvmloader in libxl's firmware directory")


def with_parents(entries):
    """The same entries, every directory above them first."""
    parents = {"/".join(path.split("/")[:depth]) for path in entries for depth in range(1, path.count("/") + 1)}
    return dict(sorted({**dict.fromkeys(parents, (stat.S_IFDIR | 0o755, b"")), **entries}.items()))


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
    payload = image[start : start + length]
    # Linux appends the unpacked size, four bytes, where the format has none of its own at its end (scripts/Makefile.lib,
    # size_append): zstd takes them for another frame that it does not know.
    kernel = unpack(payload if payload.startswith(GZIP) else payload[:-4])
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
    packed = gzip.compress(cpio(late), compresslevel=1, mtime=0) if late else b""
    parts = [packed[start : start + PART] for start in range(0, len(packed), PART)]
    staged = {f"late/{number:04}": (stat.S_IFREG | 0o600, part) for number, part in enumerate(parts)}
    return cpio(with_parents({**early, **staged}))


# --- a second run -----------------------------------------------------------------------------------------------


def question(options):
    """What the answer depends on, beside files that were read: options, the running Xen, the kernels there are."""
    asked = {name: value for name, value in vars(options).items() if name != "check"}
    kernels = sorted(glob.glob("/boot/vmlinuz-*") + glob.glob("/lib/modules/*/modules.dep"))
    return sha256(json.dumps([asked, xen_version(), kernels], sort_keys=True).encode())


def cache(name):
    return os.path.join(CACHES, f"{name}.json")


def remembered(name, options):
    """The last run's result if the question is the same and nothing it went by was touched since, else None.

    Told by stat alone: reading and hashing 140 MB takes seconds, this does not. Only ever a shortcut to 'unchanged'.
    """
    try:
        with open(cache(name), "rb") as file:
            last = json.load(file)
        if last["question"] != question(options):
            return None
        touched = any(stamp(os.stat(path)) != seen for path, seen in last["looked_at"].items())
        return None if touched else last["result"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def remember(name, options, result):
    os.makedirs(CACHES, exist_ok=True)
    record = {"question": question(options), "looked_at": LOOKED_AT, "result": result}
    write(cache(name) + ".new", json.dumps(record).encode())
    os.rename(cache(name) + ".new", cache(name))


# --- installing -----------------------------------------------------------------------------------------------------


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def names_of(name):
    """Kernel, ramdisk, manifest: the names of an image's files."""
    return f"{name}-kernel", f"{name}-rootfs", f"{name}.json"


def digest_of(recipe, parts):
    """One digest over everything that goes in, and over the recipe: how it is put together."""
    entries = {**parts.early, **parts.late}
    lines = [f"{path} {mode:o} {sha256(content)}" for path, (mode, content) in sorted(entries.items())]
    return sha256("\n".join([*lines, sha256(read(parts.kernel)), recipe]).encode())


def stale(name, directory, digest):
    """Why the installed image has to be built, or None when it is what would be built."""
    try:
        manifest = json.loads(read(os.path.join(directory, names_of(name)[-1])))
        sums = manifest["sha256"].items()
        changed = [file for file, wanted in sums if sha256(read(os.path.join(directory, file))) != wanted]
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


def install(name, directory, files):
    """All files written beside their places first, then renamed: an interrupted build leaves the old image.

    A crash between two renames leaves a manifest that does not fit, so the next run builds again.
    """
    for leftover in glob.glob(os.path.join(directory, f".{name}-*")):
        shutil.rmtree(leftover)
    workplace = tempfile.mkdtemp(prefix=f".{name}-", dir=directory)
    try:
        for file, data in files.items():
            write(os.path.join(workplace, file), data)
        for file in files:
            os.rename(os.path.join(workplace, file), os.path.join(directory, file))
    finally:
        shutil.rmtree(workplace)


def build(parts, digest):
    """The files to install by name; the manifest last, so that it never stands beside files older than itself."""
    kernel, rootfs, manifest_file = names_of(parts.name)
    files = {kernel: vmlinux(read(parts.kernel)), rootfs: ramdisk(parts.early, parts.late)}
    sums = {file: sha256(data) for file, data in files.items()}
    manifest = {"digest": digest, "versions": parts.versions, "able": list(parts.able), "sha256": sums}
    return {**files, manifest_file: json.dumps(manifest, indent=1).encode() + b"\n"}


def report(parts, reason):
    files = {file: os.path.join(parts.directory, file) for file in names_of(parts.name)[:2]}
    sizes = {file: os.path.getsize(path) for file, path in files.items() if os.path.exists(path)}
    return {
        "changed": bool(reason),
        "reason": reason or "nothing changed",
        "directory": parts.directory,
        "bytes": sizes,
        "versions": parts.versions,
    }


def converge(gather, options):
    """Builds and installs if need be; the result as the role shows it."""
    parts = gather(options)
    lock = os.open(parts.directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # held until the process ends
    digest = digest_of(options.recipe, parts)
    reason = stale(parts.name, parts.directory, digest)
    if options.check:
        return report(parts, reason)
    if reason:
        install(parts.name, parts.directory, build(parts, digest))
        for path in (os.path.join(parts.directory, file) for file in names_of(parts.name)):
            LOOKED_AT[path] = stamp(os.stat(path))
    remember(parts.name, options, report(parts, None))
    return report(parts, reason)


def parser(description):
    """The parser of what every recipe is given."""
    asked = argparse.ArgumentParser(description=description)
    asked.add_argument("--init", required=True, help="text of the domain's init")
    asked.add_argument("--recipe", default="", help="stands for this program's version: another one, another image")
    asked.add_argument("--directory", help="where to install (default: where libxl looks)")
    asked.add_argument("--kernel", help="version of the kernel (default: the newest that runs as a PV domain)")
    asked.add_argument("--busybox", default="/bin/busybox")
    asked.add_argument("--check", action="store_true", help="say what would be done, change nothing")
    return asked


def main(name, what, asked, gather):
    """name: of the image. what: str, the image in a sentence. gather(options): its Parts."""
    options, started = asked.parse_args(), time.monotonic()
    try:
        result = remembered(name, options) or converge(gather, options)
    except (Missing, OSError) as error:
        if not options.check:
            sys.exit(f"{what} cannot be built: {error}.")
        result = {"changed": True, "reason": f"cannot be built before something is there: {error}"}
    print(json.dumps({**result, "seconds": round(time.monotonic() - started, 1)}))


# On standard input this and the recipe are one program, and the recipe imports this.
if __name__ == "__main__":
    sys.modules["image"] = sys.modules["__main__"]
