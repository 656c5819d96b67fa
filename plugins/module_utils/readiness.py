# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before a guest may run, as data, and the one loop that waits for it.

A guest leans on other domains: QEMU in dom0 or in a stubdomain, and the helpers between. Each reports on a node below
*its own* home in xenstore. Since Xen 4.6 that holds for QEMU in a stubdomain too (libxl commit 1fc3aeb3aa); before, it
reported below domain 0, where the QEMU of dom0 that serves the stubdomain's consoles writes as well.

A link holds only while its node has the wanted value, belongs to the domain that should write it, and that domain
lives. The node says that a device model started, not that it still runs, hence the last condition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.spec import Guest

ANY = "*"  # any value will do: the node's presence says it
RUNNING = "running"
VALUE_MAX = 1000  # of a node that a stubdomain wrote, in results


class Row(NamedTuple):
    """A link as a pattern: {guest} and {stubdom} are domids; reporter is the domain that writes the node."""

    name: str
    reporter: str
    path: str
    want: str
    who: str
    log: str


# Which links a guest's chain has, by what holds its device model. Sources: readiness-protocol of libxl_dm.c, 4.4 to 4.22.
_HELPER = (
    Row(
        "qmp-proxy",
        "0",
        "/local/domain/0/device-model/{stubdom}/qmp-proxy-state",
        RUNNING,
        "vchan-socket-proxy in dom0",
        "qmp-proxy-{name}-dm.log",
    ),
    Row(
        "console-backend",
        "0",
        "/local/domain/0/device-model/{stubdom}/state",
        RUNNING,
        "QEMU in dom0, which serves the stubdomain's consoles",
        "qemu-dm-{name}-dm.log",
    ),
)
CHAINS: Mapping[str, tuple[Row, ...]] = {
    "none": (),
    # A QEMU that gave up its privileges cannot write its node (8.0 and newer do not try): `xl create` itself asks it by
    # QMP, `query-status`, and returns only after it answered (Xen 4.12 and newer).
    "restricted": (),
    "qemu": (
        Row("device-model", "0", "/local/domain/0/device-model/{guest}/state", RUNNING, "QEMU in dom0", "qemu-dm-{name}.log"),
    ),
    "linux": (
        *_HELPER,
        Row(
            "device-model",
            "{stubdom}",
            "/local/domain/{stubdom}/device-model/{guest}/state",
            RUNNING,
            "QEMU in the stubdomain",
            "qemu-dm-{name}.log",
        ),
        # Without it `xl unpause` waits 60 s for QEMU's monitor and then leaves the guest paused (seen on 4.17).
        Row(
            "qmp",
            "{stubdom}",
            "/local/domain/{stubdom}/device-model/{guest}/qmp-vchan/event-channel",
            ANY,
            "vchan-socket-proxy in the stubdomain",
            "qemu-dm-{name}.log",
        ),
    ),
    "minios": (
        Row(
            "device-model",
            "{stubdom}",
            "/local/domain/{stubdom}/device-model/{guest}/state",
            RUNNING,
            "qemu-traditional in the MiniOS stubdomain",
            "qemu-dm-{name}.log",
        ),
    ),
    # Up to 4.5 everybody reports below domain 0, and libxl waits for none of it.
    "minios-4.5": (
        Row(
            "device-model",
            "{stubdom}",
            "/local/domain/0/device-model/{guest}/state",
            RUNNING,
            "qemu-traditional in the MiniOS stubdomain",
            "qemu-dm-{name}.log",
        ),
    ),
}


WITHOUT_STUBDOM = ("none", "restricted", "qemu")


@dataclass(frozen=True)
class Subject:
    """Whose chain it is: the guest by domid and uuid, what holds its device model, and the stubdomain's domid if any."""

    name: str
    uuid: str
    domid: int
    device_model: str  # a key of CHAINS
    stubdom: Optional[int] = None


@dataclass(frozen=True)
class Link:
    name: str
    reporter: int
    path: str
    want: str
    who: str
    log: str

    def met_by(self, value: Optional[str], owner: Optional[int]) -> bool:
        return value is not None and self.want in (ANY, value) and owner == self.reporter


def kind_of(guest: Guest, needs_qemu: bool, version: tuple[int, int]) -> str:
    """The key of CHAINS for a guest; needs_qemu: a pv or pvh guest has a QEMU in dom0 for its back ends."""
    if guest.stubdom.type == "minios" and version < (4, 6):
        return "minios-4.5"
    if guest.stubdom.type in ("linux", "minios"):
        return str(guest.stubdom.type)
    if guest.type == "hvm" and guest.device_model.restrict:
        return "restricted"
    return "qemu" if guest.type == "hvm" or needs_qemu else "none"


def chain(subject: Subject) -> tuple[Link, ...]:
    """The links that must hold before the subject may run, in the order in which they come up."""
    names = {"guest": subject.domid, "stubdom": subject.stubdom, "name": subject.name}
    return tuple(
        Link(row.name, int(row.reporter.format(**names)), row.path.format(**names), row.want, row.who, row.log.format(**names))
        for row in CHAINS[subject.device_model]
    )


