# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated `xl`: each command a process in virtual time that acts step by step and can be killed between two steps.

What it does, in which order, with which words and exit codes, was seen on Xen 4.17 or read in its source. Where a guest
may go wrong, its Behaviour says how.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Optional

import simulated_changes
import simulated_libxl
from simulated_tpm import Emulators
from simulated_xen import Hypervisor, Timeline, Tree

from ansible_collections.stubdom.xen.plugins.module_utils.cfgtext import parse
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError

STUBDOM_LIMIT = 30.0  # LIBXL_STUBDOM_START_TIMEOUT (libxl_internal.h)
TPM_LIMIT = 10.0  # LIBXL_INIT_TIMEOUT
QMP_LIMIT = 10.0  # LIBXL_QMP_CMD_TIMEOUT
ACK_LIMIT = 60.0  # until a guest has to take a request to shut down
RESUME_LIMIT = 60.0  # of the QMP command of an unpause
USERDATA = "/var/lib/xen/userdata-d.{}.{}.libxl-json"
HEADER = (
    "Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            "
    "Reason-Code\tSecurity Label"
)
ERROR = "libxl: error:"
MAKE = (["xl", "create", "-p"], ["xl", "restore", "-p"])
A_STEP = 0.01  # seconds that anything takes at least


@dataclass(frozen=True)
class Behaviour:
    """How a guest behaves from one creation on. Times are seconds; of the stubdomain, since it was let run."""

    stubdom_ready: Optional[float] = 12.0  # its QEMU reports; None: never
    stubdom_writes_in: str = "own"  # or dom0: as qemu-traditional did up to Xen 4.5
    qmp_proxy: bool = True  # the proxy in the stubdomain comes up
    stubdom_dies: Optional[float] = None  # it powers itself off, or crashes
    stubdom_end: str = "-"  # why, a letter of xl_list.c's: - power off, c crash
    stubdom_error: str = ""  # what its init writes before that
    qemu_exits: bool = False  # the QEMU in dom0 ends at once
    pv_control: bool = True  # the guest's drivers take shutdown requests
    ignores_shutdown: bool = False
    ends_with: str = "-"  # the reason with which it answers one: - power off, r reboot
    unpause_works: bool = True
    stubdom_saves: bool = True  # its image can save, and says so
    disk_full: bool = False  # there is no room for its memory
    lets_go: bool = True  # the guest gives a device back when it is asked to
    lets_go_after: float = 0.0  # seconds that it takes for that
    tpm_ready: Optional[float] = 3.0  # of a domain that holds a TPM: its TPM answers; None: never
    tpm_dies: Optional[float] = None  # it gives up and powers itself off
    tpm_error: str = ""  # what its init writes before that


class Process:
    """A command on its way. It runs from one `yield` to the next: a number of seconds, or (condition, seconds at most)."""

    def __init__(self, machine, pid, argv, work, log=None):
        self.machine, self.pid, self.argv, self._work = machine, pid, argv, work
        self.log = log  # where a guest's monitor writes
        self.rc, self.out, self.err = None, "", ""
        self.steps = 0

    def start(self):
        self._work = self._work(self)
        self._go(None)
        return self

    def kill(self, signal):
        """It goes no further. What it made, and what it set going, stays."""
        if self.rc is None:
            self.rc = -signal
            self._work.close()

    def _go(self, held):
        if self.rc is not None:
            return
        try:
            wait = self._work.send(held)
        except StopIteration as end:
            self.rc = end.value or 0
            return
        self.steps += 1
        self.machine.step_taken(self)
        if isinstance(wait, tuple):
            self._wait_for(*wait)
        else:
            self.machine.timeline.after(wait, lambda: self._go(True))

    def _wait_for(self, condition, seconds):
        state = {"open": True}

        def go(held):
            if state["open"]:
                state["open"] = False
                self._go(held)

        if condition():
            self.machine.timeline.after(A_STEP, lambda: go(True))
            return
        self.machine.timeline.waiting.append((lambda: not state["open"] or condition(), lambda: go(True)))
        self.machine.timeline.after(seconds, lambda: go(False))


