# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate before a guest: it watches the guest's chain come up, and gives the proof without which nothing is unpaused.

Which links a chain has is in chains.py, whether one is true in links.py. Here is the one loop that waits for them: on
the events of xenstore and on the end of the processes in dom0 that report, and never by asking again and again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.chains import (
    NEWEST,
    REPORTS,
    WITHOUT_STUBDOM,
    Link,
    Subject,
    Version,
    chain,
)
from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError, printable
from ansible_collections.stubdom.xen.plugins.module_utils.libxl import Domain
from ansible_collections.stubdom.xen.plugins.module_utils.links import (
    NOTHING,
    VALUE_MAX,
    Seen,
    holds,
    judged,
    model_node,
    of_dom0,
    paths_of,
    shown,
    target_node,
    with_devices,
)
from ansible_collections.stubdom.xen.plugins.module_utils.progress import Waits

DOM0_MODELS = "/local/domain/0/device-model"  # where nodes of dead guests may be left (libxl only makes the directory)
DOM0_NODES = ("state", "qmp-proxy-state")


def failure_node(stubdom: int) -> str:
    """Where the image of role stubdom_image has its init say why it gave up."""
    return f"/local/domain/{stubdom}/data/stubdom-error"


class Proof(NamedTuple):
    """That a chain held for this domain of a guest. Nothing is unpaused without one (steps.py asks for it)."""

    domid: int
    uuid: str
    links: tuple[dict[str, Any], ...]


