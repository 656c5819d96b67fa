# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""THE table: one row for every managed field of a guest.

A row joins the option's name, its key in xl.cfg, its place in libxl's JSON (as `xl list -l` and `xl create -n` print
it, 4.17), what changing it on a running guest takes, and the first Xen that knows it. Rendering, reading, comparing and
the documentation all walk this table; nothing else knows a field by name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.masking import is_secret
from ansible_collections.stubdom.xen.plugins.module_utils.spec import MIB


class Kind(NamedTuple):
    """How a value looks in xl.cfg and in libxl's JSON. Each function takes and returns one value, never None."""

    to_cfg: Callable[[Any], Any]
    from_cfg: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


class Field(NamedTuple):
    option: str  # dotted name of the module's option
    key: Optional[str]  # xl.cfg key; None: not a key of its own
    kind: Kind
    json: Optional[str]  # path in libxl's JSON; None: not there
    needs: str = "reboot"  # what changing it takes on a running guest that does not take it as it runs (live.py)
    since: tuple[int, int] = (4, 2)  # first Xen whose xl knows the key

    @property
    def secret(self) -> bool:
        """Whether its value is a password."""
        return is_secret(self.option)


NUMBER = re.compile(r"\s*[+-]?(?:(0x[0-9a-f]+)|(0[0-7]*)|[1-9][0-9]*)\Z", re.ASCII | re.IGNORECASE)
LONG_MAX = (1 << 63) - 1


def number(text: Any) -> int:
    """A number as libxlu reads one: strtol with base 0 (tools/libs/util/libxlu_cfg.c), so 010 is eight. Raises ValueError."""
    match = NUMBER.match(str(text))
    if match is None:
        raise ValueError(text)
    found = int(match[0], 16 if match[1] else (8 if match[2] else 10))
    if not -LONG_MAX - 1 <= found <= LONG_MAX:
        raise ValueError(text)
    return found


def _words(spellings: dict[str, str], json: Optional[dict[str, str]] = None) -> Kind:
    """Enumerations: option's word -> xl.cfg's, libxl's word -> option's. Unknown words pass unchanged."""
    back = {v: k for k, v in spellings.items()}
    return Kind(lambda v: spellings.get(v, v), lambda v: back.get(str(v), str(v)), lambda v: (json or {}).get(v, v))


def _cpu_ranges(affinity: Any) -> str:
    """libxl's list of CPU maps, one a vcpu, as xl.cfg's '0-1,3'; differing maps as they are."""
    maps = [m for m in affinity if m] if affinity else []
    if not maps or any(m != maps[0] for m in maps) or not all(isinstance(c, int) for c in maps[0]):
        return str(affinity)
    runs: list[list[int]] = []
    for cpu in sorted(maps[0]):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _args(value: Any) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, (list, tuple)) else tuple(str(value).split())


