# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a guest's vcpus may run: its CPUs and its pool, as the hypervisor has them.

libxl keeps what was asked for when the guest was made, and no `xl vcpu-pin` or `xl cpupool-migrate` since changes that
(libxl_domain.c: retrieve_domain_configuration_end refreshes neither, 4.17). So those two are asked for apart, and only
where somebody describes them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.stubdom.xen.plugins.module_utils.errors import printable
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import parse_info, unclear
from ansible_collections.stubdom.xen.plugins.module_utils.xl import said

# `xl vcpu-list` (tools/xl/xl_vcpu.c) and `xl list -c` (xl_info.c), read from the end: the name may hold anything.
VCPU = re.compile(
    r"^.*?\s+(?P<domid>\d+)\s+(?P<vcpu>\d+)\s+(?:\d+|-)\s+[r-][b-][p-]\s+\d+\.\d+\s+(?P<hard>all|none|[0-9,-]+) / \S+\s*$"
)
POOLED = re.compile(r"^.*?\s+(?P<domid>\d+)\s+\d+\s+\d+\s+[rbpscwdS?-]{6}\s+\d+\.\d+\s+(?P<pool>.*?)\s*$")


async def placed(
    host: Any, configs: Mapping[int, Mapping[str, Any]], pinned: Collection[int], pooled: Collection[int]
) -> dict[int, Mapping[str, Any]]:
    """The configurations (libxl's JSON by domid), with the CPUs of the domains ``pinned``, and the pool of those ``pooled``, now.

    Raises XenError(xl_failed, xl_output).
    """
    found = dict(configs)
    for domid, cpus in (await _cpus_of(host, pinned)).items():
        found[domid] = {**found[domid], "b_info": {**found[domid].get("b_info", {}), "vcpu_hard_affinity": cpus}}
    for domid, pool in (await _pools_of(host, pooled)).items():
        found[domid] = {**found[domid], "c_info": {**found[domid].get("c_info", {}), "pool_name": pool}}
    return found


async def _cpus_of(host: Any, domids: Collection[int]) -> dict[int, list[list[int]]]:
    """domid -> the CPUs of each vcpu. `all` is every CPU of the host."""
    if not domids:
        return {}
    listed = read_vcpus(await said(host, "vcpu-list", *_which(domids)))
    found = {domid: listed.get(domid, []) for domid in domids}
    every = any("all" in vcpus for vcpus in found.values())
    whole = list(range(parse_info(await said(host, "info")).cpus)) if every else []
    return {domid: [whole if cpus == "all" else cpus for cpus in vcpus] for domid, vcpus in found.items()}


async def _pools_of(host: Any, domids: Collection[int]) -> dict[int, str]:
    if not domids:
        return {}
    listed = read_pools(await said(host, "list", "-c", *_which(domids)))
    return {domid: listed.get(domid, "") for domid in domids}


def _which(domids: Collection[int]) -> list[str]:
    """One domain is asked for alone, several with all there are."""
    return [str(domid) for domid in domids] if len(domids) == 1 else []


def read_vcpus(text: str) -> dict[int, list[Any]]:
    """domid -> the CPUs of each vcpu, lists of numbers, or 'all'. Raises XenError(xl_output)."""
    found: dict[int, list[Any]] = {}
    for line in text.splitlines()[1:]:
        match = VCPU.match(line)
        if match is None:
            raise unclear("a line of `xl vcpu-list` could not be read", printable(line, 200))
        found.setdefault(int(match["domid"]), []).append(_cpus(match["hard"]))
    return found


def _cpus(text: str) -> Any:
    """The CPUs of print_bitmap (xl_utils.c): ranges, all, or none."""
    if text in ("all", "none"):
        return text if text == "all" else []
    cpus: list[int] = []
    for part in text.split(","):
        first, _dash, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def read_pools(text: str) -> dict[int, str]:
    """domid -> the name of its CPU pool. Raises XenError(xl_output)."""
    found = {}
    for line in text.splitlines()[1:]:
        match = POOLED.match(line)
        if match is None:
            raise unclear("a line of `xl list -c` could not be read", printable(line, 200))
        found[int(match["domid"])] = printable(match["pool"], 100)
    return found
