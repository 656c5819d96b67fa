# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `xl` prints, as records. Whatever differs between Xen versions in that output is known here and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.fields import DEVICES, FIELDS, at
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB, Guest, from_options
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import taken

# `xl list -v` (tools/xl/xl_list.c, 4.4 to 4.22): the name may hold anything, so the line is read from its end. A domain
# may shut down for a reason that has no letter, and xl prints ? then.
LISTED = re.compile(
    r"^(?P<name>.*?)\s+(?P<domid>\d+)\s+(?P<memory>\d+)\s+(?P<vcpus>\d+)\s+(?P<flags>[rbpsd-]{4}[rscwS?-][d-])\s+(?P<seconds>\d+\.\d+)"
    r"\s+(?P<uuid>[0-9a-f]{8}-[0-9a-f-]{27})(?P<more>.*)$"
)
NAMELESS = ("(null)", "")
NEVER_RAN = 0.05  # seconds of CPU time, of which xl prints tenths


@dataclass(frozen=True)
class Domain:
    """A line of `xl list -v`. memory is bytes, seconds CPU time. flags as printed: r b p s(reason) d."""

    domid: int
    name: str
    uuid: str
    memory: int
    vcpus: int
    seconds: float
    flags: str

    @property
    def paused(self) -> bool:
        return self.flags[2] == "p"

    @property
    def never_ran(self) -> bool:
        return self.seconds < NEVER_RAN

    @property
    def shut_down(self) -> bool:
        return self.flags[3] == "s"

    @property
    def suspended(self) -> bool:
        """It answered a wish to save it, and waits to be resumed, here or elsewhere (xl_list.c: reason s)."""
        return self.flags[3:5] == "ss"

    @property
    def crashed(self) -> bool:
        return "c" in self.flags[3:5]

    @property
    def destroyed(self) -> bool:
        """The hypervisor takes it apart."""
        return self.flags[5] == "d"

    @property
    def dying(self) -> bool:
        return self.destroyed or self.name in NAMELESS

    @property
    def alive(self) -> bool:
        """It may still do something: neither shut down, crashed nor on its way out."""
        return not (self.shut_down or self.crashed or self.dying)


@dataclass(frozen=True)
class HostInfo:
    """What `xl info` says. free_memory and total_memory are bytes; version is (major, minor)."""

    version: tuple[int, int]
    extra: str
    free_memory: int
    total_memory: int
    cpus: int
    capabilities: tuple[str, ...]
    commandline: str
    raw: Mapping[str, str]


def unclear(what: str, evidence: Any) -> XenError:
    """The error for an output of `xl` that cannot be understood."""
    return XenError("xl_output", what, evidence, "run that command by hand; if its output is as it should be, report it")


def parse_list(text: str) -> tuple[Domain, ...]:
    """The domains of `xl list -v`, Domain-0 first. Raises XenError(xl_output) for a line it cannot read."""
    lines = [line for line in text.splitlines()[1:] if line.strip()]
    return tuple(_domain(line) for line in lines)


def _domain(line: str) -> Domain:
    match = LISTED.match(line)
    if match is None:
        raise unclear("a line of `xl list -v` could not be read", printable(line, 200))
    return Domain(
        domid=int(match["domid"]),
        name=printable(match["name"].strip(), 200),
        uuid=match["uuid"],
        vcpus=int(match["vcpus"]),
        memory=int(match["memory"]) * MIB,
        seconds=float(match["seconds"]),
        flags=match["flags"],
    )


def parse_info(text: str) -> HostInfo:
    """The host of `xl info`. Raises XenError(xl_output) where the version is missing."""
    raw = dict(_pair(line) for line in text.splitlines() if ":" in line)
    if not (raw.get("xen_major", "").isdigit() and raw.get("xen_minor", "").isdigit()):
        raise unclear("`xl info` names no Xen version", printable(text, 500))
    return HostInfo(
        version=(int(raw["xen_major"]), int(raw["xen_minor"])),
        extra=raw.get("xen_extra", ""),
        free_memory=_count(raw, "free_memory") * MIB,
        total_memory=_count(raw, "total_memory") * MIB,
        cpus=_count(raw, "nr_cpus"),
        capabilities=tuple(raw.get("virt_caps", "").split()),
        commandline=raw.get("xen_commandline", ""),
        raw=raw,
    )


