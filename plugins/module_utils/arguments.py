# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a guest as Ansible's argument spec, shared by every module that takes one.

No managed field has a default: what a task does not give, it does not manage.
"""

from __future__ import annotations

from typing import Any

ACTIONS = ["destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart", "soft-reset"]


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "str", **more}


def _dict(**options: Any) -> dict[str, Any]:
    return {"type": "dict", "options": options}


def _list(**options: Any) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "options": options}


DISK = {
    "vdev": _text(required=True),
    "target": {"type": "str"},
    "format": _text(choices=["raw", "qcow", "qcow2", "vhd", "qed"]),
    "access": _text(choices=["rw", "ro"]),
    "devtype": _text(choices=["disk", "cdrom"]),
    "backendtype": _text(choices=["phy", "qdisk", "tap", "standalone"]),
    "backend": _text(),
    "script": _text(),
    "options": {"type": "list", "elements": "str"},
}

NIC = {
    "mac": _text(),
    "bridge": _text(),
    "type": _text(choices=["vif", "ioemu"]),
    "model": _text(),
    "vifname": _text(),
    "script": _text(),
    "ip": _text(),
    "backend": _text(),
    "rate": _text(),
    "options": {"type": "list", "elements": "str"},
}

PCI = {
    "address": _text(required=True),
    "vslot": {"type": "int"},
    "permissive": {"type": "bool"},
    "msitranslate": {"type": "bool"},
    "power_mgmt": {"type": "bool"},
    "seize": {"type": "bool"},
    "rdm_policy": _text(choices=["strict", "relaxed"]),
    "options": {"type": "list", "elements": "str"},
}

USB_CONTROLLER = {
    "type": _text(choices=["auto", "pv", "qusb", "devicemodel"]),
    "version": {"type": "int", "choices": [1, 2, 3]},
    "ports": {"type": "int"},
}

USB = {
    "host_bus": {"type": "int", "required": True},
    "host_address": {"type": "int", "required": True},
    "controller": {"type": "int"},
    "port": {"type": "int"},
}

VFB = {
    "vnc": {"type": "bool"},
    "listen": _text(),
    "display": {"type": "int"},
    "unused": {"type": "bool"},
    "password": _text(no_log=True),
    "keymap": _text(no_log=False),  # a layout, no key
    "options": {"type": "list", "elements": "str"},
}

CHANNEL = {
    "name": _text(required=True),
    "connection": _text(choices=["pty", "socket"], required=True),
    "path": _text(),
    "backend": _text(),
}

P9 = {
    "tag": _text(required=True),
    "path": _text(required=True),
    "security_model": _text(required=True),
    "backend": _text(),
    "options": {"type": "list", "elements": "str"},
}

VTPM = {
    "kind": _text(choices=["stubdom", "emulator", "backend"]),
    "backend": _text(),
    "uuid": _text(),
    "version": _text(choices=["1.2", "2.0"]),
    "model": _text(choices=["tis", "crb"]),
    "memory": _text(),
}

GUEST: dict[str, Any] = {
    "name": _text(required=True),
    "uuid": _text(),
    "type": _text(choices=["pv", "pvh", "hvm"]),
    "memory": _text(),
    "max_memory": _text(),
    "vcpus": {"type": "int"},
    "max_vcpus": {"type": "int"},
    "cpus": _text(),
    "weight": {"type": "int"},
    "cap": {"type": "int"},
    "cpupool": _text(),
    "kernel": {"type": "path"},
    "ramdisk": {"type": "path"},
    "cmdline": _text(),
    "bootloader": _text(),
    "firmware": _text(),
    "boot": _text(),
    "device_model": _dict(
        version=_text(choices=["qemu_xen", "qemu_xen_traditional"]),
        path={"type": "path"},
        user=_text(),
        restrict={"type": "bool"},
        args={"type": "list", "elements": "str"},
    ),
    "stubdom": _dict(
        type=_text(choices=["none", "linux", "minios", "rumprun"]),
        kernel={"type": "path"},
        ramdisk={"type": "path"},
        cmdline=_text(),
        memory=_text(),
        seclabel=_text(),
    ),
    "disks": _list(**DISK),
    "nics": _list(**NIC),
    "pci": _list(**PCI),
    "usb_controllers": _list(**USB_CONTROLLER),
    "usb": _list(**USB),
    "vfb": _list(**VFB),
    "channels": _list(**CHANNEL),
    "p9": _list(**P9),
    "vtpm": _list(**VTPM),
    "serial": _text(),
    "vnc": _dict(enabled={"type": "bool"}, listen=_text(), display={"type": "int"}, password=_text(no_log=True)),
    "on_poweroff": _text(choices=ACTIONS),
    "on_reboot": _text(choices=ACTIONS),
    "on_crash": _text(choices=ACTIONS),
    "autostart": {"type": "bool"},
    "extra_config": {"type": "dict"},
}

POLICY: dict[str, Any] = {
    "state": _text(choices=["running", "paused", "saved", "halted", "present", "absent"], default="running"),
    "disruption": _text(choices=["none", "hotplug", "reboot", "recreate"], default="hotplug"),
    "ready": {
        "type": "dict",
        "options": {
            "timeout": {"type": "float", "default": 180.0},
            "retries": {"type": "int", "default": 1},
            "on_failure": _text(choices=["destroy", "keep"], default="destroy"),
        },
    },
    "shutdown": {
        "type": "dict",
        "options": {"timeout": {"type": "float", "default": 120.0}, "force": {"type": "bool", "default": False}},
    },
    "compare": {"type": "dict"},
    "purge_state": {"type": "bool", "default": False},
    "depends_on": {"type": "list", "elements": "str"},
    "expect_plan": _text(),
}

GUESTS: dict[str, Any] = {
    "guests": {"type": "list", "elements": "dict", "required": True, "options": {**GUEST, **POLICY}},
    "concurrency": {"type": "int", "default": 8},
    "continue_on_error": {"type": "bool", "default": False},
    "purge": {"type": "bool", "default": False},
    "purge_limit": {"type": "int", "default": 1},
    "expect_plan": _text(),
}

READY: dict[str, Any] = {
    "name": _text(required=True),
    "timeout": {"type": "int", "default": 180},
    "unpause": {"type": "bool", "default": False},
}

HANDOVER: dict[str, Any] = {
    "name": _text(),
    "step": _text(
        choices=[
            "look", "list", "offer", "accept", "prepare", "leave", "send", "raise", "commit", "release", "forget", "withdraw",
            "stay",
        ],
        default="look",
    ),
    "move": _text(),
    "other": _text(),
    "method": _text(choices=["live", "saved", "halt"]),
    "described": _text(no_log=True),
    "evacuated": {"type": "bool"},
    "files": _list(kind=_text(choices=["memory", "tpm"], required=True), path={"type": "path"}, sha256=_text(required=True)),
    "ready": _dict(timeout={"type": "float"}, retries={"type": "int"}, on_failure=_text(choices=["destroy", "keep"])),
    "shutdown": _dict(timeout={"type": "float"}, force={"type": "bool"}),
    "ssh": _text(),
    "address": _text(),
    "timeout": {"type": "float"},
}  # fmt: skip

MIGRATE: dict[str, Any] = {
    "name": _text(required=True),
    "to": _text(required=True),
    "from": _text(),
    "method": _text(choices=["auto", "live", "saved", "halt"], default="auto"),
    "ssh": _text(),
    "address": _text(),
    "undo": {"type": "bool", "default": False},
    "evacuated": {"type": "bool", "default": False},
    "timeout": {"type": "float"},
    "ready": _dict(timeout={"type": "float", "default": 180.0}, retries={"type": "int", "default": 1}),
    "shutdown": _dict(timeout={"type": "float", "default": 120.0}, force={"type": "bool", "default": False}),
}
