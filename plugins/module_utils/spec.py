# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest as plain, frozen data.

Every other file works on these classes and nothing else, so a description that came from a task, from a file in
/etc/xen or from a running domain looks the same everywhere. ``None`` (or an empty container that was never given)
means "not described, so not managed". Sizes are bytes. Only what can be judged from the description alone is judged
here; what depends on the host is in admission.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Callable, Optional, TypeVar

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.masking import MASK, is_secret

MIB = 1024 * 1024
UNITS = {"": 1, "B": 1, "KIB": 1024, "MIB": MIB, "GIB": 1024 * MIB, "TIB": 1024 * 1024 * MIB}
EMULATOR = "emulator"  # the kind of a TPM that is QEMU's

SIZE = re.compile(r"\s*(\d+)\s*([A-Za-z]*)\s*$")
BDF = re.compile(r"(?:([0-9a-f]{1,4}):)?([0-9a-f]{1,2}):([01]?[0-9a-f])\.([0-7*])\Z", re.I)


@dataclass(frozen=True)
class DeviceModel:
    version: Optional[str] = None
    path: Optional[str] = None
    user: Optional[str] = None
    restrict: Optional[bool] = None
    args: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Stubdom:
    type: Optional[str] = None
    kernel: Optional[str] = None
    ramdisk: Optional[str] = None
    cmdline: Optional[str] = None
    memory: Optional[int] = None
    seclabel: Optional[str] = None


@dataclass(frozen=True)
class Vnc:
    enabled: Optional[bool] = None
    listen: Optional[str] = None
    display: Optional[int] = None
    password: Optional[str] = None


@dataclass(frozen=True)
class Disk:
    vdev: Optional[str] = None
    target: Optional[str] = None
    format: Optional[str] = None
    access: Optional[str] = None
    devtype: Optional[str] = None
    backendtype: Optional[str] = None
    backend: Optional[str] = None
    script: Optional[str] = None
    options: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Nic:
    mac: Optional[str] = None
    bridge: Optional[str] = None
    type: Optional[str] = None
    model: Optional[str] = None
    vifname: Optional[str] = None
    script: Optional[str] = None
    ip: Optional[str] = None
    backend: Optional[str] = None
    rate: Optional[str] = None
    options: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Pci:
    """A device of the host's. address: 0000:bb:dd.f, or f as * for all its functions; vslot: its slot in the guest."""

    address: Optional[str] = None
    vslot: Optional[int] = None
    permissive: Optional[bool] = None
    msitranslate: Optional[bool] = None
    power_mgmt: Optional[bool] = None
    seize: Optional[bool] = None
    rdm_policy: Optional[str] = None
    options: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class UsbController:
    """Numbered from 0, by its place in the list; its ports from 1."""

    type: Optional[str] = None
    version: Optional[int] = None
    ports: Optional[int] = None


@dataclass(frozen=True)
class Usb:
    """A device at a bus and an address of the host's."""

    host_bus: Optional[int] = None
    host_address: Optional[int] = None
    controller: Optional[int] = None
    port: Optional[int] = None


@dataclass(frozen=True)
class Vfb:
    """The display of a guest without an emulated one."""

    vnc: Optional[bool] = None
    listen: Optional[str] = None
    display: Optional[int] = None
    unused: Optional[bool] = None
    password: Optional[str] = field(default=None, repr=False)
    keymap: Optional[str] = None
    options: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Channel:
    name: Optional[str] = None
    connection: Optional[str] = None
    path: Optional[str] = None
    backend: Optional[str] = None


@dataclass(frozen=True)
class P9:
    tag: Optional[str] = None
    path: Optional[str] = None
    security_model: Optional[str] = None
    backend: Optional[str] = None
    options: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Vtpm:
    """kind is emulator for one of QEMU's, and version and model are of that (swtpm.py); any other is held by a domain."""

    backend: Optional[str] = None
    uuid: Optional[str] = None
    kind: Optional[str] = None
    version: Optional[str] = None
    model: Optional[str] = None


