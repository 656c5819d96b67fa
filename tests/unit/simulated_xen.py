# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Below the toolstack: virtual time, xenstored's tree with its watches, and the hypervisor's table of domains.

Nothing here waits. Whoever waits asks the timeline for the next thing that happens, and it is that moment at once.
"""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections import deque
from dataclasses import dataclass, field

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError
from ansible_collections.stubdom.xen.plugins.module_utils.xenstore import Node

DOM0_UUID = str(uuid.UUID(int=0))


class Timeline:
    """Seconds, and what is to happen when. After each happening, whatever waits for a condition is looked at."""

    def __init__(self):
        self.now = 1000.0
        self.waiting = []  # (condition, action): done once, as soon as the condition holds
        self._queue, self._order = [], itertools.count()

    def after(self, seconds, action):
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), action))

    def step(self, deadline):
        """The next happening, if it comes before the deadline. False: nothing did, and it is the deadline now."""
        self._look_at_waiting()
        if not self._queue or self._queue[0][0] > deadline:
            self.now = max(self.now, deadline)
            return False
        self.now, _order, action = heapq.heappop(self._queue)
        action()
        self._look_at_waiting()
        return True

    def pass_time(self, seconds):
        end = self.now + seconds
        while self.step(end):
            pass

    def _look_at_waiting(self):
        for entry in list(self.waiting):
            if entry in self.waiting and entry[0]():
                self.waiting.remove(entry)
                entry[1]()


class Entry:
    def __init__(self, perms):
        self.value, self.perms = "", perms


class Tree:
    """xenstored: nodes by path, each with its owner and who else may; watches as docs/misc/xenstore.txt has them."""

    def __init__(self):
        self.nodes = {"/": Entry([("n", 0)])}
        self.watchers = []  # (path, token, queue)

    def put(self, path, value="", owner=None, perms=None):
        """Writes a node as dom0, or as the domain `owner` does. New nodes inherit; dom0 owns what it makes at the top."""
        parent = path.rsplit("/", 1)[0] or "/"
        if parent not in self.nodes:
            self.put(parent, "", owner)
        if path not in self.nodes:
            self.nodes[path] = Entry(list(self.nodes[parent].perms))
        node = self.nodes[path]
        node.value = value
        if owner is not None:
            node.perms = [("n", owner), *node.perms[1:]]
        if perms is not None:
            node.perms = perms
        self.fire(path)

    def remove(self, path):
        gone = [p for p in self.nodes if p == path or p.startswith(path + "/")]
        for p in gone:
            del self.nodes[p]
        for watched, token, queue in self.watchers:
            if gone and (watched == path or watched.startswith(path + "/")):
                queue.append((watched, token))
            elif gone and path.startswith(watched + "/"):
                queue.append((path, token))

    def fire(self, path):
        for watched, token, queue in self.watchers:
            if path == watched or path.startswith(watched + "/"):
                queue.append((path, token))

    def value(self, path):
        return self.nodes[path].value if path in self.nodes else None

    def children(self, path):
        depth = path.rstrip("/").count("/") + 1
        return sorted({p.split("/")[depth] for p in self.nodes if p.startswith(path.rstrip("/") + "/")})


class SimulatedXenstore:
    """A connection: the methods of the engine's Xenstore that read, watch and wait. Waiting lets the virtual time pass."""

    def __init__(self, tree, timeline):
        self.tree, self.timeline = tree, timeline
        self.events = deque()
        self.watches = set()

    def read(self, path):
        return self.tree.value(path)

    def read_many(self, paths):
        return {path: self.tree.value(path) for path in paths}

    def nodes(self, paths):
        return {path: Node(self.tree.value(path), (self.perms(path) or [("n", None)])[0][1]) for path in paths}

    def ls(self, path):
        return self.tree.children(path) if path in self.tree.nodes else None

    def ls_many(self, paths):
        return {path: self.ls(path) for path in paths}

    def write(self, path, value):
        self.tree.put(path, value)

    def owner(self, path):
        return self.nodes([path])[path].owner

    def perms(self, path):
        return list(self.tree.nodes[path].perms) if path in self.tree.nodes else None

    def watch(self, path, token):
        if (path, token) in self.watches:
            raise XenError("xenstore_refused", f"WATCH {path}: EEXIST")
        self.watches.add((path, token))
        self.tree.watchers.append((path, token, self.events))
        self.events.append((path, token))

    def unwatch(self, path, token):
        if (path, token) not in self.watches:
            raise XenError("xenstore_refused", f"UNWATCH {path}: ENOENT")
        self.watches.remove((path, token))
        # By identity: the queues of two connections are equal when the same events, or none, wait in both.
        self.tree.watchers[:] = [w for w in self.tree.watchers if w[:2] != (path, token) or w[2] is not self.events]
        if token not in [other for _path, other in self.watches]:
            kept = [event for event in self.events if event[1] != token]
            self.events.clear()
            self.events.extend(kept)

    def has_events(self):
        return bool(self.events)

    def fileno(self):
        return 99  # no poll is made on it: the simulated host looks at `events`

    def close(self):
        for path, token in list(self.watches):
            self.unwatch(path, token)