def failure_node(stubdom: int) -> str:
    """Where the image of role stubdom_image has its init say why it gave up."""
    return f"/local/domain/{stubdom}/data/stubdom-error"


def shown(link: Link, value: Optional[str], after: Optional[float]) -> dict[str, Any]:
    """A link as results show it. after: seconds until it held; None where nobody watched it come up."""
    return {
        "link": link.name,
        "domain": link.reporter,
        "path": link.path,
        "want": link.want,
        "value": value if value is None else printable(value, VALUE_MAX),
        "after_s": None if after is None else round(after, 3),
    }


def links_now(xenstore: Any, subjects: Sequence[Subject]) -> list[tuple[dict[str, Any], ...]]:
    """The links of guests that are up, as they are at this moment, asked for at once."""
    chains = [chain(subject) for subject in subjects]
    seen = xenstore.read_many([link.path for links in chains for link in links])
    return [tuple(shown(link, seen[link.path], None) for link in links) for links in chains]


class Proof(NamedTuple):
    """That a chain held for one domid of a guest. Nothing is unpaused without one (steps.py asks for it)."""

    domid: int
    links: tuple[dict[str, Any], ...]


class Gate:
    """Watches a guest's chain come up: from before the guest exists until every link holds.

    ``domains`` is asked which of some domains exist whenever xenstore says that some domain went.
    The gate never waits by itself: on_event() takes what has come, wait() does both.
    """

    def __init__(
        self, host: Any, domains: Callable[[Iterable[int]], Awaitable[Sequence[Domain]]], name: str, uuid: str, device_model: str
    ) -> None:
        self.host, self.domains = host, domains
        self.xenstore, self.now = host.xenstore(), host.now
        self.name, self.uuid, self.device_model = name, uuid, device_model
        self.started = host.now()
        self.subject: Optional[Subject] = None
        self.first_held: dict[str, float] = {}
        self.seen: dict[str, Optional[str]] = {}
        self.furthest: tuple[dict[str, Any], ...] = ()  # the links when most of them held: nodes go when libxl gives up
        self.from_the_start = False  # it has watched since before the guest was there, so it saw whoever died
        self.xl_at_work = False  # xl creates the guest just now, and will say itself why it destroyed it
        self._domid: Optional[int] = None
        self._others = {"0"}
        self._watched: list[str] = []
        self._watch("@introduceDomain", "@releaseDomain")

    # --- for a poll loop

    def fileno(self) -> int:
        fd: int = self.xenstore.fileno()
        return fd

    async def on_event(self) -> None:
        """Takes every event that has come and looks again. Raises XenError when the chain can no longer come up."""
        await self._advance(self.now())

    async def wait(self, deadline: float) -> Proof:
        """Waits until every link holds. Raises XenError(readiness_timeout) at the deadline, or why it cannot come up."""
        came = await self._taken(self.now())
        await self.look(released=not self.from_the_start or "@releaseDomain" in came)
        while not self.holds():
            if not await self._advance(deadline):
                raise self.failure("readiness_timeout", "did not come up in time")
        return self.proof()

    async def _advance(self, deadline: float) -> bool:
        """Waits for an event until the deadline, then looks, until nothing more has come. False: nothing came."""
        paths = await self._taken(deadline)
        came = bool(paths)
        while paths:
            await self.look(released="@releaseDomain" in paths)
            paths = await self._taken(self.now())
        return came

    async def _taken(self, deadline: float) -> set[str]:
        """The paths of the events that have come; waits for the first until the deadline."""
        paths: set[str] = set()
        event = await self.host.next_event(deadline)
        while event is not None:
            paths.add(event[0])
            event = await self.host.next_event(self.now())
        return paths

    def close(self) -> None:
        """Ends its watches. A connection that broke has none any more."""
        with contextlib.suppress(XenError):
            for path in self._watched:
                self.xenstore.unwatch(path, path)
        self._watched = []

    # --- looking

    async def look(self, released: bool = False) -> None:
        """Reads every node that matters now, and who still lives if a domain was released."""
        self._find()
        if self.subject is None:
            return
        links = chain(self.subject)
        self.seen = self.xenstore.read_many([link.path for link in links])
        for link in links:
            self._note(link)
        if len(self.first_held) >= sum(link["after_s"] is not None for link in self.furthest):
            self.furthest = self.links()
        self._reported_failure(self.subject)
        if released:
            await self._who_lives(self.subject)

    def _note(self, link: Link) -> None:
        value = self.seen[link.path]
        held = value is not None and link.met_by(value, self.xenstore.owner(link.path))
        if held:
            self.first_held.setdefault(link.name, self.now() - self.started)
        else:
            self.first_held.pop(link.name, None)

    def _find(self) -> None:
        """From the guest's uuid to its domid, from there to its stubdomain's. Each may not be there yet."""
        if self._domid is None:
            self._domid = self._domid_of_uuid()
        if self._domid is None or self.subject is not None:
            return
        if self.device_model in WITHOUT_STUBDOM:
            self._set_subject(self._domid, None)
            return
        node = f"/local/domain/{self._domid}/image/device-model-domid"
        self._watch(node)
        stubdom = self.xenstore.read(node)
        if stubdom is not None and stubdom.isdigit() and self._serves(int(stubdom)):
            self._set_subject(self._domid, int(stubdom))

    def _serves(self, stubdom: int) -> bool:
        """Whether the stubdomain's own target is this guest: the two nodes are dom0's and must agree."""
        node = f"/local/domain/{stubdom}/target"
        self._watch(node)
        target = self.xenstore.read(node)
        return bool(target == str(self._domid))

    def _set_subject(self, domid: int, stubdom: Optional[int]) -> None:
        self.subject = Subject(self.name, self.uuid, domid, self.device_model, stubdom)
        self._watch(*(link.path for link in chain(self.subject)))
        if stubdom is not None:
            self._watch(failure_node(stubdom))

    def _domid_of_uuid(self) -> Optional[int]:
        """Looks at domains that have come; those of others are not looked at twice."""
        come = [d for d in self.xenstore.ls("/local/domain") or [] if d not in self._others]
        found = self.xenstore.read_many([f"/local/domain/{d}/vm" for d in come])
        mine = f"/vm/{self.uuid}".lower()
        of = {domid: (found[f"/local/domain/{domid}/vm"] or "").lower() for domid in come}
        self._others |= {domid for domid, vm in of.items() if vm and vm != mine}
        matching = [int(domid) for domid, vm in of.items() if vm == mine and domid.isdigit()]
        return max(matching) if matching else None

    def domids(self) -> set[int]:
        """The numbers of the guest and of its stubdomain, as far as they are known."""
        stubdom = self.subject.stubdom if self.subject else None
        return {domid for domid in (self._domid, stubdom) if domid is not None}

    def _watch(self, *paths: str) -> None:
        for path in paths:
            if path not in self._watched:
                self.xenstore.watch(path, path)
                self._watched.append(path)

    # --- judging

    def _reported_failure(self, subject: Subject) -> None:
        if subject.stubdom is None:
            return
        reason = self.xenstore.read(failure_node(subject.stubdom))
        if reason:
            raise self.failure("stubdom_failed", f"gave up: {printable(reason, VALUE_MAX)}")

    async def _who_lives(self, subject: Subject) -> None:
        """The guest and each reporter must exist and be alive; shut-down domains stay listed."""
        matter = {subject.domid} | {link.reporter for link in chain(subject)} - {0}
        listed = {domain.domid: domain for domain in await self.domains(matter) if domain.alive or domain.shut_down}
        if self.xl_at_work and subject.domid not in listed:
            return
        for domid in matter:
            domain = listed.get(domid)
            if domain is None or not domain.alive:
                self._reported_failure(subject)
                raise self.failure("reporter_died" if domid != subject.domid else "guest_died", _fate(domid, domain))

    def holds(self) -> bool:
        return self.subject is not None and all(link.name in self.first_held for link in chain(self.subject))

    def proof(self) -> Proof:
        if self.subject is None or not self.holds():
            raise self.failure("not_ready", "is not ready")
        return Proof(self.subject.domid, self.links())

    def links(self) -> tuple[dict[str, Any], ...]:
        """The chain as results show it: {link, domain, path, want, value, after_s}."""
        return tuple(self._shown(link) for link in chain(self.subject)) if self.subject else ()

    def _shown(self, link: Link) -> dict[str, Any]:
        return shown(link, self.seen.get(link.path), self.first_held.get(link.name))

    def failure(self, code: str, what: str) -> XenError:
        """The error that names the link, what was there instead and who should have written it."""
        held = {link["link"] for link in self.furthest if link["after_s"] is not None}
        link = next((link for link in (chain(self.subject) if self.subject else ()) if link.name not in held), None)
        evidence: dict[str, Any] = {"links": list(self.furthest), "waited_s": round(self.now() - self.started, 1)}
        if link is None:
            return XenError(code, f"guest {self.name}: {what}", evidence, HINTS.get(code))
        observed = next((shown["value"] for shown in self.furthest if shown["link"] == link.name), None)
        reporter = f"{link.who} (domain {link.reporter})"
        evidence.update(link=link.name, path=link.path, want=link.want, observed=observed, reporter=reporter, log=link.log)
        return XenError(
            code, f"guest {self.name}: {link.who} {what}; {link.path} should be {link.want!r}", evidence, HINTS.get(code)
        )


HINTS = {
    "stubdom_failed": "the reason is the stubdomain's own; `stubdom.xen.stubdom_image` rebuilds its image after updates",
    "reporter_died": "the stubdomain ended before its device model ran: the end of its console is in the evidence",
    "guest_died": "somebody destroyed the guest while it came up, or libxl gave up: see the end of xl's output",
    "readiness_timeout": "a busy host is the usual reason: raise ready.timeout and ready.retries; the log says more",
}


def _fate(domid: int, domain: Optional[Domain]) -> str:
    if domain is None:
        return f"cannot report any more: domain {domid} is gone"
    word = "crashed" if domain.crashed else ("is being destroyed" if domain.dying else "shut down")
    return f"cannot report any more: domain {domid} {word}"
