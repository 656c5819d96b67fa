# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes must say what before a guest may run, as data: by what holds its device model, by its devices, by Xen.

A guest leans on other domains: QEMU in dom0 or in a stubdomain, the helpers between, vTPM domains, driver domains. Each
reports on a node below *its own* home in xenstore. Since Xen 4.6 that holds for QEMU in a stubdomain too (libxl commit
1fc3aeb3aa); before, it reported below domain 0, where the QEMU of dom0 that serves the stubdomain's consoles writes as well.

Sources: libxl_dm.c, libxl_create.c, libxl_device.c, libxl_9pfs.c and the tags of Xen 4.4 to 4.22. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import SOCKET_DIR
from ansible_collections.stubdom.xen.plugins.module_utils.swtpm import of as swtpm_of
from ansible_collections.stubdom.xen.plugins.module_utils.vtpm import SERVES, report_node

Version = tuple[int, int]
OLDEST: Version = (4, 4)  # the oldest Xen whose chain is known here
NEWEST: Version = (4, 22)  # what is read of it holds for newer ones until somebody looks
ANY: tuple[str, ...] = ()  # any value will do: the node's presence says it
RUNNING = ("running",)
# InitWait, Initialised, Connected (xenbus.h). A front end connects only when its guest runs: 4 alone would never come.
BACKEND_UP = ("2", "3", "4")
CONNECTED = ("4",)
STATUS = ("running", "paused", "prelaunch")  # of QMP's query-status: QEMU is made, whether or not its CPUs run


class Row(NamedTuple):
    """A link as a pattern over domids: {guest}, {stubdom}, and of a device {backend}, {back} (its back end's path)."""

    name: str
    reporter: str  # the domain that writes the node and owns it
    path: str
    want: tuple[str, ...]
    who: str
    log: str = ""  # the file in /var/log/xen that holds the reason when it does not come up
    pid: str = ""  # where libxl keeps the process of a reporter in dom0
    first: Version = OLDEST
    last: Version = (999, 0)
    limit: Optional[int] = None  # seconds that libxl waits for it before it gives up; None: it does not wait
    qmp: bool = False  # path is the socket of QEMU's monitor, asked by query-status
    socket: bool = False  # path is a socket, and the value tells who is at it


_DOM0_QEMU = "/local/domain/0/device-model/{guest}/state"
_OWN_PID = "/local/domain/{guest}/image/device-model-pid"
_HELPER = Row(
    "console-backend", "0", "/local/domain/0/device-model/{stubdom}/state", RUNNING,
    "QEMU in dom0, which serves the stubdomain's consoles", "qemu-dm-{name}-dm.log",
    "/local/domain/{stubdom}/image/device-model-pid", limit=60,
)  # fmt: skip

# A domain that holds a TPM, of the image of role vtpm, says itself that it serves, once it runs.
REPORTS = "vtpm-domain"
_VTPM_INIT = Row(REPORTS, "{guest}", report_node("{guest}"), (SERVES,), "the init of the TPM's domain")

# Of a TPM that QEMU in dom0 shows the guest: swtpm is there before QEMU, which connects first of all, and keeps it.
HELD = "connected"
_EMULATOR = Row(
    "vtpm-emulator", "0", f"{SOCKET_DIR}/{{name}}", (HELD,), "swtpm in dom0", "swtpm-{name}.log", socket=True
)  # fmt: skip
_QEMU = Row("device-model", "0", _DOM0_QEMU, RUNNING, "QEMU in dom0", "qemu-dm-{name}.log", _OWN_PID, limit=60)
_RESTRICTED = (
    _QEMU._replace(first=(4, 10), last=(4, 11)),
    # A QEMU that gave up its privileges cannot write its node (8.0 and newer do not try): it is asked.
    _QEMU._replace(path="/run/xen/qmp-libxl-{guest}", want=STATUS, first=(4, 12), qmp=True),
)