@dataclass(frozen=True)
class Guest:
    name: Optional[str] = None
    uuid: Optional[str] = None
    type: Optional[str] = None
    memory: Optional[int] = None
    max_memory: Optional[int] = None
    vcpus: Optional[int] = None
    max_vcpus: Optional[int] = None
    cpus: Optional[str] = None
    weight: Optional[int] = None
    cap: Optional[int] = None
    cpupool: Optional[str] = None
    kernel: Optional[str] = None
    ramdisk: Optional[str] = None
    cmdline: Optional[str] = None
    bootloader: Optional[str] = None
    firmware: Optional[str] = None
    boot: Optional[str] = None
    device_model: DeviceModel = field(default_factory=DeviceModel)
    stubdom: Stubdom = field(default_factory=Stubdom)
    disks: Optional[tuple[Disk, ...]] = None
    nics: Optional[tuple[Nic, ...]] = None
    pci: Optional[tuple[Pci, ...]] = None
    usb_controllers: Optional[tuple[UsbController, ...]] = None
    usb: Optional[tuple[Usb, ...]] = None
    vfb: Optional[tuple[Vfb, ...]] = None
    channels: Optional[tuple[Channel, ...]] = None
    p9: Optional[tuple[P9, ...]] = None
    vtpm: Optional[tuple[Vtpm, ...]] = None
    serial: Optional[str] = None
    vnc: Vnc = field(default_factory=Vnc)
    on_poweroff: Optional[str] = None
    on_reboot: Optional[str] = None
    on_crash: Optional[str] = None
    autostart: Optional[bool] = None
    extra_config: Mapping[str, Any] = field(default_factory=dict)


Record = TypeVar("Record")
NESTED: dict[str, type[Any]] = {"device_model": DeviceModel, "stubdom": Stubdom, "vnc": Vnc}
LISTED: dict[str, type[Any]] = {
    "disks": Disk, "nics": Nic, "pci": Pci, "usb_controllers": UsbController, "usb": Usb, "vfb": Vfb, "channels": Channel,
    "p9": P9, "vtpm": Vtpm,
}  # fmt: skip
# What makes an item of a list the same one, wherever it stands. In a list that is not here, its place does.
IDENTITY: dict[str, tuple[str, ...]] = {
    "disks": ("vdev",), "nics": ("mac",), "pci": ("address",), "usb": ("host_bus", "host_address"), "channels": ("name",),
    "p9": ("tag",),
}  # fmt: skip
SIZES = {"memory", "max_memory"}


def parse_size(text: Any, option: str) -> Optional[int]:
    """Bytes of ``512MiB``, ``2GiB`` or a plain number of bytes; whole MiB only, as xl.cfg cannot say less.

    Raises XenError(invalid_input).
    """
    if text is None:
        return None
    match = SIZE.match(str(text))
    unit = UNITS.get(match.group(2).upper()) if match else None
    if match is None or unit is None:
        raise invalid(option, text, "a size such as 512MiB, 2GiB or a number of bytes")
    size = int(match.group(1)) * unit
    if size < MIB or size % MIB:
        raise invalid(option, text, "a whole number of MiB", f"a plain number is bytes: write {match.group(1)}MiB")
    return size


def format_size(size: int) -> str:
    """The shortest exact spelling of a size: '2GiB', '192MiB'."""
    for unit, factor in (("GiB", 1024 * MIB), ("MiB", MIB)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def invalid(option: str, value: Any, wanted: str, hint: Optional[str] = None) -> XenError:
    """The error for a refused option, naming it and its value, unless that is a secret."""
    value = MASK if is_secret(option) else value
    msg = f"{option}: {value!r} cannot be used: wanted {wanted}"
    return XenError("invalid_input", msg, {"option": option, "value": value}, hint or f"correct {option}: nothing was touched")


def lookup(guest: Any, option: str) -> Any:
    """The value at a dotted option name, such as 'stubdom.kernel'."""
    for part in option.split("."):
        guest = getattr(guest, part)
    return guest


def from_options(options: Mapping[str, Any]) -> Guest:
    """The guest that a task's options describe (unknown keys are ignored: they are policy, not description)."""
    given = _record(Guest, options, "")
    return replace(given, vtpm=_with_domains(given), extra_config=dict(options.get("extra_config") or {}))


def vtpm_domain(guest: str) -> str:
    """The name of the domain that this collection makes to hold a guest's TPM (vtpm.py)."""
    return f"{guest}-vtpm"


def _with_domains(given: Guest) -> Optional[tuple[Vtpm, ...]]:
    """A TPM that a domain holds is known by that domain alone."""
    own = vtpm_domain(str(given.name))
    return given.vtpm and tuple(
        v if v.kind == EMULATOR else Vtpm(own if v.kind == "stubdom" else v.backend, v.uuid) for v in given.vtpm
    )


def _record(cls: type[Record], options: Mapping[str, Any], prefix: str) -> Record:
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: _value(name, prefix, options[name]) for name in known if options.get(name) is not None})


