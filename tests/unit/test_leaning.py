# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watcher of a host sees of its guests, and which nodes it has to watch for that."""

from __future__ import annotations

import dataclasses

from stories import HVM, PVH, STUBDOM, task

from ansible_collections.stubdom.xen.plugins.module_utils.leaning import DOMAINS, looked_at
from ansible_collections.stubdom.xen.plugins.module_utils.observe import listed


def look(host):
    """The guests by name, and the paths."""
    found, paths = looked_at(host.xenstore(), host.finish(listed(host)))
    return {guest["name"]: guest for guest in found}, paths


def test_a_guest_that_leans_on_nobody(host):
    task(host, PVH)
    guests, paths = look(host)
    assert list(guests) == ["web"]
    assert (guests["web"]["up"], guests["web"]["lost"], guests["web"]["links"]) == (True, [], [])
    assert set(DOMAINS) < paths


def test_qemu_in_domain_0_is_no_other_domain(host):
    task(host, HVM)
    assert look(host)[0]["shop"]["links"] == []


def test_a_stubdomain_is_no_guest_and_its_guest_leans_on_it(host):
    made = task(host, STUBDOM)["guest"]
    guests, paths = look(host)
    assert list(guests) == ["vault"]
    (link,) = guests["vault"]["links"]
    assert (link["link"], link["domain"], link["holds"]) == ("device-model", made["stubdom"]["domid"], True)
    assert link["path"] in paths and f"/local/domain/{made['domid']}/image/device-model-domid" in paths


def test_a_guest_whose_stubdomain_is_gone(host):
    made = task(host, STUBDOM)["guest"]
    host.hypervisor.destroy(made["stubdom"]["domid"])
    guests, _paths = look(host)
    assert guests["vault"]["lost"] == [made["stubdom"]["domid"]]


def test_a_stubdomain_of_which_libxl_has_not_said_yet_whom_it_serves(host):
    made = task(host, STUBDOM)["guest"]
    xenstore, domains = host.xenstore(), host.finish(listed(host))
    host.machine.tree.remove(f"/local/domain/{made['stubdom']['domid']}/target")
    early = [replace_flags(d) if d.domid == made["stubdom"]["domid"] else d for d in domains]
    assert [guest["name"] for guest in looked_at(xenstore, early)[0]] == ["vault"]
    assert [guest["name"] for guest in looked_at(xenstore, domains)[0]] == ["vault", "vault-dm"], "one that runs is a guest"


def replace_flags(domain):
    """As it is when it has just been made."""
    return dataclasses.replace(domain, flags="--p---", seconds=0.0)