# What holds the guest's device model -> its links, in the order in which they come up.
CHAINS: Mapping[str, tuple[Row, ...]] = {
    "none": (),
    REPORTS: (_VTPM_INIT,),  # of such a domain itself, for it to be leaned on: not before it runs, but after
    # Both QEMUs: qemu-traditional in dom0 (up to 4.20) and a QEMU that only serves back ends report in the same way.
    "qemu": (_QEMU,),
    "restricted": _RESTRICTED,
    "qemu-tpm": (_EMULATOR, _QEMU),
    "restricted-tpm": (_EMULATOR._replace(first=(4, 10)), *_RESTRICTED),
    "linux": (
        Row(
            "qmp-proxy", "0", "/local/domain/0/device-model/{stubdom}/qmp-proxy-state", RUNNING,
            "vchan-socket-proxy in dom0", "qmp-proxy-{name}-dm.log", "/local/domain/{stubdom}/image/qmp-proxy-pid",
            first=(4, 14), limit=60,
        ),
        _HELPER._replace(first=(4, 14)),
        Row(
            "device-model", "{stubdom}", "/local/domain/{stubdom}/device-model/{guest}/state", RUNNING,
            "QEMU in the stubdomain", "qemu-dm-{name}.log", first=(4, 14), limit=30,
        ),
        # Without it `xl unpause` waits 60 s for QEMU's monitor and then leaves the guest paused (seen on 4.17).
        Row(
            "qmp", "{stubdom}", "/local/domain/{stubdom}/device-model/{guest}/qmp-vchan/event-channel", ANY,
            "vchan-socket-proxy in the stubdomain", "qemu-dm-{name}.log", first=(4, 14),
        ),
    ),
    "minios": (
        # From 4.10 to 4.13 libxl starts a helper only for a guest with a screen, and waits for it before the stubdomain.
        _HELPER._replace(last=(4, 9)),
        _HELPER._replace(first=(4, 14), last=(4, 20)),
        # Up to 4.5 everybody reports below domain 0, and libxl waits for none of it.
        Row(
            "device-model", "{stubdom}", _DOM0_QEMU, RUNNING, "qemu-traditional in the MiniOS stubdomain",
            "qemu-dm-{name}.log", last=(4, 5),
        ),
        Row(
            "device-model", "{stubdom}", "/local/domain/{stubdom}/device-model/{guest}/state", RUNNING,
            "qemu-traditional in the MiniOS stubdomain", "qemu-dm-{name}.log", first=(4, 6), last=(4, 20), limit=30,
        ),
    ),
}  # fmt: skip
WITHOUT_STUBDOM = ("none", "restricted", "qemu", "restricted-tpm", "qemu-tpm", REPORTS)

_BACKEND = Row("backend", "{backend}", "{back}/state", BACKEND_UP, "the back end in the driver domain", limit=10)
_VTPM = (
    Row("vtpm", "{backend}", "{back}/state", BACKEND_UP, "the back end in the vTPM domain", limit=10),
    Row("vtpm-protocol", "{backend}", "{back}/feature-protocol-v2", ("1",), "the back end in the vTPM domain"),
)
# Kind of a device's back end -> its links.
DEVICES: Mapping[str, tuple[Row, ...]] = {
    # 4, Connected, comes only when the guest's own driver is up: who waits for it before the guest runs waits for ever.
    # vtpm-stubdom is a domain of our own image, which says as well that its TPM answers.
    "vtpm": _VTPM,
    "vtpm-stubdom": (
        _VTPM_INIT._replace(reporter="{backend}", path=report_node("{backend}")),
        *_VTPM,
    ),
    # The vTPM domain's own device, by which its manager serves it: that front end runs already.
    "vtpm-manager": (Row("vtpm-manager", "{backend}", "{back}/state", CONNECTED, "the back end in the vTPM manager"),),
    "xen_9pfs": (
        Row(
            "9pfsd", "{backend}", "/local/domain/{backend}/libxl/xen-9pfs/state", RUNNING, "xen-9pfsd",
            first=(4, 19), limit=60,
        ),
    ),
    "qdisk": (
        # Waited for by `xl devd` in the driver domain, not by the `xl create` of dom0.
        Row(
            "backend-qemu", "{backend}", "/local/domain/{backend}/device-model/{guest}/state", RUNNING,
            "QEMU in the driver domain",
        ),
        _BACKEND,
    ),
    "other": (_BACKEND,),
}  # fmt: skip
ANYWHERE = ("vtpm", "vtpm-manager", "xen_9pfs")  # kinds that count in dom0 too; the others are then dom0's own business