def _value(name: str, prefix: str, value: Any) -> Any:
    if name in NESTED and not prefix:
        return _record(NESTED[name], value, f"{name}.")
    if name in LISTED and not prefix:
        return tuple(_record(LISTED[name], item, f"{name}[{i}].") for i, item in enumerate(value))
    if name in SIZES:
        return parse_size(value, prefix + name)
    if name in ONE_SPELLING and prefix:
        return ONE_SPELLING[name](str(value))
    return _plain(value)


def pci_address(text: str) -> str:
    """A PCI address in the longest of xl's spellings, 0000:bb:dd.f (xl-pci-configuration(5)); what is none as it is."""
    match = BDF.match(text)
    if match is None:
        return text
    domain, bus, slot = (int(part or "0", 16) for part in match.groups()[:3])
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{match[4]}"


# Attributes of devices that are compared as text though they have more than one spelling.
ONE_SPELLING: dict[str, Callable[[str], str]] = {"address": pci_address, "uuid": str.lower}


def _plain(value: Any) -> Any:
    """Ansible 2.19 hands tagged subclasses of str; what is stored and compared here is the plain type."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (list, tuple)):
        return tuple(str(item) for item in value)
    return str(value).lower() if re.match(r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", str(value)) else str(value)


def to_options(record: Any) -> dict[str, Any]:
    """The other way: a plain dict that is valid input of the module again, without what is not described."""
    result: dict[str, Any] = {}
    for f in fields(record):
        value = _option(f.name, getattr(record, f.name))
        if value is not None and value != {}:
            result[f.name] = value
    return result


def _option(name: str, value: Any) -> Any:
    if value is None:
        return None
    if is_dataclass(value):
        return to_options(value)
    if name in LISTED:
        return [to_options(item) for item in value]
    if name in SIZES:
        return format_size(value)
    return list(value) if isinstance(value, tuple) else (dict(value) if isinstance(value, Mapping) else value)


def overlay(base: Guest, given: Guest) -> Guest:
    """``base`` with everything that ``given`` describes put over it. A list replaces the list; NICs keep their MACs."""
    result = _over(base, given)
    return replace(
        result,
        device_model=_over(base.device_model, given.device_model),
        stubdom=_over(base.stubdom, given.stubdom),
        vnc=_over(base.vnc, given.vnc),
        nics=_keep_macs(base.nics, result.nics),
        extra_config=_over_extra(base.extra_config, given.extra_config),
    )


def _over(base: Record, given: Record) -> Record:
    changes = {f.name: getattr(given, f.name) for f in fields(given)}  # type: ignore[arg-type]
    return replace(base, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[type-var]


def _keep_macs(base: Optional[tuple[Nic, ...]], nics: Optional[tuple[Nic, ...]]) -> Optional[tuple[Nic, ...]]:
    """A NIC given without a MAC is the one that was at its place: a new MAC would be a new card to the guest."""
    if nics is None or base is None:
        return nics
    taken = {nic.mac for nic in nics}
    old = [nic.mac if nic.mac not in taken else None for nic in base] + [None] * len(nics)
    return tuple(replace(nic, mac=nic.mac or old[i]) for i, nic in enumerate(nics))


def _over_extra(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keys given as null are taken out."""
    return {k: v for k, v in {**base, **given}.items() if v is not None}
