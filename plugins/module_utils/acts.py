# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each step of steps.py does to the one guest of a walk (execute.py), which sees to it that they come in their order."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils import dryrun, emulator, memory, swtpm, tpm
from ansible_collections.stubdom.xen.plugins.module_utils import plan as planning
from ansible_collections.stubdom.xen.plugins.module_utils.again import own_domids, these
from ansible_collections.stubdom.xen.plugins.module_utils.chains import REPORTS, kind_of
from ansible_collections.stubdom.xen.plugins.module_utils.change import Asked, change
from ansible_collections.stubdom.xen.plugins.module_utils.decide import Decision
from ansible_collections.stubdom.xen.plugins.module_utils.ending import is_over, until, until_gone
from ansible_collections.stubdom.xen.plugins.module_utils.errors import SAID_MAX, XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.explain import explained
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.observe import chain_version, look
from ansible_collections.stubdom.xen.plugins.module_utils.paths import auto_path, config_path, xl_log_path
from ansible_collections.stubdom.xen.plugins.module_utils.policy import Policy
from ansible_collections.stubdom.xen.plugins.module_utils.readiness import Gate, Proof
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest
from ansible_collections.stubdom.xen.plugins.module_utils.state import State
from ansible_collections.stubdom.xen.plugins.module_utils.steps import STEPS, Planned
from ansible_collections.stubdom.xen.plugins.module_utils.tpm import Converge
from ansible_collections.stubdom.xen.plugins.module_utils.unpause import unpause
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import state_path

XL_PATIENCE = 60.0  # seconds for xl commands that do one thing
NO_PV = "PV control interface not available"  # xl_vmcontrol.c: shutdown_domain
ASK_PATIENCE = 1.0  # seconds at least to pass a request to shut down on
MONITOR_PATIENCE = 10.0  # seconds that xl's monitor has to clear a guest that shut itself down
TIMED_OUT = "timed out"  # libxl's words for its own limits (libxl_dm.c, libxl_exec.c)
GAVE_UP = "libxl: error: "  # it says so before it destroys anything; of a stubdomain that dies it knows nothing