class Device(NamedTuple):
    """A device of a domain: the kind of its back end, the back end's domain, and its path."""

    kind: str
    backend: int
    path: str


@dataclass(frozen=True)
class Subject:
    """Whose chain it is: the guest, what holds its device model, the stubdomain's domid if any, the devices that count."""

    name: str
    uuid: str
    domid: int
    device_model: str  # a key of CHAINS
    stubdom: Optional[int] = None
    devices: tuple[Device, ...] = ()
    version: Version = NEWEST  # of Xen; matters only where depends_on_version() says so


@dataclass(frozen=True)
class Link:
    """One thing that must hold: the domain ``reporter`` has the node ``path`` say one of ``want``."""

    name: str
    reporter: int
    path: str
    want: tuple[str, ...]
    who: str
    log: str = ""
    pid: str = ""
    qmp: bool = False
    socket: bool = False

    @property
    def is_node(self) -> bool:
        """Whether its path is one in xenstore."""
        return not (self.qmp or self.socket)

    def met_by(self, value: Optional[str], owner: Optional[int]) -> bool:
        return value is not None and (not self.want or value in self.want) and (owner == self.reporter or not self.is_node)

    @property
    def wanted(self) -> str:
        """What is wanted, for a person: '*' is anything."""
        return " or ".join(self.want) or "*"


def kind_of(guest: Guest, needs_qemu: bool) -> str:
    """The key of CHAINS for a guest; needs_qemu: a pv or pvh guest has a QEMU in dom0 for its back ends."""
    if guest.stubdom.type in ("linux", "minios"):
        return str(guest.stubdom.type)
    if guest.type == "hvm" and guest.device_model.restrict:
        return "restricted-tpm" if swtpm_of(guest) else "restricted"
    if guest.type == "hvm" and swtpm_of(guest):
        return "qemu-tpm"
    return "qemu" if guest.type == "hvm" or needs_qemu else "none"


def depends_on_version(device_model: str) -> bool:
    """Whether the chain is another one on another Xen that has such guests."""
    rows = CHAINS[device_model]
    return len({(row.first, row.last) for row in rows}) > 1


def chain(subject: Subject) -> tuple[Link, ...]:
    """The links that must hold before the subject may run, in the order in which they come up.

    Raises XenError(not_on_this_xen): no chain at all would say that such a guest is ready.
    """
    names = {"guest": subject.domid, "stubdom": subject.stubdom, "name": subject.name}
    rows = rows_of(subject.device_model, subject.version)
    if not rows and CHAINS[subject.device_model]:
        version, kinds = ".".join(map(str, subject.version)), f"guests whose device model is {subject.device_model!r}"
        hint = "docs/readiness.md says which Xen has which"
        raise XenError("not_on_this_xen", f"Xen {version} has no {kinds}: when one is ready is not known", None, hint)
    links = [_link(row, names) for row in rows]
    return tuple(dict.fromkeys([*links, *_device_links(subject.devices, names)]))


def rows_of(device_model: str, version: Version) -> list[Row]:
    """The rows that count on that Xen."""
    return [row for row in CHAINS[device_model] if row.first <= version <= row.last]


def _device_links(devices: Iterable[Device], names: Mapping[str, object]) -> Iterable[Link]:
    for device in devices:
        about = {**names, "backend": device.backend, "back": device.path}
        yield from (_link(row, about) for row in DEVICES.get(device.kind, DEVICES["other"]))


def _link(row: Row, names: Mapping[str, object]) -> Link:
    reporter, path, log, pid = (text.format(**names) for text in (row.reporter, row.path, row.log, row.pid))
    return Link(row.name, int(reporter), path, row.want, row.who, log, pid, row.qmp, row.socket)


def counts(kind: str, backend: int) -> bool:
    """Whether a device with such a back end is a link of the chain."""
    return backend != 0 or kind in ANYWHERE
