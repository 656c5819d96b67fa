# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host cannot give a guest: found out before anything is touched.

gather() reads what there is, check() judges it. libxl notices most of these too, but only after it has built half a
guest, and then says "rc=-3".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.fields import FIELDS, Field
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import NAMELESS, Domain, HostInfo
from ansible_collections.stubdom.xen.plugins.module_utils.observe import info
from ansible_collections.stubdom.xen.plugins.module_utils.paths import firmware_dirs
from ansible_collections.stubdom.xen.plugins.module_utils.rules import check_new, clashes, isolated
from ansible_collections.stubdom.xen.plugins.module_utils.spec import LISTED, MIB, Guest, format_size, lookup
from ansible_collections.stubdom.xen.plugins.module_utils.state import State

STUBDOM_FILES = {"linux": ("qemu-stubdom-linux-kernel", "qemu-stubdom-linux-rootfs"), "minios": ("ioemu-stubdom.gz",)}
# Memory that libxl gives a stubdomain when nothing is said (libxl_dm.c, 4.14), with the 8 MiB of video memory it adds.
STUBDOM_MEMORY = {"linux": 136 * MIB, "minios": 36 * MIB}
VIDEO_MEMORY = 8 * MIB
LAST_TRADITIONAL, FIRST_LINUX, FIRST_PHY_CDROM = (4, 20), (4, 14), (4, 19)
BALLOON_WORDS = {"0": False, "off": False, "1": True, "on": True}


@dataclass(frozen=True)
class Facts:
    """The host, as far as this guest asks for it. files: path -> 'missing', 'unreadable', 'file', 'block', 'other'."""

    info: HostInfo
    files: Mapping[str, str]
    firmware: tuple[str, ...]
    autoballoon: bool


async def gather(host: Any, guest: Guest) -> Facts:
    """Reads what check() needs. Raises XenError(xl_failed)."""
    about = await info(host)
    return Facts(
        about,
        {path: host.file_kind(path) for _option, path in _files(guest)},
        stubdom_files(host, guest.stubdom.type, about),
        _autoballoon(host.read_file("/etc/xen/xl.conf") or "", about.commandline),
    )


def stubdom_files(host: Any, stubdom_type: Optional[str], about: HostInfo) -> tuple[str, ...]:
    """The names of the default stubdomain files that exist on this host."""
    folders = firmware_dirs(about.version)
    names = STUBDOM_FILES.get(stubdom_type or "", ())
    return tuple(name for name in names if any(host.exists(f"{folder}/{name}") for folder in folders))


def _autoballoon(conf: str, commandline: str) -> bool:
    """Whether xl shrinks dom0 to make room: 'auto' means yes unless dom0_mem was given (xl.conf(5))."""
    for line in conf.splitlines():
        key, _equals, value = line.partition("=")
        word = value.strip().strip("\"'")
        if key.strip() == "autoballoon" and word in BALLOON_WORDS:
            return BALLOON_WORDS[word]
    return "dom0_mem=" not in commandline


def check(facts: Facts, guest: Guest, state: State, more: int = 0) -> None:
    """Raises XenError for the first thing that this host cannot give a guest that is to be started.

    more: bytes of memory for the domains that are to be made beside it.
    """
    check_new(guest)
    check_described(facts.info, guest, state)
    _check_files(facts, guest)
    _check_stubdom_files(facts, guest)
    _check_memory(facts, guest, state, more)


def check_restore(facts: Facts, guest: Guest, state: State) -> None:
    """Raises XenError for what this host lacks for a guest that is made from its saved memory, just as it was."""
    _check_identity(guest, state.domains)
    _check_files(facts, guest, "disks")
    _check_stubdom_files(facts, guest)
    _check_memory(facts, guest, state, 0)


def check_described(about: HostInfo, guest: Guest, state: State) -> None:
    """Raises XenError for what could never be started here: found out when the file is written, not at the next boot."""
    _check_versions(about, guest)
    _check_identity(guest, [d for d in state.domains if d not in state.leftovers])


def check_change(facts: Facts, guest: Guest, more: int, devices: bool) -> None:
    """Raises XenError for what a guest cannot be given as it runs. more: bytes of memory; devices: disks or media."""
    if devices:
        _check_files(facts, guest, "disks")
    free = facts.info.free_memory
    if more > free and not facts.autoballoon:
        raise _no_room(f"the guest is to have {more // MIB}MiB more", more, free, memory=format_size(guest.memory or 0))


def _check_versions(about: HostInfo, guest: Guest) -> None:
    here = about.version
    for option, value, first, last in _version_needs(guest):
        if not first <= here <= last:
            bound = f"Xen {_dotted(first)} or newer" if here < first else f"Xen {_dotted(last)} or older"
            raise XenError(
                "not_on_this_xen",
                f"{option}: {value!r} needs {bound}, this host runs Xen {_dotted(here)}",
                {"option": option, "value": value, "xen": about.raw.get("xen_version", _dotted(here))},
                "docs/support-matrix.md says what each Xen can do",
            )


def _version_needs(guest: Guest) -> Iterator[tuple[str, Any, tuple[int, int], tuple[int, int]]]:
    """(option, value, first Xen, last Xen) of everything described that not every Xen can do."""
    newest = (99, 0)
    for field in FIELDS:
        value = lookup(guest, field.option)
        if value is not None and field.key is not None:
            yield field.option, _told(field, value), field.since, newest
    if guest.stubdom.type == "linux":
        yield "stubdom.type", "linux", FIRST_LINUX, newest
    if guest.stubdom.type == "minios" or guest.device_model.version == "qemu_xen_traditional":
        yield "device_model.version", "qemu_xen_traditional", (4, 2), LAST_TRADITIONAL
    for disk in guest.disks or ():
        if isolated(guest) and disk.devtype == "cdrom":
            yield f"disks ({disk.vdev})", "cdrom with a stubdomain", FIRST_PHY_CDROM, newest


