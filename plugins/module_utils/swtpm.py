# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TPM that the guest's own QEMU in dom0 shows it, kept by swtpm beside that: how the two are told of each other. Pure.

xl.cfg has no word for it: it is in the arguments that are handed on to QEMU. Here they are written and read again, so
that everywhere else such a TPM is one of the guest's `vtpm`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.spec import EMULATOR, Guest, Vtpm
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import NEWEST, STATE_DIR

PROGRAM = "swtpm"
SOCKET_DIR = "/run/stubdom.xen/vtpm"
SOCKETS = "/proc/net/unix"  # a line for each socket there is: its state is the sixth word, its path the eighth
LISTENS, CONNECTED = "01", "03"
# hvmloader describes a TPM to the guest's system from Xen 4.18 on as `platform/tpm_version` says: 2 is one behind CRB. Where
# nothing is said, and before, it looks for one behind TIS (tools/firmware/hvmloader/util.c, libacpi/build.c). Neither xl nor
# libxl writes the node.
FIRST_CRB, CRB_VERSION = (4, 18), "2"
STATES = {"1.2": "tpm-00.permall", "2.0": "tpm2-00.permall"}  # the file of each version's state (swtpm_nvstore_dir.c, 0.7)
ID = "vtpm-"  # and its version: what QEMU calls it


class Emulated(NamedTuple):
    """What there is of a guest's emulated TPM. version: of its state; made: whether there was a state once."""

    version: Optional[str] = None
    made: bool = False
    listens: bool = False
    connected: bool = False  # a QEMU holds the connection: swtpm takes one at a time

    @property
    def kept(self) -> bool:
        return self.made or self.version is not None


NO_EMULATOR = Emulated()


def state_dir(guest: str) -> str:
    return f"{STATE_DIR}/{guest}.tpm"


def made_path(guest: str) -> str:
    """Says, outside of the state's directory, that there has been a state: one that is gone is missed by it."""
    return f"{STATE_DIR}/{guest}.made"


def socket_path(guest: str) -> str:
    return f"{SOCKET_DIR}/{guest}"


def pid_path(guest: str) -> str:
    """No guest's name begins with a dot, so that none has this path for its socket."""
    return f"{SOCKET_DIR}/.{guest}.pid"


def log_name(guest: str) -> str:
    return f"swtpm-{guest}.log"


def mark(guest: str) -> str:
    """The word in a process's command line by which the emulator of that guest is known."""
    return f"dir={state_dir(guest)},mode=0600"


def argv(guest: str, version: str) -> list[str]:
    """swtpm's command line; {fd} is the descriptor of the socket on which its control channel listens."""
    flags = ["--tpm2"] if version == "2.0" else []
    control = ["--ctrl", "type=unixio,fd={fd}", "--pid", f"file={pid_path(guest)}"]
    return [PROGRAM, "socket", *flags, "--tpmstate", mark(guest), *control]


def of(guest: Optional[Guest]) -> Optional[Vtpm]:
    """The guest's emulated TPM, if it has one."""
    return next((v for v in (guest.vtpm if guest else None) or () if v.kind == EMULATOR), None)


def completed(wanted: Guest, base: Guest, seen: Emulated) -> Guest:
    """The guest with its emulated TPM's version and model: what is not said stays. base: as the guest is described so far."""
    wish, had = of(wanted), of(base) or Vtpm()
    if wish is None:
        return wanted
    version = wish.version or had.version or seen.version or NEWEST
    model = wish.model or (had.model if had.version == version else None)
    return replace(wanted, vtpm=(replace(wish, version=version, model=model),))


def fitted(wanted: Guest, xen: tuple[int, int]) -> Guest:
    """The guest with a model that its firmware finds on that Xen, where there is none yet."""
    tpm = of(wanted)
    if tpm is None or tpm.model:
        return wanted
    model = "crb" if tpm.version == "2.0" and xen >= FIRST_CRB else "tis"
    return replace(wanted, vtpm=(replace(tpm, model=model),))


def spelled(guest: Guest) -> Guest:
    """The guest as xl.cfg can say it: its emulated TPM among QEMU's arguments."""
    tpm = of(guest)
    if tpm is None:
        return guest
    version = tpm.version or NEWEST
    name, model = f"{ID}{version}", tpm.model or ("tis" if version == "1.2" else "crb")
    more = (
        "-chardev", f"socket,id={name},path={socket_path(str(guest.name))}",
        "-tpmdev", f"emulator,id={name},chardev={name}", "-device", f"tpm-{model},tpmdev={name}",
    )  # fmt: skip
    others = tuple(v for v in guest.vtpm or () if v is not tpm)
    args = (*(guest.device_model.args or ()), *more)
    return replace(guest, vtpm=others or None, device_model=replace(guest.device_model, args=args))


def taken(guest: Guest) -> Guest:
    """The other way: of a guest whose QEMU is told of the emulator of just that guest."""
    words = guest.device_model.args or ()
    args = "".join(f"{word}\0" for word in words)
    found = _pattern(str(guest.name)).search(args) if "-tpmdev" in words else None
    if found is None:
        return guest
    rest = tuple((args[: found.start(1)] + args[found.end(1) :]).split("\0")[:-1])
    tpm = Vtpm(kind=EMULATOR, version=found["version"], model=found["model"])
    return replace(guest, vtpm=(tpm, *(guest.vtpm or ())), device_model=replace(guest.device_model, args=rest or None))


def _pattern(guest: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?:\A|\0)(-chardev\0socket,id={ID}(?P<version>1\.2|2\.0),path={re.escape(socket_path(guest))}\0"
        rf"-tpmdev\0emulator,id={ID}(?P=version),chardev={ID}(?P=version)\0"
        rf"-device\0tpm-(?P<model>tis|crb),tpmdev={ID}(?P=version)\0)"
    )


def sockets_of(guest: str, table: str) -> tuple[bool, bool]:
    """(whether somebody listens on the guest's socket, whether somebody is connected to it), by the text of SOCKETS."""
    states = {words[5] for words in map(str.split, table.splitlines()) if words[7:8] == [socket_path(guest)]}
    return LISTENS in states, CONNECTED in states


def hvmloader_told(guest: Optional[Guest], node: Optional[str]) -> bool:
    """Whether firmware finds the guest's TPM, by the node `platform/tpm_version` of its domain."""
    tpm = of(guest)
    return tpm is None or tpm.model != "crb" or node == CRB_VERSION


def told_by(domid: int) -> str:
    """The node that hvmloader reads."""
    return f"/local/domain/{domid}/platform/tpm_version"
