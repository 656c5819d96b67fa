# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of `xl` that change a domain as it is: in libxl's record of it, which `xl list -l` prints.

What each kind of guest takes was tried on Xen 4.17; where a guest does not let go, its Behaviour says so.
"""

from __future__ import annotations

import contextlib
import json

import simulated_libxl

from ansible_collections.stubdom.xen.plugins.module_utils.cfgtext import parse
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

A_STEP = 0.01
PCPUS = 8
DEVICE_LIMIT = 10.0  # LIBXL_HOTPLUG_TIMEOUT, LIBXL_INIT_TIMEOUT (libxl_internal.h)
QUEUED = "/var/lib/xen/userdata-d.{}.{}.xl"


@contextlib.contextmanager
def record(machine, domid):
    """libxl's record of a domain, to be changed."""
    path = machine.userdata(domid)
    config = json.loads(machine.files[path].rstrip("\0"))
    yield config
    machine.files[path] = json.dumps(config) + "\0"


def changing(work):
    """A command whose first word is a domain, as find_domain takes it."""

    def command(machine, own, words):
        yield A_STEP
        words = [word for word in words if word != "-i"]
        domid = machine.domid_of(words[0])
        if domid is None or machine.userdata(domid) not in machine.files:
            own.err = f"{words[0]} is an invalid domain identifier (rc=-6)\n"
            return 2
        return (yield from work(machine, own, domid, words[1:])) or 0

    return command


def kind_of(machine, domid):
    return machine.tree.value(f"/libxl/{domid}/type")


@changing
def vcpu_set(machine, own, domid, words):
    """libxl_set_vcpuonline: never more than the domain was made for; QEMU plugs vcpus in, and none out."""
    yield A_STEP
    with record(machine, domid) as config:
        info, wanted = config["b_info"], int(words[0])
        if wanted > info.get("max_vcpus", 1):
            own.err = f"libxl: error: Domain {domid}:Requested {wanted} VCPUs, however maxcpus is {info.get('max_vcpus', 1)}!\n"
            return 1
        there = len(info.get("avail_vcpus", [0]))
        info["avail_vcpus"] = list(range(max(wanted, there) if kind_of(machine, domid) == "hvm" else wanted))
    return 0


@changing
def mem_set(machine, own, domid, words):
    """The target goes to the guest, not into libxl's record of how it was made."""
    yield A_STEP
    kib = int(words[0].rstrip("mk")) * (1024 if words[0].endswith("m") else 1)
    with record(machine, domid) as config:
        if kib > config["b_info"]["max_memkb"]:
            own.err = f"libxl: error: Domain {domid}:memory_dynamic_max must be less than or equal to memory_static_max\n"
            return 1
    domain = machine.hypervisor.domains[domid]
    domain.target, domain.memory = kib, kib // 1024
    return 0


def retrieved(machine, domid):
    """The record with the target of now (libxl_domain.c: retrieve_domain_configuration_end, and libxl__get_targetmem_fudge)."""
    config = json.loads(machine.files[machine.userdata(domid)].rstrip("\0"))
    target, info = machine.hypervisor.domains[domid].target, config["b_info"]
    more = 1024 if config["c_info"]["type"] == "hvm" and info["max_memkb"] > info["target_memkb"] else 0
    if target >= 0:
        info["target_memkb"] = target + more
    return config


@changing
def vcpu_pin(machine, own, domid, words):
    """Of the hypervisor's, of which libxl keeps no record. Without a word for it, the soft affinity stays."""
    yield A_STEP
    assert words[0] == "all"
    config = json.loads(machine.files[machine.userdata(domid)].rstrip("\0"))
    machine.hypervisor.domains[domid].cpus = [simulated_libxl.cpu_map(words[1], PCPUS)] * config["b_info"].get("max_vcpus", 1)
    return 0


