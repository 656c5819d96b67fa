# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain of a guest's TPM before, while and after it serves: what it needs of the host, and how it comes and goes.

It comes and goes by the same walk as any guest (execute.py hands it in), with its own lock, file and chain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import emulator, qemu, swtpm, vtpm
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import HostInfo
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info, read_stored
from ansible_collections.stubdom.xen.plugins.module_utils.paths import config_path, firmware_dirs
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, Guest, from_options, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import Helper, State

Converge = Callable[[Any, Mapping[str, Any], bool], Awaitable[dict[str, Any]]]
# Every answered command is on the disk already: the domain has nothing to say goodbye to.
AT_ONCE = {"timeout": 0, "force": True}


def described(host: Any, about: HostInfo, policy: Policy, state: State) -> dict[str, Any]:
    """The domain as options of a guest. Raises XenError(no_vtpm_image)."""
    folders = firmware_dirs(about.version)
    folder = next((f for f in folders if all(host.exists(f"{f}/{name}") for name in (vtpm.KERNEL, vtpm.RAMDISK))), None)
    if folder is None:
        raise XenError(
            "no_vtpm_image",
            f"vtpm: this host has no image for the domain of a TPM ({vtpm.KERNEL})",
            {"missing": [vtpm.KERNEL, vtpm.RAMDISK], "looked_in": folders},
            "role stubdom.xen.vtpm builds it from the host's own packages",
        )
    return vtpm.described(state.name, _wish(policy), _there(state.helper), folder)


def _wish(policy: Policy) -> vtpm.Wish:
    return policy.vtpm or vtpm.Wish()


def _there(helper: Optional[Helper]) -> Optional[Guest]:
    return helper.stored.guest if helper else None


def check(host: Any, about: HostInfo, policy: Policy, state: State) -> Guest:
    """The domain that is to serve. Raises XenError for what this host cannot give it, or what would lose a TPM."""
    vtpm.check_version(state.name, _wish(policy), _there(state.helper))
    wanted = from_options(described(host, about, policy, state))
    own, path = vtpm_domain(state.name), vtpm.state_path(state.name)
    if state.helper is None and (read_stored(host, own) or any(d.name == own for d in state.domains)):
        raise XenError(
            "name_taken",
            f"vtpm: the domain of the TPM of guest {state.name} would be called {own}, which is another guest's name",
            {"name": own, "file": config_path(own)},
            "rename that guest, or name it as the backend if it holds the TPM",
        )
    if state.helper is not None and not state.tpm_state and not policy.purge_state:
        raise XenError(
            "tpm_state_missing",
            f"vtpm: the TPM of guest {state.name} has lost its state: {path} is not there",
            {"state": path, "file": state.helper.stored.path},
            emulator.LOST,
        )
    return wanted


async def up(host: Any, policy: Policy, state: State, converge: Converge) -> dict[str, Any]:
    """Has the domain serve. Returns the result of the walk. Raises XenError: the guest that leans on it is not made then."""
    options = described(host, await info(host), policy, state)
    host.make_sparse(vtpm.state_path(state.name), vtpm.STATE_SIZE)
    if state.helper and state.helper.domain and not state.helper.domain.alive:
        # it was kept to tell why it had gone
        await converge(host, {"name": options["name"], "state": "halted", "shutdown": AT_ONCE}, False)
    ready = {"timeout": policy.ready_timeout, "retries": 0, "on_failure": policy.on_failure}  # the guest's own are for both
    try:
        return await converge(
            host, {**options, "state": "running", "disruption": "recreate", "ready": ready, "shutdown": AT_ONCE}, False
        )  # fmt: skip
    except XenError as error:
        raise XenError(error.code, f"guest {state.name}: its TPM: {error.msg}", error.evidence, error.hint) from error


async def emulate(host: Any, policy: Policy, state: State, wanted: Guest) -> bool:
    """The same for a TPM that QEMU shows the guest: has its emulator serve. Returns whether it had to be started."""
    emulated = swtpm.of(wanted)
    qemu.keep(host, qemu.path_of(host, (await info(host)).version, wanted.device_model.path))
    return await emulator.up(host, state.name, str(emulated and emulated.version), policy.ready_timeout)


async def down(host: Any, name: str, forget: bool, converge: Converge) -> None:
    """Ends the domain. Its file goes with it if the guest is to have no TPM any more; the state of the TPM never does."""
    state = "absent" if forget else "halted"
    await converge(host, {"name": vtpm_domain(name), "state": state, "shutdown": AT_ONCE}, False)


def needs(policy: Policy, state: State) -> int:
    """Bytes of memory that the domain takes when it has to be made."""
    if state.helper and state.helper.serves:
        return 0
    wanted = from_options(vtpm.described(state.name, _wish(policy), _there(state.helper), ""))
    return (wanted.memory or 0) + MIB
