# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libxl makes of a configuration: the JSON of `xl create -n`, and the fuller JSON of `xl list -l`, as 4.17 prints them.

Written from recorded outputs (recorded/xen-4.17), not from the engine's table of fields, so that an error in one of the
two shows. A field with its default value is left out, as libxl does it.
"""

from __future__ import annotations

import re
import uuid

ACTIONS = {"rename-restart": "restart_rename", "coredump-destroy": "coredump_destroy", "coredump-restart": "coredump_restart",
           "soft-reset": "soft_reset"}  # fmt: skip
FIRMWARE = ("seabios", "ovmf", "rombios")
TEXTS = {"kernel": "kernel", "ramdisk": "ramdisk", "cmdline": "cmdline", "bootloader": "bootloader",
         "device_model_override": "device_model", "device_model_user": "device_model_user",
         "stubdomain_kernel": "stubdomain_kernel", "stubdomain_ramdisk": "stubdomain_ramdisk",
         "stubdomain_cmdline": "stubdomain_cmdline", "device_model_stubdomain_seclabel": "device_model_ssid_label"}  # fmt: skip
FLAGS = {"dm_restrict": "dm_restrict", "device_model_stubdomain_override": "device_model_stubdomain", "nestedhvm": "nested_hvm"}
HVM_TEXTS = {"serial": "serial", "boot": "boot", "bios": "bios", "firmware": "bios"}
RATE = re.compile(r"(\d+)([GMK]?)([Bb])/s(?:@(\d+)(m|u)?s?)?\Z")


class Refused(Exception):
    """What xl says about a configuration that it does not take."""


def dry_run(values, pcpus=8):
    """The JSON of `xl create -n` for the values of a parsed file."""
    if not values.get("name"):
        raise Refused("Domain name must be specified.")
    kind = values.get("type", "hvm" if str(values.get("builder", "")).startswith("h") else "pv")
    identity = str(values.get("uuid") or uuid.uuid4()).lower()
    config = {
        "c_info": {"type": kind, "name": values["name"], "uuid": identity, "run_hotplug_scripts": "True"},
        "b_info": build_info(values, kind, pcpus),
    }
    config["c_info"].update({"pool_name": values["pool"]} if "pool" in values else {})
    for key, (place, make) in DEVICES.items():
        if values.get(key):
            config[place] = [make(text, i) for i, text in enumerate(values[key])]
    if kind == "pv" and values.get("pci"):
        config["b_info"]["type.pv"] = {"e820_host": "True"}
        config["pcidevs"] = [{"rdm_policy": "strict", **device} for device in config["pcidevs"]]
    if values.get("vfb"):
        config["vkbs"] = [{"devid": i} for i in range(len(values["vfb"]))]
    for event, default in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        action = ACTIONS.get(values.get(event, default), values.get(event, default))
        if action != "destroy":
            config[event] = action
    return {**config, "on_soft_reset": "soft_reset"}


def build_info(values, kind, pcpus):
    info = {}
    vcpus, most = (int(values[key], 0) if key in values else None for key in ("vcpus", "maxvcpus"))
    if vcpus or most:
        info["max_vcpus"] = most or vcpus
        info["avail_vcpus"] = list(range(vcpus or 1 if most else vcpus))
    if "cpus" in values:
        each = isinstance(values["cpus"], list)
        texts = values["cpus"] if each else [values["cpus"]] * (most or vcpus or 1)
        info.update({"vcpu_hard_affinity": [cpu_map(t, pcpus) for t in texts], **({"numa_placement": "False"} if each else {})})
    memory = int(values["memory"], 0)
    info["max_memkb"] = int(values.get("maxmem", str(memory)), 0) * 1024
    info["target_memkb"] = memory * 1024
    if "device_model_version" in values:
        info["device_model_version"] = {"qemu-xen": "qemu_xen", "qemu-xen-traditional": "qemu_xen_traditional"}[
            values["device_model_version"]
        ]
    info.update({to: flag(values[key]) for key, to in FLAGS.items() if key in values})
    info.update({to: values[key] for key, to in TEXTS.items() if key in values})
    if "firmware" in values and kind != "hvm":
        info["kernel"] = f"/usr/lib/xen-4.17/boot/{values['firmware']}.bin"
    if "stubdomain_memory" in values:
        info["stubdomain_memkb"] = int(values["stubdomain_memory"], 0) * 1024
    if "device_model_args_hvm" in values:
        info["extra_hvm"] = list(values["device_model_args_hvm"])
    schedule = (("cpu_weight", "weight"), ("cap", "cap"))
    info["sched_params"] = {to: int(values[key], 0) for key, to in schedule if key in values}
    info["claim_mode"] = "True"
    info[f"type.{kind}"] = hvm(values) if kind == "hvm" else {}
    return {**info, "arch_arm": {}, "arch_x86": {}}


def hvm(values):
    for key in ("bios", "firmware"):
        if values.get(key, "seabios") not in FIRMWARE:
            raise Refused(f'ERROR: invalid value "{values[key]}" for "{key}"')
    vnc = {"enable": flag(values["vnc"])} if "vnc" in values else {}
    vnc.update({to: values[key] for key, to in (("vnclisten", "listen"), ("vncpasswd", "passwd")) if key in values})
    if "vncdisplay" in values:
        vnc["display"] = int(values["vncdisplay"], 0)
    texts = {to: values[key] for key, to in HVM_TEXTS.items() if key in values}
    return {"vga": {}, "vnc": vnc, "sdl": {}, "spice": {}, "rdm": {}, **texts}


def flag(value):
    return str(bool(int(value, 0)))


def cpu_map(text, pcpus):
    """'0-1,3', 'all', '0-3,^1' as the CPUs."""
    cpus = set()
    for part in text.split(","):
        first, _dash, last = part.lstrip("^").partition("-")
        named = set(range(pcpus)) if first == "all" else set(range(int(first), int(last or first) + 1))
        cpus = cpus - named if part.startswith("^") else cpus | named
    return sorted(cpus)


def disk(text, _place):
    head, _target, path = text.partition("target=")
    path = path[:-1] if path.endswith(",") else path  # libxlu_disk_l.l takes it for the end
    words = dict(part.partition("=")[::2] for part in head.split(",") if part)
    cdrom = words.get("devtype") == "cdrom" or "cdrom" in words
    found = {"pdev_path": path} if path else {}
    found["vdev"] = words["vdev"]
    found.update({to: words[key] for key, to in (("backendtype", "backend"), ("backend", "backend_domname")) if key in words})
    found["format"] = words.get("format", "raw") if path else "empty"
    found.update({"script": words["script"]} if "script" in words else {})
    found.update({"removable": 1, "is_cdrom": 1} if cdrom else {})
    found.update({"readwrite": 1} if words.get("access", "rw") in ("rw", "w") and not cdrom else {})
    found.update({"direct_io_safe": True} if "direct-io-safe" in words else {})
    found.update({"discard_enable": str("discard" in words)} if {"discard", "no-discard"} & set(words) else {})
    return found


def nic(text, place):
    words = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    names = {"model": "model", "mac": "mac", "ip": "ip", "bridge": "bridge", "vifname": "ifname", "script": "script",
             "backend": "backend_domname"}  # fmt: skip
    found = {"devid": place, **{to: words[key] for key, to in names.items() if key in words}}
    found.update({"mac": found["mac"].lower()} if "mac" in found else {})
    if "type" in words:
        found["nictype"] = {"ioemu": "vif_ioemu", "vif": "vif"}[words["type"]]
    if "rate" in words:
        found["rate_bytes_per_interval"], found["rate_interval_usecs"] = rate(words["rate"])
    return found


def words_of(text):
    return dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())


def pci(text, _place):
    """Numbers that are 0 and flags that are off are left out."""
    words = words_of(text if "=" in text.partition(",")[0] else "bdf=" + text.replace("@", ",vslot=", 1))
    domain, bus, tail = ("0:" + words["bdf"]).split(":")[-3:]
    device, _dot, function = tail.partition(".")
    found = {"func": 0 if function == "*" else int(function), "dev": int(device, 16), "bus": int(bus, 16),
             "domain": int(domain, 16), "vdevfn": int(words.get("vslot", "0"), 16) << 3}  # fmt: skip
    found["vfunc_mask"] = 0xFFFFFFFF if function == "*" else 1
    found.update({key: words.get(key) == "1" for key in ("msitranslate", "power_mgmt", "permissive", "seize")})
    policy = {"rdm_policy": words["rdm_policy"]} if "rdm_policy" in words else {}
    return {**{key: value for key, value in found.items() if value}, **policy}


def usb_controller(text, place):
    words = words_of(text)
    kind = {"type": words["type"]} if words.get("type", "auto") != "auto" else {}
    return {**kind, "devid": place, **{key: int(words[key]) for key in ("version", "ports") if key in words}}


def usb(text, _place):
    words = words_of(text)
    found = {to: int(words[key]) for key, to in (("controller", "ctrl"), ("port", "port")) if key in words}
    return {**found, "type.hostdev": {key: int(words[key], 0) for key in ("hostbus", "hostaddr")}}


def frame_buffer(text, place):
    words = dict(part.partition("=")[::2] for part in text.split(",") if part)
    vnc = {to: flag(words[key]) for key, to in (("vnc", "enable"), ("vncunused", "findunused")) if key in words}
    vnc.update({to: words[key] for key, to in (("vnclisten", "listen"), ("vncpasswd", "passwd")) if key in words})
    vnc.update({"display": int(words["vncdisplay"])} if int(words.get("vncdisplay", "0")) else {})
    sdl = {to: flag(words[key]) for key, to in (("sdl", "enable"), ("opengl", "opengl")) if key in words}
    sdl.update({key: words[key] for key in ("display", "xauthority") if key in words})
    return {"devid": place, "vnc": vnc, "sdl": sdl, **({"keymap": words["keymap"]} if "keymap" in words else {})}


def channel(text, place):
    words = words_of(text)
    kind = words["connection"]
    found = {"devid": place, "name": words["name"], f"connection.{kind}": {"path": words["path"]} if kind == "socket" else {}}
    return {**({"backend_domname": words["backend"]} if "backend" in words else {}), **found}


def directory(text, _place):
    words = words_of(text)
    found = {key: words[key] for key in ("tag", "path", "security_model")}
    return {**({"backend_domname": words["backend"]} if "backend" in words else {}), **found}


def tpm(text, place):
    words = words_of(text)
    return {"backend_domname": words["backend"], "devid": place, **({"uuid": words["uuid"].lower()} if "uuid" in words else {})}


def calls(text, place):
    return {"backend_domname": words_of(text)["backend"], "devid": place}


# A key of xl.cfg -> its place in the JSON, and what makes one device of its text.
DEVICES = {"disk": ("disks", disk), "vif": ("nics", nic), "pci": ("pcidevs", pci), "vfb": ("vfbs", frame_buffer),
           "vtpm": ("vtpms", tpm), "p9": ("p9s", directory), "pvcalls": ("pvcallsifs", calls), "channel": ("channels", channel),
           "usbctrl": ("usbctrls", usb_controller), "usbdev": ("usbdevs", usb)}  # fmt: skip


def rate(text):
    """xlu_vif_parse_rate (libxlu_vif.c): bytes in an interval of 50 ms unless another is given."""
    number, scale, unit, every, fraction = RATE.match(text).groups()
    per_second = int(number) * {"": 1, "K": 1000, "M": 10**6, "G": 10**9}[scale] // (8 if unit == "b" else 1)
    usecs = int(every) * {"u": 1, "m": 1000, None: 10**6}[fraction] if every else 50000
    return per_second * usecs // 10**6, usecs


def live(config, random_mac):
    """The JSON of `xl list -l`: what libxl filled in while it made the domain. random_mac: gives a new address."""
    info = dict(config["b_info"])
    info["video_memkb"] = 8192 if config["c_info"]["type"] == "hvm" else 0
    info["sched_params"] = {"sched": "credit2", "weight": 256, "cap": 0, **info["sched_params"]}
    info["arch_x86"] = {"msr_relaxed": "False"}
    emulated = "vif_ioemu" if config["c_info"]["type"] == "hvm" else "vif"
    result = {**config, "c_info": {**config["c_info"], "domid": 4294967295}, "b_info": info}
    if "disks" in config:
        result["disks"] = [{"pdev_path": "", **d, "colo_restore_enable": "False"} for d in config["disks"]]
    if "nics" in config:
        result["nics"] = [{"mac": n.get("mac") or random_mac(), "nictype": emulated, **n} for n in config["nics"]]
    return result