@dataclass
class Domain:
    """What the hypervisor knows of a domain. target: of a stubdomain, its guest's domid, whose zombie pins it."""

    domid: int
    uuid: str
    memory: int  # MiB
    vcpus: int = 1
    paused: bool = True
    reason: str = ""  # why it shut down: a letter of xl_list.c's "-rscwS"
    dying: bool = False
    seconds: float = 0.0
    pins: set = field(default_factory=set)  # domids that must go before this one can
    cpus: list = field(default_factory=list)  # of each vcpu, the CPUs on which it may run; none said: on all
    pool: str = "Pool-0"
    target: int = -1  # KiB that it was last told to have; -1: it was not told since it was made

    @property
    def flags(self):
        alive = not (self.paused or self.reason or self.dying)
        flags = ["-", "b" if alive else "-", "p" if self.paused else "-"]
        return "".join([*flags, "s" if self.reason else "-", self.reason or "-", "d" if self.dying else "-"])


class Hypervisor:
    """The table of domains. Every death and shutdown is told on @releaseDomain, as VIRQ_DOM_EXC is."""

    def __init__(self, timeline, tree, memory):
        self.timeline, self.tree, self.total = timeline, tree, memory
        self.domains = {0: Domain(0, DOM0_UUID, 1536, paused=False, seconds=64.7)}
        self.last = 0
        self.held = 0.0  # seconds for which somebody still maps a dying domain's memory; its end is not told

    @property
    def free(self):
        return self.total - sum(domain.memory for domain in self.domains.values())

    def create(self, identity, memory, vcpus):
        self.last += 1
        self.domains[self.last] = Domain(self.last, identity, memory, vcpus)
        return self.last

    def unpause(self, domid):
        self.domains[domid].paused = False
        self.domains[domid].seconds += 0.1

    def shut_down(self, domid, reason="-"):
        """The domain ends by itself: it stays in the table until somebody destroys it."""
        domain = self.domains.get(domid)
        if domain is not None and not domain.reason and not domain.dying:
            domain.reason = reason
            self.tree.fire("@releaseDomain")

    def destroy(self, domid):
        domain = self.domains.get(domid)
        if domain is None:
            return
        domain.dying, domain.paused = True, True
        self.timeline.after(self.held, self._reap) if self.held else self._reap()
        self.tree.fire("@releaseDomain")

    def _reap(self):
        """A dying domain goes when no domain that it serves is left: an ioreq server holds a reference to its emulator."""
        gone = [d for d in self.domains.values() if d.dying and not d.pins & set(self.domains)]
        for domain in gone:
            del self.domains[domain.domid]
        if gone:
            self._reap()
