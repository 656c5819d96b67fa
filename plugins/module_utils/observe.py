# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is: the stored file, the hypervisor's list, libxl's JSON and xenstore, merged into one State.

No source is enough alone. `xl list -l` leaves out guests that are half-made or whose QEMU does not answer; the
hypervisor's list knows no configuration; the file says what the next start would bring. look() gathers, state.py judges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import emulator, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.chains import NEWEST, Version, depends_on_version
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.fields import at
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import (
    NAMELESS,
    Domain,
    HostInfo,
    guest_of_config,
    live_configs,
    parse_info,
    parse_json,
    parse_list,
)
from ansible_collections.stubdom.xen.plugins.module_utils.links import (
    devices_of,
    links_now,
    model_node,
    qemu_node,
    target_node,
    with_devices,
)
from ansible_collections.stubdom.xen.plugins.module_utils.paths import USERDATA_DIR, auto_path, config_path
from ansible_collections.stubdom.xen.plugins.module_utils.placement import placed
from ansible_collections.stubdom.xen.plugins.module_utils.saved import SAVE_DIR, Saved, files_of
from ansible_collections.stubdom.xen.plugins.module_utils.saved import read as read_saved
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, vtpm_domain
from ansible_collections.stubdom.xen.plugins.module_utils.state import (
    Helper,
    State,
    Stored,
    leans,
    lost_domains,
    lost_tpm,
    subject_of,
    with_saved,
    word_of,
)
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import told_by
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import SERVES, is_one, report_node, state_path
from ansible_collections.stubdom.xen.plugins.module_utils.xl import said

PATIENCE, PATIENCE_EACH = 60.0, 0.5  # seconds for `xl list -l`, and more for each domain: on a full host it takes a minute


async def listed(host: Any) -> tuple[Domain, ...]:
    """The hypervisor's list of domains. Raises XenError(xl_failed)."""
    return parse_list(await said(host, "list", "-v"))


async def info(host: Any) -> HostInfo:
    """What `xl info` says. Raises XenError(xl_failed)."""
    return parse_info(await said(host, "info"))


async def look(host: Any, name: str, domains: Optional[tuple[Domain, ...]] = None, ask: bool = True) -> State:
    """Reads everything about one guest. ``domains``: a list just taken, to spare taking it again.

    ``ask``: False takes libxl's record of the guest for its configuration, as it was when it was made. Nobody's device
    model is asked then, which takes 10 s where it does not answer.
    """
    return (await look_all(host, [name], domains, ask))[name]


async def look_all(
    host: Any, names: Sequence[str], domains: Optional[tuple[Domain, ...]] = None, ask: bool = True
) -> dict[str, State]:
    """Reads everything about some guests, by name: whatever their number, xl is asked twice and xenstore once."""
    domains = await listed(host) if domains is None else domains
    named = {d.name: d for d in domains if d.domid != 0}
    mine = {name: named.get(name) for name in names}
    nodes = host.xenstore().read_many(_paths(mine, domains))
    whole = [d for d in mine.values() if d is not None and _kept(host, d)]
    able = [d for d in whole if _answers(_device_model(d, nodes)[0], domains)]
    stored: dict[str, Optional[Stored]] = {}

    def read_files() -> None:
        stored.update((name, read_stored(host, name)) for name in mine if name not in stored)

    kept = host.find(f"{SAVE_DIR}/*")
    configs = await _configs(host, able, domains, read_files) if ask else recorded(host, able)
    read_files()  # where xl was not asked
    now = await placed(host, configs, *_described_places(mine, stored, configs))
    homes = _homes(host, configs)
    reporting = {who for who, node in _report_nodes(mine, domains).items() if nodes.get(node) == SERVES}
    return {
        name: with_saved(
            _seen(host, name, stored[name], domains, domain, nodes, domain in whole, now, homes, reporting),
            saved_files(host, name, kept),
        )
        for name, domain in mine.items()
    }


def _homes(host: Any, configs: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, set[int]]]:
    """domid -> the domains to which devices of that guest are bound, those of its TPMs and others.

    libxl's JSON knows some of them by name only.
    """
    leaning = [domid for domid, config in configs.items() if leans(config)]
    found = devices_of(host.xenstore(), leaning) if leaning else {}
    return {
        domid: {
            "vtpm": {d.backend for d in devices if d.kind == "vtpm"},
            "backend": {d.backend for d in devices if d.kind != "vtpm"},
        }
        for domid, devices in found.items()
    }


