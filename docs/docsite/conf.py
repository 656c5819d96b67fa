# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's settings for the site that `make docs` builds; tests/check/docsite.py lays out its sources.

Nothing on a page is loaded from elsewhere: the site can be read without a network, and straight from the disk.
"""

from __future__ import annotations

import re

from docutils import nodes

project = "stubdom.xen"
html_title = "stubdom.xen"
extensions = ["myst_parser", "sphinx_antsibull_ext"]
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
# the slugs that a forge makes of headings
myst_heading_anchors = 4
nitpicky = True

# Labels of Ansible's own site that the generated reference names: label -> page there.
ANSIBLE = "https://docs.ansible.com/ansible/latest/"
PAGES = {
    "module_defaults_groups": "playbook_guide/playbooks_module_defaults.html",
    "check_mode_dry": "playbook_guide/playbooks_checkmode.html",
    "diff_mode": "playbook_guide/playbooks_checkmode.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "action_plugins": "plugins/action.html",
    "callback_plugins": "plugins/callback.html",
}
PLUGIN = re.compile(r"ansible_collections\.ansible\.builtin\.(\w+)_(\w+)\Z")
SETTING = re.compile(r"ANSIBLE_\w+\Z")


def elsewhere(app, env, node, content):
    """A link to Ansible's own site for what its reference is to explain; None leaves the reference a broken one."""
    target = node["reftarget"]
    page = PAGES.get(target)
    if plugin := PLUGIN.match(target):
        page = f"collections/ansible/builtin/{plugin[1]}_{plugin[2]}.html"
    if SETTING.match(target):
        page = f"reference_appendices/config.html#envvar-{target}"
    return nodes.reference("", "", content, internal=False, refuri=ANSIBLE + page) if page else None


def setup(app):
    app.connect("missing-reference", elsewhere)
