# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A module of this collection on any host of the inventory, from within an action plugin: one task that works on two hosts.

Ansible gives an action plugin the connection to one host. To another one it is opened here in the same way, with that
host's own variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader, become_loader, connection_loader


class Elsewhere:
    """One host, by its name in the inventory. Raises AnsibleActionFail for one that is not in it."""

    def __init__(self, action: ActionBase, name: str, task_vars: Mapping[str, Any]) -> None:
        hostvars = task_vars["hostvars"]
        if name not in hostvars:
            raise AnsibleActionFail(f"{name!r} was to be a Xen host of the inventory, which has no host of that name")
        self.name = name
        self.variables = {**hostvars.raw_get(name), "hostvars": hostvars, "inventory_hostname": name}
        self.templar = action._templar.copy_with_new_env(available_variables=self.variables)
        self.action = self._action(action)

    def variable(self, name: str, default: Any = None) -> Any:
        return self.templar.template(self.variables[name]) if name in self.variables else default

    def _action(self, action: ActionBase) -> ActionBase:
        """Ansible's plain action, on a connection to this host."""
        context = action._play_context.copy()
        context.remote_addr = self.variable("ansible_host", self.name)
        kind = self.variable("ansible_connection", "ssh")
        connection = connection_loader.get(
            "ansible.builtin.ssh" if kind == "smart" else kind,
            context,
            new_stdin=None,
            task_uuid=action._task._uuid,
            ansible_playbook_pid=str(os.getppid()),
        )
        if connection is None:
            raise AnsibleActionFail(f"{self.name}: there is no connection plugin {kind!r}")
        self._become(action, connection)
        keys = action._task.dump_attrs()
        keys.pop("retries", None)
        keys["timeout"] = context.timeout
        connection.set_options(task_keys=keys, var_options=connection._resolve_option_variables(self.variables, self.templar))
        shell = {key: self.variable(key) for key in self.variables if key.startswith("ansible_") and "shell" in key}
        connection._shell.set_options(task_keys=keys, var_options=shell)
        return action_loader.get(
            "ansible.builtin.normal",
            task=action._task,
            connection=connection,
            play_context=context,
            loader=action._loader,
            templar=self.templar,
            shared_loader_obj=action._shared_loader_obj,
        )

    def _become(self, action: ActionBase, connection: Any) -> None:
        wanted = self.variable("ansible_become", action._task.become)
        plugin = None
        if wanted:
            plugin = become_loader.get(self.variable("ansible_become_method", action._task.become_method))
            own = {key: self.variable(key) for key in self.variables if key.startswith("ansible_become")}
            plugin.set_options(task_keys=action._task.dump_attrs(), var_options=own)
        connection.set_become_plugin(plugin)

    def module(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a module. Raises AnsibleError, as for a host that is not reached."""
        result: dict[str, Any] = self.action._execute_module(
            module_name=name, module_args=dict(options), task_vars=self.variables
        )
        return result

    def fetch(self, path: str, to: str) -> None:
        self.action._connection.fetch_file(path, to)

    def put(self, path: str, to: str) -> None:
        self.action._connection.put_file(path, to)

    @property
    def becomes(self) -> bool:
        """Whether modules run as another user than the one who logs in: files cannot be had by the connection alone then."""
        return self.action._connection.become is not None

    def close(self) -> None:
        self.action._connection.close()


__all__ = ["AnsibleError", "Elsewhere"]
