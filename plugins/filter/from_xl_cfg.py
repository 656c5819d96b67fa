# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A hand-written xl.cfg as options of a guest: the engine reads it (xlcfg.py), the module's own rules judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.stubdom.xen.plugins.module_utils import rules, xlcfg
from ansible_collections.stubdom.xen.plugins.module_utils.arguments import GUEST, POLICY
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest, from_options, to_options

DOCUMENTATION = r"""
name: from_xl_cfg
short_description: The options of a guest from the text of an xl.cfg
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - Reads the text of an xl.cfg, in any spelling that C(xl) takes, and returns what it says as options of
    M(stubdom.xen.guest).
  - A key without an option of its own comes into O(stubdom.xen.guest#module:extra_config), as it is written.
  - A text that C(xl) would refuse is refused, with the number of the line. So is one with a value that C(xl) would only
    warn about and then ignore, and a guest that M(stubdom.xen.guest) would refuse.
  - A text without a name or a type gives options without one. To C(xl), a guest without a type is V(pv) or, on Arm, V(pvh).
positional: _input
options:
  _input:
    description:
      - The text. The line end that a lookup takes off its end may be missing.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Read what somebody wrote by hand
  ansible.builtin.slurp:
    src: /root/web1.cfg
  register: by_hand

- name: Keep the guest as that file says
  stubdom.xen.guests:
    guests: "{{ [by_hand.content | b64decode | stubdom.xen.from_xl_cfg] }}"

- name: Show the options of a guest whose file lies beside the playbook
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'web1.cfg') | stubdom.xen.from_xl_cfg }}"
"""

RETURN = r"""
_value:
  description: Valid input of M(stubdom.xen.guest), with nothing in it that the text does not say.
  type: dict
"""


def from_xl_cfg(text: str) -> dict[str, Any]:
    """The options that the text describes. Raises AnsibleFilterError."""
    if not isinstance(text, str):
        raise AnsibleFilterError("from_xl_cfg: wanted the text of an xl.cfg")
    try:
        # a comment must end with a newline, and a lookup of the file has taken it away
        options = to_options(xlcfg.read(text if text.endswith("\n") else f"{text}\n"))
        guest_of(options, name={"type": "str"})
    except XenError as error:
        raise refused("from_xl_cfg", error) from None
    return options


def guest_of(options: Mapping[str, Any], **more: Any) -> Guest:
    """The guest that the options describe, after all that the module would say of them before it looks at a host.

    more: options with another specification than the module's. Raises XenError(invalid_input).
    """
    judged = ArgumentSpecValidator(_unexpanded({**GUEST, **POLICY, **more})).validate(options)
    if judged.error_messages:
        said = "; ".join(judged.error_messages)
        raise XenError("invalid_input", said, {"options": sorted(options)}, "see `ansible-doc stubdom.xen.guest`")
    guest = from_options(judged.validated_parameters)
    rules.check(guest)
    xlcfg.settings(guest)
    return guest


def _unexpanded(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The specification without the type path, for which the controller's home and variables would be put into the guest's."""
    return {name: {**option, **_as_text(option)} for name, option in spec.items()}


def _as_text(option: Mapping[str, Any]) -> dict[str, Any]:
    inner = {"options": _unexpanded(option["options"])} if "options" in option else {}
    return {**inner, **({"type": "str"} if option["type"] == "path" else {})}


def refused(name: str, error: XenError) -> AnsibleFilterError:
    return AnsibleFilterError(f"{name}: {error.msg}. {error.hint}")


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"from_xl_cfg": from_xl_cfg}
