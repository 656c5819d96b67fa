# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The task stubdom.xen.guest_migrate: two hosts, and the way of a guest from one to the other (plugin_utils/handover.py)."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.stubdom.xen.plugins.module_utils.arguments import MIGRATE
from ansible_collections.stubdom.xen.plugins.module_utils.rules import UUID
from ansible_collections.stubdom.xen.plugins.module_utils.transit import Move, file_of
from ansible_collections.stubdom.xen.plugins.plugin_utils.elsewhere import Elsewhere
from ansible_collections.stubdom.xen.plugins.plugin_utils.handover import SOURCE, TARGET, StepFailed, Unreachable, Wish, move

HANDOVER = "stubdom.xen.guest_handover"
KEPT = ("ready", "shutdown", "ssh", "timeout")  # options of the task that steps take as they are


class TwoHosts:
    """Both hosts of a move, as handover.Hosts has it."""

    def __init__(self, sides: Mapping[str, Elsewhere], options: Mapping[str, Any]) -> None:
        self.sides, self.options = sides, options

    def call(self, side: str, step: str, **more: Any) -> dict[str, Any]:
        other = self.sides[TARGET if side == SOURCE else SOURCE].name
        given = {"name": self.options["name"], "step": step, "other": other, "address": self.options["address"]}
        given.update({key: self.options[key] for key in KEPT if self.options.get(key) is not None})
        if self.options.get("evacuated"):
            given["evacuated"] = True
        if "described" in more:
            more["described"] = json.dumps(more["described"])
        try:
            result = self.sides[side].module(HANDOVER, {**given, **more})
        except AnsibleConnectionFailure as error:
            raise Unreachable(f"{self.sides[side].name}: {error}") from error
        if result.get("unreachable"):
            raise Unreachable(f"{self.sides[side].name}: {result.get('msg')}")
        if result.get("failed") or "told" not in result:
            raise StepFailed(side, step, result)
        return result

    def carry(self, file: Mapping[str, Any], identity: str) -> None:
        """By way of the controller, in a directory that only this user can read. identity: as a host says, who may lie."""
        if not UUID.match(identity):
            msg, hint = f"{identity!r} is no UUID, and no part of a file's name", "are these hosts what they were?"
            raise StepFailed(None, "carry", {"code": "cannot_move", "msg": msg, "evidence": {"uuid": identity}, "hint": hint})
        to = file_of(Move(self.options["name"], described={"uuid": identity}), file["kind"])
        if any(side.becomes for side in self.sides.values()):
            msg, hint = "files are fetched and put as the user who logs in, who is not root", "log in as root on both hosts"
            raise StepFailed(None, "carry", {"code": "cannot_move", "msg": msg, "evidence": {"file": file["path"]}, "hint": hint})
        with tempfile.TemporaryDirectory(prefix="stubdom.xen-") as folder:
            local = os.path.join(folder, "file")
            try:
                self.sides[SOURCE].fetch(file["path"], local)
                self.sides[TARGET].put(local, to)
            except AnsibleConnectionFailure as error:
                raise Unreachable(str(error)) from error


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _valid, options = self.validate_argument_spec(MIGRATE)
        source, target = options["from"] or task_vars["inventory_hostname"], options["to"]
        if source == target:
            msg, hint = f"to: {target!r} is the host that the guest is to leave", "name another host"
            return {"failed": True, "code": "invalid_input", "msg": msg, "hint": hint}
        sides = {SOURCE: Elsewhere(self, source, task_vars), TARGET: Elsewhere(self, target, task_vars)}
        options["address"] = options["address"] or sides[TARGET].variable("ansible_host", target)
        try:
            return self._moved(TwoHosts(sides, options), options)
        finally:
            for side in sides.values():
                with contextlib.suppress(AnsibleConnectionFailure):
                    side.action._remove_tmp_path(side.action._connection._shell.tmpdir)

    def _moved(self, hosts: TwoHosts, options: Mapping[str, Any]) -> dict[str, Any]:
        names = {side: elsewhere.name for side, elsewhere in hosts.sides.items()}
        wish = Wish(
            str(uuid.uuid4()), options["method"], options["ssh"] is not None, options["undo"], bool(self._task.check_mode)
        )
        try:
            done = move(hosts, wish)
        except StepFailed as failure:
            return _failed(failure, names, options["name"])
        except Unreachable as failure:
            return {"unreachable": True, "msg": str(failure)}
        seen = {side: told for side, told in done["seen"].items() if told is not None}
        where = TARGET if TARGET in seen and seen[TARGET]["state"] != "absent" else SOURCE
        raised = {**done["told"].get("release", {}), **done["told"].get("raise", {})}
        return {
            "changed": bool(done["steps"]),
            "method": done["method"],
            "why_not": done["why_not"],
            "steps": [{"host": names[step["host"]], "step": step["step"]} for step in done["steps"]],
            "from": names[SOURCE],
            "to": names[TARGET],
            "guest": seen[where]["guest"],
            "readiness": raised.get("readiness", []),
        }


def _failed(failure: StepFailed, names: Mapping[str, str], guest: str) -> dict[str, Any]:
    """The failure of a step as the task's own, with the hosts by their names."""
    kept = {key: value for key, value in failure.result.items() if key in ("code", "msg", "evidence", "hint", "exception")}
    where = f" (on {names[failure.side]}: {failure.step})" if failure.side else ""
    msg = str(kept.get("msg", ""))
    evidence = kept.get("evidence")
    if isinstance(evidence, dict) and "owner" in evidence:
        steps = [{"host": names.get(step["host"]), "step": step["step"]} for step in evidence.get("steps", [])]
        evidence = {**evidence, "owner": names.get(evidence["owner"] or ""), "steps": steps}
    told = msg if guest in msg else f"guest {guest}: {msg}"
    return {"code": "move_failed", **kept, "failed": True, "msg": f"{told}{where}", "evidence": evidence}