@dataclass
class Machine:
    """The host below the engine's port: hardware, toolstack, files."""

    timeline: Timeline
    tree: Tree
    hypervisor: Hypervisor
    files: dict
    info: str  # what `xl info` prints
    behaviours: dict = field(default_factory=dict)  # name -> list of Behaviour, see SimulatedHost.behave
    processes: list = field(default_factory=list)
    present: dict = field(default_factory=dict)  # domid -> Behaviour of its guest
    pulses: set = field(default_factory=set)  # domids of guests whose device model answers QMP
    ended: set = field(default_factory=set)  # pids of device models in dom0, and of emulators, that have ended
    emulators: Emulators = None
    held: dict = field(default_factory=dict)  # domid -> the socket of the emulator to which its QEMU is connected
    slowness: float = 0.0  # seconds that `xl list -l` takes for each domain
    unsafe: list = field(default_factory=list)  # domids of guests let run before their device model was up
    bridges: Optional[set] = None  # the bridges that there are; None: any
    kill_create_at: Optional[int] = None  # the step of `xl create` at which it is killed

    def __post_init__(self):
        self.emulators = Emulators(self.files, self.ended)

    def step_taken(self, process):
        if process.log is None and process.argv[:3] in MAKE and process.steps == self.kill_create_at:
            process.kill(9)

    def name_of(self, domid):
        return self.tree.value(f"/local/domain/{domid}/name")

    def domid_of(self, word):
        """As libxl_domain_qualifier_to_domid: a number is a domid."""
        if word.isdigit():
            return int(word) if int(word) in self.hypervisor.domains else None
        named = [d for d in self.hypervisor.domains if self.name_of(d) == word]
        return named[0] if named else None

    def stubdom_of(self, domid):
        value = self.tree.value(f"/local/domain/{domid}/image/device-model-domid")
        return int(value) if value else None

    def status(self, domid):
        """What the device model's monitor calls its state."""
        return "prelaunch" if self.hypervisor.domains[domid].paused else "running"

    def answers(self, domid):
        """Whether the guest's device model does, over QMP."""
        domains, stub = self.hypervisor.domains, self.stubdom_of(domid)
        return domid in self.pulses and (stub is None or (stub in domains and not (domains[stub].reason or domains[stub].dying)))

    def userdata(self, domid):
        return USERDATA.format(domid, self.hypervisor.domains[domid].uuid)

    def run(self, argv):
        work = COMMANDS[argv[1]]
        process = Process(self, 4000 + len(self.processes), argv, lambda own: work(self, own, argv[2:]))
        self.processes.append(process)
        return process.start()

    def log(self, name, line):
        path = f"/var/log/xen/{name}"
        self.files[path] = self.files.get(path, "") + line + "\n"


# --- looking


def xl_list(machine, own, words):
    yield A_STEP
    flags, names = [w for w in words if w.startswith("-")], [w for w in words if not w.startswith("-")]
    domids = sorted(machine.hypervisor.domains)
    if names:
        domid = machine.domid_of(names[0])
        if domid is None:
            own.err = f"Error: Domain '{names[0]}' does not exist.\n"
            return 1
        domids = [domid]
    if "-l" in flags:
        yield machine.slowness * len(domids)
        for domid in domids:  # each device model is asked over QMP
            if machine.files.get(machine.userdata(domid)) and machine.present.get(domid):
                yield (lambda domid=domid: machine.answers(domid)), QMP_LIMIT
        own.out = json.dumps([entry for domid in domids if (entry := described(machine, domid))], indent=4)
        return 0
    own.out = "\n".join([HEADER, *(row(machine, domid, "-c" in flags) for domid in domids), ""])
    return 0


def row(machine, domid, pools):
    """xl_info.c: list_domains, with -v, or with -c."""
    d = machine.hypervisor.domains[domid]
    name = machine.name_of(domid) or "(null)"
    flags = "r-----" if domid == 0 else d.flags
    tail = f"{d.uuid}        -                -"
    if pools:
        tail = f"{d.pool:>16}"
    return f"{name:<40} {domid:5d} {d.memory:5d} {d.vcpus:5d}     {flags}  {d.seconds:8.1f} {tail}"


def described(machine, domid):
    """The entry in `xl list -l`. Left out: what has no userdata, and an HVM guest whose device model does not answer."""
    text = machine.files.get(machine.userdata(domid))
    if text is None:
        return None
    config = simulated_changes.retrieved(machine, domid)
    answers = config["c_info"]["type"] != "hvm" or machine.answers(domid)
    return {"domid": domid, "config": config} if answers else None


