# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true, by plain xl, xenstore-ls and files: of a guest, and of all that should not be there."""

from __future__ import annotations

import ast
import contextlib
import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Optional

from runs import sh

MIB = 1 << 20
CACHE, LOCKS = "/var/cache/stubdom.xen", "/run/lock/stubdom.xen"
USERDATA = re.compile(r"/var/lib/xen/(?:userdata-[a-z]|qemu-save)\.(\d+)(?:\..*)?\Z")

KNOWN: set[str] = set()  # what was in the places for files of domains and of tasks before anything was done


def remember() -> None:
    KNOWN.update(glob.glob("/tmp/*"), glob.glob("/var/lib/xen/*"))


class Domain(NamedTuple):
    """A line of `xl list`. name: (null) where xenstore knows none; flags: such as -b----."""

    name: str
    domid: int
    flags: str


def domains() -> list[Domain]:
    rows = [line.rsplit(None, 5) for line in sh("xl", "list").splitlines()[1:]]
    return [Domain(row[0], int(row[1]), row[4]) for row in rows]


def config(name: str) -> Optional[dict[str, Any]]:
    """libxl's own description of a domain, None where it has none."""
    with contextlib.suppress(ValueError, LookupError):
        found = json.loads(sh("xl", "list", "-l", name))
        return dict(found[0]["config"])
    return None


def live(name: str) -> Optional[dict[str, Any]]:
    """What the domain has, in the words of the options that the stories change."""
    found = config(name)
    if found is None:
        return None
    about, info = found["c_info"], found["b_info"]
    return {
        "uuid": about["uuid"],
        "memory": info["target_memkb"] * 1024 // MIB,
        "vcpus": len(info["avail_vcpus"]),
        "max_vcpus": info["max_vcpus"],
        "disks": sorted((disk["vdev"], disk["pdev_path"]) for disk in found.get("disks", [])),
        "nics": [(nic["mac"], nic["bridge"]) for nic in found.get("nics", [])],
    }


def path(name: str) -> str:
    return f"/etc/xen/{name}.cfg"


def stored(name: str) -> Optional[dict[str, Any]]:
    """The same of the guest's file. What is written of xl.cfg's grammar here is Python's as well."""
    if not os.path.exists(path(name)):
        return None
    with open(path(name)) as file:
        keys = {key: ast.literal_eval(value) for key, _equals, value in (line.partition(" = ") for line in file) if value}
    disks, nics = ([dict(part.split("=", 1) for part in one.split(",")) for one in keys[key]] for key in ("disk", "vif"))
    return {
        "uuid": keys["uuid"],
        "memory": keys["memory"],
        "vcpus": keys["vcpus"],
        "max_vcpus": keys["maxvcpus"],
        "disks": sorted((disk["vdev"], disk["target"]) for disk in disks),
        "nics": [(nic["mac"], nic["bridge"]) for nic in nics],
    }


def queued(name: str) -> Optional[str]:
    """What xl's monitor would make the guest anew from, None where that is what it was made from."""
    for found in glob.glob(f"/var/lib/xen/userdata-?.{sh('xl', 'domid', name).strip()}.*.xl"):
        with open(found) as file:
            return file.read()
    return None


def strays(name: str, there: Sequence[Domain]) -> Iterator[str]:
    """What is left of domains that are dead, and of tasks that ended."""
    yield from (f"nodes of a domain that is dead: {path}" for path in _dead_nodes(there))
    yield from (f"a file of a domain that is dead: {file}" for file in _dead_files(there))
    halves = (f"/etc/xen/.{name}.cfg.new", f"{CACHE}/.{name}.json.new")
    yield from (f"a file half written: {file}" for file in halves if os.path.exists(file))
    yield from (f"a file of a task: {file}" for file in sorted(set(glob.glob("/tmp/*")) - KNOWN) if "ansible_" not in file)
    yield from (f"a lock that still names its holder: {lock}" for lock in glob.glob(f"{LOCKS}/*") if os.path.getsize(lock))


def _dead_nodes(there: Sequence[Domain]) -> list[str]:
    """The uppermost nodes that belong to nobody. To list all of xenstore takes an emulated host six seconds."""
    serving = _children("/local/domain/0/backend")
    nodes = _children("/local/domain", "/libxl", "/local/domain/0/device-model", *serving)
    alive = {str(domain.domid) for domain in there} | {"0"}
    known = set(sh("xenstore-read", *(f"/local/domain/{domid}/vm" for domid in alive - {"0"})).split())
    return [node for node in nodes if node.rpartition("/")[2] not in alive] + [vm for vm in _children("/vm") if vm not in known]


def _children(*nodes: str) -> list[str]:
    return sh("xenstore-list", "-p", *nodes).splitlines()


def _dead_files(there: Sequence[Domain]) -> list[str]:
    alive = {str(domain.domid) for domain in there}
    files = set(glob.glob("/var/lib/xen/*")) - KNOWN
    return sorted(file for file in files if not ((match := USERDATA.match(file)) and match[1] in alive))


def cleared() -> list[str]:
    """What is left when all of a guest's domains are gone; it is removed, so that the next story begins with nothing."""
    there = domains()
    nodes, files = _dead_nodes(there), _dead_files(there)
    for node in nodes:
        sh("xenstore-rm", node)
    for file in files:
        os.unlink(file)
    return [f"after all of its domains had been destroyed there were {nodes} {files}"] if nodes or files else []