def _count(raw: Mapping[str, str], key: str) -> int:
    value = raw.get(key, "0")
    if not value.isdigit():
        raise unclear(f"`xl info` says {key}: {printable(value, 100)}, which is no number", {key: value})
    return int(value)


def _pair(line: str) -> tuple[str, str]:
    key, _colon, value = line.partition(":")
    return key.strip(), value.strip()


def parse_json(text: str) -> Any:
    """The JSON in an output of `xl`, which may have sentences of its own before it."""
    start = re.search(r"^[\[{]", text, re.M)
    try:
        return json.loads(text[start.start() :]) if start else None
    except ValueError as error:
        raise unclear(f"xl printed JSON that cannot be read: {error}", printable(text, 500)) from error


def live_configs(text: str) -> dict[int, dict[str, Any]]:
    """domid -> configuration in `xl list -l` output. libxl leaves out who is half-made, and whose QEMU is gone."""
    listed = parse_json(text) or []
    entries = listed if isinstance(listed, list) else [listed]
    whole = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("config"), dict)]
    return {entry["domid"]: entry["config"] for entry in whole if isinstance(entry.get("domid"), int)}


def guest_of_config(config: Mapping[str, Any]) -> Guest:
    """The guest that libxl's JSON describes, from `xl create -n` and `xl list -l` alike: so the two can be compared."""
    options: dict[str, Any] = {"disks": [], "nics": []}
    for field in FIELDS:
        value = at(config, field.json) if field.json else None
        if field.kind is DEVICES:
            options.update({field.option: [READERS[field.option](device) for device in value]} if value else {})
        elif value is not None:
            head, _dot, tail = field.option.partition(".")
            plain = field.kind.from_json(value)
            options.update({head: {**options.get(head, {}), tail: plain}} if tail else {head: plain})
    options["stubdom"] = {**options.get("stubdom", {}), **_stubdom(config)}
    if options["stubdom"].get("type") == "minios":  # what libxl takes for no version beside a stubdomain (4.14 to 4.20)
        options["device_model"] = {"version": "qemu_xen_traditional", **options.get("device_model", {})}
    return taken(from_options(options))


def _stubdom(config: Mapping[str, Any]) -> dict[str, Any]:
    stubdom = at(config, "b_info.device_model_stubdomain")
    if stubdom is None:
        return {}
    version = at(config, "b_info.device_model_version")
    return {"type": "none" if stubdom != "True" else ("linux" if version == "qemu_xen" else "minios")}


# xl's flags of a disk, and what libxl's JSON has for them (4.17).
DISK_FLAGS = {
    "discard": ("discard_enable", "True"), "no-discard": ("discard_enable", "False"),
    "direct-io-safe": ("direct_io_safe", True),
}  # fmt: skip


def _disk(disk: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "target": disk.get("pdev_path") or None,
        "vdev": disk.get("vdev"),
        "format": None if disk.get("format") == "empty" else disk.get("format"),
        "access": "rw" if disk.get("readwrite") else "ro",
        "devtype": "cdrom" if disk.get("is_cdrom") else None,
        "backendtype": disk.get("backend"),
        "backend": disk.get("backend_domname"),
        "script": disk.get("script"),
        "options": [flag for flag, (key, value) in DISK_FLAGS.items() if disk.get(key) == value] or None,
    }
    return {k: v for k, v in found.items() if v is not None}


def _nic(nic: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "mac": nic.get("mac"),
        "bridge": nic.get("bridge"),
        "model": nic.get("model"),
        "type": {"vif": "vif", "vif_ioemu": "ioemu"}.get(str(nic.get("nictype"))),
        "vifname": nic.get("ifname"),
        "script": nic.get("script"),
        "ip": nic.get("ip"),
        "backend": nic.get("backend_domname"),
        "rate": _rate(nic),
    }
    return {k: v for k, v in found.items() if v is not None}


def _rate(nic: Mapping[str, Any]) -> Optional[str]:
    """Bytes in an interval, spelled as xl-network-configuration(5) has it: bytes a second at that interval."""
    amount, usecs = nic.get("rate_bytes_per_interval"), nic.get("rate_interval_usecs")
    return f"{amount * 10**6 // usecs}B/s@{usecs}us" if amount and usecs else None