def saved_files(host: Any, name: str, paths: Sequence[str]) -> tuple[Saved, ...]:
    """The guest's files among these, with what is in them."""
    return tuple(read_saved(file, partial(host.peek, file.path)) for file in files_of(name, paths))


def _described_places(
    mine: Mapping[str, Optional[Domain]], stored: Mapping[str, Optional[Stored]], configs: Mapping[int, Mapping[str, Any]]
) -> tuple[list[int], list[int]]:
    """The domains of which somebody described on which CPUs they are to run, and those of which in which pool."""
    there = [(d.domid, found.guest if (found := stored[name]) else None) for name, d in mine.items() if d and d.domid in configs]
    pinned = [i for i, guest in there if (guest and guest.cpus) or at(configs[i], "b_info.vcpu_hard_affinity")]
    pooled = [i for i, guest in there if (guest and guest.cpupool) or at(configs[i], "c_info.pool_name")]
    return pinned, pooled


def _paths(mine: Mapping[str, Optional[Domain]], domains: Sequence[Domain]) -> list[str]:
    """The nodes that tell who serves whom."""
    own = [node(d.domid) for d in mine.values() if d is not None for node in (model_node, qemu_node, told_by)]
    stubdoms = [d.domid for d in domains if d.name[-3:] == "-dm" and d.name[:-3] in mine]
    return [*own, *map(target_node, stubdoms), *_report_nodes(mine, domains).values()]


def _report_nodes(mine: Mapping[str, Optional[Domain]], domains: Sequence[Domain]) -> dict[str, str]:
    """Name of each domain that may hold the TPM of one of these guests, or be asked for itself -> where it reports."""
    asked = {*map(vtpm_domain, mine), *(name for name in mine if name.endswith(vtpm_domain("")))}
    return {d.name: report_node(d.domid) for d in domains if d.name in asked}


def _seen(
    host: Any,
    name: str,
    stored: Optional[Stored],
    domains: tuple[Domain, ...],
    domain: Optional[Domain],
    nodes: Mapping[str, Optional[str]],
    whole: bool,
    configs: Mapping[int, Mapping[str, Any]],
    homes: Mapping[int, Mapping[str, Collection[int]]],
    reporting: Collection[str],
) -> State:
    """What was read of the guest, put together and judged."""
    stubdom_domid, has_qemu = _device_model(domain, nodes)
    stubdom = next((d for d in domains if d.domid == stubdom_domid), None)
    config = configs.get(domain.domid) if domain is not None else None
    live, emulated = guest_of_config(config) if config else None, emulator.look(host, name)
    lost = lost_domains(stubdom_domid, stubdom, homes.get(domain.domid, {}) if domain is not None else {}, domains)
    lost += lost_tpm(live, emulated, domain, nodes)
    return State(
        name=name,
        word=word_of(domain, stored is not None, lost, whole, config is not None),
        stored=stored,
        autostart=bool(host.linked(auto_path(name))),
        domain=domain,
        stubdom_domid=stubdom_domid,
        stubdom=stubdom,
        config=config,
        live=live,
        leftovers=_leftovers(host, name, domains, domain, stubdom_domid, nodes) + _remains(host, domains, stored),
        domains=domains,
        has_qemu=has_qemu,
        queued=host.read_file(userdata_path(domain, "xl")) if domain is not None else None,
        helper=_helper(host, name, domains, reporting),
        reports=name in reporting,
        tpm_state=host.exists(state_path(name)),
        lost=lost,
        emulated=emulated,
    )


def _helper(host: Any, name: str, domains: Sequence[Domain], reporting: Collection[str]) -> Optional[Helper]:
    """None where no file of ours says that there is one: a domain of that name is then somebody else's."""
    own = vtpm_domain(name)
    stored = read_stored(host, own)
    if stored is None or not stored.managed or not is_one(stored.guest):
        return None
    return Helper(stored, next((d for d in domains if d.name == own), None), own in reporting)


def _device_model(domain: Optional[Domain], nodes: Mapping[str, Optional[str]]) -> tuple[Optional[int], bool]:
    """(the stubdomain's domid or None, whether a QEMU in dom0 serves the guest)."""
    if domain is None:
        return None, False
    stubdom = nodes[model_node(domain.domid)]
    serves = stubdom is not None and stubdom.isdigit() and int(stubdom) != 0
    return (int(stubdom) if serves and stubdom else None), nodes[qemu_node(domain.domid)] is not None


def _answers(stubdom_domid: Optional[int], domains: Sequence[Domain]) -> bool:
    """`xl list -l` asks QEMU first, for up to 10 s: not worth asking a dead one."""
    return stubdom_domid is None or any(d.domid == stubdom_domid and d.alive for d in domains)