def xl_info(machine, own, words):
    yield A_STEP
    own.out = machine.info
    for key, value in (("free_memory", machine.hypervisor.free), ("total_memory", machine.hypervisor.total),
                       ("nr_cpus", simulated_changes.PCPUS)):  # fmt: skip
        own.out = re.sub(rf"^({key} *: )\d+$", rf"\g<1>{value}", own.out, flags=re.M)
    return 0


# --- making


def xl_create(machine, own, words):
    path = next((word for word in words if not word.startswith("-")), "")
    own.err = f"Parsing config from {path}\n"
    try:
        values = parse(machine.files[path])
        config = simulated_libxl.dry_run(values)
    except (XenError, simulated_libxl.Refused, KeyError) as error:
        own.err += f"{error}\n"
        yield A_STEP
        return 1
    if "-n" in words:
        own.out = json.dumps(config, indent=4) + "\n"
        yield A_STEP
        return 0
    return (yield from create(machine, own, config, values, paused="-p" in words))


def create(machine, own, config, values, paused):
    name, identity = config["c_info"]["name"], config["c_info"]["uuid"]
    yield A_STEP
    if machine.domid_of(name) is not None:
        own.err += f'{ERROR} libxl_create.c:domcreate: Domain with name "{name}" already exists.\n'
        return 6
    domid = make_domain(machine, name, identity, config)
    behaviour = machine.present[domid] = next_behaviour(machine, name)
    yield A_STEP
    failed = yield from device_model(machine, own, config, values, domid, behaviour)
    if failed:
        own.err += f"{ERROR} libxl_create.c:domcreate_devmodel_started: Domain {domid}:device model did not start: {failed}\n"
        yield from destroy_both(machine, domid)
        return 3
    yield 0.2  # hotplug scripts
    if not (yield from add_tpms(machine, own, config, domid)):
        yield from destroy_both(machine, domid)
        return 3
    add_served(machine, config, domid)
    for device in [*config.get("disks", ()), *config.get("nics", ())]:
        machine.tree.put(f"/local/domain/{domid}/device/{device.get('vdev', 'vif')}", owner=domid)
        yield A_STEP
    made = simulated_libxl.live(config, lambda: f"00:16:3e:ff:{domid % 256:02x}:01")
    machine.files[machine.userdata(domid)] = json.dumps(made) + "\0"  # as libxl writes it
    yield A_STEP
    machine.processes.append(monitor(machine, own, domid, path_of(own)).start())
    if not paused:
        yield from resume(machine, own, domid)
    return 0


def add_tpms(machine, own, config, domid):
    """libxl__device_vtpm_add: the back end's directory in its domain's home, and at most 10 s for the back end's InitWait."""
    for place, device in enumerate(config.get("vtpms", ())):
        named = device["backend_domname"]
        home = machine.domid_of(named) or 0
        back = f"/local/domain/{home}/backend/vtpm/{domid}/{place}"
        machine.tree.put(f"/libxl/{domid}/device/vtpm/{place}/backend", back)
        machine.tree.put(back, "", perms=[("n", home), ("r", domid)])
        machine.tree.put(f"{back}/state", "1", owner=home)
        ready = f"/local/domain/{home}/data/vtpm-state"
        serves = not named.endswith("-vtpm")  # a domain of somebody else's is taken to be there
        if not (serves or (yield (lambda ready=ready: machine.tree.value(ready) == "running"), TPM_LIMIT)):
            own.err += f"{ERROR} libxl_device.c:device_backend_callback: Domain {domid}:unable to add device with path {back}\n"
            return False
        machine.tree.put(f"{back}/feature-protocol-v2", "1", owner=home)
        machine.tree.put(f"{back}/state", "2", owner=home)
    return True


def add_served(machine, config, domid):
    """Disks and cards that a driver domain serves: their back ends' directories in its home. Its back ends answer at once."""
    for kind, devices in (("vbd", config.get("disks", ())), ("vif", config.get("nics", ()))):
        for place, device in enumerate(devices):
            home = machine.domid_of(device.get("backend_domname", "")) or 0
            if home:
                back = f"/local/domain/{home}/backend/{kind}/{domid}/{place}"
                machine.tree.put(f"/libxl/{domid}/device/{kind}/{place}/backend", back)
                machine.tree.put(back, "", perms=[("n", home), ("r", domid)])
                machine.tree.put(f"{back}/state", "2", owner=home)


