# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guests of many Xen hosts as hosts of an inventory. asking.py asks, hosts_of_guests.py names; here is the way between.

Nothing that a Xen host says is ever a template: what comes from a process has no tag of trust, which Ansible has asked for
since ansible-core 2.19, and it is untagged once more before it becomes a variable.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: The guests of many Xen hosts, as hosts of an inventory
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Asks Xen hosts for their guests with M(stubdom.xen.guest_info), many at once, and makes each guest a host of the
    inventory.
  - How a Xen host is reached (connection, user, privileges, secrets) is said where it is described, in an inventory of its
    own. A Xen host that does not answer costs a warning and its own time limit; the guests of the others are there.
  - The source is a file called C(xen.guests.yml) or C(*.xen_guests.yml) (C(.yaml) too).
  - Each guest has the variables C(xen_host), C(xen_name), C(xen_state), C(xen_domid), C(xen_uuid), C(xen_type), C(xen_memory)
    (bytes), C(xen_vcpus), C(xen_stubdom), C(xen_vtpm), C(xen_serves), C(xen_managed), C(xen_drift), C(xen_readiness),
    C(xen_degraded), C(xen_spec) (what M(stubdom.xen.guest) takes) and C(xen_addresses). The values are those of
    RV(stubdom.xen.guest_info#module:guests).
  - Each guest is in the groups C(xen_guests), C(xen_host_NAME) of its Xen host and C(xen_state_STATE).
  - What guests or Xen hosts write is never taken for a template, and has no control characters.
extends_documentation_fragment:
  - constructed
  - inventory_cache
requirements:
  - pyxs, for the Python of the Xen hosts
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [stubdom.xen.guests]
  inventory:
    description:
      - The inventories that describe the Xen hosts, as for C(ansible -i). A path that is not absolute begins at this file.
      - This file may be among them, such as by its own directory; it is passed over there.
    type: list
    elements: str
    required: true
  hosts:
    description: Which of the hosts in O(inventory) are asked, a pattern of hosts and groups.
    type: str
    default: all
  forks:
    description: How many Xen hosts are asked at a time.
    type: int
    default: 20
  timeout:
    description: Seconds that a Xen host has to answer.
    type: int
    default: 60
  hostnames:
    description:
      - What a guest is called, the first of these that no other guest and no other host is called by.
      - V(name@host) and V(uuid) are tried in the end in any case. Guests are never merged. When two Xen hosts have a guest of one
        name, neither has it here. Where that may be, and a Xen host may be away, say V(name@host) alone, so that names never
        depend on who answers.
    type: list
    elements: str
    choices: [name, name@host, uuid]
    default: [name, name@host]
  known_hosts:
    description:
      - A guest may have the name of a host that another source of the inventory has described before.
      - V(apart) takes it for another machine, and the next of O(hostnames); V(same) lets them be one host. A Xen host and
        C(localhost) are never taken for a guest.
    type: str
    choices: [apart, same]
    default: apart
  addresses:
    description:
      - What becomes C(ansible_host) of a guest, the first that there is.
      - V(described) is an C(ip) of one of its C(nics). V(reported) is what an agent in the guest wrote to xenstore. Whoever is
        root in the guest writes that, and can have Ansible connect to another machine.
      - Both are in C(xen_addresses) in any case.
    type: list
    elements: str
    choices: [described, reported]
    default: [described]
  filters:
    description:
      - Which guests are taken, a list of V(include) and V(exclude), each with a condition on the guest's variables. The first
        one whose condition holds decides, and a guest that none decides on is taken.
      - End it with C(exclude) and the condition C(true) to take those only that are included.
    type: list
    elements: dict
    default: []
    suboptions:
      include:
        description: A condition on which the guest is taken.
        type: str
      exclude:
        description: A condition on which it is not.
        type: str
  helpers:
    description: Whether domains that hold another guest's TPM are taken too.
    type: bool
    default: false
seealso:
  - plugin: ansible.builtin.constructed
    plugin_type: inventory
"""

EXAMPLES = r"""
# xen.guests.yml, beside hosts.yml, which has the Xen hosts in its group xen. Three lines are enough. The others have
# guests by their type, those that need a look in a group of their own, and a web server by its name.
plugin: stubdom.xen.guests
inventory: [hosts.yml]
hosts: xen:!lab
forks: 50
timeout: 30
strict: true
keyed_groups:
  - key: xen_type
    prefix: type
groups:
  needs_a_look: xen_degraded or xen_drift
  web: xen_name is match('web')
compose:
  ansible_user: "'admin'"
filters:
  - exclude: xen_state in ['halted', 'absent']
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .cache/inventory
cache_timeout: 600
"""

import os

from ansible.errors import AnsibleParserError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.stubdom.xen.plugins.plugin_utils.asking import ASKING, NotAsked, Question, ask, asking
from ansible_collections.stubdom.xen.plugins.plugin_utils.hosts_of_guests import guests_in, line, named, variables

NAMES = ("xen.guests", ".xen_guests")
SUFFIXES = (".yml", ".yaml")
EVERY = "xen_guests"  # the group of all guests


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "stubdom.xen.guests"

    def verify_file(self, path):
        """Whether the path is a configuration of this plugin, by its name."""
        base, suffix = os.path.splitext(os.path.basename(path))
        return suffix in SUFFIXES and (base == NAMES[0] or base.endswith(NAMES[1])) and super().verify_file(path)

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        if os.environ.get(ASKING):
            self.display.vvv(f"{path} is among its own sources, and passed over")
            return
        sources = [self._source(path, source) for source in self.get_option("inventory")]
        with asking():
            manager = InventoryManager(loader=loader, sources=sources)
            xen_hosts = [host.name for host in manager.get_hosts(self.get_option("hosts"))]
        if not xen_hosts:
            raise AnsibleParserError(f"{path}: no host in {', '.join(sources)} is meant by {self.get_option('hosts')!r}")
        self._populate(self._told(path, cache, sources, xen_hosts), manager)

    def _source(self, path, source):
        """A path as it is meant in the file ``path``; a list of hosts, which has a comma, as it is."""
        if "," in source:
            return source
        found = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(path)), os.path.expanduser(source)))
        if not os.path.exists(found):
            raise AnsibleParserError(f"{path}: there is no inventory {found}, which `inventory` names")
        return found

    # --- asking

    def _told(self, path, cache, sources, xen_hosts):
        """Xen host -> its guests. Who did not answer is not in it, nor in the cache: the next run asks him again."""
        key, cached = self.get_cache_key(path), {}
        if self.get_option("cache") and cache:
            cached = self._cache.get(key) or {}
        told = {host: cached[host] for host in xen_hosts if host in cached}
        asked = [host for host in xen_hosts if host not in told]
        if asked:
            answers = self._ask(sources, asked)
            told.update((host, guests_in(result)) for host, result in answers.results.items())
            for host, why in answers.failures.items():
                self.display.warning(f"Xen host {host} {line(why)}: its guests are not in the inventory")
            if self.get_option("cache"):
                self._cache[key] = told
                self._cache.set_cache()
        return {host: told[host] for host in xen_hosts if host in told}

    def _ask(self, sources, asked):
        try:
            return ask(self._question(sources), asked)
        except NotAsked as said:
            raise AnsibleParserError(f"the Xen hosts were to be asked by Ansible, which did not come as far: {said}") from None

    def _question(self, sources):
        secrets = getattr(getattr(self.loader, "_vault", None), "secrets", None) or ()
        return Question(
            sources=sources,
            pattern=self.get_option("hosts"),
            module="stubdom.xen.guest_info",
            forks=max(1, self.get_option("forks")),
            timeout=max(1, self.get_option("timeout")),
            collections=tuple(AnsibleCollectionConfig.collection_paths),
            vaults=[(name, secret.bytes) for name, secret in secrets if secret.bytes],
        )

    # --- the inventory

    def _populate(self, told, manager):
        prefer = self.get_option("addresses")
        found = [variables(host, guest, prefer) for host, guests in told.items() for guest in guests]
        taken = {*manager.hosts, *manager.groups, *self.inventory.groups}
        others = () if self.get_option("known_hosts") == "same" else self.inventory.hosts
        result = named([guest for guest in found if self._wanted(guest)], self.get_option("hostnames"), taken, others)
        for remark in result.remarks:
            self.display.warning(remark)
        self.inventory.add_group(EVERY)
        for name, guest in result.hosts.items():
            self._add(name, wrap_var(guest))

    def _wanted(self, guest):
        if guest["xen_serves"] and not self.get_option("helpers"):
            return False
        for rule in self.get_option("filters"):
            (word, condition), *more = rule.items() if rule else [("", "")]
            if more or word not in ("include", "exclude"):
                raise AnsibleParserError(f"filters: each has either `include` or `exclude`, not {sorted(rule)}")
            if self._holds(condition, guest):
                return word == "include"
        return True

    def _holds(self, condition, guest):
        """A condition that cannot be judged does not hold, unless `strict` says that this is an error."""
        self.templar.available_variables = wrap_var(guest)
        try:
            return self.templar.evaluate_conditional(condition)
        except Exception as error:
            if self.get_option("strict"):
                raise AnsibleParserError(f"filters: {condition!r} cannot be judged of guest {guest['xen_name']!r}") from error
            return False

    def _add(self, name, guest):
        self.inventory.add_host(name, group=EVERY)
        for key, value in guest.items():
            self.inventory.set_variable(name, key, value)
        for group in (f"xen_host_{guest['xen_host']}", f"xen_state_{guest['xen_state']}"):
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), guest, name, strict=strict)
        known = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict, fetch_hostvars=False)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict, fetch_hostvars=False)
