# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two simulated hosts and a controller between them. Whatever happens, no guest may be let run on both at once."""

from __future__ import annotations

import json

from simulated_host import SimulatedHost, TaskKilled

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.moving import handover
from ansible_collections.stubdom.xen.plugins.module_utils.transit import Move, file_of
from ansible_collections.stubdom.xen.plugins.plugin_utils.handover import SOURCE, TARGET, StepFailed, Unreachable, Wish, move

CHANGES = ("write_file", "rename", "remove", "link", "make_sparse")
LOOKS = ("list", "info", "vcpu-list", "cpupool-list")


class Mortal(SimulatedHost):
    """A host on which the task is killed before its n-th change, counted over both hosts."""

    def __init__(self, pair, machine_id):
        super().__init__()
        self.pair = pair
        self.files["/etc/machine-id"] = machine_id * 32
        self.files["/sys/class/net/xenbr0/mtu"] = "1500"

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in CHANGES:
            return found

        def counted(*given, **more):
            self.pair.about_to_change(self, f"{name} {given[0]}")
            return found(*given, **more)

        return counted

    async def run(self, argv, *given, **more):
        if argv[1] not in LOOKS and argv[:3] != ["xl", "create", "-n"]:
            self.pair.about_to_change(self, " ".join(argv))
        if argv[:2] == ["xl", "migrate"]:
            self.pair.arrive(argv[-2])
            argv = ["xl", "destroy", argv[-2]]  # as xl_migrate.c ends on this side
        return await super().run(argv, *given, **more)


class Pair:
    """handover.Hosts: source and target. off: a side that cannot be reached."""

    def __init__(self):
        self.kill_at, self.changes, self.off = None, [], None
        self.sides = {SOURCE: Mortal(self, "1"), TARGET: Mortal(self, "2")}
        self.source, self.target = self.sides[SOURCE], self.sides[TARGET]
        self.name = ""
        self.most_running = 0

    def about_to_change(self, host, what):
        self.look()
        self.changes.append(what)
        if len(self.changes) == self.kill_at:
            raise TaskKilled

    def look(self):
        running = [host for host in self.sides.values() if runs(host, self.name)]
        self.most_running = max(self.most_running, len(running))

    def call(self, side, step, **options):
        if side == self.off:
            raise Unreachable(side)
        host = self.sides[side]
        if "described" in options:
            options["described"] = json.dumps(options["described"])
        given = {"name": self.name, "step": step, "other": f"the {TARGET if side == SOURCE else SOURCE}"}
        try:
            return host.finish(handover(host, {**given, **options}, False))
        except XenError as error:
            raise StepFailed(side, step, error.as_result()) from error
        finally:
            self.look()

    def arrive(self, domid):
        """The other end of `xl migrate`: the guest runs there before it is destroyed here."""
        self.target.files["/run/arriving.cfg"] = self.source.files[f"/etc/xen/{self.name}.cfg"]
        self.target.xl("create", "/run/arriving.cfg")
        del self.target.files["/run/arriving.cfg"]

    def carry(self, file, identity):
        to = file_of(Move(self.name, described={"uuid": identity}), file["kind"])
        self.target.write_file(to, self.source.files[file["path"]])

    def move(self, name, kill_at=None, **wish):
        """The task. None where it was killed."""
        self.name, self.changes, self.kill_at = name, [], kill_at
        try:
            return move(self, Wish("a-move", **wish))
        except TaskKilled:
            for host in self.sides.values():
                host.close()
            return None
        finally:
            self.kill_at = None


def runs(host, name):
    """Whether the guest has a domain there that has been let run and is not on its way out."""
    flags = host.domains().get(name)
    return flags is not None and flags[2:4] == "--" and flags[5] == "-"
