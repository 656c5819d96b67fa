# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""That no guest is let run early through this collection: read off the sources, off the plans, and tried with everything.

Three laws. One place unpauses, and only the gate gives the proof it asks for. Every plan awaits the chain after it last
made a domain and before it unpauses. And whatever domains do meanwhile, at the moment of each unpause every link is true.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_host import Behaviour, SimulatedHost
from stories import HVM, PVH, STUBDOM

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.execute import converge
from ansible_collections.stubdom.xen.plugins.module_utils.plan import POWER, RENEW
from ansible_collections.stubdom.xen.plugins.module_utils.ready import await_ready

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
SOURCES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PLUGINS.rglob("*.py")}
STARTS = {"create", "restore", "unpause", "resume", "reboot", "migrate", "migrate-receive", "trigger", "run"}


def commands(tree):
    """The second word of each list that is `["xl", word, ...]`, with its other constant words; and of what is made by such."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List) and node.elts and isinstance(node.elts[0], ast.Constant) and node.elts[0].value == "xl":
            yield tuple(element.value for element in node.elts[1:] if isinstance(element, ast.Constant))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_xl":
            yield tuple(argument.value for argument in node.args if isinstance(argument, ast.Constant))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_made_by":
            yield tuple(word.value for word in node.args[0].elts if isinstance(word, ast.Constant))


def test_one_place_unpauses_and_every_creation_is_paused_or_a_trial():
    """The words that xl is ever called with, anywhere in the plugins: of those that let a domain run, these alone."""
    starting = {(path.stem, words) for path, tree in SOURCES.items() for words in commands(tree) if words and words[0] in STARTS}
    made = {("acts", ("create", "-p")), ("acts", ("restore", "-p"))}
    # xl's own end of a live migration lets a guest run that has a QEMU in dom0 or none, which libxl waits for: methods.py.
    lets = {("unpause", ("unpause",)), ("leaving", ("migrate", "-s"))}
    assert starting == {*lets, *made, ("dryrun", ("create", "-n"))}


def test_only_the_gate_gives_proofs():
    made = {
        (path.stem, function.name)
        for path, tree in SOURCES.items()
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Proof"
    }
    assert made == {("readiness", "proof")}


WAYS = [*((f"{goal} from {was}", steps) for goal, rows in POWER.items() for was, steps in rows.items())]
WAYS += [(f"renewed from {was}", (*steps, "unpause")) for was, steps in RENEW.items()]


@pytest.mark.parametrize(("way", "steps"), WAYS, ids=[way for way, _steps in WAYS])
def test_every_plan_awaits_before_it_unpauses(way, steps):
    awaited = False
    for step in steps:
        assert step != "unpause" or awaited, way
        awaited = step == "await" or (awaited and step not in ("create", "unpause"))


# --- and with everything that can go wrong

TIMES = st.none() | st.integers(0, 40)
BEHAVIOURS = st.builds(
    Behaviour,
    stubdom_ready=TIMES,
    stubdom_writes_in=st.sampled_from(["own", "dom0"]),
    qmp_proxy=st.booleans(),
    stubdom_dies=TIMES,
    stubdom_end=st.sampled_from("-c"),
    stubdom_error=st.sampled_from(["", "no disk"]),
    qemu_exits=st.booleans(),
)
STALE = st.sampled_from(
    [f"/local/domain/0/device-model/{domid}/{name}" for domid in range(1, 5) for name in ("state", "qmp-proxy-state")]
)
READY = {"timeout": 60, "retries": 1}


class Watchful(SimulatedHost):
    """A host that judges every unpause the moment it begins: does every link hold, by what this test itself knows?"""

    def __init__(self):
        super().__init__()
        self.early = []

    async def run(self, argv, timeout=60.0, gate=None, meanwhile=None):
        if argv[:2] == ["xl", "unpause"] and not self.may_run(int(argv[2])):
            self.early.append(argv)
        return await super().run(argv, timeout, gate, meanwhile)

    def may_run(self, domid):
        stub, lives = self.machine.stubdom_of(domid), {d for d, x in self.hypervisor.domains.items() if not (x.reason or x.dying)}
        if stub is None:
            pid = self.tree.value(f"/local/domain/{domid}/image/device-model-pid")
            return pid is None or (self.machine.answers(domid) and int(pid) not in self.machine.ended)
        own = f"/local/domain/{stub}/device-model/{domid}"
        written = self.tree.value(f"{own}/state") == "running" and self.tree.value(f"{own}/qmp-vchan/event-channel")
        return bool(written) and stub in lives and self.tree.value(f"/local/domain/{stub}/target") == str(domid)


@settings(max_examples=150)
@given(st.sampled_from([STUBDOM, HVM, PVH]), st.lists(BEHAVIOURS, min_size=1, max_size=3), st.sets(STALE), st.booleans())
def test_no_unpause_goes_past_an_unmet_chain(guest, behaviours, stale, others):
    """Reporters that are late, silent, dead or in the wrong place; nodes of dead guests; guests of ours and of others."""
    host = Watchful()
    host.behave(guest["name"], *behaviours)
    for path in stale:
        host.tree.put(path, "running", owner=0)
    try:
        if others:
            host.finish(converge(host, {**guest, "ready": READY, "state": "paused"}, False))
            host.finish(await_ready(host, {"name": guest["name"], "timeout": 60, "unpause": True}, False))
        else:
            host.finish(converge(host, {**guest, "ready": READY}, False))
    except XenError:
        pass
    assert (host.early, host.machine.unsafe) == ([], [])
