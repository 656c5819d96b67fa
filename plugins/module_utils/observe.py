# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is: the stored file, the hypervisor's list, libxl's JSON and xenstore, merged into one State.

No source is enough alone. `xl list -l` leaves out guests that are half-made or whose QEMU does not answer; the
hypervisor's list knows no configuration; the file says what the next start would bring. look() gathers, merge() judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import (
    Domain,
    HostInfo,
    guest_of_config,
    live_config,
    parse_info,
    parse_json,
    parse_list,
)
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest

CONFIG_DIR, AUTO_DIR, USERDATA_DIR, LOG_DIR = "/etc/xen", "/etc/xen/auto", "/var/lib/xen", "/var/log/xen"
FIRMWARE_DIRS = ("/usr/lib/xen-{0}.{1}/boot", "/usr/libexec/xen/boot", "/usr/lib/xen/boot", "/usr/local/lib/xen/boot")

# The words for a guest's state. Only the first six are where a guest may be left.
WORDS = {
    "absent": "neither a file nor a domain",
    "halted": "a file, no domain",
    "running": "a domain that runs",
    "paused": "a domain that is whole and paused",
    "shutdown": "the guest shut itself down and its domain was kept",
    "crashed": "the guest crashed and its domain was kept",
    "half_made": "a domain whose creation did not end",
    "degraded": "a domain whose device model's stubdomain is dead",
    "opaque": "a domain that libxl cannot describe: its device model does not answer",
}


@dataclass(frozen=True)
class Stored:
    """The guest's file in /etc/xen. managed: it bears this collection's mark. guest: None where xl could not read it."""

    path: str
    text: str
    managed: bool
    guest: Optional[Guest]


@dataclass(frozen=True)
class State:
    """One guest as it is. ``config`` is libxl's JSON of the live domain, ``live`` the same as a guest."""

    name: str
    word: str
    stored: Optional[Stored]
    autostart: bool
    domain: Optional[Domain]
    stubdom_domid: Optional[int]
    stubdom: Optional[Domain]
    config: Optional[Mapping[str, Any]]
    live: Optional[Guest]
    leftovers: tuple[Domain, ...]
    domains: tuple[Domain, ...]
    has_qemu: bool = False


def config_path(name: str) -> str:
    return f"{CONFIG_DIR}/{name}.cfg"


def auto_path(name: str) -> str:
    return f"{AUTO_DIR}/{name}.cfg"


async def listed(host: Any) -> tuple[Domain, ...]:
    """The hypervisor's list of domains. Raises XenError(xl_failed)."""
    done = await host.run(["xl", "list", "-v"])
    if done.rc != 0:
        raise XenError(
            "xl_failed",
            "`xl list` failed: is this a dom0, and does xenstored run?",
            printable(done.err, 1000),
            "role stubdom.xen.host says what is missing on this machine",
        )
    return parse_list(done.out)


async def info(host: Any) -> HostInfo:
    """What `xl info` says. Raises XenError(xl_failed)."""
    done = await host.run(["xl", "info"])
    if done.rc != 0:
        raise XenError("xl_failed", "`xl info` failed: is this a dom0?", printable(done.err, 1000))
    return parse_info(done.out)


async def look(host: Any, name: str, domains: Optional[tuple[Domain, ...]] = None) -> State:
    """Reads everything about one guest. ``domains``: a list just taken, to spare taking it again."""
    domains = await listed(host) if domains is None else domains
    domain = _domain_named(name, domains)
    stubdom_domid, has_qemu = _device_model(host, domain)
    whole = domain is not None and _kept(host, domain)
    stubdom = next((d for d in domains if d.domid == stubdom_domid), None)
    config = await _config(host, domain) if domain is not None and whole and _answers(stubdom_domid, stubdom) else None
    return merge(
        name,
        domains,
        domain,
        read_stored(host, name),
        bool(host.linked(auto_path(name))),
        stubdom_domid,
        stubdom,
        whole,
        config,
        _leftovers(host, name, domains, domain, stubdom_domid),
        has_qemu,
    )


def _domain_named(name: str, domains: Sequence[Domain]) -> Optional[Domain]:
    found = [d for d in domains if d.name == name and d.domid != 0]
    return found[-1] if found else None