class Acts:
    """The steps, and what the walk has learnt so far: the state last seen, the proof of readiness.

    converge: how another guest is brought about, as the domain of a TPM is one.
    """

    state: State
    decision: Decision

    def __init__(self, host: Any, given: Guest, policy: Policy, converge: Converge) -> None:
        self.host, self.given, self.policy, self.name = host, given, policy, str(given.name)
        self.converge = converge
        self.proof: Optional[Proof] = None
        self.limit = policy.ready_timeout  # seconds from the beginning of a start until the chain has to hold
        self.made: Optional[str] = None  # the uuid of a domain that this walk created
        self.links: tuple[dict[str, Any], ...] = ()
        self.serving = False  # whether this walk had the domain of the guest's TPM made
        self.gate: Optional[Gate] = None
        self.actions: Mapping[str, Callable[[], Awaitable[None]]] = {
            "store": self._store, "autostart": self._autostart, "sweep": self._sweep, "clear": self._destroy,
            "create": self._create, "await": self._await, "unpause": self._unpause, "pause": self._pause,
            "shutdown": self._shutdown, "discard": self._destroy, "forget": self._forget, "queue": self._queue,
            "serve": self._serve, "report": self._report, "release": self._release, "purge": self._purge,
            "save": self._save, "restore": self._restore, "resume": self._resume,
            **{act.__name__: partial(self._filed, act) for act in (memory.keep, memory.spend, memory.tidy, memory.drop)},
        }  # fmt: skip

    # --- steps

    async def _store(self) -> None:
        path = config_path(self.name)
        if self.state.stored is not None and not self.state.stored.managed:
            self.host.keep_copy(path, f"{path}.before-stubdom.xen")
        self.host.write_file(path, str(self.decision.text))

    async def _serve(self) -> None:
        wanted = self.decision.wanted
        if wanted is not None and swtpm.of(wanted):
            self.serving = await tpm.emulate(self.host, self.policy, self.state, wanted)
        else:
            self.serving = (await tpm.up(self.host, self.policy, self.state, self.converge))["changed"]

    async def _taken_down(self) -> None:
        """What this walk had brought up to hold the guest's TPM."""
        if swtpm.of(self.decision.wanted):
            await emulator.down(self.host, self.name)
        else:
            await tpm.down(self.host, self.name, False, self.converge)

    async def _report(self) -> None:
        gate = await self._gate(self._domain().uuid, REPORTS)
        try:
            self.links = (await gate.wait(self.host.now() + self.policy.ready_timeout)).links
        except XenError as error:
            raise await explained(self.host, self.name, error) from error
        finally:
            gate.close()

    async def _release(self) -> None:
        await emulator.down(self.host, self.name)
        if self.state.helper:
            keeps = self.policy.state != "absent" and planning.has_own_tpm(self.policy, self.state, self.decision.wanted)
            await tpm.down(self.host, self.name, not keeps, self.converge)

    async def _purge(self) -> None:
        self.host.remove(state_path(self.name))
        emulator.forget(self.host, self.name)

    async def _forget(self) -> None:
        self.host.remove(config_path(self.name))
        dryrun.drop(self.host, self.name)

    async def _autostart(self) -> None:
        if self.policy.state != "absent" and self.given.autostart:
            self.host.link(auto_path(self.name), config_path(self.name))
        else:
            self.host.remove(auto_path(self.name))

    async def _sweep(self) -> None:
        for domain in self.state.leftovers:
            await self._xl("destroy", str(domain.domid))
        await until_gone(self.host, self.name, {domain.domid for domain in self.state.leftovers})

    async def _create(self) -> None:
        self.limit = self.policy.ready_timeout
        await self._made_by(["create", "-p", config_path(self.name)], str(self.decision.wanted and self.decision.wanted.uuid))

    async def _made_by(self, words: Sequence[str], uuid: str) -> None:
        """`xl create -p`, with an eye on the chain: libxl itself would notice a dead stubdomain only after 30 s."""
        gate = self.gate = await self._gate(uuid, self._device_model(), from_the_start=True)
        self.made, gate.xl_at_work, gate.limit = gate.uuid, True, self.limit
        self.host.tell(gate.waits)
        try:
            done = await self.host.run(["xl", *words], self.limit, gate)
        except XenError as error:
            raise await explained(self.host, self.name, self._of_time(gate, error)) from error
        finally:
            gate.xl_at_work = False
        if done.rc != 0:
            raise await explained(self.host, self.name, self._create_failed(gate, done.err, done.rc))

    async def _restore(self) -> None:
        """Made as it was saved, whatever its description says now, and held: its chain is awaited like that of a new one."""
        try:
            file = memory.memory_of(self.state)
            self.limit = self.policy.ready_timeout + memory.seconds_to_read(file)
            await self._made_by(["restore", "-p", file.path], file.uuid)
        except XenError as error:
            if error.code != "create_failed":
                raise
            raise XenError("restore_failed", error.msg.replace("create it", "restore it"), error.evidence, error.hint) from error

    async def _save(self) -> None:
        await memory.save(self.host, self.state)

    async def _resume(self) -> None:
        await memory.resume(self.host, self.state)

    async def _filed(self, act: Callable[[Any, State], None]) -> None:
        act(self.host, self.state)

    def _of_time(self, gate: Gate, error: XenError) -> XenError:
        """libxl that gave up, out of time or for a reason of its own, destroys the stubdomain: it looks as if it had died."""
        if error.code == "program_timeout":
            return gate.failure("readiness_timeout", f"did not come up within {self.limit:g} s")
        said = str(error.evidence.get("said", "")) if isinstance(error.evidence, dict) else ""
        if TIMED_OUT in said or (error.code == "reporter_died" and GAVE_UP in said):
            return self._create_failed(gate, said, 3)
        return error

    def _create_failed(self, gate: Gate, err: str, rc: int) -> XenError:
        """xl gave up by itself. Ran libxl out of time, or did something fail?"""
        failed = gate.failure("readiness_timeout", "did not come up in libxl's own time")
        evidence = {**failed.evidence, "said": printable(err, SAID_MAX)}
        if TIMED_OUT in err or gate.misleading:  # libxl believed what a dead guest left, asked a QEMU too early, and removed it
            return XenError(failed.code, failed.msg, evidence, failed.hint)
        said = f"it was killed by signal {-rc}" if rc < 0 else _last_line(err)
        msg = f"guest {self.name}: xl could not create it: {said}"
        return XenError("create_failed", msg, evidence, "what xl said and the end of the device model's log are in the evidence")

    async def _await(self) -> None:
        uuid = self._domain().uuid
        if self._domain().never_ran:
            emulator.tell_hvmloader(self.host, self._domid(), swtpm.of(self.state.live or self.decision.wanted))
        gate = self.gate  # of the creation, which has seen the links come up
        if gate is None or (gate.uuid, gate.device_model) != (uuid, self._device_model()):
            gate = await self._gate(uuid, self._device_model())
        try:
            self.proof = await gate.wait(self.host.now() + max(0.0, self.limit - (self.host.now() - gate.started)))
        except XenError as error:
            raise await explained(self.host, self.name, error) from error
        finally:
            gate.close()
        self.links = self.proof.links

    async def _unpause(self) -> None:
        await unpause(self.host, self.name, self._domain(), self.proof)

    async def _pause(self) -> None:
        await self._xl("pause", str(self._domid()))

    async def _change(self, planned: Planned) -> None:
        wanted, answer = self.decision.wanted, self.decision.parsed
        if wanted is None or answer is None:
            raise self._astray(planned.step, STEPS[planned.step].before)
        asked = Asked(wanted, answer.config, self.policy.compare)
        self.state = await change(self.host, self.state, self._domid(), planned, asked)

    async def _queue(self) -> None:
        await self._xl("config-update", str(self._domid()), config_path(self.name))

    async def _destroy(self) -> None:
        domids = {d.domid for d in (self.state.domain, self.state.stubdom) if d is not None}
        if (await self.host.run(["xl", "destroy", str(self._domid())], XL_PATIENCE)).rc < 0:
            await self._xl("destroy", str(self._domid()))  # killed: what it left may have no name to be found by again
        await self._gone_for_good(domids)

    async def _shutdown(self) -> None:
        """Graceful as far as the guest can be: PV control, else the ACPI power button. Force is the task's decision."""
        domid, limit = self._domid(), self.host.now() + self.policy.shutdown_timeout
        if self.state.live is not None and (self.state.live.on_poweroff or "") in planning.RESTARTS:
            self.host.end(self._makers())  # xl's monitor would start the guest anew
        degraded = "stubdom" in self.state.lost  # nobody is there to press its power button
        ways: tuple[tuple[str, ...], ...] = ((),) if degraded else ((), ("-F",))
        asked = await self._asked(domid, ways, limit)
        if asked and await self._went(domid, limit):
            return
        hangs = degraded and not asked  # without PV drivers all its devices are gone: it can do nothing any more
        if not (self.policy.shutdown_force or hangs):
            raise XenError(
                "shutdown_timeout",
                f"guest {self.name}: did not shut down within {self.policy.shutdown_timeout:g} s",
                {"domid": domid},
                "give it longer (shutdown.timeout), or allow shutdown.force: true, which is pulling the plug",
            )
        await self._destroy()

    async def _asked(self, domid: int, ways: tuple[tuple[str, ...], ...], limit: float) -> bool:
        """Whether there is a way to ask the guest at all; that xl asked is no promise that the guest listens.

        xl itself waits 60 s for a guest to take the request (libxl_domain.c, 4.17): here no longer than the task allows.
        """
        for flags in ways:
            try:
                done = await self.host.run(["xl", "shutdown", *flags, str(domid)], max(ASK_PATIENCE, limit - self.host.now()))
            except XenError as error:
                if error.code != "program_timeout":
                    raise
                return True
            if done.rc == 0 or NO_PV not in done.err:
                return True
        return False

    async def _went(self, domid: int, limit: float) -> bool:
        """Waits for the guest to shut itself down; xl's monitor then clears it, or this does if the monitor is gone."""
        if not await until(self.host, lambda d: d is None or d.dying or d.shut_down, domid, limit):
            return False
        patience = self.host.now() + MONITOR_PATIENCE
        if not await until(self.host, is_over, domid, patience):
            await self._xl("destroy", str(domid))
        await self._gone_for_good({domid} | ({self.state.stubdom_domid} if self.state.stubdom_domid else set()))
        return True

    # --- waiting for domains to go

    async def _gone_for_good(self, domids: set[int]) -> None:
        """Waits for the guest's domains to go. A guest that rebooted just then is not left to the xl that makes it anew."""
        await until_gone(self.host, self.name, domids)
        makers = self._makers()
        self.host.end(makers)
        for pid in makers:
            await self.host.await_exit([pid], self.host.now() + MONITOR_PATIENCE)
        came = await look(self.host, self.name) if makers else None
        if came is not None and came.domain is not None:
            await self._xl("destroy", str(came.domain.domid))
            await until_gone(self.host, self.name, own_domids(came))

    # --- small things

    def _astray(self, step: str, words: tuple[str, ...]) -> XenError:
        """Somebody else acts on the guest, or the step did not do what it says."""
        domain = self.state.domain
        return XenError(
            "step_failed",
            f"guest {self.name}: {STEPS[step].says}: the guest is {self.state.word}, not {' or '.join(words)}",
            {
                "step": step,
                "state": self.state.word,
                "domid": domain.domid if domain else None,
                "flags": domain.flags if domain else None,
                "xl_log": self.host.tail(xl_log_path(self.name), 1000),
            },
            "does somebody else (xl's monitor, another tool) act on this guest? run again: it starts from what is there",
        )

    def _makers(self, state: Optional[State] = None) -> list[int]:
        """The xl processes that make the guest: all of them where its state tells from which saved memory it may be made."""
        paths = [config_path(self.name), *([state.saved.path] if state and state.saved else [])]
        log = xl_log_path(self.name)
        return sorted({pid for path in paths for pid in self.host.makers(path, log)})

    def _domain(self) -> Domain:
        """The guest's domain, which the step's row in steps.py says is there."""
        if self.state.domain is None:
            hint = "does somebody else (xl's monitor, another tool) act on this guest? run again"
            raise XenError("step_failed", f"guest {self.name}: its domain is gone", {"state": self.state.word}, hint)
        return self.state.domain

    def _domid(self) -> int:
        return self._domain().domid

    async def _xl(self, *words: str, patience: float = XL_PATIENCE) -> None:
        """An xl command whose success is judged by what is there afterwards; its complaint is kept for that case."""
        await self.host.run(["xl", *words], patience)

    async def _gate(self, uuid: str, device_model: str, from_the_start: bool = False) -> Gate:
        if self.gate is not None:
            self.gate.close()
        version = await chain_version(self.host, [device_model])
        return Gate(
            self.host, lambda domids: these(self.host, domids), self.name, uuid, device_model, version, from_the_start
        )  # fmt: skip

    def _device_model(self) -> str:
        return kind_of(self.decision.wanted or Guest(), self.state.has_qemu)


def _last_line(text: str) -> str:
    lines = [line for line in printable(text, 2000).splitlines() if line.strip()]
    return lines[-1] if lines else "it did not say why"