def _pci(pci: Mapping[str, Any]) -> dict[str, Any]:
    """A mask of all ones stands for all functions; libxl's default of the policy is strict (libxl_pci.c)."""
    place = "{:04x}:{:02x}:{:02x}".format(*(int(pci.get(part, 0)) for part in ("domain", "bus", "dev")))
    function = "*" if pci.get("vfunc_mask") == 0xFFFFFFFF else str(pci.get("func", 0))
    policy = str(pci.get("rdm_policy", "invalid"))
    return {
        "address": f"{place}.{function}",
        "vslot": int(pci.get("vdevfn", 0)) >> 3 or None,
        "rdm_policy": "strict" if policy == "invalid" else policy,
        **{flag: bool(pci.get(flag)) for flag in ("permissive", "msitranslate", "power_mgmt", "seize")},
    }


def _usb_controller(controller: Mapping[str, Any]) -> dict[str, Any]:
    """auto is any type, and what libxl makes of it is told; its default of the version is 2 (libxl_usb.c)."""
    kind = controller.get("type", "auto")
    found = {"version": controller.get("version") or 2, "ports": controller.get("ports") or None}
    return {"type": None if kind == "auto" else kind, **found}


def _usb(usb: Mapping[str, Any]) -> dict[str, Any]:
    """Of a text without `type` libxl has lost bus and address in its JSON, though it attaches the device (4.17)."""
    host = usb.get("type.hostdev", {})
    found = {"controller": usb.get("ctrl"), "port": usb.get("port") or None}
    return {"host_bus": host.get("hostbus"), "host_address": host.get("hostaddr"), **found}


# xl's names of a frame buffer's window in dom0, and their places in libxl's JSON.
SDL = {"sdl": "enable", "opengl": "opengl", "display": "display", "xauthority": "xauthority"}


def _vfb(vfb: Mapping[str, Any]) -> dict[str, Any]:
    """What libxl fills in for a display that is on is the same as nothing said (libxl_console.c)."""
    vnc, sdl = vfb.get("vnc", {}), vfb.get("sdl", {})
    on = vnc.get("enable") != "False"
    window = {key: sdl[place] for key, place in SDL.items() if place in sdl}
    return {
        "vnc": on,
        "listen": vnc.get("listen", "127.0.0.1" if on else None),
        "display": vnc.get("display"),
        "unused": vnc.get("findunused", str(on)) == "True",
        "password": vnc.get("passwd"),
        "keymap": vfb.get("keymap"),
        "options": [f"{key}={FLAGS.get(value, value)}" for key, value in window.items()] or None,
    }


FLAGS = {"True": "1", "False": "0"}


def _channel(channel: Mapping[str, Any]) -> dict[str, Any]:
    socket = channel.get("connection.socket")
    found = {"name": channel.get("name"), "backend": channel.get("backend_domname")}
    return {**found, "connection": "pty" if socket is None else "socket", "path": (socket or {}).get("path")}


# What Xen 4.18 added to 9pfs, and xl's names for it.
P9_KEYS = {"type": "type", "max_files": "max-files", "max_open_files": "max-open-files", "max_space": "max-space",
           "auto_delete": "auto-delete"}  # fmt: skip


def _p9(p9: Mapping[str, Any]) -> dict[str, Any]:
    more = [f"{word}={int(p9[key]) if isinstance(p9[key], bool) else p9[key]}" for key, word in P9_KEYS.items() if p9.get(key)]
    found = {key: p9.get(key) for key in ("tag", "path", "security_model")}
    return {**found, "backend": p9.get("backend_domname"), "options": more or None}


def _vtpm(vtpm: Mapping[str, Any]) -> dict[str, Any]:
    return {"backend": vtpm.get("backend_domname"), "uuid": vtpm.get("uuid")}


READERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "disks": _disk, "nics": _nic, "pci": _pci, "usb_controllers": _usb_controller, "usb": _usb, "vfb": _vfb,
    "channels": _channel, "p9": _p9, "vtpm": _vtpm,
}  # fmt: skip


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of libxl's JSON by its path, lists by index."""
    if isinstance(tree, Mapping):
        items: list[tuple[str, Any]] = [(f"{path}.{k}" if path else str(k), v) for k, v in tree.items()]
    elif isinstance(tree, list) and tree:
        items = [(f"{path}[{i}]", v) for i, v in enumerate(tree)]
    else:
        return {} if tree in ({}, []) else {path: tree}
    found: dict[str, Any] = {}
    for name, value in items:
        found.update(leaves(value, name))
    return found