def _device_model(host: Any, domain: Optional[Domain]) -> tuple[Optional[int], bool]:
    """(the stubdomain's domid or None, whether a QEMU in dom0 serves the guest)."""
    if domain is None:
        return None, False
    home = f"/local/domain/{domain.domid}/image"
    nodes = host.xenstore().read_many([f"{home}/device-model-domid", f"{home}/device-model-pid"])
    stubdom = nodes[f"{home}/device-model-domid"]
    serves = stubdom is not None and stubdom.isdigit() and int(stubdom) != 0
    return (int(stubdom) if serves and stubdom else None), nodes[f"{home}/device-model-pid"] is not None


def _answers(stubdom_domid: Optional[int], stubdom: Optional[Domain]) -> bool:
    """`xl list -l` asks QEMU first, for up to 10 s: not worth asking a dead one."""
    return stubdom_domid is None or (stubdom is not None and stubdom.alive)


async def _config(host: Any, domain: Domain) -> Optional[dict[str, Any]]:
    done = await host.run(["xl", "list", "-l", str(domain.domid)])
    return live_config(done.out, domain.domid) if done.rc == 0 else None


def read_stored(host: Any, name: str) -> Optional[Stored]:
    """The guest's file, None where there is none."""
    path = config_path(name)
    text = host.read_file(path)
    if text is None:
        return None
    try:
        guest: Optional[Guest] = xlcfg.read(text)
    except XenError:
        guest = None
    return Stored(path, text, text.startswith(xlcfg.MARK), guest)


async def parsed(host: Any, text: str, path: Optional[str] = None) -> dict[str, Any]:
    """What the host's own parser makes of a configuration. Raises XenError(cfg_refused) where it refuses it.

    ``path``: a file that holds just this text, to spare writing one.
    """
    if path is not None:
        return await _dry_run(host, path)
    with host.scratch(text) as scratch:
        return await _dry_run(host, scratch)


async def _dry_run(host: Any, path: str) -> dict[str, Any]:
    done = await host.run(["xl", "create", "-n", path])
    if done.rc != 0:
        raise XenError(
            "cfg_refused",
            "this host's xl refuses the guest's configuration",
            printable(done.err, 2000),
            "the last line of the evidence names what xl did not take",
        )
    found = parse_json(done.out)
    if not isinstance(found, dict):
        raise XenError("xl_output", "`xl create -n` printed no configuration", printable(done.out, 500))
    return found


def merge(
    name: str,
    domains: tuple[Domain, ...],
    domain: Optional[Domain],
    stored: Optional[Stored],
    autostart: bool,
    stubdom_domid: Optional[int],
    stubdom: Optional[Domain],
    whole: bool,
    config: Optional[Mapping[str, Any]],
    leftovers: tuple[Domain, ...] = (),
    has_qemu: bool = False,
) -> State:
    """The observations as one State. Pure."""
    word = _word(domain, stored is not None, stubdom_domid, stubdom, whole, config is not None)
    return State(
        name,
        word,
        stored,
        autostart,
        domain,
        stubdom_domid,
        stubdom,
        config,
        guest_of_config(config) if config else None,
        leftovers,
        domains,
        has_qemu,
    )


def _word(
    domain: Optional[Domain], stored: bool, stubdom_domid: Optional[int], stubdom: Optional[Domain], whole: bool, described: bool
) -> str:
    if domain is None:
        return "halted" if stored else "absent"
    if domain.crashed:
        return "crashed"
    if domain.shut_down:
        return "shutdown"
    if not whole:
        return "half_made"
    if stubdom_domid is not None and (stubdom is None or not stubdom.alive):
        return "degraded"
    if not described:
        return "opaque"
    return "paused" if domain.paused else "running"


def _kept(host: Any, domain: Domain) -> bool:
    """Whether libxl keeps the domain's configuration: it writes it last of all, and never for a stubdomain."""
    return bool(host.exists(f"{USERDATA_DIR}/userdata-d.{domain.domid}.{domain.uuid}.libxl-json"))


def _leftovers(
    host: Any, name: str, domains: Sequence[Domain], domain: Optional[Domain], stubdom_domid: Optional[int]
) -> tuple[Domain, ...]:
    """Stubdomains by this guest's name that serve nobody (libxl leaves one when it is killed early).

    Not every domain so called is one: a person may have made a guest of that name, or renamed the guest that it serves.
    """
    called = [d for d in domains if d.name == f"{name}-dm" and d.domid != stubdom_domid and not _kept(host, d)]
    targets = host.xenstore().read_many([f"/local/domain/{d.domid}/target" for d in called]) if called else {}
    others = {str(d.domid) for d in domains if d is not domain}
    return tuple(d for d in called if targets[f"/local/domain/{d.domid}/target"] not in others)