def script_tpm(machine, domid, behaviour):
    """What happens inside a domain that holds a TPM, from when it is let run."""

    def lives():
        domain = machine.hypervisor.domains.get(domid)
        return domain is not None and not (domain.reason or domain.dying)

    def report():
        if lives():
            machine.tree.put(f"/local/domain/{domid}/data/vtpm-state", "running", owner=domid)

    def die():
        if lives():
            machine.tree.put(f"/local/domain/{domid}/data/stubdom-error", behaviour.tpm_error, owner=domid)
            machine.hypervisor.shut_down(domid)

    if behaviour.tpm_ready is not None:
        machine.timeline.after(behaviour.tpm_ready, report)
    if behaviour.tpm_dies is not None:
        machine.timeline.after(behaviour.tpm_dies, die)


def path_of(process):
    return process.argv[-1]


def next_behaviour(machine, name):
    scripted = machine.behaviours.get(name) or [Behaviour()]
    return scripted.pop(0) if len(scripted) > 1 else scripted[0]


def make_domain(machine, name, identity, config):
    info = config["b_info"]
    domid = machine.hypervisor.create(identity, info["target_memkb"] // 1024, len(info.get("avail_vcpus", [0])))
    machine.hypervisor.domains[domid].cpus = [list(cpus) for cpus in info.get("vcpu_hard_affinity", ())]
    machine.hypervisor.domains[domid].pool = config["c_info"].get("pool_name", "Pool-0")
    write_home(machine, domid, name, identity)
    machine.tree.put(f"/libxl/{domid}/type", config["c_info"]["type"])
    machine.tree.put(f"/local/domain/{domid}/data", "", perms=[("n", domid)])
    machine.tree.fire("@introduceDomain")
    return domid


def write_home(machine, domid, name, identity):
    perms = [("n", 0), ("r", domid)]
    for node, value in (("name", name), ("vm", f"/vm/{identity}"), ("domid", str(domid))):
        machine.tree.put(f"/local/domain/{domid}", "", perms=perms)
        machine.tree.put(f"/local/domain/{domid}/{node}", value)
    machine.tree.put(f"/vm/{identity}/name", name)


def device_model(machine, own, config, values, domid, behaviour):
    """Starts what serves the guest and waits for it as libxl does. Returns libxl's error, or 0."""
    if config["b_info"].get("device_model_stubdomain") == "True":
        return (yield from stubdomain(machine, own, config, domid, behaviour))
    path = emulator_in(config)
    if path is not None:
        machine.held[domid] = path
        if not machine.emulators.connect(path):
            return -3
    if config["c_info"]["type"] == "hvm" or served_by_qemu(config):
        return (yield from qemu_in_dom0(machine, domid, behaviour))
    machine.pulses.add(domid)
    return 0


def emulator_in(config):
    words = config.get("b_info", {}).get("extra_hvm", [])
    return next((word.rpartition("path=")[2] for word in words if word.startswith("socket,id=vtpm-")), None)


def served_by_qemu(config):
    """libxl__need_xenpv_qemu: what a guest without a device model has that QEMU serves all the same."""
    qdisks = any(d.get("backend") == "qdisk" for d in config.get("disks", ()))
    channels = any("backend_domname" not in channel for channel in config.get("channels", ()))
    return qdisks or channels or any(config.get(place) for place in ("vfbs", "p9s"))


def qemu_in_dom0(machine, domid, behaviour):
    node = f"/local/domain/0/device-model/{domid}"
    machine.tree.put(node, owner=0)
    machine.tree.put(f"/local/domain/{domid}/image/device-model-pid", str(9000 + domid))
    yield 0.5
    if behaviour.qemu_exits:
        return -3
    machine.tree.put(f"{node}/state", "running", owner=0)
    machine.pulses.add(domid)
    return 0


def stubdomain(machine, own, config, domid, behaviour):
    """libxl__spawn_stub_dm and what follows, in its order (libxl_dm.c)."""
    tree, guest = machine.tree, config["c_info"]["name"]
    memory = config["b_info"].get("stubdomain_memkb", 128 * 1024) // 1024 + 8
    stub = machine.hypervisor.create(str(uuid.uuid4()), memory, 1)
    machine.hypervisor.domains[stub].pins = {domid}
    write_home(machine, stub, f"{guest}-dm", machine.hypervisor.domains[stub].uuid)
    tree.put(f"/local/domain/{stub}/data", "", perms=[("n", stub)])
    tree.fire("@introduceDomain")
    yield A_STEP
    tree.put(f"/local/domain/{domid}/image/device-model-domid", str(stub))
    yield A_STEP
    tree.put(f"/local/domain/{stub}/target", str(domid))
    tree.put(f"/local/domain/{stub}/device-model/{domid}", "", perms=[("n", stub), ("r", domid)])
    yield A_STEP
    tree.put(f"/local/domain/0/device-model/{stub}/qmp-proxy-state", "running", owner=0)
    yield 0.3
    tree.put(f"/local/domain/{stub}/image/device-model-pid", str(9000 + stub))
    tree.put(f"/local/domain/0/device-model/{stub}/state", "running", owner=0)
    yield 0.3
    machine.hypervisor.unpause(stub)
    script_stubdomain(machine, guest, domid, stub, behaviour)
    state = f"/local/domain/{stub}/device-model/{domid}/state"
    if (yield lambda: tree.value(state) == "running", STUBDOM_LIMIT):
        return 0
    own.err += f"{ERROR} libxl_dm.c:stubdom_xswait_cb: Domain {domid}:Stubdom {stub} for {domid} startup: startup timed out\n"
    return -9


def script_stubdomain(machine, guest, domid, stub, behaviour):
    """What happens inside the stubdomain, whoever watches."""

    def lives():
        domain = machine.hypervisor.domains.get(stub)
        return domain is not None and not (domain.reason or domain.dying)

    def report():
        home = {"own": stub, "dom0": 0}[behaviour.stubdom_writes_in]
        if lives():
            machine.tree.put(f"/local/domain/{home}/device-model/{domid}/state", "running", owner=stub)

    def proxy():
        if lives():
            for node in ("ring-ref", "event-channel"):
                machine.tree.put(f"/local/domain/{stub}/device-model/{domid}/qmp-vchan/{node}", "9", owner=stub)
            machine.pulses.add(domid)

    def die():
        if lives():
            machine.log(f"qemu-dm-{guest}.log", f"stubdom: {behaviour.stubdom_error or 'the end'}")
            if behaviour.stubdom_error:
                machine.tree.put(f"/local/domain/{stub}/data/stubdom-error", behaviour.stubdom_error, owner=stub)
            machine.pulses.discard(domid)
            machine.hypervisor.shut_down(stub, behaviour.stubdom_end)

    if behaviour.stubdom_ready is not None:
        if behaviour.stubdom_saves:
            machine.tree.put(f"/local/domain/{stub}/data/stubdom-save", "1", owner=stub)
        machine.timeline.after(behaviour.stubdom_ready, report)
        if behaviour.qmp_proxy:
            machine.timeline.after(behaviour.stubdom_ready + 0.4, proxy)
    if behaviour.stubdom_dies is not None:
        machine.timeline.after(behaviour.stubdom_dies, die)


def monitor(machine, parent, domid, path):
    """The process that `xl create` leaves behind: it does what on_poweroff and the others say when the guest ends."""

    def work(own):
        domain = machine.hypervisor.domains[domid]
        config = json.loads(machine.files[machine.userdata(domid)].rstrip("\0"))
        ended = machine.hypervisor.domains
        while not (yield (lambda: domid not in ended or domain.dying or domain.reason, 3600.0)):
            pass
        if domid not in ended or domain.dying:
            return 0
        yield 0.1
        if domain.reason == "s":  # xl_vmcontrol.c: handle_domain_death
            return 0
        event = {"-": "on_poweroff", "r": "on_reboot", "c": "on_crash"}[domain.reason]
        action = config.get(event, "restart" if event == "on_reboot" else "destroy")
        if action == "preserve":
            return 0
        again = simulated_changes.reloaded(machine, domid) if action == "restart" else None
        yield from destroy_both(machine, domid)
        if action != "restart":
            return 0
        yield 2.0  # xl_vmcontrol.c: create_domain sleeps before it begins anew
        return (yield from create(machine, own, again, {}, paused=False))

    log = f"/var/log/xen/xl-{machine.name_of(domid)}.log"
    return Process(machine, 4000 + len(machine.processes), parent.argv, work, log)


# --- changing


def let_run(machine, domid):
    """The hypervisor lets the guest run, whatever serves it."""
    kind = machine.tree.value(f"/libxl/{domid}/type")
    if (kind == "hvm" or machine.tree.value(f"/local/domain/{domid}/image/device-model-pid")) and not machine.answers(domid):
        machine.unsafe.append(domid)
    path = machine.held.get(domid)
    if path and not (path in machine.emulators.serving and machine.emulators.serving[path].connected):
        machine.unsafe.append(domid)
    back = machine.tree.value(f"/libxl/{domid}/device/vtpm/0/backend")
    if back:
        home = machine.hypervisor.domains.get(int(back.split("/")[3]))
        if home is None or home.reason or machine.tree.value(f"{back}/state") != "2":
            machine.unsafe.append(domid)
    machine.hypervisor.unpause(domid)
    if (machine.name_of(domid) or "").endswith("-vtpm"):
        script_tpm(machine, domid, machine.present[domid])


def xl_unpause(machine, own, words):
    """Always exits 0. QEMU is told first, over QMP; when it does not answer the guest stays paused."""
    yield A_STEP
    domid = machine.domid_of(words[0])
    if domid is None:
        own.err = f"{ERROR} libxl_dom.c:libxl__domain_type: unable to get domain type for domid={words[0]}\n"
        return 0
    yield from resume(machine, own, domid)
    return 0


def resume(machine, own, domid):
    """libxl_domain_unpause: the device model's `cont` over QMP, then the hypervisor."""
    hvm = machine.tree.value(f"/libxl/{domid}/type") == "hvm"
    if hvm and not (yield (lambda: machine.answers(domid) and machine.present[domid].unpause_works), RESUME_LIMIT):
        own.err += f"{ERROR} Domain {domid}:Failed to resume device model: rc=-9\n"
        return
    yield 0.3
    if domid in machine.hypervisor.domains:
        let_run(machine, domid)


def xl_pause(machine, own, words):
    yield A_STEP
    domid = machine.domid_of(words[0])
    if domid is not None:
        machine.hypervisor.domains[domid].paused = True
    return 0


def xl_shutdown(machine, own, words):
    yield A_STEP
    domid = machine.domid_of(next((word for word in words if word != "-F"), ""))
    if domid is None:
        return 1
    behaviour = machine.present.get(domid, Behaviour())
    own.out = f"Shutting down domain {domid}\n"
    if not behaviour.pv_control and "-F" not in words:
        own.err = "PV control interface not available: external graceful shutdown not possible.\nshutdown failed (rc=-10)\n"
        return 1

    def end():
        domain = machine.hypervisor.domains.get(domid)
        if domain is not None and not domain.paused:
            machine.hypervisor.shut_down(domid, behaviour.ends_with)

    if behaviour.ignores_shutdown:
        yield ACK_LIMIT
        own.err = f"{ERROR} Domain {domid}:guest didn't acknowledge control request: -9\nshutdown failed (rc=-9)\n"
        return 1
    machine.timeline.after(3.0, end)
    return 0


def xl_destroy(machine, own, words):
    yield A_STEP
    domid = machine.domid_of(words[0])
    if domid is None:
        own.err = f"{ERROR} libxl_domain.c:libxl__destroy_domid: Domain {words[0]}:Non-existant domain\n"
        return 1
    yield from destroy_both(machine, domid)
    return 0


def destroy_both(machine, domid):
    """libxl__domain_destroy: the stubdomain first, the guest right after."""
    stub = machine.stubdom_of(domid)
    if stub is not None and stub in machine.hypervisor.domains:
        yield 0.2
        destroy_one(machine, stub)
    yield 0.3
    destroy_one(machine, domid)
    yield A_STEP


def destroy_one(machine, domid):
    domain = machine.hypervisor.domains.get(domid)
    if domain is None:
        return
    target = machine.tree.value(f"/local/domain/{domid}/target")
    machine.pulses -= {domid, int(target) if target else domid}
    if path := machine.held.pop(domid, None):
        machine.emulators.disconnect(path)
    for kept in (machine.userdata(domid), simulated_changes.QUEUED.format(domid, domain.uuid)):
        machine.files.pop(kept, None)
    for path in (f"/local/domain/0/device-model/{domid}", f"/vm/{domain.uuid}", f"/local/domain/{domid}", f"/libxl/{domid}"):
        machine.tree.remove(path)
    machine.hypervisor.destroy(domid)


COMMANDS = {"list": xl_list, "info": xl_info, "create": xl_create, "unpause": xl_unpause, "pause": xl_pause,
            "shutdown": xl_shutdown, "destroy": xl_destroy, **simulated_changes.COMMANDS}  # fmt: skip
