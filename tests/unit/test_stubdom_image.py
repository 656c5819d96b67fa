# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The builder of images: what it packs can be read back, and what it installed it recognises."""

from __future__ import annotations

import argparse
import ast
import errno
import gzip
import importlib.util
import json
import lzma
import platform
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[2] / "roles"
SOURCE = ROLES / "stubdom_image" / "files" / "image.py"
RECIPES = {role: ROLES / role / "files" / "build.py" for role in ("stubdom_image", "vtpm")}
NAME = "qemu-stubdom-linux"
KERNEL, RAMDISK = "qemu-stubdom-linux-kernel", "qemu-stubdom-linux-rootfs"  # the names that libxl (Xen >= 4.14) opens
FILE, LINK, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755
ELF = b"\x7fELF" + bytes(range(256)) * 40


@pytest.fixture
def build(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("image_under_test", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CACHES", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "xen_version", lambda: "4.17")
    return module


@pytest.fixture
def recipe(build, monkeypatch):
    """What the Linux stubdomain's image is made of, which has the builder as `image`."""
    monkeypatch.setitem(sys.modules, "image", build)
    spec = importlib.util.spec_from_file_location("recipe_under_test", RECIPES["stubdom_image"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries_of(archive):
    """{path: (mode, content)} of a newc archive, read by the format's own description (cpio(5))."""
    entries, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return entries
        entries[name] = (mode, archive[start : start + size])
        at = (start + size + 3) // 4 * 4


def bzimage(payload):
    """The parts of the x86 boot protocol that say where the payload is, and the payload."""
    image = bytearray(512 * 3)
    image[0x1F1] = 2
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 64, len(payload))
    return bytes(image) + bytes(64) + payload + b"after the payload"


def test_an_archive_is_read_back_with_its_directories(build):
    entries = {"a/b/file": (FILE, b"12345"), "a/link": (LINK, b"b/file"), "empty": (FILE, b"")}
    wanted = {**entries, "a": (DIRECTORY, b""), "a/b": (DIRECTORY, b"")}
    assert entries_of(build.cpio(build.with_parents(entries))) == wanted


def test_a_directory_comes_before_what_is_in_it(build):
    names = list(build.with_parents({"x/y/z": (FILE, b""), "x-1": (FILE, b"")}))
    assert names.index("x") < names.index("x/y") < names.index("x/y/z")


def test_the_late_parts_of_a_ramdisk_are_the_late_entries(build, monkeypatch):
    monkeypatch.setattr(build, "PART", 50)
    late = {"lib": (DIRECTORY, b""), "lib/qemu": (FILE, bytes(range(256)))}
    found = entries_of(build.ramdisk({"init": (FILE, b"#!")}, late))
    parts = [content for path, (_mode, content) in sorted(found.items()) if path.startswith("late/")]
    assert found["init"] == (FILE, b"#!")
    assert len(parts) > 1
    assert entries_of(gzip.decompress(b"".join(parts))) == late


ZSTD = b"\x28\xb5\x2f\xfd"


def zstd_frame(content):
    """One raw block and nothing else (RFC 8878, 3.1.1: a single segment, its size in four bytes)."""
    return ZSTD + b"\xa0" + struct.pack("<I", len(content)) + struct.pack("<I", len(content) << 3 | 1)[:3] + content


def zstd_program(frames):
    """As `zstd -dcq` reads: frame by frame, and what follows a frame has to be another one."""
    content = b""
    while frames:
        if not frames.startswith(ZSTD):
            raise ValueError("zstd: /*stdin*\\: unsupported format")
        (size,) = struct.unpack_from("<I", frames, 5)
        content, frames = content + frames[12 : 12 + size], frames[12 + size :]
    return content


SIZE = struct.pack("<I", len(ELF))  # what Linux appends to a payload that does not end with it
PACKED = {"gzip": gzip.compress(ELF), "xz": lzma.compress(ELF) + SIZE, "zstd": zstd_frame(ELF) + SIZE, "plain": ELF + SIZE}


@pytest.mark.parametrize("payload", PACKED.values(), ids=PACKED)
def test_the_kernel_inside_a_bzimage_is_found(build, payload, monkeypatch):
    monkeypatch.setitem(build.UNPACKERS, ZSTD, zstd_program)
    assert build.vmlinux(bzimage(payload)) == ELF


@pytest.mark.parametrize("image", [ELF, bzimage(b"\x02!L\x18 packed otherwise")], ids=["ELF already", "lz4"])
def test_a_kernel_that_cannot_be_unpacked_is_taken_as_it_is(build, image):
    assert build.vmlinux(image) == image


def test_the_newest_kernel_comes_first(build):
    assert build.versions_newest_first(["6.1.0-9-amd64", "6.12.3-amd64", "6.1.0-56-amd64"]) == [
        "6.12.3-amd64",
        "6.1.0-56-amd64",
        "6.1.0-9-amd64",
    ]


def installed(build, place, able=()):
    entries = {"init": (FILE, b"#!")}, {"qemu": (FILE, b"q")}
    parts = build.Parts(NAME, str(place), str(place / "vmlinuz"), *entries, {"xen": "4.17"}, able)
    place.mkdir(exist_ok=True)
    (place / "vmlinuz").write_bytes(ELF)
    build.install(NAME, parts.directory, build.build(parts, "one"))
    return place


def append(path):
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("harm", "digest", "reason"),
    [
        (lambda place: None, "one", None),
        (lambda place: None, "other", "what the image is made of changed"),
        (lambda place: append(place / KERNEL), "one", f"{KERNEL} is not what was built"),
        (lambda place: append(place / RAMDISK), "one", f"{RAMDISK} is not what was built"),
        (lambda place: (place / RAMDISK).unlink(), "one", "no whole image is installed"),
        (lambda place: (place / "qemu-stubdom-linux.json").write_text("[]"), "one", "no whole image is installed"),
    ],
)
def test_what_makes_an_image_stale(build, tmp_path, harm, digest, reason):
    place = installed(build, tmp_path / "boot")
    harm(place)
    assert build.stale(NAME, str(place), digest) == reason


def test_an_installation_that_fails_leaves_the_old_image_and_nothing_else(build, tmp_path, monkeypatch):
    place = installed(build, tmp_path / "boot")
    before = {path.name: path.read_bytes() for path in place.iterdir()}

    def full_disk(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        build.install(NAME, str(place), {KERNEL: b"new"})
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_what_a_killed_build_left_is_cleared(build, tmp_path):
    place = installed(build, tmp_path / "boot")
    (place / f".{NAME}-killed").mkdir()
    build.install(NAME, str(place), {})
    assert not list(place.glob(f".{NAME}-*"))


def options(**changed):
    return argparse.Namespace(**{"init": "#!", "recipe": "r", "check": False, **changed})


@pytest.mark.parametrize(
    ("harm", "asked", "known"),
    [
        (lambda file: None, options(), True),
        (lambda file: None, options(check=True), True),
        (lambda file: None, options(init="other"), False),
        (append, options(), False),
        (lambda file: file.unlink(), options(), False),
        (lambda file: (file.rename(file.with_suffix(".old")), file.write_bytes(b"input")), options(), False),
    ],
    ids=["nothing", "check mode", "another init", "content", "gone", "another file of the same content"],
)
def test_the_last_result_stands_only_while_nothing_was_touched(build, tmp_path, harm, asked, known):
    source = tmp_path / "source"
    source.write_bytes(b"input")
    build.read(str(source))
    build.remember(NAME, options(), {"changed": False})
    harm(source)
    assert build.remembered(NAME, asked) == ({"changed": False} if known else None)


def defined(path):
    """Names that a program defines at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_takes_no_name_of_the_builder(recipe):
    """They are one program on the host's standard input, where the second of a name would replace the first."""
    assert not defined(recipe) & defined(SOURCE)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_builder_and_recipe_are_one_program(recipe):
    program = "\n\n".join(path.read_text(encoding="utf-8") for path in (SOURCE, recipe))
    done = subprocess.run([sys.executable, "-", "--help"], input=program, capture_output=True, text=True, check=True)
    assert "--busybox" in done.stdout


# What a program sees that truncates a pipe, a file of four bytes, and what is neither: it has the library preloaded.
TRUNCATES = """
import os, tempfile
reader, writer = os.pipe()
os.ftruncate(writer, 0)
file = tempfile.TemporaryFile()
os.write(file.fileno(), b"four")
os.ftruncate(file.fileno(), 1)
assert os.fstat(file.fileno()).st_size == 1
try:
    os.ftruncate(9999, 0)
except OSError:
    print("as it should")
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the library is for x86-64, as Xen's stubdomains are")
def test_what_cannot_be_truncated_may_be_with_the_library_that_is_built_without_a_compiler(recipe, tmp_path):
    library = tmp_path / "no-truncate.so"
    library.write_bytes(recipe.shared_object(recipe.NO_TRUNCATE, ["ftruncate", "ftruncate64"]))
    argv = [sys.executable, "-c", TRUNCATES]
    plain = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert f"[Errno {errno.EINVAL}]" in plain.stderr
    preloaded = subprocess.run(argv, env={"LD_PRELOAD": str(library)}, capture_output=True, text=True, check=False)
    assert (preloaded.stdout, preloaded.stderr) == ("as it should\n", "")


def test_the_manifest_says_that_guests_can_be_saved(build, recipe, tmp_path):
    place = installed(build, tmp_path / "boot", recipe.ABLE)
    assert json.loads((place / f"{NAME}.json").read_text())["able"] == ["save"]
