# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The attributes every module of this collection documents, each described once.

A module names the fragments it wants and says only what it supports (`support`, `details`).
"""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments for `extends_documentation_fragment`: `stubdom.xen.attributes`, `stubdom.xen.attributes.<name>`."""

    # For every module; it adds `support` to check_mode, diff_mode and idempotent.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Returns details on what has changed (or would need changing in C(check_mode)) when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled/queried by the module has not changed in a relevant way.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: linux
    details:
      - Domain 0 of a Xen host with the C(xl) toolstack.
"""

    # With the standard fragment, for a module that changes nothing.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
"""

    # For every module that may take long.
    PROGRESS = r"""
options: {}
notes:
  - When it takes more than a few seconds it tells on standard error what it waits for, such as the guest, the link of its
    readiness chain, and for how long, unless the variable V(stubdom_xen_progress) is V(false), or the task has C(no_log) or
    C(async), or runs in check mode.
"""

    # For every module: all are in the action group of meta/runtime.yml.
    ACTIONGROUP_XEN = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/stubdom.xen.xen) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - stubdom.xen.xen
"""
