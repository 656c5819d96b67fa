# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""swtpm in dom0, one for each guest that QEMU shows a TPM: what there is of it, how it comes, answers and goes.

QEMU tells it to shut down when it ends itself (tpm_emulator.c), and xl's monitor may start the guest's next QEMU by itself:
so the socket is there for as long as the guest may be, and each swtpm that ended well is followed by another behind it.
All of them go by SIGTERM, and what they keep stays.
"""

from __future__ import annotations

from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import swtpm, tpmctl
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.paths import LOG_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Vtpm
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import Emulated
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import another_version

LINK = "vtpm-emulator"
END_PATIENCE = 10.0  # seconds for its processes to end
LOST = "put it back; purge_state: true begins with an empty TPM, and all that the guest sealed with the old one is lost"


def look(host: Any, name: str) -> Emulated:
    """What there is of the guest's emulated TPM."""
    folder = swtpm.state_dir(name)
    version = next((v for v, file in swtpm.STATES.items() if host.exists(f"{folder}/{file}")), None)
    return Emulated(version, bool(host.exists(swtpm.made_path(name))), *served(host, swtpm.socket_path(name)))


def served(host: Any, path: str) -> tuple[bool, bool]:
    """(whether somebody listens there, whether somebody is connected). It is not asked: it takes one client at a time."""
    if not host.exists(path):
        return False, False
    return swtpm.sockets_of(path.rpartition("/")[2], host.read_file(swtpm.SOCKETS) or "")


def process(host: Any, name: str) -> tuple[Optional[int], Optional[bool]]:
    """(the pid of the swtpm that was started last, whether it lives); None where there was none."""
    text = (host.read_file(swtpm.pid_path(name)) or "").strip()
    if not text.isdigit():
        return None, None
    return int(text), bool(host.runs(int(text), swtpm.mark(name)))


def check(host: Any, name: str, wish: Vtpm, seen: Emulated) -> None:
    """Raises XenError for a TPM that would be another one, or that this host has no swtpm for. (Of its QEMU see qemu.py.)"""
    if not host.stamp(swtpm.PROGRAM):
        raise XenError(
            "no_tpm_emulator",
            f"vtpm: this host has no {swtpm.PROGRAM}, which keeps an emulated TPM",
            {"missing": swtpm.PROGRAM},
            "install it (Debian: swtpm), or have the TPM in a domain of its own: kind: stubdom",
        )
    if seen.version and wish.version != seen.version:
        raise another_version(name, seen.version, wish.version, swtpm.state_dir(name))


def check_state(name: str, seen: Emulated) -> None:
    """Raises XenError(tpm_state_missing) where the TPM that the guest has had would be replaced by an empty one."""
    state = swtpm.state_dir(name)
    if seen.made and not seen.version:
        evidence = {"state": state, "marked_by": swtpm.made_path(name)}
        msg = f"vtpm: the emulated TPM of guest {name} has lost its state: there is none in {state}"
        raise XenError("tpm_state_missing", msg, evidence, LOST)


async def up(host: Any, name: str, version: str, patience: float) -> bool:
    """Has the emulator answer, with the TPM that there is or a new one. Returns whether one had to be started.

    Raises XenError: none is left then that was started here.
    """
    seen = look(host, name)
    starts = not (seen.listens and seen.version)  # one whose state was taken from under it serves nobody
    try:
        if starts:
            await down(host, name)
            host.make_directory(swtpm.state_dir(name))
            host.make_directory(swtpm.SOCKET_DIR)
            await host.serve(swtpm.socket_path(name), swtpm.argv(name, version), f"{LOG_DIR}/{swtpm.log_name(name)}")
        await _proven(host, name, patience)
    except XenError:
        if starts:
            await down(host, name)
        raise
    if starts or not seen.made:
        host.write_file(swtpm.made_path(name), f"{version}\n")
    return starts


async def _proven(host: Any, name: str, patience: float) -> None:
    path = swtpm.socket_path(name)
    answers = await host.converse(path, tpmctl.PROOF, host.now() + patience)
    result = tpmctl.refused(answers) if answers is not None else None
    if answers is not None and result is None:
        return
    log = f"{LOG_DIR}/{swtpm.log_name(name)}"
    evidence = {"link": LINK, "path": path, "result": result, "logs": [{"path": log, "tail": host.tail(log, 2000)}]}
    what = "does not answer" if answers is None else f"cannot take up the TPM's state: it says {result:#x}"
    raise XenError(
        "tpm_emulator_failed",
        f"guest {name}: swtpm in dom0 {what}",
        evidence,
        f"the end of its log is in the evidence; the state in {swtpm.state_dir(name)} is as it was",
    )


async def down(host: Any, name: str) -> None:
    """Ends the emulator. The state stays."""
    limit = host.now() + END_PATIENCE
    ended: set[int] = set()
    # The shell leads a process group, and in it is also the swtpm that it was just about to start.
    while (pids := [pid for pid in host.having(swtpm.mark(name), ended) if pid not in ended]) and host.now() < limit:
        host.end(pids)  # the first is the one that would start another
        for pid in pids:
            await host.await_exit([pid], limit)
        ended.update(pids)
    for path in (swtpm.socket_path(name), swtpm.pid_path(name)):
        host.remove(path)


def forget(host: Any, name: str) -> None:
    """Deletes the state. The mark goes first: a state without one is just a TPM, a mark without a state is a lost one."""
    host.remove(swtpm.made_path(name))
    host.remove_directory(swtpm.state_dir(name))


def tell_hvmloader(host: Any, domid: int, tpm: Optional[Vtpm]) -> None:
    """Which TPM there is to describe to the guest's system; to be said before the guest first runs."""
    if tpm is not None and tpm.model == "crb":
        host.xenstore().write(swtpm.told_by(domid), swtpm.CRB_VERSION)