def vcpu_list(machine, own, words):
    yield A_STEP
    rows = ["Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)"]
    for domid in [machine.domid_of(words[0])] if words else sorted(machine.hypervisor.domains):
        domain = machine.hypervisor.domains[domid]
        for vcpu, cpus in enumerate(domain.cpus or [list(range(PCPUS))] * domain.vcpus):
            hard = "all" if cpus == list(range(PCPUS)) else ",".join(map(str, cpus))
            name = machine.name_of(domid) or "(null)"
            rows.append(f"{name:<32} {domid:5d} {vcpu:5d} {0:5d}   -b- {domain.seconds:9.1f}  {hard} / all")
    own.out = "\n".join([*rows, ""])
    return 0


def scheduler(machine, own, words):
    """xl sched-credit2 -d DOMAIN [-w WEIGHT] [-c CAP]"""
    yield A_STEP
    given = dict(zip(words[::2], words[1::2]))
    domid = machine.domid_of(given["-d"])
    with record(machine, domid) as config:
        params = config["b_info"]["sched_params"]
        params.update({name: int(given[flag]) for flag, name in (("-w", "weight"), ("-c", "cap")) if flag in given})
    return 0


def attaching(key, make):
    """A device is added to libxl's record first and to xenstore then; its back end has to come up."""

    @changing
    def attach(machine, own, domid, words):
        with record(machine, domid) as config:
            device = make(config, words)
            config.setdefault(key, []).append(device)
        yield A_STEP
        if machine.bridges is not None and device.get("bridge", "xenbr0") not in machine.bridges:
            own.err = f"libxl: error: script: Could not find bridge device {device['bridge']}\n"
            return 1  # what was added to the record stays there
        return 0

    return attach


def new_disk(config, words):
    return {"pdev_path": "", **simulated_libxl.disk(words[0], 0), "colo_restore_enable": "False"}


def new_nic(config, words):
    taken = [card.get("devid", 0) for card in config.get("nics", ())]
    return {"nictype": "vif", **simulated_libxl.nic(",".join(words), max(taken, default=-1) + 1)}


def detaching(key, identity):
    """A device that the guest does not let go of stays, and xl says so after its patience."""

    @changing
    def detach(machine, own, domid, words):
        if not machine.present[domid].lets_go:
            yield DEVICE_LIMIT
            own.err = f"libxl: error: Domain {domid}:timed out while waiting for device to be removed\n"
            return 1
        yield A_STEP + machine.present[domid].lets_go_after
        with record(machine, domid) as config:
            config[key] = [device for device in config.get(key, ()) if device[identity] != words[0]]
        return 0

    return detach


@changing
def cd_insert(machine, own, domid, words):
    yield A_STEP
    with record(machine, domid) as config:
        (drive,) = [disk for disk in config["disks"] if disk["vdev"] == words[0] and disk.get("is_cdrom")]
        target = words[1] if len(words) > 1 else ""
        drive.update(pdev_path=target, format="raw" if target else "empty")
    return 0


@changing
def config_update(machine, own, domid, words):
    """The text is kept for the domain's monitor, if it can be read; the domain stays as it is."""
    yield A_STEP
    text = machine.files[words[0]]
    try:
        simulated_libxl.dry_run(parse(text))
    except (XenError, simulated_libxl.Refused) as error:
        own.err = f"{error}\n"
        return 1
    machine.files[QUEUED.format(domid, machine.hypervisor.domains[domid].uuid)] = text
    return 0


def reloaded(machine, domid):
    """What xl's monitor makes a guest anew from (xl_vmcontrol.c: reload_domain_config): what was queued, else the record."""
    queued = machine.files.pop(QUEUED.format(domid, machine.hypervisor.domains[domid].uuid), None)
    if queued is not None:
        return simulated_libxl.dry_run(parse(queued))
    return retrieved(machine, domid)


COMMANDS = {
    "vcpu-set": vcpu_set, "mem-set": mem_set, "vcpu-pin": vcpu_pin, "vcpu-list": vcpu_list, "sched-credit2": scheduler,
    "block-attach": attaching("disks", new_disk), "block-detach": detaching("disks", "vdev"),
    "network-attach": attaching("nics", new_nic), "network-detach": detaching("nics", "mac"), "cd-insert": cd_insert,
    "cd-eject": cd_insert, "config-update": config_update,
}  # fmt: skip
