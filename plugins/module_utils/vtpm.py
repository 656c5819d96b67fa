# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain that holds a guest's TPM, of the image that role vtpm builds: one for each guest that has such a TPM. Pure.

It is a guest of its own, with a file and a domain, named after the guest that it serves, and the same walk brings it up.
Only it reports ready while it runs, on a node of its own home, and it goes with the guest that it serves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Union

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import EMULATOR, MIB, Guest, invalid, parse_size, vtpm_domain

KERNEL, RAMDISK = "vtpm-stubdom-linux-kernel", "vtpm-stubdom-linux-rootfs"
STATE_DIR, STATE_SIZE = "/var/lib/stubdom.xen/vtpm", 16 * MIB
NEWEST = "2.0"  # of the versions of a TPM that the image can be
MEMORY = "128MiB"  # 96 are too few for Linux 6.1 with its ramdisk (it crashes), 112 are enough
SERVES = "running"  # what its own node says when its TPM answers
# What is said of a TPM of which kinds alone.
ONLY = {"version": ("stubdom", EMULATOR), "memory": ("stubdom",), "model": (EMULATOR,)}
VERSION = re.compile(r"(?:\A|\s)vtpm\.version=(\S+)")


class Wish(NamedTuple):
    """What a task says of the TPM's domain. None: as it is, or as is usual."""

    version: Optional[str] = None
    memory: Optional[str] = None


def wish_of(options: Mapping[str, Any]) -> Optional[Wish]:
    """What the task's `vtpm` says of a domain of our own; None where it asks for none. Raises XenError(invalid_input)."""
    items = options.get("vtpm") or []
    own = [(i, item) for i, item in enumerate(items) if item.get("kind") == "stubdom"]
    if len(own) > 1:
        raise invalid(f"vtpm[{own[1][0]}].kind", "stubdom", "one TPM of this kind", "a guest has one such domain")
    for i, item in own:
        if item.get("backend"):
            raise invalid(f"vtpm[{i}].backend", item["backend"], "none with kind: stubdom", "its domain is called GUEST-vtpm")
        parse_size(item.get("memory"), f"vtpm[{i}].memory")
    for i, item in enumerate(items):
        only = next((key for key, kinds in ONLY.items() if item.get(key) and item.get("kind") not in kinds), None)
        if only:
            kinds = " or ".join(ONLY[only])
            raise invalid(
                f"vtpm[{i}].{only}", item[only], f"none without kind: {kinds}", "any other has none of it, or is not ours"
            )
    return Wish(own[0][1].get("version"), own[0][1].get("memory")) if own else None


def state_path(guest: str) -> str:
    """Where the TPM's state is, as long as nobody purges it: the guest of that name has it again."""
    return f"{STATE_DIR}/{guest}.img"


def report_node(domid: Union[int, str]) -> str:
    """Where the init of a vTPM domain says that its TPM answers."""
    return f"/local/domain/{domid}/data/vtpm-state"


def names_own(guest: Optional[Guest]) -> bool:
    """Whether the guest has a TPM in the domain that is named after it."""
    return guest is not None and any(vtpm.backend == vtpm_domain(str(guest.name)) for vtpm in guest.vtpm or ())


def is_one(guest: Optional[Guest]) -> bool:
    """Whether that guest is itself such a domain: it runs the image."""
    return guest is not None and (guest.kernel or "").rpartition("/")[2] == KERNEL


def guest_served(own: str) -> str:
    """The name of the guest for which a domain so called holds a TPM."""
    return own[: -len(vtpm_domain(""))]


def version_of(guest: Optional[Guest]) -> Optional[str]:
    """Of the TPM that such a domain holds."""
    found = VERSION.search((guest.cmdline or "") if guest else "")
    return found[1] if found else None


def described(name: str, wish: Wish, there: Optional[Guest], folder: str) -> dict[str, Any]:
    """The domain of the guest ``name``, as options of a guest. there: what its file says; folder: where the image is."""
    memory = wish.memory or (f"{there.memory // MIB}MiB" if there and there.memory else MEMORY)
    return {
        "name": vtpm_domain(name),
        "type": "pv",
        "memory": memory,
        "vcpus": 1,
        "kernel": f"{folder}/{KERNEL}",
        "ramdisk": f"{folder}/{RAMDISK}",
        "cmdline": f"vtpm.version={wish.version or version_of(there) or NEWEST}",
        "disks": [{"vdev": "xvda", "target": state_path(name), "format": "raw", "access": "rw"}],
        # What it said when it gave up is in its home, which goes with the domain.
        "on_poweroff": "preserve",
        "on_reboot": "preserve",
        "on_crash": "preserve",
    }


def check_version(name: str, wish: Wish, there: Optional[Guest]) -> None:
    """Raises XenError(vtpm_version) where the TPM is to become another one: its state would be lost."""
    has = version_of(there)
    if has and wish.version and wish.version != has:
        raise another_version(name, has, wish.version, state_path(name))


def another_version(name: str, has: str, wanted: Optional[str], state: str) -> XenError:
    """The error for a TPM that is to become one of another version. state: where it is kept."""
    return XenError(
        "vtpm_version",
        f"vtpm: the TPM of guest {name} is a {has}, not a {wanted}, and cannot become one",
        {"guest": name, "version": has, "wanted": wanted, "state": state},
        "keep its version, or begin with an empty TPM: state: absent and purge_state: true, then make the guest anew",
    )
