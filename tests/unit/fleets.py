# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for an audit: one with a guest of every verdict, as the engine itself tells of it, and fleets made of copies of that."""

from __future__ import annotations

import functools
import json
import random

from simulated_host import SimulatedHost
from stories import DISK, HVM, PV, PVH, STUBDOM, by_hand, surveyed

from ansible_collections.stubdom.xen.plugins.module_utils.guestset import converge_all
from ansible_collections.stubdom.xen.plugins.plugin_utils.audit_report import report_of

MADE = "2026-11-27T18:30:00Z"
SECRETS = ("gehei-m1", "gehei-m2")
ABOUT = {"xen": {"version": "4.17.7"}, "cpus": 8, "memory": {"total": 16 << 30, "free": 12 << 30}}  # as host_info has it
TPM = {"vtpm": [{"kind": "stubdom", "version": "2.0"}]}
NASTY = '</script><script>alert(1)</script><img src=x onerror=alert(1)> <!-- {{ 7 * 7 }} & "quoted"'
DOWN = {"unreachable": True, "changed": False, "msg": "Failed to connect to the host via ssh: Connection timed out"}

# name -> the guest as it is made, and as it is described afterwards (None: it is not)
GUESTS = {
    "fine": (PVH, {}),
    "secure": ({**STUBDOM, **TPM}, {}),
    "fat": (PVH, {"memory": "512MiB", "cmdline": NASTY}),
    "more": (HVM, {"vnc": {"enabled": True, "password": SECRETS[1]}, "disks": [DISK, {**DISK, "vdev": "xvdb"}]}),
    "lame": (STUBDOM, {}),
    "bare": ({**PVH, **TPM}, {}),
    "strays": (PVH, {}),
    "wrong": (PVH, {"kernel": "/nowhere"}),
    "gone": (None, PV),
    "unknown": (PVH, None),
}  # fmt: skip
VERDICTS = {
    "fine": "as_described", "secure": "as_described", "fat": "drifted", "more": "drifted", "lame": "degraded", "bare": "degraded",
    "strays": "leftovers", "wrong": "refused", "gone": "missing", "unknown": "not_described", "byhand": "drifted",
}  # fmt: skip


WORK = ("web", "db", "mail", "build", "cache")  # what guests of a fleet are called after


def named(name, guest):
    mac = {"nics": [{**nic, "mac": f"00:16:3e:00:00:{len(name):02x}"} for nic in guest.get("nics", ())]}
    return {**guest, "name": name, **{key: value for key, value in mac.items() if value}}


def guests(host, described, check):
    options = {"concurrency": 8, "continue_on_error": True}
    return host.finish(converge_all(host, {"guests": described, **options}, check))


@functools.cache
def one_of_each():
    """What the modules return on a host with a guest of every verdict: what `host_of` takes. Not to be changed."""
    host = SimulatedHost(memory=16 * 1024)
    secret = {"vnc": {"enabled": True, "password": SECRETS[0]}}
    made = [named(name, {**guest, **(secret if name == "more" else {})}) for name, (guest, _then) in GUESTS.items() if guest]
    rolled = guests(host, made, check=False)
    host.xl("destroy", "lame-dm")
    host.xl("destroy", "bare-vtpm")
    by_hand(host, "byhand", 'name = "byhand"\ntype = "pvh"\nmemory = 64\nvcpus = 2\nkernel = "/boot/vmlinuz"\n')
    host.files["/etc/xen/byhand.cfg"] = 'name = "byhand"\ntype = "pvh"\nmemory = 64\nvcpus = 1\nkernel = "/boot/vmlinuz"\n'
    leave_stubdomain(host, "strays")
    described = [named(name, {**(guest or {}), **then}) for name, (guest, then) in GUESTS.items() if then is not None]
    return {
        "found": surveyed(host), "planned": [guests(host, described, check=True)], "host": ABOUT,
        "described": {guest["name"]: guest.get("state", "running") for guest in described}, "results": rolled,
    }  # fmt: skip


def leave_stubdomain(host, name):
    """A stubdomain by the guest's name that serves nobody, as an xl leaves it that is killed early."""
    domid = by_hand(host, f"{name}-dm", f'name = "{name}-dm"\ntype = "pv"\nmemory = 32\nkernel = "/boot/vmlinuz"\n')
    host.files.pop(host.machine.userdata(domid))
    host.tree.put(f"/local/domain/{domid}/target", "4711")


@functools.cache
def fleet(number, hosts, seed=7):
    """The report of a fleet: ``number`` guests, most of them as described, on so many hosts, of which the last is away."""
    chance, source = random.Random(seed), one_of_each()
    weights = {name: {"fine": 60, "secure": 60}.get(name, 1) for name in VERDICTS}
    seen = {}
    for place in range(hosts):
        names = chance.choices(list(weights), list(weights.values()), k=len(range(place, number, hosts)))
        seen[f"xen{place + 1:02}.example.org"] = copied(
            source, [(name, f"{chance.choice(WORK)}{i + 1}") for i, name in enumerate(names)]
        )
    if hosts > 1:
        away = f"xen{hosts:02}.example.org"
        seen[away] = {"found": DOWN, "described": seen[away]["described"]}
    return report_of(seen, MADE)


def copied(source, names):
    """What a host would return that had a copy of each of these guests, by another name."""
    parts = {"found": {"guests": []}, "planned": {"guests": []}, "results": {"guests": []}}
    told = {"found": source["found"], "planned": source["planned"][0], "results": source["results"]}
    for old, new in names:
        for part, kept in parts.items():
            kept["guests"] += [renamed(g, old, new) for g in told[part]["guests"] if g["name"] in (old, f"{old}-vtpm")]
    described = {new: source["described"][old] for old, new in names if old in source["described"]}
    return {**parts, "planned": [parts["planned"]], "host": source["host"], "described": described}


def renamed(guest, old, new):
    """The guest by another name: it, its domains and its file are called after that."""
    text = json.dumps(guest).replace(f'"{old}', f'"{new}').replace(f"/{old}.", f"/{new}.").replace(f" {old}-", f" {new}-")
    return json.loads(text)
