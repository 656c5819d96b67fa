# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of the port to the host (host.py): its files. What is written is whole and durable, or it is told."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable


class Files:
    """This machine's files."""

    def read_file(self, path: str, limit: int = 1 << 20) -> Optional[str]:
        """The text of a file, None where there is none. Raises XenError(file_unreadable)."""
        try:
            with open(path, "rb") as stream:
                return stream.read(limit).decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            why = error.strerror or str(error)
            hint = "what stands there is to be a plain file that root can read"
            raise XenError("file_unreadable", f"{path} could not be read: {why}", {"path": path}, hint) from error

    def tail(self, path: str, limit: int = 4096) -> Optional[str]:
        """The end of a log as printable text, None where there is none. Guests write into logs: they are not trusted."""
        try:
            with open(path, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - limit))
                return printable(stream.read(limit), limit)
        except OSError:
            return None

    def write_file(self, path: str, text: str, mode: int = 0o600) -> None:
        """Replaces a file whole or not at all, and durably. Raises XenError(file_not_written), as all that writes here."""
        with writing(path):
            # Always the same name, so that what a killed task left half-written is replaced by the next one.
            temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
            try:
                _fill(temporary, text, mode)
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise

    def peek(self, path: str, offset: int, length: int) -> bytes:
        """What a file has at that place; less at its end, nothing where it cannot be read."""
        try:
            with open(path, "rb") as stream:
                stream.seek(offset)
                return stream.read(length)
        except OSError:
            return b""

    def digest(self, path: str) -> str:
        """SHA-256 of a file, in hex. Raises XenError(file_unreadable)."""
        found = hashlib.sha256()
        try:
            with open(path, "rb") as stream:
                while chunk := stream.read(1 << 20):
                    found.update(chunk)
        except OSError as error:
            why, hint = error.strerror or str(error), "is it there, and may root read it?"
            raise XenError("file_unreadable", f"{path} could not be read: {why}", {"path": path}, hint) from error
        return found.hexdigest()

    def rename(self, path: str, to: str) -> None:
        """Gives a file another name in the same directory, once what is in it is on the disk."""
        with writing(to):
            _settle(path)
            os.replace(path, to)
            _settle(os.path.dirname(to))

    def free_space(self, path: str) -> int:
        """Bytes that files in a directory may still take, whether or not it is there yet."""
        while not os.path.exists(path):
            path = os.path.dirname(path)
        about = os.statvfs(path)
        return about.f_bavail * about.f_frsize

    def make_directory(self, path: str, mode: int = 0o700) -> None:
        """A directory for files of this collection's own; one that is there stays as it is."""
        with writing(path):
            os.makedirs(path, mode, exist_ok=True)

    def make_sparse(self, path: str, size: int) -> None:
        """A file of zeros that takes no room, in a directory of its own, both for root alone; one that is there stays."""
        with writing(path):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                try:
                    os.ftruncate(fd, size)
                finally:
                    os.close(fd)

    def stamp(self, program: str) -> str:
        """What changes when a program in PATH is replaced: its path, size and time of modification."""
        path = shutil.which(program)
        if path is None:
            return ""
        about = os.stat(path)
        return f"{path} {about.st_size} {about.st_mtime_ns}"

    def keep_copy(self, path: str, copy: str) -> None:
        """A second name for what a file holds now; an older copy is never overwritten."""
        with writing(copy), contextlib.suppress(FileExistsError):
            os.link(path, copy)

    def remove(self, path: str) -> None:
        with writing(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """With all that is in it."""
        with writing(path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def link(self, path: str, target: str) -> None:
        with writing(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.remove(path)
            os.symlink(target, path)

    def linked(self, path: str) -> Optional[str]:
        """Where a symlink points, None where there is none."""
        try:
            return os.readlink(path)
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def file_kind(self, path: str) -> str:
        """'missing', 'unreadable', 'file', 'block' or 'other'."""
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "unreadable"
        if not os.access(path, os.R_OK):
            return "unreadable"
        return "block" if stat.S_ISBLK(mode) else ("file" if stat.S_ISREG(mode) else "other")

    def find(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    @contextlib.contextmanager
    def scratch(self, text: str) -> Iterator[str]:
        """The path of a private file with this text. It is in memory only and gone with this process, however that ends."""
        with os.fdopen(os.memfd_create("stubdom.xen"), "wb") as stream:
            with writing("a temporary file"):
                stream.write(text.encode("utf-8", "surrogateescape"))
                stream.flush()
            yield f"/proc/{os.getpid()}/fd/{stream.fileno()}"


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """What the system refuses in here is told as a XenError: a full disk is no mistake of the module's."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise XenError(
            "file_not_written",
            f"{path} could not be written: {why}",
            {"path": path, "errno": errno.errorcode.get(error.errno or 0, "?")},
            "see `df` and `mount` on the host; what was there before is as it was",
        ) from error


def _settle(path: str) -> None:
    """What was written to a file or a directory is on the disk when this returns."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fill(path: str, text: str, mode: int) -> None:
    """Makes a file with this text, or makes it anew, durably."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text.encode("utf-8", "surrogateescape"))
        stream.flush()
        os.fsync(stream.fileno())
