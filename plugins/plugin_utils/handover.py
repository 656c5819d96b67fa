# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A guest's move as steps on two hosts: which is next is read off what both know of the guest, so it may be broken off anywhere.

The guest is the source's until its note there says `gone`, and the target's from then on. A live migration is xl's: there
the guest is where its name is (xl_migrate.c), and the note follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Protocol

from ansible_collections.stubdom.xen.plugins.plugin_utils.methods import Case, bars, choose

SOURCE, TARGET = "source", "target"
STEPS_MAX = 20  # more than any way has: a limit against hosts that never say what a step should have brought about
UNDECIDED = "look at the guest on both hosts, end the domain that is not wanted there, and run again"
PARTIAL = ("halted", "saved", "half_made", "opaque", "paused", "crashed", "shutdown")  # what a step that was killed may leave


class Unreachable(Exception):
    """A host cannot be asked."""


class StepFailed(Exception):
    """A step did not succeed. result: of the module, with code, msg, evidence and hint; side is None where none was at work."""

    def __init__(self, side: Optional[str], step: str, result: Mapping[str, Any]) -> None:
        super().__init__(result.get("msg", ""))
        self.side, self.step, self.result = side, step, dict(result)


class Hosts(Protocol):
    """The two hosts. Raises StepFailed, and Unreachable."""

    def call(self, side: str, step: str, **options: Any) -> dict[str, Any]:
        """A step of stubdom.xen.guest_handover there: {told, seen}."""

    def carry(self, file: Mapping[str, Any], uuid: str) -> None:
        """Brings a file of the source to where the target takes it up."""


class Wish(NamedTuple):
    """What the task wants. move: a name for a move that begins now."""

    move: str
    method: str = "auto"
    ssh: bool = False
    undo: bool = False
    check: bool = False


def failed(code: str, msg: str, evidence: Any, hint: str) -> StepFailed:
    return StepFailed(None, "", {"code": code, "msg": msg, "evidence": evidence, "hint": hint})


def _undecided(source: Any, target: Any) -> StepFailed:
    return failed("move_undecided", "it cannot be told which host has the guest", {SOURCE: source, TARGET: target}, UNDECIDED)


def next_step(source: Mapping[str, Any], target: Optional[Mapping[str, Any]], undo: bool = False) -> Optional[tuple[str, str]]:
    """(side, step) of what is to be done next, None when nothing is. target: None where it cannot be reached. Pure.

    The steps are those of stubdom.xen.guest_handover; `begin` stands for offer, accept and prepare, `bring` for leave,
    the files, and raise. Raises StepFailed(move_undecided, moving).
    """
    if target is None:
        return _without_target(source, undo)
    ours, theirs = source["note"] or {}, target["note"] or {}
    comes = theirs.get("side") == "in"
    same = bool(ours) and ours.get("move") == theirs.get("move")
    if ours.get("side") == "gone":
        return _after_commit(source, target, comes and same)
    if ours.get("side") == "out":
        forward = _forward(source, target) if comes and same else None
        handed = ours["method"] == "live" and forward == (SOURCE, "commit")  # xl let it run there, whatever is wished now
        if forward and (handed or not undo):
            return forward
        return (TARGET, "withdraw") if comes or target["incoming"] else (SOURCE, "stay")
    if ours.get("side") == "in":
        raise failed("moving", "the guest is on its way to this host", {SOURCE: source}, "end that move first: run it again")
    if comes:
        if source["state"] == "absent":
            raise _undecided(source, target)
        return TARGET, "withdraw"
    return _before(source, target, undo)


def _before(source: Mapping[str, Any], target: Mapping[str, Any], undo: bool) -> Optional[tuple[str, str]]:
    if source["state"] != "absent":
        return None if undo else (SOURCE, "begin")
    if target["state"] == "absent":
        raise failed("no_guest", "there is no such guest on either host", {}, "describe it with stubdom.xen.guest")
    return None


