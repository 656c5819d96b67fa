# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each host answered, a line of JSON as soon as it is there: how the inventory plugin hears of the Xen hosts that it asks.

Nobody but the program that started Ansible knows the mark by which the lines begin. What a host has Ansible print, and
Ansible's own words, are never taken for one.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: whole_results
type: stdout
short_description: What each host answered, as lines of JSON
version_added: 0.1.0
author:
  - The stubdom.xen contributors (@stubdom)
description:
  - For programs that run one task of Ansible and want the whole result of each host. The inventory plugin
    P(stubdom.xen.guests#inventory) uses it.
  - Each line is a mark followed by a JSON object with C(host), C(outcome) (C(started), C(ok), C(failed) or C(unreachable))
    and, but for the first of these, C(result).
  - Nothing else is written, so it is of no use to people.
options:
  mark:
    description: What each line begins with.
    type: str
    default: ''
    env:
      - name: STUBDOM_XEN_MARK
"""

import json

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "stubdom.xen.whole_results"

    def _tell(self, outcome, host, **more):
        """The line begins anew, whatever was printed before it."""
        line = json.dumps({"host": str(host), "outcome": outcome, **more}, default=str)
        print(f"\n{self.get_option('mark')}{line}", flush=True)

    def v2_runner_on_start(self, host, task):
        self._tell("started", host.name)

    def v2_runner_on_ok(self, result):
        self._tell("ok", result.host.name, result=result.result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._tell("failed", result.host.name, result=result.result)

    def v2_runner_on_unreachable(self, result):
        self._tell("unreachable", result.host.name, result=result.result)