async def _configs(
    host: Any, whole: Sequence[Domain], domains: Sequence[Domain], meanwhile: Callable[[], None]
) -> dict[int, dict[str, Any]]:
    """libxl's JSON of these domains. All are asked for at once, unless that would ask the dead as well."""
    at_once = len(whole) > 1 and all(d.alive for d in domains)
    found: dict[int, dict[str, Any]] = {}
    for which in [[]] if at_once else [[str(d.domid)] for d in whole]:
        patience = PATIENCE + PATIENCE_EACH * (len(domains) if at_once else 1)
        done = await host.run(["xl", "list", "-l", *which], patience, meanwhile=meanwhile)
        found.update(live_configs(done.out) if done.rc == 0 else {})
    return found


async def links_of(host: Any, pairs: Sequence[tuple[State, Optional[Guest]]]) -> dict[str, tuple[dict[str, Any], ...]]:
    """name -> the links, as they are now, of those guests that are up."""
    up = [(state, subject) for state, guest in pairs if (subject := subject_of(state, guest))]
    version = await chain_version(host, [subject.device_model for _state, subject in up])
    whole = {subject.name: replace(subject, version=version) for _state, subject in up}
    leaning = [whole[state.name] for state, _subject in up if leans(state.config)]
    whole.update((subject.name, subject) for subject in with_devices(host.xenstore(), leaning))
    return dict(zip(whole, await links_now(host, list(whole.values()))))


async def chain_version(host: Any, device_models: Iterable[str]) -> Version:
    """Xen's version, asked only where a chain depends on it."""
    return (await info(host)).version if any(map(depends_on_version, device_models)) else NEWEST


def read_stored(host: Any, name: str) -> Optional[Stored]:
    """The guest's file, None where there is none. A domain of others may be called like a path: it has none."""
    if "/" in name:
        return None
    path, text = config_path(name), ""
    guest: Optional[Guest] = None
    with contextlib.suppress(XenError):
        found = host.read_file(path)
        if found is None:
            return None
        text = found
        guest = xlcfg.read(text)
    return Stored(path, text, text.startswith(xlcfg.MARK), guest)


def recorded(host: Any, whole: Sequence[Domain]) -> dict[int, dict[str, Any]]:
    """libxl's own record of these domains."""
    found = {d.domid: parse_json((host.read_file(userdata_path(d)) or "").rstrip("\0")) for d in whole}
    return {domid: config for domid, config in found.items() if isinstance(config, dict)}


def _kept(host: Any, domain: Domain) -> bool:
    """Whether libxl keeps the domain's configuration: it writes it last of all, and never for a stubdomain."""
    return bool(host.exists(userdata_path(domain)))


def userdata_path(domain: Domain, kind: str = "libxl-json") -> str:
    """Where libxl keeps a record of a domain (libxl_internal.c: libxl__userdata_path). xl: what `xl config-update` was given."""
    return f"{USERDATA_DIR}/userdata-d.{domain.domid}.{domain.uuid}.{kind}"


def _leftovers(
    host: Any,
    name: str,
    domains: Sequence[Domain],
    domain: Optional[Domain],
    stubdom_domid: Optional[int],
    nodes: Mapping[str, Optional[str]],
) -> tuple[Domain, ...]:
    """Stubdomains by this guest's name that serve nobody (libxl leaves one when it is killed early).

    Not every domain so called is one: a person may have made a guest of that name, or renamed the guest that it serves.
    """
    called = [d for d in domains if d.name == f"{name}-dm" and d.domid != stubdom_domid and not _kept(host, d)]
    others = {str(d.domid) for d in domains if d is not domain} if called else set()
    return tuple(d for d in called if nodes.get(target_node(d.domid)) not in others)


def _remains(host: Any, domains: Sequence[Domain], stored: Optional[Stored]) -> tuple[Domain, ...]:
    """What an xl left that was killed at the end of `xl destroy`, or early in a creation: only the hypervisor knows it.

    A guest that a restarted xenstored has forgotten looks alike, but it runs; or it has run, and libxl keeps its record, which
    xl removes before the domain (libxl_domain.c: devices_destroy_cb, 4.17).
    """
    uuid = stored.guest.uuid if stored and stored.guest else None
    left = [d for d in domains if d.name in NAMELESS and d.paused and not d.destroyed and uuid and d.uuid.lower() == uuid.lower()]
    return tuple(d for d in left if d.never_ran or not _kept(host, d))