def _after_commit(source: Mapping[str, Any], target: Mapping[str, Any], comes: bool) -> Optional[tuple[str, str]]:
    if comes:
        return TARGET, "release"
    if target["state"] == "absent":
        raise _undecided(source, target)
    return None if source["note"]["done"] else (SOURCE, "forget")


def _forward(source: Mapping[str, Any], target: Mapping[str, Any]) -> Optional[tuple[str, str]]:
    """The next step of a move that both hosts know; None where it cannot go on but has to be taken back."""
    note = source["note"]
    if note["method"] == "live":
        return _forward_live(source, target)
    stopped = source["state"] == ("saved" if note["method"] == "saved" else "halted")
    there = target["held"] if note["power"] == "running" else target["state"] != "absent"
    if not there and target["state"] not in ("absent", *PARTIAL):
        raise _undecided(source, target)
    if there and stopped:
        return SOURCE, "commit"
    if target["state"] != "absent":
        return TARGET, "prepare"
    return SOURCE, "bring"


def _forward_live(source: Mapping[str, Any], target: Mapping[str, Any]) -> Optional[tuple[str, str]]:
    there = target["state"] not in ("absent", "halted") and target["uuid"] == source["note"]["uuid"]
    if there and source["state"] not in ("halted", "absent"):
        raise _undecided(source, target)
    if there:
        return SOURCE, "commit"
    alone = not target["incoming"] and not source["away"]
    return (SOURCE, "send") if alone and source["state"] == "running" else None


def _without_target(source: Mapping[str, Any], undo: bool) -> Optional[tuple[str, str]]:
    """The source alone may take a guest back that it has not given up, unless xl may have let it run over there."""
    note = source["note"] or {}
    handed = note.get("method") == "live" and (source["away"] or source["state"] in ("halted", "absent"))
    if undo and not note:
        return None
    if undo and note["side"] == "out" and not handed:
        return SOURCE, "stay"
    hint = "reach it and run again; as long as the guest was not handed over, `undo: true` takes it back without it"
    raise failed("move_undecided", "the other host cannot be reached", {SOURCE: source}, hint)


# --- the whole way


def move(hosts: Hosts, wish: Wish) -> dict[str, Any]:
    """Moves the guest, or goes on where an earlier task was broken off. Returns {steps, method, why_not, seen}.

    A failure before the source has given the guest up takes the move back. Raises StepFailed, Unreachable.
    """
    way = Way(hosts, wish)
    try:
        way.go(wish.undo)
    except (StepFailed, Unreachable) as failure:
        if wish.check or not way.acted or wish.undo:
            raise
        way.take_back(failure)
    return way.result()