def _told(field: Field, value: Any) -> Any:
    """The value as evidence: of devices only how many, as one may hold a password."""
    return "***" if field.secret else (f"{len(value)} of them" if field.option in LISTED else value)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _files(guest: Guest) -> Iterator[tuple[str, str]]:
    """(option, path) of every file that must be readable in dom0."""
    for option in ("kernel", "ramdisk", "stubdom.kernel", "stubdom.ramdisk", "device_model.path"):
        path = lookup(guest, option)
        if path:
            yield option, path
    for i, disk in enumerate(guest.disks or ()):
        if disk.target and not disk.script and not disk.backend and disk.target.startswith("/"):
            yield f"disks[{i}].target", disk.target


def _check_files(facts: Facts, guest: Guest, of: str = "") -> None:
    for option, path in _files(guest):
        if option.startswith(of) and facts.files[path] in ("missing", "unreadable"):
            raise XenError(
                "file_unreadable",
                f"{option}: {path} is {facts.files[path]} on this host",
                {"option": option, "value": path, "observed": facts.files[path]},
                "put the file there first, or correct the path",
            )


def _check_stubdom_files(facts: Facts, guest: Guest) -> None:
    if not isolated(guest) or guest.stubdom.kernel:
        return
    missing = [name for name in STUBDOM_FILES[str(guest.stubdom.type)] if name not in facts.firmware]
    if missing:
        raise XenError(
            "no_stubdom_image",
            f"stubdom.type: this host has no {guest.stubdom.type} stubdomain image ({missing[0]})",
            {"missing": missing, "looked_in": firmware_dirs(facts.info.version)},
            "role stubdom.xen.stubdom_image builds the Linux one from the host's own packages",
        )


def _check_identity(guest: Guest, domains: Sequence[Domain]) -> None:
    """xl does not check that a UUID is free, and a second domain with it destroys the first one's /vm node (4.17).

    A domain without a name may well run: xenstored that was started again has forgotten it, and it has the guest's disks.
    """
    others: list[dict[str, Any]] = [{"name": d.name, "uuid": d.uuid, "domid": d.domid} for d in domains if not d.destroyed]
    clash = clashes(guest, others)
    if clash and clash[0]["name"] in NAMELESS:
        raise XenError(
            "uuid_in_use",
            f"uuid: {guest.uuid!r} belongs to domain {clash[0]['domid']}, which xenstore does not know",
            dict(clash[0]),
            f"xenstored was started again under it: end what is lost with `xl destroy {clash[0]['domid']}`, and run again",
        )
    if clash:
        raise XenError(
            "uuid_in_use",
            f"uuid: {guest.uuid!r} belongs to the guest {clash[0]['name']!r}",
            dict(clash[0]),
            "give each guest a UUID of its own, or none: one is made then",
        )


def needed_memory(guest: Guest) -> int:
    """Bytes that starting the guest takes from the hypervisor, the stubdomain's included.

    Overheads as libxl reckons them (libxl_mem.c, libxl_utils.c: libxl_get_required_shadow_memory; 4.17).
    """
    memory = guest.memory or 0
    overhead = (guest.max_vcpus or guest.vcpus or 1) * MIB + (guest.max_memory or memory) // 128
    stubdom = 0
    if isolated(guest):
        stubdom = (guest.stubdom.memory + VIDEO_MEMORY) if guest.stubdom.memory else STUBDOM_MEMORY[str(guest.stubdom.type)]
    return memory + overhead + stubdom


def _check_memory(facts: Facts, guest: Guest, state: State, more: int) -> None:
    """What the guest's own present domains hold comes free before it is needed."""
    own = [state.domain, state.stubdom, *state.leftovers]
    free = facts.info.free_memory + sum(d.memory for d in own if d is not None)
    need = needed_memory(guest) + more
    if facts.info.total_memory < need or (need > free and not facts.autoballoon):
        raise _no_room(f"{_who(guest, more)} {need // MIB}MiB", need, free, memory=format_size(guest.memory or 0))


def _who(guest: Guest, more: int) -> str:
    who = ["the guest"] + ["its stubdomain"] * isolated(guest) + ["its TPM's domain"] * bool(more)
    return " and ".join(who) + (" needs" if len(who) == 1 else " need")


def check_together(about: HostInfo, conf: str, guests: Mapping[str, Guest], states: Mapping[str, State], more: int = 0) -> None:
    """Raises XenError(not_enough_memory) unless all the guests that are to be started fit beside each other."""
    own = [d for name in guests for d in (states[name].domain, states[name].stubdom, *states[name].leftovers)]
    free = about.free_memory + sum(d.memory for d in own if d is not None)
    need = sum(needed_memory(guest) for guest in guests.values()) + more
    if need > (about.total_memory if _autoballoon(conf, about.commandline) else free):
        what = f"the {len(guests)} guests to start need {need // MIB}MiB together"
        raise _no_room(what, need, free, guests=list(guests))


def _no_room(what: str, need: int, free: int, **about: Any) -> XenError:
    """The error for what needs more memory than is free, both in bytes. about: whom, for the evidence."""
    evidence = {"needed": format_size(need // MIB * MIB), "free": format_size(free), **about}
    hint = "stop a guest, or give less to what is to start"
    return XenError("not_enough_memory", f"memory: {what}, this host has {free // MIB}MiB free", evidence, hint)