class Gate:
    """Watches a guest's chain come up: from before the guest exists until every link holds.

    ``domains`` is asked which of some domains exist whenever xenstore says that some domain went.
    ``from_the_start``: the guest is not made yet, so that whatever stands in domain 0 now is not its own.
    The gate never waits by itself: on_event() takes what has come, wait() does both.
    """

    def __init__(
        self,
        host: Any,
        domains: Callable[[Iterable[int]], Awaitable[Sequence[Domain]]],
        name: str,
        uuid: str,
        device_model: str,
        version: Version = NEWEST,
        from_the_start: bool = False,
    ) -> None:
        self.host, self.domains = host, domains
        self.xenstore, self.now = host.xenstore(), host.now
        self.name, self.uuid, self.device_model, self.version = name, uuid, device_model, version
        self.started = host.now()
        self.limit: Optional[float] = None  # seconds from then on that the chain may take
        self.subject: Optional[Subject] = None
        self.first_held: dict[Link, float] = {}
        self.seen: dict[Link, Seen] = {}
        self.furthest: tuple[dict[str, Any], ...] = ()  # the links when most of them held: nodes go when libxl gives up
        self.from_the_start = from_the_start
        self.misleading: Optional[str] = None  # the node of a dead guest that says what this one's should
        self.xl_at_work = False  # xl creates the guest just now, and will say itself why it destroyed it
        self._domid: Optional[int] = None
        self._named: Optional[int] = None  # the stubdomain that the guest's own node names
        self._orphaned = False  # which is not its own, as far as that one's node says
        self._others = {"0"}  # domains that are others', by their numbers
        self._watched: list[str] = []
        self._watch("@introduceDomain", "@releaseDomain")
        self._old: frozenset[str] = frozenset()  # paths of nodes in domain 0 that somebody else wrote
        if from_the_start:
            self._others |= set(self.xenstore.ls("/local/domain") or ())
            self._old = self._left_in_dom0()

    # --- for a poll loop

    def fileno(self) -> int:
        fd: int = self.xenstore.fileno()
        return fd

    async def on_event(self) -> None:
        """Takes every event that has come and looks again. Raises XenError when the chain can no longer come up."""
        await self._advance(self.now())

    async def wait(self, deadline: float) -> Proof:
        """Waits until every link holds. Raises XenError(readiness_timeout) at the deadline, or why it cannot come up."""
        self.limit = deadline - self.started
        self.host.tell(self.waits)
        came = await self._taken(self.now())
        await self.look(came if self.from_the_start else {*came, "@releaseDomain"}, deadline)
        while not self.holds():
            if not await self._advance(deadline):
                raise self.failure("readiness_timeout", "did not come up in time")
        return self.proof()

    async def _advance(self, deadline: float) -> bool:
        """Waits for an event until the deadline, then looks, until nothing more has come. False: nothing came."""
        paths = await self._taken(deadline)
        came = bool(paths)
        while paths:
            await self.look(paths, deadline)
            paths = await self._taken(self.now())
        return came

    async def _taken(self, deadline: float) -> set[str]:
        """The paths of the events that have come; waits for the first until the deadline."""
        paths: set[str] = set()
        event = await self.host.next_event(deadline, [seen.pid for seen in self.seen.values() if seen.lives])
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

    def _watch(self, *paths: str) -> None:
        for path in paths:
            if path not in self._watched:
                self.xenstore.watch(path, path)
                self._watched.append(path)

    # --- looking

    async def look(self, came: Iterable[str] = (), deadline: Optional[float] = None) -> None:
        """Reads every node that matters now, and who still lives if ``came`` says that a domain was released.

        deadline: until when a QEMU that has to be asked is given time.
        """
        came = set(came)
        self._old -= came
        self._domid = self._domid_of_uuid() if self._domid is None else self._domid
        if self._domid is None:
            return
        links = chain(self.subject) if self.subject else ()
        nodes = self.xenstore.nodes([*self._own_nodes(self._domid), *paths_of(links)])  # in one go: a guest may wait for this
        if self._found_anew(self._domid, nodes, came):
            return await self.look(came - {path for path in came if path.startswith(self._devices())}, deadline)
        if self.subject is not None:
            await self._look_at(links, nodes, deadline)
        if "@releaseDomain" in came:
            await self._who_lives(self._domid)
        return None

    async def _look_at(self, links: Sequence[Link], nodes: Mapping[str, Any], deadline: Optional[float]) -> None:
        patience = None if self.xl_at_work else max(0.0, (deadline or self.now()) - self.now())
        self.seen = await judged(self.host, links, nodes, patience)
        for link in links:
            self._note(link)
        if len(self.first_held) >= sum(link["after_s"] is not None for link in self.furthest):
            self.furthest = self.links()
        self._reported_failure(nodes)
        self._processes_live(links)

    def _note(self, link: Link) -> None:
        true = holds(link, self.seen[link])
        if true and link.path in self._old:
            self.misleading = link.path
        if true and link.path not in self._old:
            self.first_held.setdefault(link, self.now() - self.started)
        else:
            self.first_held.pop(link, None)

    def _left_in_dom0(self) -> frozenset[str]:
        """What dead guests left below domain 0's home. A new guest may get their number: only a new write is its own."""
        self._watch(DOM0_MODELS)
        dead = [domid for domid in self.xenstore.ls(DOM0_MODELS) or () if domid not in self._others]
        paths = [f"{DOM0_MODELS}/{domid}/{name}" for domid in dead for name in DOM0_NODES]
        return frozenset(path for path, value in self.xenstore.read_many(paths).items() if value is not None)

    # --- finding the domains

    def _own_nodes(self, domid: int) -> list[str]:
        """What tells who serves the guest, and why that one gave up."""
        if self.device_model == REPORTS:
            self._watch(failure_node(domid))
            return [failure_node(domid)]
        if self.device_model in WITHOUT_STUBDOM:
            return []
        mine = model_node(domid)
        self._watch(mine)
        stubdom = self.subject.stubdom if self.subject else None
        return [mine] if stubdom is None else [mine, target_node(stubdom), failure_node(stubdom)]

    def _confessor(self) -> Optional[int]:
        """The domain that would say why it gave up: the guest's stubdomain, or one that holds a TPM, of itself."""
        if self.device_model == REPORTS:
            return self._domid
        return self.subject.stubdom if self.subject else None

    def _found_anew(self, domid: int, nodes: Mapping[str, Any], came: set[str]) -> bool:
        """Whether the guest's other domains are others now than were known: a stubdomain, or those that serve its devices."""
        stubdom = None if self.device_model in WITHOUT_STUBDOM else self._stubdom(domid, nodes)
        self._orphaned = self.device_model not in WITHOUT_STUBDOM and stubdom is None
        if self._orphaned:
            return False  # what was seen of an earlier one is kept, to tell of it
        known = self.subject is not None and self.subject.stubdom == stubdom
        if known and not any(path.startswith(self._devices()) for path in came):
            return False
        self._set_subject(domid, stubdom)
        return True

    def _stubdom(self, domid: int, nodes: Mapping[str, Any]) -> Optional[int]:
        """The guest's stubdomain: two nodes, both domain 0's, must agree. A guest cannot name another's as its own."""
        named = of_dom0(nodes[model_node(domid)]) or ""
        self._named = int(named) if named.isdigit() else None
        if not self._named:
            return None
        target = target_node(self._named)
        self._watch(target)
        seen = nodes.get(target) or self.xenstore.nodes([target])[target]
        return self._named if of_dom0(seen) == str(domid) else None

    def _devices(self) -> str:
        return f"/libxl/{self._domid}/device"

    def _set_subject(self, domid: int, stubdom: Optional[int]) -> None:
        self._watch(self._devices())
        subject = Subject(self.name, self.uuid, domid, self.device_model, stubdom, version=self.version)
        found, known = with_devices(self.xenstore, [subject])[0], self.subject
        if self.xl_at_work and known and known.stubdom == stubdom and set(found.devices) < set(known.devices):
            return  # libxl gave up and clears away; which link did not hold is still to be told
        self.subject = found
        self._watch(*(link.path for link in chain(self.subject) if link.is_node and not self._in_sight(link.path)))
        if stubdom is not None:
            self._watch(failure_node(stubdom))

    def _in_sight(self, path: str) -> bool:
        return DOM0_MODELS in self._watched and path.startswith(f"{DOM0_MODELS}/")

    def _domid_of_uuid(self) -> Optional[int]:
        """Looks at domains that have come; those of others are not looked at twice."""
        come = [d for d in self.xenstore.ls("/local/domain") or [] if d not in self._others]
        found = self.xenstore.nodes([f"/local/domain/{d}/vm" for d in come])
        mine = f"/vm/{self.uuid}".lower()
        of = {domid: (found[f"/local/domain/{domid}/vm"].value or "").lower() for domid in come}
        self._others |= {domid for domid, vm in of.items() if vm and vm != mine}
        matching = [int(d) for d, vm in of.items() if vm == mine and d.isdigit() and found[f"/local/domain/{d}/vm"].owner == 0]
        return max(matching) if matching else None

    def domids(self) -> set[int]:
        """The numbers of the guest and of its stubdomain, as far as they are known."""
        stubdom = self.subject.stubdom if self.subject else None
        return {domid for domid in (self._domid, stubdom) if domid is not None}

    # --- judging

    def _reported_failure(self, nodes: Mapping[str, Any]) -> None:
        said = nodes.get(failure_node(who)) if (who := self._confessor()) is not None else None
        reason = said.value if said else None
        if reason:
            raise self.failure("stubdom_failed", f"gave up: {printable(reason, VALUE_MAX)}")

    def _processes_live(self, links: Sequence[Link]) -> None:
        """A reporter in dom0 is a process: its node stays when it ends. While xl is at work it sees to that itself."""
        for link in links:
            seen = self.seen[link]
            told = link.met_by(seen.value, seen.owner) or link.socket  # a socket is not there any more without its process
            if seen.lives is False and told and not self.xl_at_work:
                raise self.failure("reporter_died", f"does not live any more: process {seen.pid} has ended", link)

    async def _who_lives(self, domid: int) -> None:
        """The guest and each reporter must exist and be alive; shut-down domains stay listed."""
        links = chain(self.subject or self._supposed(domid)) if self.subject or self._named else ()
        matter = {domid} | {link.reporter for link in links} - {0}
        listed = {domain.domid: domain for domain in await self.domains(matter) if domain.alive or domain.shut_down}
        if domid in listed and listed[domid].uuid.lower() != self.uuid.lower():
            del listed[domid]  # another domain has its number now
        if self.xl_at_work and domid not in listed:
            return
        for reporter in sorted(matter, key=lambda reporter: reporter == domid):
            domain = listed.get(reporter)
            if domain is None or not domain.alive:
                self._reported_failure(self.xenstore.nodes(self._own_nodes(domid)))
                link = next((link for link in links if link.reporter == reporter), None)
                raise self.failure("reporter_died" if link else "guest_died", _fate(reporter, domain), link)

    def _supposed(self, domid: int) -> Subject:
        """The guest with the stubdomain that its own node names, which may be gone already, and its target node with it."""
        return Subject(self.name, self.uuid, domid, self.device_model, self._named, version=self.version)

    def holds(self) -> bool:
        """Whether every link does. While xl makes the guest, devices may be to come that lean on further domains."""
        if self.subject is None or self._orphaned or self.xl_at_work:
            return False
        return all(link in self.first_held for link in chain(self.subject))

    def proof(self) -> Proof:
        """Raises XenError(not_ready) where there is none."""
        if self.subject is None or not self.holds():
            raise self.failure("not_ready", "is not ready")
        return Proof(self.subject.domid, self.uuid, self.links())

    def links(self) -> tuple[dict[str, Any], ...]:
        """The chain as results show it, see links.shown()."""
        return tuple(self._shown(link) for link in chain(self.subject)) if self.subject else ()

    def _shown(self, link: Link) -> dict[str, Any]:
        told = shown(link, self.seen.get(link, NOTHING), self.first_held.get(link))
        return {**told, "holds": link in self.first_held}

    def waits(self) -> Waits:
        """What is waited for: the first link that does not hold."""
        links = chain(self.subject) if self.subject else ()
        link = next((link for link in links if link not in self.first_held), None)
        waits = Waits(self.name, "create", self.started, self.limit)
        if link is None:
            return waits._replace(who="xl makes its domain" if not links else "every link holds, and xl is not done yet")
        kind = "stubdomain" if self.subject and link.reporter == self.subject.stubdom else "domain"
        who, seen = f"{kind} {link.reporter}", self.seen.get(link, NOTHING)
        return waits._replace(what=link.name, who=who, path=link.path, value=seen.value, want=link.wanted)

    def failure(self, code: str, what: str, link: Optional[Link] = None) -> XenError:
        """The error that names the link, what was there instead and who should have written it."""
        held = {(told["link"], told["path"]) for told in self.furthest if told["after_s"] is not None}
        links = chain(self.subject) if self.subject else ()
        link = link or next((link for link in links if (link.name, link.path) not in held), None)
        evidence: dict[str, Any] = {"links": list(self.furthest), "waited_s": round(self.now() - self.started, 1)}
        if self.misleading:
            evidence["left_by_a_dead_guest"] = self.misleading
        if link is None:
            return XenError(code, f"guest {self.name}: {what}", evidence, HINTS.get(code))
        observed = next((told["value"] for told in self.furthest if told["path"] == link.path), None)
        reporter = f"{link.who} (domain {link.reporter})"
        evidence.update(link=link.name, path=link.path, want=link.wanted, observed=observed, reporter=reporter, log=link.log)
        msg = f"guest {self.name}: {link.who} {what}; {link.path} should be {link.wanted!r}"
        return XenError(code, msg, evidence, HINTS.get(code))


HINTS = {
    "stubdom_failed": "the reason is the stubdomain's own; `stubdom.xen.stubdom_image` rebuilds its image after updates",
    "reporter_died": "it ended before the guest could run: the end of its log is in the evidence",
    "guest_died": "somebody destroyed the guest while it came up, or libxl gave up: see the end of xl's output",
    "readiness_timeout": "a busy host is the usual reason: raise ready.timeout and ready.retries; the log says more",
}


def _fate(domid: int, domain: Optional[Domain]) -> str:
    if domain is None:
        return f"cannot report any more: domain {domid} is gone"
    word = "crashed" if domain.crashed else ("is being destroyed" if domain.dying else "shut down")
    return f"cannot report any more: domain {domid} {word}"