class Way:
    """One task's way through a move: what it saw last of both hosts, and what it did."""

    def __init__(self, hosts: Hosts, wish: Wish) -> None:
        self.hosts, self.wish = hosts, wish
        self.seen: dict[str, Optional[dict[str, Any]]] = {}
        self.steps: list[dict[str, str]] = []
        self.told: dict[str, dict[str, Any]] = {}
        self.method: Optional[str] = None
        self.why_not: dict[str, str] = {}

    @property
    def acted(self) -> bool:
        return bool(self.steps)

    def result(self) -> dict[str, Any]:
        return {"steps": self.steps, "method": self.method, "why_not": self.why_not, "seen": self.seen, "told": self.told}

    def go(self, undo: bool) -> None:
        self._look()
        for _turn in range(STEPS_MAX):
            source = self._source()
            self.method = (source["note"] or {}).get("method") or self.method
            step = next_step(source, self.seen[TARGET], undo)
            if step is None or (self.wish.check and step[1] != "begin"):
                self.steps += [{"host": step[0], "step": step[1]}] if step else []
                return
            {"begin": self._begin, "bring": self._bring}.get(step[1], lambda now=step: self._do(*now))()
            if self.wish.check:
                return
        raise failed("move_undecided", "the move does not come to an end", {"steps": self.steps, "seen": self.seen}, UNDECIDED)

    def _source(self) -> dict[str, Any]:
        """What was seen last of the source, which is always looked at first."""
        return self.seen[SOURCE] or {}

    def _look(self) -> None:
        self.seen[SOURCE] = dict(self.hosts.call(SOURCE, "look")["seen"])
        self._look_there()

    def _look_there(self) -> None:
        try:
            self.seen[TARGET] = self.hosts.call(TARGET, "look")["seen"]
        except Unreachable:
            if self._source()["note"] is None:
                raise
            self.seen[TARGET] = None

    def _do(self, side: str, step: str, **options: Any) -> dict[str, Any]:
        self.steps.append({"host": side, "step": step})
        known = [seen["note"] for seen in (self.seen.get(side), self.seen[SOURCE]) if seen and seen["note"]]
        if (known and known[0]["side"] != "gone") or (known and side == SOURCE):
            options.setdefault("move", known[0]["move"])  # a step of this move, should another task have gone on with it
        done = self.hosts.call(side, step, **options)
        self.seen[side] = done["seen"]
        told: dict[str, Any] = done["told"]
        self.told[step] = told
        if step == "stay":
            self.told.pop("leave", None)  # it is to be left anew
        if step == "send":
            self._look_there()  # xl acts on both hosts
        return told

    def _begin(self) -> None:
        """Nothing is touched before both hosts have said that it can be."""
        offer = self.hosts.call(SOURCE, "offer", move=self.wish.move)["told"]
        target = self.hosts.call(TARGET, "accept", described=offer)["told"]
        case = Case(offer, target, self.wish.ssh)
        self.method, self.why_not = choose(case, self.wish.method)
        if self.method is None:
            wished = self.wish.method if self.wish.method != "auto" else "halt"
            hint = "method: auto takes the best way that there is" if len(self.why_not) < 3 else "it has to stay, or lose that"
            why = {"why_not": bars(case), "power": offer["power"]}
            raise failed("cannot_move", f"it cannot be moved ({wished}): {self.why_not[wished]}", why, hint)
        about = {"described": offer, "move": self.wish.move, "method": self.method}
        if self.wish.check:
            self.steps += [{"host": side, "step": step} for side, step in planned(self.method)]
            return
        self._do(TARGET, "prepare", **about)
        self._do(SOURCE, "send" if self.method == "live" else "leave", **about)

    def _bring(self) -> None:
        files = (self.told.get("leave") or self._do(SOURCE, "leave")).get("files", [])
        for file in files:
            self.hosts.carry(file, self._source()["note"]["uuid"])
        self._do(TARGET, "raise", files=files)

    def take_back(self, failure: Exception) -> None:
        """Raises the failure, once the guest is where it was, or with what kept it from being."""
        result = dict(failure.result) if isinstance(failure, StepFailed) else {"code": "move_failed", "msg": str(failure)}
        evidence: dict[str, Any] = {"failed": result.get("evidence"), "steps": list(self.steps)}
        try:
            self._look()
            source = self.seen[SOURCE]
            gone = source is not None and (source["note"] or {}).get("side") == "gone"
            if not gone:
                self.go(undo=True)
            source = self.seen[SOURCE]
            evidence["owner"] = TARGET if source is not None and (source["note"] or {}).get("side") == "gone" else SOURCE
        except (StepFailed, Unreachable) as another:
            evidence["not_taken_back"] = another.result if isinstance(another, StepFailed) else str(another)
            evidence["owner"] = None
        said = {**result, "code": result.get("code", "move_failed"), "evidence": evidence}
        side, step = (failure.side, failure.step) if isinstance(failure, StepFailed) else (None, "")
        raise StepFailed(side, step, said) from failure


def planned(method: str) -> list[tuple[str, str]]:
    """The steps of a move from its beginning."""
    middle = [(SOURCE, "send")] if method == "live" else [(SOURCE, "leave"), (TARGET, "raise")]
    return [(TARGET, "prepare"), *middle, (SOURCE, "commit"), (TARGET, "release"), (SOURCE, "forget")]