TEXT = Kind(str, str, str)
COUNT = Kind(int, number, int)
# libxl knows kibibytes (`xl mem-set` takes them), xl.cfg does not: what is over a whole MiB cannot be described.
SIZE = Kind(lambda size: size // MIB, lambda mib: number(mib) * MIB, lambda kib: max(int(kib) * 1024 // MIB, 1) * MIB)
FLAG = Kind(int, lambda v: bool(number(v)), lambda v: v in ("True", True, 1))
VCPUS = Kind(int, number, len)
CPUS = Kind(str, str, _cpu_ranges)
ARGS = Kind(list, _args, lambda v: tuple(str(arg) for arg in v))
DM_VERSION = _words({"qemu_xen": "qemu-xen", "qemu_xen_traditional": "qemu-xen-traditional"})
DEVICES = Kind(list, list, list)  # a list of texts: devices.py, disks.py and libxl.py know how each looks
ACTION = Kind(str, str, lambda v: "rename-restart" if v == "restart_rename" else str(v).replace("_", "-"))

FIELDS: Sequence[Field] = (
    Field("name", "name", TEXT, "c_info.name", needs="recreate"),
    Field("uuid", "uuid", Kind(str, lambda v: str(v).lower(), lambda v: str(v).lower()), "c_info.uuid", needs="recreate"),
    Field("type", "type", TEXT, "c_info.type", since=(4, 10), needs="recreate"),
    Field("memory", "memory", SIZE, "b_info.target_memkb"),
    Field("max_memory", "maxmem", SIZE, "b_info.max_memkb"),
    Field("vcpus", "vcpus", VCPUS, "b_info.avail_vcpus"),
    Field("max_vcpus", "maxvcpus", COUNT, "b_info.max_vcpus"),
    Field("cpus", "cpus", CPUS, "b_info.vcpu_hard_affinity"),
    Field("weight", "cpu_weight", COUNT, "b_info.sched_params.weight"),
    Field("cap", "cap", COUNT, "b_info.sched_params.cap"),
    Field("cpupool", "pool", TEXT, "c_info.pool_name"),
    Field("kernel", "kernel", TEXT, "b_info.kernel"),
    Field("ramdisk", "ramdisk", TEXT, "b_info.ramdisk"),
    Field("cmdline", "cmdline", TEXT, "b_info.cmdline"),
    Field("bootloader", "bootloader", TEXT, "b_info.bootloader"),
    Field("firmware", "firmware", TEXT, "b_info.type.hvm.bios", needs="recreate"),
    Field("boot", "boot", TEXT, "b_info.type.hvm.boot"),
    Field("device_model.version", "device_model_version", DM_VERSION, "b_info.device_model_version", needs="recreate"),
    Field("device_model.path", "device_model_override", TEXT, "b_info.device_model"),
    Field("device_model.user", "device_model_user", TEXT, "b_info.device_model_user", since=(4, 7)),
    Field("device_model.restrict", "dm_restrict", FLAG, "b_info.dm_restrict", since=(4, 12), needs="recreate"),
    Field("device_model.args", "device_model_args_hvm", ARGS, "b_info.extra_hvm"),
    Field("stubdom.type", None, TEXT, None, needs="recreate"),
    Field("stubdom.kernel", "stubdomain_kernel", TEXT, "b_info.stubdomain_kernel", since=(4, 14)),
    Field("stubdom.ramdisk", "stubdomain_ramdisk", TEXT, "b_info.stubdomain_ramdisk", since=(4, 14)),
    Field("stubdom.cmdline", "stubdomain_cmdline", TEXT, "b_info.stubdomain_cmdline", since=(4, 16)),
    Field("stubdom.memory", "stubdomain_memory", SIZE, "b_info.stubdomain_memkb", since=(4, 14)),
    Field("stubdom.seclabel", "device_model_stubdomain_seclabel", TEXT, "b_info.device_model_ssid_label"),
    Field("disks", "disk", DEVICES, "disks"),
    Field("nics", "vif", DEVICES, "nics"),
    Field("pci", "pci", DEVICES, "pcidevs"),
    Field("usb_controllers", "usbctrl", DEVICES, "usbctrls", since=(4, 7)),
    Field("usb", "usbdev", DEVICES, "usbdevs", since=(4, 7)),
    Field("vfb", "vfb", DEVICES, "vfbs"),
    Field("channels", "channel", DEVICES, "channels", since=(4, 5)),
    Field("p9", "p9", DEVICES, "p9s", since=(4, 9)),
    Field("vtpm", "vtpm", DEVICES, "vtpms", since=(4, 3)),
    Field("serial", "serial", TEXT, "b_info.type.hvm.serial"),
    Field("vnc.enabled", "vnc", FLAG, "b_info.type.hvm.vnc.enable"),
    Field("vnc.listen", "vnclisten", TEXT, "b_info.type.hvm.vnc.listen"),
    Field("vnc.display", "vncdisplay", COUNT, "b_info.type.hvm.vnc.display"),
    Field("vnc.password", "vncpasswd", TEXT, "b_info.type.hvm.vnc.passwd"),
    Field("on_poweroff", "on_poweroff", ACTION, "on_poweroff"),
    Field("on_reboot", "on_reboot", ACTION, "on_reboot"),
    Field("on_crash", "on_crash", ACTION, "on_crash"),
)
BY_OPTION = {f.option: f for f in FIELDS}

# Keys that xl takes as a list as well, one value for each vcpu or port. The option cannot say that: extra_config may.
LISTS_TOO = frozenset(("cpus", "serial"))

# Keys that are written from several fields at once (xlcfg.py): with FIELDS' keys, all that extra_config may not hold.
COMPOSED = ("device_model_stubdomain_override",)
MODELLED = frozenset([f.key for f in FIELDS if f.key] + list(COMPOSED))

# Defaults that libxl leaves out of its JSON (it prints no field that has its default value, 4.17): the meaning of absence.
ABSENT: dict[str, Any] = {
    "on_poweroff": "destroy", "on_reboot": "destroy", "on_crash": "destroy", "vcpus": 1, "max_vcpus": 1,
    "device_model.version": "qemu_xen", "device_model.restrict": False, "stubdom.type": "none", "vnc.enabled": True,
    "weight": 256, "cap": 0, "cpupool": "Pool-0",
}  # fmt: skip


@functools.cache
def _keys(path: str) -> tuple[str, ...]:
    return tuple(part.replace(":", ".") for part in path.replace("type.hvm", "type:hvm").split("."))


def at(tree: Any, path: str) -> Any:
    """The value at a dotted path in libxl's JSON, or None. 'b_info.type.hvm.x' is the key 'type.hvm' on the way."""
    for key in _keys(path):
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree
