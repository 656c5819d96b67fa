# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world of a few domains for the guest side's tests: xenstore in a dict, a hypervisor that notes what it is told."""

from __future__ import annotations

from typing import Any, Callable, Optional

from ansible_collections.stubdom.xen.plugins.module_utils.errors import XenError


class Tree:
    """The nodes that all stores see, and who wrote what, in order."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self.nodes, self.written = dict(nodes), []  # type: ignore[var-annotated]


class TreeStore:
    """The part of stores.Store that the guest side uses."""

    def __init__(self, tree: Tree, domid: int) -> None:
        self.tree, self.domid = tree, domid

    def read(self, path: str) -> Optional[str]:
        if self.domid and f"{path} hidden" in self.tree.nodes:
            raise XenError("xenstore_refused", f"xenstore refuses READ of {path}: EACCES")
        return self.tree.nodes.get(path)

    def read_many(self, paths: list[str]) -> dict[str, Optional[str]]:
        return {path: self.read(path) for path in paths}

    def ls(self, path: str) -> Optional[list[str]]:
        names = [below.rpartition("/")[2] for below in self.under(path)]
        return names if names or path in self.tree.nodes else None

    def fileno(self) -> int:
        """It is there."""
        return 0

    def come(self) -> list[str]:
        """No event has come."""
        return []

    def under(self, path: str) -> list[str]:
        below = [node[len(path) + 1 :].split("/")[0] for node in self.tree.nodes if node.startswith(f"{path}/")]
        return [f"{path}/{name}" for name in dict.fromkeys(below)]

    def memory(self, domid: int) -> int:
        return int(self.read(f"/local/domain/{domid}/memory/target") or 0)

    def rm(self, path: str) -> None:
        self.tree.nodes = {node: value for node, value in self.tree.nodes.items() if not f"{node}/".startswith(f"{path}/")}


class TreeStores:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def of(self, domid: int) -> TreeStore:
        return TreeStore(self.tree, domid)

    def write(self, domid: int, path: str, value: str, perms: Any = None) -> bool:
        """As xenstored: nobody but dom0 writes under another domain's home."""
        if domid and not path.startswith(f"/local/domain/{domid}/"):
            return False
        self.tree.nodes[path] = value
        self.tree.written.append((domid, path, value))
        return True


class Noted:
    """A hypervisor that does nothing but note its orders."""

    def __init__(self) -> None:
        self.orders: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *words: self.orders.append((name, *words))


class Clock:
    """Time that passes only in waits: the loop's timers are run at once, in their order."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, []  # type: ignore[var-annotated]

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, len(self.timers), callback))

    def readable(self, source: Any, callback: Callable[[], None]) -> None:
        """Nobody calls."""

    def forget(self, source: Any) -> None:
        """Nobody called."""

    def run(self, until: float = float("inf")) -> None:
        while self.timers and min(self.timers)[0] <= until:
            entry = min(self.timers, key=lambda timer: timer[:2])
            self.timers.remove(entry)
            self.now = entry[0]
            entry[2]()


class World:
    def __init__(self, nodes: dict[str, str]) -> None:
        self.tree = Tree(nodes)
        self.stores, self.hypervisor, self.loop = TreeStores(self.tree), Noted(), Clock()
        self.pressed: list[int] = []

    def press_power(self, domid: int) -> None:
        self.pressed.append(domid)

    def written(self, under: str = "") -> list[tuple[int, str, str]]:
        return [(domid, path, value) for domid, path, value in self.tree.written if path.startswith(under)]
