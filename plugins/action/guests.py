# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs a module as Ansible's own action does, and tells meanwhile what it waits for: guests, guest and guest_ready.

A module cannot speak before its end, as connections hand its output over whole. So while the module runs on the task's
connection, another one of the same kind is opened beside it, which looks into the file that the module keeps
(module_utils/progress_file.py). That begins when a task takes long; one that does not is not looked after at all. Whatever
goes wrong with it is no matter of the task's.

Lines go to standard error: Ansible flushes that at once, and standard output, where it is no terminal, only when the next
task begins. The output of callbacks that a program reads stays what it is.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
import threading
import time

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible.utils.display import Display

SWITCH = "stubdom_xen_progress"  # a variable
VARIABLE = "STUBDOM_XEN_PROGRESS"  # of the environment, see module_utils/progress_file.py
FIRST = 5.0  # seconds until a task takes long
PAUSE, GROWTH, PAUSE_MAX = 3.0, 1.5, 10.0  # seconds between two looks, growing
SHARE = 10  # a look that takes long is followed by a pause that takes so many times as long
FAILURES = 3  # looks in a row that fail, until it is given up
PATIENCE = 5.0  # seconds that a look may still take when the module has ended

display = Display()


class ActionModule(NormalAction):
    def run(self, tmp=None, task_vars=None):
        if not self._tells(task_vars or {}):
            return super().run(tmp, task_vars)
        token = secrets.token_hex(8)
        with self._in_environment({VARIABLE: token}), self._looked_after(token, self._where(task_vars or {})):
            return super().run(tmp, task_vars)

    def _tells(self, task_vars):
        """Not of what nobody may see, of what waits for nothing, and of what nobody waits for."""
        if self._task.no_log or self._task.check_mode or self._task.async_val:
            return False
        return boolean(self._templar.template(task_vars.get(SWITCH, True)), strict=False)

    def _where(self, task_vars):
        host, delegate = task_vars.get("inventory_hostname", ""), self._task.delegate_to
        return f"{host} -> {delegate}" if delegate else str(host)

    @contextlib.contextmanager
    def _in_environment(self, more):
        before = self._task.environment
        self._task.environment = [*(before or []), more]
        try:
            yield
        finally:
            self._task.environment = before

    @contextlib.contextmanager
    def _looked_after(self, token, where):
        ended = threading.Event()
        look = threading.Thread(target=self._look, args=(token, where, ended), daemon=True)
        look.start()
        try:
            yield
        finally:
            ended.set()
            look.join(PATIENCE)

    # --- in the thread

    def _look(self, token, where, ended):
        if ended.wait(FIRST):
            return
        try:
            with self._beside() as beside:
                _look_again_and_again(beside, token, where, ended)
        except Exception as error:  # of whatever kind a connection or a callback may raise
            display.vvv(f"what the task waits for cannot be told: {error}", host=where)

    @contextlib.contextmanager
    def _beside(self):
        """This action on a connection of its own, with the options that the task's own has. Yields an action."""
        mine = self._connection
        other = self._shared_loader_obj.connection_loader.get(mine.ansible_name, self._play_context)
        other.set_options(direct=mine.get_options())
        other._shell = mine._shell
        other.set_become_plugin(copy.copy(mine.become))  # it keeps the words by which it knows its own prompt
        beside = copy.copy(self)
        beside._connection = other
        try:
            yield beside
        finally:
            if other.transport != "paramiko":  # all its connections to a host are one: that would end the task's own
                other.close()


def _look_again_and_again(beside, token, where, ended):
    from ansible_collections.stubdom.xen.plugins.plugin_utils.progress import Sayings, command

    sayings, pause, failures = Sayings(), PAUSE, 0
    while failures < FAILURES and not ended.is_set():
        began = time.monotonic()
        try:
            answer = beside._low_level_execute_command(command(token))["stdout"]
            failures = 0
        except Exception as error:
            answer, failures = "", failures + 1
            display.vvv(f"what the task waits for could not be asked: {error}", host=where)
        line = sayings.heard(answer, time.monotonic())
        if line and not ended.is_set():
            display.display(f"{where}: {line}", stderr=True)
        ended.wait(max(pause, SHARE * (time.monotonic() - began)))
        pause = min(pause * GROWTH, PAUSE_MAX)
