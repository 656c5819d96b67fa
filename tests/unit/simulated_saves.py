# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`xl save` and `xl restore` on the simulated host, as seen on Xen 4.17: files of the real form, with little memory in them.

A killed `xl save` leaves the guest suspended; the next one waits a minute for an answer, and saves or resumes it then.
"""

from __future__ import annotations

import json
import struct

import simulated_xl

ACK_LIMIT = 60.0  # until a guest has to suspend itself (libxl_dom_suspend.c)
RESUME_ONLY = "save-without-room"  # what the engine's shell with its limit comes to


def saved_file(config):
    """The whole file that holds a guest, as text of one character a byte."""
    told = json.dumps(config).encode() + b"\0"
    head = struct.pack("<32sIIIII", b"Xen saved domain, xl format\n \0 \r", 0x01020304, 3, 0, len(told) + 4, len(told)) + told
    libxc = b"\xff" * 8 + bytes(32) + struct.pack("<II", 1, 12) + bytes(16) + struct.pack("<II", 0, 0)
    stream = (
        b"LibxlFmt"
        + bytes(8)
        + struct.pack("<II", 1, 0)
        + libxc
        + struct.pack("<II", 3, 9)
        + bytes(16)
        + struct.pack("<II", 0, 0)
    )
    return (head + stream).decode("latin-1")


def xl_save(machine, own, words, room=True):
    yield 0.1
    domid, path = machine.domid_of(words[0]), words[1]
    if domid is None:
        return 1
    domain, behaviour = machine.hypervisor.domains[domid], machine.present[domid]
    whole = saved_file(json.loads(machine.files[machine.userdata(domid)].rstrip("\0")))
    machine.files[path] = whole[:100]
    if domain.reason or domain.paused or behaviour.ignores_shutdown:
        yield ACK_LIMIT
    else:
        yield 0.2
    if not domain.reason and (domain.paused or behaviour.ignores_shutdown):
        own.err = "libxl: error: guest didn't acknowledge suspend, request cancelled\nFailed to save domain, resuming domain\n"
        return 1
    machine.hypervisor.shut_down(domid, "s")
    yield 1.0
    machine.files[path] = whole[:-20]
    yield 1.0
    if not room or behaviour.disk_full:
        own.err = "xc: error: Save failed (28 = No space left on device)\nFailed to save domain, resuming domain\n"
        domain.reason = ""
        return 1
    machine.files[path] = whole
    yield from simulated_xl.destroy_both(machine, domid)
    return 0


def xl_restore(machine, own, words):
    path = next((word for word in words if not word.startswith("-")), "")
    own.err = f"Loading new save file {path}\n"
    yield 0.1
    text = machine.files.get(path, "").encode("latin-1")
    if len(text) < 52 or text[:3] != b"Xen":
        own.err += "File has wrong magic number - corrupt or for a different tool?\n"
        return 1
    length = struct.unpack_from("<I", text, 48)[0]
    config = json.loads(text[52 : 52 + length].rstrip(b"\0"))
    return (yield from simulated_xl.create(machine, own, config, {}, paused="-p" in words))


simulated_xl.COMMANDS.update({
    "save": xl_save,
    "restore": xl_restore,
    RESUME_ONLY: lambda machine, own, words: xl_save(machine, own, words, room=False),
})  # fmt: skip
